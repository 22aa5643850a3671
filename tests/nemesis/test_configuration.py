"""Changes of settings: which, when they count, what they leave to the cluster, and that everything is set back."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cluster.api import UsageError
from harness.cluster.observer import setting_of
from harness.cluster.questions import SettingOf
from nemesis import plan
from nemesis.configuration import CHANGES, MIN_ISR
from tests.contracts.test_fault import AIM, KEY, invoked
from tests.nemesis.fake import FakeCluster, nemesis


def draw_of(name: str, *, compacted: bool = False) -> float:
    """The draw that chooses a setting, and the first of its values."""
    names = [change.name for change in CHANGES if compacted or not change.of_compacted]
    return names.index(name) / len(names) + 1e-9


def changed(cluster: FakeCluster, tmp_path, name: str, *, compacted: bool = False) -> dict[str, Any]:
    aim = {"keys": [KEY], "draw": draw_of(name, compacted=compacted)}
    value: dict[str, Any] = invoked(nemesis(cluster, tmp_path), "change-config", aim).value
    return value


def test_a_topic_setting_is_changed_and_taken_away_again(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "change-config", {"keys": [KEY], "draw": draw_of("segment.ms")}).value
    assert (value["nodes"], value["bit"], value["expects"]) == (["n1"], True, "progress")
    assert value["evidence"] == {"setting": "segment.ms of t0", "from": "604800000", "to": "200", "shown-after_ms": 0}
    assert cluster.settings == {("t0", "segment.ms"): "200"}
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert healed == {"back": "default", "back-after_ms": 0}
    assert cluster.settings == {}


def test_a_value_that_the_topic_had_of_its_own_is_given_back(tmp_path):
    cluster = FakeCluster(settings={("t0", "segment.ms"): "200"})
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "change-config", {"keys": [KEY], "draw": draw_of("segment.ms")}).value
    assert (value["evidence"]["from"], value["evidence"]["to"]) == ("200", "800"), "the same again is no change"
    assert invoked(client, "heal", {"fault-id": 1}).value["evidence"]["back"] == "200"
    assert cluster.settings == {("t0", "segment.ms"): "200"}


def test_all_brokers_are_told_at_once(tmp_path):
    cluster = FakeCluster()
    value = changed(cluster, tmp_path, "num.replica.fetchers")
    assert (value["bit"], value["evidence"]["setting"]) == (True, "num.replica.fetchers of all brokers")
    assert cluster.settings == {("", "num.replica.fetchers"): "2"}


@pytest.mark.parametrize(("replication", "to"), [(3, "3"), (2, "2")])
def test_min_isr_goes_up_to_the_number_of_replicas_and_may_stall_writes(replication, to, tmp_path):
    value = changed(FakeCluster(replication=replication), tmp_path, MIN_ISR)
    assert (value["evidence"]["setting"], value["evidence"]["to"]) == (f"{MIN_ISR} of t0", to)
    assert (value["bit"], value["expects"]) == (True, "stall")


@pytest.mark.parametrize(
    ("name", "holds"),
    [(MIN_ISR, "3"), ("flush.messages", "1"), ("delete.retention.ms", "90000"), ("min.cleanable.dirty.ratio", "0.95")],
)
def test_what_would_change_nothing_or_go_the_wrong_way_makes_room_for_another(name, holds, tmp_path):
    cluster = FakeCluster(settings={("t0", name): holds, ("t0", "cleanup.policy"): "compact"})
    value = changed(cluster, tmp_path, name, compacted=True)
    assert value["bit"] is True
    assert not value["evidence"]["setting"].startswith(name)
    assert cluster.settings["t0", name] == holds


@pytest.mark.parametrize(("policy", "compacted"), [("compact", True), ("compact,delete", True), ("delete", False)])
def test_settings_of_compaction_are_for_compacted_topics(policy, compacted, tmp_path):
    found = set()
    for number in range(len(CHANGES)):
        folder = tmp_path / str(number)
        folder.mkdir()
        cluster = FakeCluster(settings={("t0", "cleanup.policy"): policy})
        aim = {"keys": [KEY], "draw": (number + 0.5) / len(CHANGES)}
        found.add(invoked(nemesis(cluster, folder), "change-config", aim).value["evidence"]["setting"].split()[0])
    of_compaction = {change.name for change in CHANGES if change.of_compacted}
    assert of_compaction & found == ({"min.cleanable.dirty.ratio"} if compacted else set()), (
        "the others are not told of"
    )


def test_no_change_touches_what_a_guarantee_hangs_on():
    names = {change.name for change in CHANGES}
    assert not [name for name in names if "retention" in name and name != "delete.retention.ms"]
    assert names.isdisjoint({"cleanup.policy", "unclean.leader.election.enable", "message.timestamp.type"})
    ways = {change.name: change.only for change in CHANGES}
    assert ways["flush.messages"] == "down"
    assert {ways[name] for name in (MIN_ISR, "min.compaction.lag.ms", "delete.retention.ms")} == {"up"}


def test_a_change_that_is_not_shown_has_not_bitten_and_is_taken_back_all_the_same(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    cluster.ignored.add("configure")
    value = invoked(client, "change-config", AIM).value
    assert value["bit"] is False
    assert "no leader of t0/0 showed it" in value["evidence"]["reason"]
    cluster.ignored.clear()
    cluster.settings["t0", value["evidence"]["setting"].split()[0]] = "came late"
    assert invoked(client, "heal", {"fault-id": 1}).value["evidence"]["back"] == "default"
    assert cluster.whole()


def test_a_change_that_cannot_be_taken_back_is_told(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "change-config", AIM)
    cluster.ignored.add("configure")
    assert "was not shown as it was before" in invoked(client, "heal", {"fault-id": 1}).value["evidence"]["reason"]


def test_a_second_fault_may_hit_the_leader_of_a_topic_that_is_changed(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "change-config", AIM)
    killed = invoked(client, "kill-leader", AIM | {"during": 1}).value
    assert (killed["nodes"], killed["bit"]) == (["n1"], True), "nothing was done to n1 that would be undone"
    assert "reason" not in invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    invoked(client, "heal", {})
    assert cluster.whole()


def test_two_changes_do_not_overlap():
    with pytest.raises(UsageError, match="what the one gives back"):
        plan.parse("change-config+change-config", frozenset({"configure"}), "embedded")


def test_a_replica_tells_what_is_set_while_nobody_leads():
    cluster = FakeCluster(settings={("t0", "segment.ms"): "7"})
    cluster.partitions_by_key[KEY].leader = None
    cluster.machines["n1"].pid = None
    told = setting_of(SettingOf(KEY, "segment.ms"), cluster, cluster)
    assert told is not None
    assert told.own == "7"
