"""Faults that aim at coordinators: whose is found, what is done to it, and when nothing is."""

from __future__ import annotations

import pytest

from harness.cluster.questions import Coordinator
from nemesis.faults import COORDINATORS
from tests.contracts.test_fault import AIM, KEY, invoked
from tests.nemesis.fake import KEEPERS, FakeCluster, nemesis

INJURIES = {
    "kill-coordinator": "kill",
    "pause-coordinator": "pause",
    "partition-coordinator": "cut",
    "move-coordinator": "reassign",
    "reassign-coordinator": "reassign",
}
GROUP, ID, SHARE = Coordinator("group", "g"), Coordinator("transaction", "x"), Coordinator("share", f"s:{KEY}")

every = pytest.mark.parametrize("name", INJURIES)


def test_every_fault_of_coordinators_is_tested_here():
    assert [fault.name for fault in COORDINATORS] == list(INJURIES)


def injured(cluster: FakeCluster) -> set[str]:
    return {what for what, *_ in cluster.calls if what in INJURIES.values()}


@every
@pytest.mark.parametrize(
    ("draw", "kind", "node"), [(0.3, "group", "n2"), (0.6, "transaction", "n3"), (0.9, "share", "n4")]
)
def test_the_leader_of_what_keeps_the_group_the_id_or_the_share_is_hit_and_nobody_else(
    name, draw, kind, node, tmp_path
):
    cluster = FakeCluster(nodes=5)
    client = nemesis(cluster, tmp_path, coordinated=(GROUP, ID, SHARE))
    value = invoked(client, name, {"keys": [KEY], "draw": draw}).value
    assert (value["nodes"], value["keys"], value["bit"]) == ([node], [KEEPERS[kind]], True)
    assert value["evidence"]["coordinator-of"].startswith(kind)
    assert injured(cluster) == {INJURIES[name]}
    cluster.wait(1.0)
    assert cluster.partitions([KEEPERS[kind]])[0].leader != node
    assert cluster.partitions([KEY])[0].leader == "n1"
    invoked(client, "heal", {"fault-id": 1})
    assert cluster.whole()


def test_a_kind_is_drawn_first_and_then_one_of_it_and_what_is_left_of_the_draw_is_as_even(tmp_path):
    names = [Coordinator("transaction", f"x{number}") for number in range(9)]
    client = nemesis(FakeCluster(), tmp_path, coordinated=(GROUP, *names))
    seen = []
    for step in range(36):
        seen.append(invoked(client, "kill-coordinator", {"draw": (step + 0.5) / 36}).value["evidence"])
        invoked(client, "heal", {})
        invoked(client, "recover", {"bound-s": 60.0})
    told = [evidence["coordinator-of"] for evidence in seen]
    assert told.count("group g") == 18
    assert {told.count(f"transaction x{number}") for number in range(9)} == {2}


def test_the_choice_of_the_successor_does_not_hang_on_whose_coordinator_was_drawn(tmp_path):
    led = set()
    for step in range(8):
        folder = tmp_path / str(step)
        folder.mkdir()
        value = invoked(nemesis(FakeCluster(), folder), "move-coordinator", {"draw": (step + 0.5) / 8}).value
        led.add((value["keys"][0], value["evidence"]["new-leader"]))
    assert len(led) == 4


@every
def test_a_run_without_group_and_transactional_id_is_missed_and_nothing_is_done(name, tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path, coordinated=()), name, AIM).value
    assert (value["nodes"], value["bit"]) == ([], False)
    assert value["evidence"] == {"reason": "the run has no group and no transactional id"}
    assert cluster.calls == []


@every
def test_no_known_coordinator_is_a_miss_that_touches_nothing(name, tmp_path):
    cluster = FakeCluster()
    cluster.uncoordinated = True
    value = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert (value["nodes"], value["bit"]) == ([], False)
    assert value["evidence"]["reason"] == "no coordinator known for it within 5 s"
    assert value["evidence"]["coordinator-of"] == "group g"
    assert cluster.calls == []


def test_a_coordinator_that_is_found_a_little_later_is_hit(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path, coordinated=(GROUP,))
    cluster.uncoordinated = True
    real = cluster.wait

    def wait(seconds: float) -> bool:
        cluster.uncoordinated = cluster.now_s() < 2.0
        return real(seconds)

    cluster.wait = wait
    assert invoked(client, "pause-coordinator", AIM).value["nodes"] == ["n2"]


def test_who_is_coordinated_is_asked_at_every_injection(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    now = [GROUP]
    client._coordinated = lambda: tuple(now)
    assert invoked(client, "move-coordinator", AIM).value["keys"] == [KEEPERS["group"]]
    invoked(client, "heal", {})
    now[:] = [ID]
    assert invoked(client, "move-coordinator", AIM).value["keys"] == [KEEPERS["transaction"]]


def test_a_second_fault_hits_the_successor_of_the_same_ones_coordinator(tmp_path):
    cluster = FakeCluster(nodes=5)
    client = nemesis(cluster, tmp_path)
    first = invoked(client, "kill-coordinator", {"keys": [KEY], "draw": 0.1}).value
    second = invoked(client, "pause-coordinator", {"keys": [KEY], "draw": 0.9, "during": 1}).value
    assert second["evidence"]["coordinator-of"] == first["evidence"]["coordinator-of"] == "group g"
    assert second["nodes"] == [first["evidence"]["new-leader"]]


def test_a_second_fault_spares_who_is_held_already(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path, ["__consumer_offsets/0"], coordinated=(GROUP,))
    cluster.ignored = {"pause"}  # it leads on
    invoked(client, "pause-leader", {"keys": [KEEPERS["group"]]})
    value = invoked(client, "kill-coordinator", AIM | {"during": 1}).value
    assert (value["nodes"], value["bit"]) == ([], False)
    assert value["evidence"]["reason"] == "no coordinator other than n2 known for it within 5 s"
    assert injured(cluster) == {"pause"}


def test_beside_stopped_followers_the_coordinator_is_asked_for_and_not_who_leads_the_runs_partition(tmp_path):
    cluster = FakeCluster(nodes=5, replication=2)
    client = nemesis(cluster, tmp_path, coordinated=(ID,))
    assert invoked(client, "pause-followers", AIM).value["nodes"] == ["n2"]
    value = invoked(client, "kill-coordinator", AIM | {"during": 1}).value
    assert (value["nodes"], value["keys"], value["bit"]) == (["n3"], [KEEPERS["transaction"]], True)
