"""Whole runs in which nodes lose power, and their disks fail: what has to survive does, and what does not is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.history import INFO, NEMESIS, Op
from tests.e2e.test_runs import ops, run, verdict

pytestmark = pytest.mark.timeout(420)


def bitten(folder: Path, fault: str) -> list[Op]:
    done = [op for op in ops(folder) if op.process == NEMESIS and op.type == INFO and op.f == fault]
    return [op for op in done if op.value["bit"]]


@pytest.mark.embedded
def test_nothing_is_lost_while_nodes_lose_power_and_their_disks_fail(tmp_path: Path):
    faults = ("lose-power", "fill-disk", "rot-follower")
    status, folder = run(tmp_path, "--nemesis", ",".join(faults), "--time-limit", "25", "--seed", "71")
    found = verdict(folder)
    assert status in {0, 2}, found
    assert found["anomalies"] == {}
    assert all(bitten(folder, fault) for fault in faults)
    assert sum(op.value["evidence"]["bytes-lost"] for op in bitten(folder, "lose-power")) > 0


@pytest.mark.embedded
def test_what_all_lose_at_once_is_found_and_permitted_and_nothing_where_all_is_synced(tmp_path: Path):
    arguments = ("--workload", "send-poll", "--nemesis", "lose-power-all", "--time-limit", "15")
    status, folder = run(tmp_path, *arguments, "--seed", "72")
    found = verdict(folder)["anomalies"]
    assert status == 1, found
    assert {anomaly.get("permitted-by") for anomaly in found.values()} == {"unsynced loss"}, found
    synced = ("--broker-config", "log.flush.interval.messages=1")
    status, folder = run(tmp_path, *arguments, *synced, "--seed", "73")
    assert status in {0, 2}, verdict(folder)
    assert verdict(folder)["anomalies"] == {}


@pytest.mark.jvm
@pytest.mark.parametrize(
    ("version", "fault", "loses"),
    [
        ("3.7.1", "last-replica", True),
        pytest.param("4.1.1", "last-replica", False, marks=pytest.mark.long),
        pytest.param("4.1.1", "last-replica-unclean", True, marks=pytest.mark.long),
    ],
)
def test_the_last_replica_takes_what_the_others_have_unless_they_may_lead(
    tmp_path: Path, version: str, fault: str, loses: bool
):
    cluster = ("--cluster", "jvm", "--kafka-version", version, "--controllers", "1", "--workload", "send-poll")
    status, folder = run(tmp_path, *cluster, "--nemesis", fault, "--time-limit", "20", "--seed", "74")
    found = verdict(folder)
    assert bitten(folder, fault), found
    if not loses:
        assert status in {0, 2}, found
        assert found["anomalies"] == {}
        return
    assert status == 1, found
    assert found["anomalies"]["lost-write"]["count"] > 0
    assert all("permitted-by" not in anomaly for anomaly in found["anomalies"].values()), found


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("strategy", "loses"), [("Balanced", False), pytest.param("None", True, marks=pytest.mark.long)]
)
def test_the_last_replica_takes_nothing_with_it_where_logs_are_compared(tmp_path: Path, strategy: str, loses: bool):
    cluster = ("--controllers", "1", "--workload", "send-poll", "--nemesis", "last-replica-unclean")
    recovery = ("--broker-config", f"unclean.recovery.strategy={strategy}")
    status, folder = run(tmp_path, *cluster, *recovery, "--time-limit", "20", "--seed", "75")
    found = verdict(folder)
    assert bitten(folder, "last-replica-unclean"), found
    compared = "most complete" in (folder / "nodes" / "c1" / "server.log").read_text()
    assert compared is not loses
    if loses:
        assert status == 1, found
        assert found["anomalies"]["lost-write"]["count"] > 0
    else:
        assert status in {0, 2}, found
        assert found["anomalies"] == {}
