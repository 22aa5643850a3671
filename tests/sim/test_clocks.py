"""Simulated runs with wrong clocks: they change nothing on a broker that is right, and they hide no bug."""

from __future__ import annotations

import pytest

from harness.testing import run

pytestmark = pytest.mark.timeout(300)  # seconds of CPU are minutes on a busy machine

WRONG = "bump-clock,strobe-clock"


@pytest.mark.parametrize("workload", ["txn", "groups", "share"])
def test_a_right_broker_is_valid_and_the_same_seed_is_the_same_run(workload, tmp_path):
    runs = [
        run(workload, results=tmp_path / number, cluster="simulated", seed=7, time_limit_s=30.0, nemesis=WRONG)
        for number in ("one", "other")
    ]
    assert runs[0].valid, runs[0]  # vacuous where one of the two never bit
    one, other = ((made.folder / "history.jsonl").read_bytes() for made in runs)
    assert one == other


def test_a_loss_is_found_and_not_laid_to_the_clock(tmp_path):
    bug = {"bug": "ack-before-replication", "nemesis": "bump-clock+kill-leader"}
    verdict = run("send-poll", results=tmp_path, cluster="simulated", seed=7, time_limit_s=60.0, **bug)
    found = {one.name: one.permitted_by for one in verdict.run.judgement.anomalies}
    assert "lost-write" in found, verdict
    assert set(found.values()) == {None}
