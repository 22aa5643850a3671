"""The simulated cluster answers the nemesis as a real one does."""

from __future__ import annotations

import pytest

from harness.cluster import simulated
from harness.cluster.api import ClusterSpec
from harness.cluster.observer import answer, holds, setting_of
from harness.cluster.questions import Configured, Coordinated, Coordinator, KeysOf, LeaderElected, SettingOf
from harness.cluster.simulated import SimulatedCluster, SimulatedObserver
from harness.scenario import Scenario
from harness.simulation import SimulatedEquipment

KEY = "t0/0"
SCENARIO = Scenario(cluster="simulated", topics=1, partitions=1)
SCENARIO_OF_SHARES = Scenario(cluster="simulated", topics=1, partitions=1, workload="share")


@pytest.fixture
def cluster(tmp_path):
    made = SimulatedCluster(ClusterSpec(name="s", folder=tmp_path, seed=3))
    made.up()
    yield made
    made.down()


def test_a_coordinator_leads_the_partition_that_keeps_its_group_or_id(cluster, monkeypatch):
    observer, loop = SimulatedObserver(cluster), cluster.world.loop
    ids = [Coordinator(kind, f"{kind}-{number}") for kind in ("group", "transaction") for number in range(8)]

    def known(about, other_than=frozenset()):
        return loop.run_until(
            loop.now_ns + 60 * 10**9, lambda: holds(Coordinated(about, other_than), observer, cluster)
        )

    with monkeypatch.context() as patched:
        patched.setitem(
            simulated.CHANGES, "FIND_COORDINATOR", 4
        )  # as a client does: the topic is made where there is none
        observer.coordinator("group", "g")
        observer.coordinator("transaction", "x")
    assert all(known(about) for about in ids)
    assert len({observer.coordinator(about.kind, about.name).key for about in ids}) > 2
    before = observer.coordinator("group", "group-0").leader
    cluster.kill(before)
    assert known(ids[0], frozenset({before}))


def test_a_share_coordinator_leads_the_partition_that_keeps_one_of_its_groups(cluster):
    SimulatedEquipment(cluster).prepare(SCENARIO_OF_SHARES, cluster)
    observer, about = SimulatedObserver(cluster, ("t0",)), Coordinator("share", f"harness-share:{KEY}")
    before = observer.coordinator(about.kind, about.name)
    assert before.key.startswith("__share_group_state/")
    assert observer.coordinator("share", "harness-share:nowhere/0") is None
    cluster.kill(before.leader)
    loop = cluster.world.loop
    assert loop.run_until(
        loop.now_ns + 60 * 10**9,
        lambda: holds(Coordinated(about, frozenset({before.leader})), observer, cluster),
    )
    assert observer.coordinator(about.kind, about.name).key == before.key


@pytest.mark.parametrize(("topic", "name", "value"), [("t0", "segment.ms", "200"), ("", "num.replica.fetchers", "2")])
def test_a_setting_changes_and_is_taken_away_again(cluster, topic, name, value):
    SimulatedEquipment(cluster).prepare(SCENARIO, cluster)
    observer, loop = SimulatedObserver(cluster, ("t0",)), cluster.world.loop
    of = SettingOf(KEY, name, not topic)
    before = setting_of(of, observer, cluster)
    assert before is not None
    assert before.own is None
    for wanted in (value, None):
        cluster.configure(topic, name, wanted)
        condition = Configured(of, wanted)
        assert loop.run_until(loop.now_ns + 5 * 10**9, lambda asked=condition: holds(asked, observer, cluster))
    assert setting_of(of, observer, cluster) == before


def test_a_topic_grows_and_to_ask_twice_is_safe(cluster):
    SimulatedEquipment(cluster).prepare(SCENARIO, cluster)
    observer, loop = SimulatedObserver(cluster, ("t0",)), cluster.world.loop
    for _ in range(2):
        cluster.add_partitions("t0", 3)
    assert loop.run_until(loop.now_ns + 5 * 10**9, lambda: holds(LeaderElected("t0/2"), observer, cluster))
    assert answer(KeysOf("t0"), observer, cluster) == ("t0/0", "t0/1", "t0/2")


def test_a_node_that_is_dead_or_knows_no_such_setting_tells_nothing(cluster):
    SimulatedEquipment(cluster).prepare(SCENARIO, cluster)
    assert cluster.setting("n1", "t0", "no.such.setting") is None
    assert cluster.setting("n1", "t0", "segment.ms") is not None
    cluster.kill("n1")
    assert cluster.setting("n1", "t0", "segment.ms") is None


def test_the_preferred_leader_is_elected_when_somebody_asks(cluster):
    SimulatedEquipment(cluster).prepare(SCENARIO, cluster)
    observer, loop = SimulatedObserver(cluster, ("t0",)), cluster.world.loop

    def led_by():
        return observer.partitions((KEY,))[0].leader

    def wait(until):
        assert loop.run_until(loop.now_ns + 60 * 10**9, until)

    first = observer.partitions((KEY,))[0].replicas[0]
    cluster.kill(first)
    wait(lambda: led_by() not in {None, first})
    cluster.start(first)
    wait(observer.full_isr)
    assert led_by() != first
    assert observer.elect_preferred("t0") == ""
    wait(lambda: led_by() == first)
