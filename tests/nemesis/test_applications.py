"""Faults of the user's program: whom they hurt, what shows it, and that they leave it whole."""

from __future__ import annotations

import pytest

from harness.cluster.api import UsageError
from harness.scenario import Scenario
from nemesis import journal
from nemesis.applications import OF_APPLICATIONS
from nemesis.faults import APART, FAULTS
from nemesis.plan import asked_for
from tests.contracts.test_fault import AIM, invoked
from tests.nemesis.fake import FakeCluster, nemesis

NAMES = ("app-1", "app-2")
HAS = frozenset({"kill", "application", "configure"})
SCENARIO = Scenario(workload="app", app="true")


@pytest.mark.parametrize(
    ("fault", "draw", "done"),
    [
        ("kill-app", 0.0, [("kill", "app-1")]),
        ("kill-app", 0.9, [("kill", "app-2")]),
        ("kill-apps", 0.0, [("kill", "app-1"), ("kill", "app-2")]),
        ("restart-app", 0.9, [("stop", "app-2")]),
        ("pause-app", 0.0, [("pause", "app-1")]),
    ],
)
def test_a_fault_hurts_instances_and_no_node_and_its_heal_leaves_all_whole(fault, draw, done, tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, fault, AIM | {"draw": draw}).value
    assert value["bit"] is True
    assert value["nodes"] == [name for _, name in done]
    assert cluster.calls == done
    assert not cluster.program.whole()
    healed = invoked(client, "heal", {"fault-id": value["fault-id"]})
    assert healed.error is None
    assert cluster.program.whole()


@pytest.mark.parametrize("fault", ["kill-app", "kill-apps", "pause-app"])
def test_what_does_not_end_or_stop_is_told_as_a_miss(fault, tmp_path):
    cluster = FakeCluster()
    cluster.ignored = {"kill", "pause"}
    assert invoked(nemesis(cluster, tmp_path), fault, AIM).value["bit"] is False


@pytest.mark.parametrize("fault", [fault.name for fault in OF_APPLICATIONS])
def test_without_an_instance_that_runs_there_is_nothing_to_hurt(fault, tmp_path):
    cluster = FakeCluster()
    cluster.program.pids = dict.fromkeys(NAMES)
    value = invoked(nemesis(cluster, tmp_path), fault, AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "no instance is running"


def test_an_instance_that_stands_still_is_not_stopped_twice_and_not_killed(tmp_path):
    cluster = FakeCluster()
    cluster.program.stopped = {"app-1"}
    assert invoked(nemesis(cluster, tmp_path), "kill-app", AIM | {"draw": 0.0}).value["nodes"] == ["app-2"]


def test_what_is_gone_with_the_run_is_not_asked_to_start_again(tmp_path):
    cluster = FakeCluster()
    invoked(nemesis(cluster, tmp_path), "kill-app", AIM | {"draw": 0.0})
    assert journal.heal(tmp_path, cluster, NAMES) == ["kill-app (fault 1): start app-1: not needed"]
    assert journal.outstanding(tmp_path / "faults.jsonl") == []


def test_all_stands_for_them_only_where_there_is_a_program():
    everything = asked_for(Scenario(workload="app", app="true", nemesis="all"), HAS)
    assert {(fault.name,) for fault in OF_APPLICATIONS} <= set(everything)
    assert ("add-partitions",) not in everything
    assert not {fault.name for fault in OF_APPLICATIONS} & APART
    without = asked_for(Scenario(nemesis="all"), HAS - {"application"})
    assert not [choice for choice in without if FAULTS[choice[0]].needs & {"application"}]
    with pytest.raises(UsageError, match="--nemesis kill-app needs a program of yours: --app COMMAND"):
        asked_for(Scenario(nemesis="kill-app"), HAS - {"application"})
    with pytest.raises(UsageError, match="--nemesis add-partitions does not go with --app"):
        asked_for(Scenario(workload="app", app="true", nemesis="add-partitions"), HAS)
