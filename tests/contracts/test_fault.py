"""The contract of a fault, on every fault: pure, aimed, honest about whether it bit, and undone by its heal.

Run on a cluster in memory with a virtual clock.
"""

from __future__ import annotations

from typing import Any

import pytest

from harness.cluster.actions import Action
from harness.cluster.api import ClusterError
from harness.cluster.observer import answer
from harness.history import INFO, INVOKE, NEMESIS, Op
from harness.store import JOURNAL
from nemesis import journal
from nemesis.actions import inverses, nodes_of, perform, powers
from nemesis.applications import OF_APPLICATIONS
from nemesis.fault import Act, Aim, Ask, Fault, Injection, Until
from nemesis.faults import COORDINATORS, FAULTS, summaries
from tests.nemesis.fake import COORDINATED, KEEPERS, FakeCluster, holds, nemesis

KEY = "t0/0"
AIM = {"keys": [KEY], "draw": 0.4}
STALLING = {
    "kill-all",
    "kill-leaders",
    "last-replica",
    "last-replica-unclean",
    "lose-power-all",
    "pause-followers",
    "cut-clients",
    "deafen-leader",
    "partition-ring",
}
INJURE = {
    "kill",
    "stop",
    "pause",
    "cut",
    "shape",
    "blackout",
    "fill",
    "rot",
    "reassign",
    "intercept",
    "configure",
    "add-partitions",
    "skew",
}

NODES = {"last-replica": 5, "last-replica-unclean": 5}
"""Those that need more nodes than three to leave a quorum."""

LASTING = {"add-partitions"}
"""What they do is no injury: nothing undoes it."""

every_fault = pytest.mark.parametrize("fault", list(FAULTS.values()), ids=list(FAULTS))
INJURIES = {name: fault for name, fault in FAULTS.items() if name not in LASTING}
every_injury = pytest.mark.parametrize("fault", list(INJURIES.values()), ids=list(INJURIES))
by_role = pytest.mark.parametrize(
    "name", ["kill-leader", "pause-leader", "partition-leader", "pause-followers", "kill-follower", "lose-power"]
)


def invoked(client: Any, f: str, value: Any = None) -> Op:
    completion = client.invoke(Op(process=NEMESIS, type=INVOKE, f=f, value=value))
    assert completion.type == INFO
    assert (completion.process, completion.f) == (NEMESIS, f)
    return completion


def steps_of(fault: Fault, cluster: FakeCluster, aim: Aim) -> tuple[list[Any], Injection]:
    """Drive a plan by hand; return its steps and what it returned."""
    plan, steps, result = fault.inject(aim), [], None
    while True:
        try:
            step = plan.send(result)
        except StopIteration as end:
            return steps, end.value
        steps.append(step)
        match step:
            case Act(actions):
                for action in actions:
                    perform(action, cluster)
                result = None
            case Ask(question):
                result = answer(question, cluster, cluster)
            case Until(condition, deadline_s):
                began_s, result = cluster.now_s(), None
                while cluster.now_s() - began_s < deadline_s:
                    if holds(condition, cluster, cluster):
                        result = (cluster.now_s() - began_s) * 1000
                        break
                    cluster.wait(0.2)


def cluster_for(fault: Fault) -> FakeCluster:
    return FakeCluster(nodes=NODES.get(fault.name, 3))


def plain_aim() -> Aim:
    names = ("n1", "n2", "n3")
    instances = ("app-1", "app-2")
    return Aim(keys=(KEY,), draw=0.4, nodes=names, every=names, coordinated=COORDINATED, instances=instances)


@every_fault
def test_fault_says_what_it_is_and_needs(fault):
    assert FAULTS[fault.name] is fault
    assert summaries()[fault.name] == fault.summary
    assert fault.needs <= powers(FakeCluster) | {"application"}
    assert fault.expects == ("stall" if fault.name in STALLING else "progress")


@every_fault
def test_fault_bites_a_healthy_cluster_and_shows_it(fault, tmp_path):
    cluster = cluster_for(fault)
    told = invoked(nemesis(cluster, tmp_path), fault.name, AIM)
    assert told.error is None
    assert told.value["bit"] is True
    assert told.value["fault-id"] == 1
    assert told.value["keys"] == [KEEPERS["group"] if fault in COORDINATORS else KEY]
    assert told.value["nodes"]
    assert told.value["evidence"]
    assert "reason" not in told.value["evidence"]
    assert told.value["expects"] == fault.expects
    assert cluster.whole() == (fault.name in LASTING)


@every_injury
def test_heal_leaves_the_cluster_whole_and_nothing_outstanding(fault, tmp_path):
    cluster = cluster_for(fault)
    client = nemesis(cluster, tmp_path)
    fault_id = invoked(client, fault.name, AIM).value["fault-id"]
    assert [left[0] for left in journal.outstanding(tmp_path / JOURNAL)] == [fault_id]
    healed = invoked(client, "heal", {"fault-id": fault_id})
    assert healed.error is None
    assert healed.value["fault-id"] == fault_id
    shown = "back" if fault.needs & {"reassign", "configure"} else "answers_after_ms"
    if fault in OF_APPLICATIONS:
        shown = "stopped" if fault.name == "pause-app" else "pid"
    assert healed.value["evidence"][shown] is not None
    assert cluster.whole()
    assert journal.outstanding(tmp_path / JOURNAL) == []
    assert invoked(client, "recover", {"bound-s": 60.0}).value["full-isr"] is True


@every_fault
def test_undo_is_the_inverse_of_what_was_done(fault):
    steps, injection = steps_of(fault, cluster_for(fault), plain_aim())
    done = [action for step in steps if isinstance(step, Act) for action in step.actions]
    assert injection.undo == inverses(done)
    assert set(injection.nodes) <= set(nodes_of(done))


@every_fault
def test_plan_depends_on_the_answers_alone(fault):
    assert steps_of(fault, cluster_for(fault), plain_aim()) == steps_of(fault, cluster_for(fault), plain_aim())


@every_fault
def test_action_without_effect_is_no_bite(fault, tmp_path):
    cluster = cluster_for(fault)
    cluster.ignored = INJURE
    told = invoked(nemesis(cluster, tmp_path), fault.name, AIM)
    assert told.value["bit"] is False
    assert told.value["evidence"]["reason"]


@by_role
def test_no_known_leader_is_a_miss_that_touches_nothing(name, tmp_path):
    cluster = FakeCluster()
    cluster.mute = True
    told = invoked(nemesis(cluster, tmp_path), name, AIM)
    assert told.value["bit"] is False
    assert told.value["nodes"] == []
    assert "no leader" in told.value["evidence"]["reason"]
    assert cluster.whole()
    assert cluster.calls == []


@every_injury
def test_failing_provider_is_an_error_and_no_bite_and_can_be_healed_later(fault, tmp_path):
    cluster = cluster_for(fault)
    client = nemesis(cluster, tmp_path)
    cluster.broken = INJURE
    told = invoked(client, fault.name, AIM)
    assert told.value["bit"] is False
    assert told.error["name"] == "CLUSTER_ERROR"
    assert told.value["evidence"]["reason"] == told.error["message"]
    cluster.broken = set()
    healed = invoked(client, "heal")
    assert healed.error is None
    assert healed.value["fault-ids"] == [told.value["fault-id"]]
    assert cluster.whole()


@every_injury
def test_failing_heal_is_an_error_and_the_next_one_makes_the_cluster_whole(fault, tmp_path):
    cluster = cluster_for(fault)
    client = nemesis(cluster, tmp_path)
    fault_id = invoked(client, fault.name, AIM).value["fault-id"]
    cluster.broken = {"start", "resume", "join", "smooth", "release", "unskew", "reassign", "configure"}
    failed = invoked(client, "heal", {"fault-id": fault_id})
    assert failed.error["name"] == "CLUSTER_ERROR"
    assert journal.outstanding(tmp_path / JOURNAL)
    cluster.broken = set()
    assert invoked(client, "heal").error is None
    assert cluster.whole()
    assert journal.outstanding(tmp_path / JOURNAL) == []


class _HarnessKilled(BaseException):
    """The harness dies here."""


class _Dying(FakeCluster):
    """Dies with the harness at the nth action, before or after doing it."""

    def __init__(self, dies_at: int, *, after: bool, nodes: int) -> None:
        super().__init__(nodes=nodes)
        self.left, self.after = dies_at, after

    def _does(self, what: str, *nodes: str) -> bool:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise _HarnessKilled
        return super()._does(what, *nodes)

    def wait(self, seconds: float) -> bool:
        if self.left <= 0:
            raise _HarnessKilled
        return super().wait(seconds)


@every_fault
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies_at", range(1, 10))
def test_what_a_killed_harness_left_is_healed_from_the_journal(fault, dies_at, after, tmp_path):
    cluster = _Dying(dies_at, after=after, nodes=NODES.get(fault.name, 3))
    client = nemesis(cluster, tmp_path)
    died = False
    try:
        told = invoked(client, fault.name, AIM)
        invoked(client, "heal", {"fault-id": told.value["fault-id"]})
    except _HarnessKilled:
        died = True
    cluster.left = 10**9  # from here on another process is at work
    lines = journal.heal(tmp_path, cluster)
    assert cluster.whole()
    assert journal.outstanding(tmp_path / JOURNAL) == []
    assert bool(lines) == (died and fault.name not in LASTING)
    assert not [line for line in lines if "failed" in line]
    assert journal.heal(tmp_path, cluster) == []


@every_fault
def test_plan_given_up_after_any_step_is_healed_from_the_journal(fault, tmp_path):
    whole, _ = steps_of(fault, cluster_for(fault), plain_aim())
    for stop in range(len(whole) + 1):
        folder = tmp_path / str(stop)
        folder.mkdir()
        cluster = cluster_for(fault)
        plan, result = fault.inject(plain_aim()), None
        with journal.Journal(folder / JOURNAL) as book:
            for number, step in enumerate(whole[:stop]):
                assert plan.send(result) == step, number
                result = None
                match step:
                    case Act(actions):
                        book.do(1, fault.name, actions)
                        for action in actions:
                            perform(action, cluster)
                    case Ask(question):
                        result = answer(question, cluster, cluster)
                    case Until(condition, deadline_s):
                        began_s = cluster.now_s()
                        while (
                            not (held := holds(condition, cluster, cluster)) and cluster.now_s() - began_s < deadline_s
                        ):
                            cluster.wait(0.2)
                        result = (cluster.now_s() - began_s) * 1000 if held else None
        journal.heal(folder, cluster)
        assert cluster.whole(), stop
        assert journal.outstanding(folder / JOURNAL) == []


def test_every_action_of_every_injury_is_journalled_before_it_is_done(tmp_path):
    for fault in INJURIES.values():
        folder = tmp_path / fault.name
        folder.mkdir()
        cluster = cluster_for(fault)
        seen: list[tuple[Action, ...]] = []
        original = FakeCluster._does

        def does(what: str, *nodes: str, folder=folder, seen=seen, cluster=cluster, original=original) -> bool:
            left = [action for _, actions in journal.outstanding(folder / JOURNAL) for action in actions]
            seen.append(tuple(left))
            return original(cluster, what, *nodes)

        cluster._does = does
        invoked(nemesis(cluster, folder), fault.name, AIM)
        assert seen, fault.name
        assert all(seen), fault.name


def test_fault_that_the_cluster_can_not_do_is_an_error_of_the_harness(tmp_path):
    cluster = FakeCluster()

    class NoPower:
        name = "bare"
        nodes = staticmethod(cluster.nodes)
        bootstrap = staticmethod(cluster.bootstrap)
        describe = staticmethod(cluster.describe)
        up = staticmethod(cluster.up)
        down = staticmethod(cluster.down)

    assert powers(NoPower) == frozenset()
    _, injection = steps_of(FAULTS["kill-leader"], cluster, plain_aim())
    with pytest.raises(ClusterError, match="cluster bare"):
        perform(injection.undo[0], NoPower())
