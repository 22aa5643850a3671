"""Rot of what a node checks when it starts: it is found, cut off, and fetched again; what is checkpointed is let be."""

from __future__ import annotations

from broker.sim.rot import unchecked
from tests.broker.sim.test_cluster import produce
from tests.broker.sim.test_invariants import Scene


def test_a_follower_finds_what_rotted_and_fetches_it_again():
    scene = Scene()
    node = scene.world.cluster.nodes[scene.follower]
    good = node.disk.dump("t-0")
    assert len(unchecked(node.disk, "t-0")) == 2
    scene.world.rot(node.name, "t-0")
    assert (node.process, node.disk.rotten) == (None, 1)
    assert node.disk.dump("t-0") != good
    scene.later(3)
    node.start()
    scene.later(5)
    told = "".join(scene.world.logs[node.name])
    assert "t-0: cut" in told
    assert "corrupt" in told.lower() or "crc" in told.lower() or "checksum" in told.lower(), told
    assert node.disk.dump("t-0") == good
    scene.world.check_all()
    assert not scene.world.violations


def test_what_a_checkpoint_covers_does_not_rot():
    scene = Scene()
    node = scene.world.cluster.nodes[scene.follower]
    node.process.stop()
    scene.later(3)
    assert node.process is None
    assert unchecked(node.disk, "t-0") == []
    scene.world.rot(node.name, "t-0")
    assert node.disk.rotten == 0


def test_a_full_disk_ends_the_node_and_room_starts_it_whole():
    scene = Scene()
    node = scene.world.cluster.nodes[scene.leader]
    node.disk.full = True
    scene.world.loop.spawn(node_produce(scene))
    scene.later(6)
    assert node.process is None
    assert "no space left" in "".join(scene.world.logs[node.name])
    node.disk.full = False
    node.start()
    scene.later(5)
    assert node.process is not None
    scene.world.check_all()
    assert not scene.world.violations


async def node_produce(scene):
    await produce(scene.world.cluster, scene.leader, "t", "more")
