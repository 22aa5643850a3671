"""Each invariant is silent on a sound cluster and speaks when what it guards is broken on purpose."""

from __future__ import annotations

import pytest

from broker.core.log.aborted import AbortedTransaction
from broker.core.log.producers import Producer, Written
from broker.core.ready import Save, Tick
from broker.sim.invariants import _held_to
from broker.sim.world import World
from tests.broker.sim.test_cluster import create, produce
from tests.broker.sim.test_world import FAST


class Scene:
    """A cluster of three with one record in t/0, and a way to let a node make a step."""

    def __init__(self, properties=None):
        self.world = World(1, 3, {**FAST, **(properties or {})})
        self.world.cluster.start()
        assert self.world.cluster.until(self.world.cluster.is_ready, 60_000)
        loop = self.world.loop
        self.leader = loop.run(create(self.world.cluster, "t", 3))
        for text in ("one", "two"):
            assert loop.run(produce(self.world.cluster, self.leader, "t", text)).error_code == 0
        self.later(2)
        assert not self.world.violations
        self.key = self.replica(self.leader).key

    def later(self, seconds):
        self.world.loop.run_until(self.world.loop.now_ns + int(seconds * 1e9))

    def replica(self, node):
        return next(iter(self.world.cluster.nodes[node].broker.replicas))

    @property
    def follower(self):
        return next(node for node in self.world.cluster.nodes if node != self.leader)

    def found(self):
        return {one.name for one in self.world.violations}

    def produce(self, text="more"):
        self.world.loop.run(produce(self.world.cluster, self.leader, "t", text))


@pytest.fixture
def scene():
    return Scene()


def test_a_sound_cluster_breaks_nothing_through_kills_and_power_losses(scene):
    for node in (1, 2, 3):
        scene.world.lose_power(f"n{node}")
        scene.later(3)
        scene.world.cluster.nodes[node].start()
        scene.later(3)
    scene.world.check_all()
    assert not scene.world.violations


def test_a_high_watermark_beyond_a_follower_breaks_strong_isr(scene):
    follower = scene.world.cluster.nodes[scene.follower].broker
    follower.fetchers._fetch = lambda *_: None
    scene.later(0.6)  # what it has asked for already is answered by then
    leader = scene.replica(scene.leader).leader
    for one in leader.followers.values():
        one.end = 1 << 40
    scene.world.loop.spawn(produce(scene.world.cluster, scene.leader, "t", "more"))
    scene.later(0.1)
    assert "StrongIsr" in scene.found()


def test_a_follower_that_holds_other_bytes_breaks_log_matching(scene):
    node = scene.world.cluster.nodes[scene.follower]
    node.kill()
    data = bytearray(node.disk.dump("t-0"))
    data[17] ^= 0xFF  # the checksum of the first batch
    scene.world.invariants._lives.clear()
    segment = node.disk._segments["t-0"][0]
    segment.data[:] = data
    scene.replica(scene.leader)
    life = scene.world.invariants._ghosts
    assert life
    log = scene.replica(scene.leader).log
    wrong = life[scene.replica(scene.leader).key].read(log, node.disk, 0, 2)
    assert "at offset 0" in wrong


def test_a_log_that_ends_before_what_was_committed_is_told(scene):
    replica = scene.replica(scene.leader)
    ghost = scene.world.invariants._ghosts[replica.key]
    assert ghost.end == 2
    ghost.end = 5
    scene.world.cluster.nodes[scene.leader].kill()
    scene.later(5)
    assert "LeaderCompletenessProperty" in scene.found()


def test_a_stable_offset_above_the_high_watermark_is_told(scene):
    replica = scene.replica(scene.follower)
    replica.log.high_watermark = replica.log.end + 9
    scene.produce()
    assert "LsoBelowHighWatermark" in scene.found()


def test_two_leaders_of_a_partition_in_an_epoch_are_told(scene):
    replica = scene.replica(scene.leader)
    scene.world.invariants._leaders[replica.key, replica.leader.epoch] = "n9"
    scene.produce()
    assert "OneLeaderPerEpoch" in scene.found()


def test_two_controllers_in_an_epoch_are_told(scene):
    node = next(node for node in scene.world.nodes.values() if node.broker.quorum.is_leader)
    scene.world.invariants._controllers[node.broker.quorum.epoch] = "n9"
    node.process._step(Tick())
    assert "NeverTwoLeadersInSameEpoch" in scene.found()


def test_producer_state_that_the_log_does_not_say_is_told(scene):
    scene.world.check_all()
    assert not scene.world.violations
    replica = scene.replica(scene.leader)
    partition = {"producer_id": 7, "producer_epoch": 0, "base_sequence": 0}
    scene.world.loop.run(produce(scene.world.cluster, scene.leader, "t", "x", **partition))
    scene.world.check_all()
    assert not scene.world.violations
    replica.log.producers.get(7).epoch = 3
    scene.world.check_all()
    assert scene.found() == {"ProducerStateMatchesLog"}


def test_aborted_transactions_that_the_log_does_not_say_are_told(scene):
    scene.world.check_all()
    assert not scene.world.violations
    scene.replica(scene.leader).log.aborted.add(AbortedTransaction(7, 0, 1, 2))
    scene.world.check_all()
    assert scene.found() == {"AbortedIndexMatchesLog"}


def forget(scene, *, power):
    """Let a follower's last process have known a producer that is not in its log."""
    node = scene.world.cluster.nodes[scene.follower]
    log = scene.replica(scene.follower).log
    log.producers._producers[7] = Producer(7, 0, -1, node.now_ms(), None, [Written(0, 0, 0, 0, node.now_ms())])
    if power:
        scene.world.lose_power(node.name)
    else:
        node.kill()
    node.start()
    scene.later(5)


def test_a_process_that_does_not_know_the_producers_of_the_last_one_is_told(scene):
    forget(scene, power=False)
    assert scene.found() == {"ProducersOutliveTheProcess"}


@pytest.mark.parametrize("policy", ["delete", "compact"])
def test_only_a_compacted_log_may_forget_which_coordinator_ended_a_transaction(scene, policy):
    scene.world.invariants._newest[1].configs["topic:t"] = {"cleanup.policy": policy}
    node = scene.world.cluster.nodes[scene.follower]
    partition = {"producer_id": 7, "producer_epoch": 0, "base_sequence": 0, "timestamp_ms": node.now_ms()}
    scene.world.loop.run(produce(scene.world.cluster, scene.leader, "t", "x", **partition))
    scene.later(2)
    scene.replica(scene.follower).log.producers.get(7).coordinator_epoch = 3
    node.kill()
    node.start()
    scene.later(5)
    assert scene.found() == (set() if policy == "compact" else {"ProducersOutliveTheProcess"})


def test_a_process_may_forget_with_a_loss_of_power(scene):
    forget(scene, power=True)
    assert not scene.world.violations


def test_metadata_that_differ_from_what_was_committed_are_told(scene):
    ghost = scene.world.invariants._ghosts["", 0]
    base = min(ghost._marks)
    ghost._marks[base] = ghost._marks[base]._replace(epoch=99)
    node = scene.world.nodes["n1"]
    node.kill()
    node.start()
    scene.later(5)
    assert "NoLogDivergence" in scene.found()


def held_by(scene):
    ghost = scene.world.invariants._ghosts[scene.key]
    return {node.id: _held_to(node, "t-0", ghost) for node in scene.world.nodes.values()}


@pytest.mark.parametrize(("strategy", "kept"), [("Balanced", max), ("None", min)])
def test_what_no_disk_holds_after_a_power_loss_of_all_is_lost_and_without_comparison_what_not_all_hold(strategy, kept):
    scene = Scene({"unclean.recovery.strategy": strategy})
    for _ in range(10):
        scene.produce("unsynced")
    assert scene.world.invariants._ghosts[scene.key].end == 12
    scene.world.lose_power("n1", "n2", "n3")
    held = held_by(scene)
    assert scene.world.invariants._ghosts[scene.key].end == kept(held.values())
    assert len(set(held.values())) > 1, held
    for node in scene.world.nodes.values():
        node.start()
    scene.later(10)
    assert not scene.world.violations


@pytest.mark.parametrize("lucky", [1, 2, 3])
def test_a_high_watermark_that_one_of_them_saved_before_the_power_loss_of_all_promises_nothing(scene, lucky):
    for _ in range(30):
        scene.produce("unsynced")
    scene.later(6)
    disk = scene.world.cluster.nodes[lucky].disk
    disk.sync(disk.logs())
    disk.write(Save("checkpoint", disk.load("checkpoint"), sync=True))
    scene.world.lose_power("n1", "n2", "n3")
    for node in scene.world.nodes.values():
        node.start()
    scene.later(10)
    scene.leader = next(node for node in (1, 2, 3) if scene.replica(node).leader is not None)
    for _ in range(5):
        scene.produce("anew")
        scene.later(1)
    assert not scene.world.violations


def save_all_of(scene, node):
    """Let the node's disk hold its log and its high watermark."""
    disk = scene.world.cluster.nodes[node].disk
    disk.sync(disk.logs())
    disk.write(Save("checkpoint", disk.load("checkpoint"), sync=True))


def test_nor_does_one_that_a_replica_outside_the_isr_saved(scene):
    """Seed 660 of `--nemesis all`: it came back first, and said what it had heard before the others lost it."""
    for _ in range(30):
        scene.produce("unsynced")
    scene.later(6)
    away = scene.follower
    save_all_of(scene, away)
    scene.world.cluster.nodes[away].kill()
    scene.later(10)
    assert away not in scene.replica(scene.leader).leader.state.isr
    scene.world.lose_power("n1", "n2", "n3")
    held = held_by(scene)
    assert held[away] > min(held.values())
    for node in sorted(scene.world.nodes.values(), key=lambda node: node.id != away):
        node.start()
        scene.later(1)
    scene.later(10)
    assert not scene.world.violations


def test_what_a_member_of_the_isr_holds_that_did_not_lose_power_stays_promised(scene):
    scene.produce("unsynced")
    key = scene.replica(scene.leader).key
    others = [name for name, node in scene.world.nodes.items() if node.id != scene.leader]
    scene.world.lose_power(*others)
    assert scene.world.invariants._ghosts[key].end == 3
