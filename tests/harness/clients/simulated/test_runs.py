"""Whole runs of the real workloads on simulated clients and brokers, judged by the real checkers."""

from __future__ import annotations

import msgspec
import pytest

from checkers.judge import judge
from checkers.options import options_of_scenario
from harness.generator import NOTHING
from harness.history import HistoryWriter, read_lines
from tests.harness.clients.simulated.scene import OpScene
from workloads.groups import GROUPS
from workloads.phases import whole_run
from workloads.queue import SEND_POLL, TXN
from workloads.share import SHARE

CASES = [
    pytest.param(TXN, {}, id="txn"),
    pytest.param(TXN, {"transaction_protocol": 1, "crash_interval_s": 2.0}, id="txn-v1-crashes"),
    pytest.param(TXN, {"sub_via": ("assign", "subscribe")}, id="txn-subscribe"),
    pytest.param(SEND_POLL, {"sub_via": ("subscribe",), "crash_interval_s": 3.0}, id="send-poll-subscribe"),
    pytest.param(GROUPS, {"sub_via": ("subscribe",), "group_protocol": "consumer"}, id="groups-consumer"),
    pytest.param(SHARE, {"crash_interval_s": 3.0}, id="share"),
    pytest.param(TXN, {"topic_config": {"compression.type": "lz4"}}, id="txn-packed-anew"),
    pytest.param(SHARE, {"topic_config": {"compression.type": "zstd"}}, id="share-packed-anew"),
    pytest.param(TXN, {"compression": "mixed", "value_size": "100-3000"}, id="txn-mixed-codecs"),
    pytest.param(SHARE, {"compression": "mixed", "value_size": "0-3000"}, id="share-mixed-codecs"),
    pytest.param(SEND_POLL, {"idempotence": False, "acks": "1"}, id="send-poll-acks-1"),
]


def run(path, workload, changes, seed):
    scene = OpScene(seed, workload=workload.name, **changes)
    with HistoryWriter(path) as writer:
        scene.drive(whole_run(scene.scenario, workload, scene.keys, NOTHING, ()), writer.append)
    return scene.scenario


@pytest.mark.parametrize(("workload", "changes"), CASES)
def test_a_run_without_faults_is_valid(tmp_path, workload, changes):
    path = tmp_path / "history.jsonl"
    scenario = run(path, workload, changes, seed=3)
    with path.open("rb") as lines:
        ops = list(read_lines(lines, name="history"))
    assert not [op for op in ops if op.error and op.error.get("name") == "CLIENT_CRASHED"]
    assert sum(op.type == "ok" for op in ops) > 100
    judgement = judge(path, options_of_scenario(msgspec.to_builtins(scenario)))
    verdict = judgement.verdict_json()
    assert verdict["valid"] is True, verdict


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name, TXN, {"sub_via": ("assign", "subscribe"), "crash_interval_s": 2.0}, seed=5)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
