"""The consumer: positions, resets, groups; what one member reads no other reads, and nothing is passed over."""

from __future__ import annotations

import pytest

from broker.sim.client.config import COOPERATIVE, RANGE
from broker.sim.client.consumer import BEGINNING
from broker.sim.client.errors import ClientError
from broker.sim.client.metadata import Leader
from broker.sim.client.transactional import GroupMetadata
from tests.broker.sim.client.scene import Scene

T0, T1 = ("t", 0), ("t", 1)


def filled(seed=1, count=10, **shape):
    scene = Scene(seed, **shape)
    producer = scene.producer()
    for i in range(count):
        scene.run(producer.send("t", i % 2, b"%d" % i, scene.in_ms(5000)))
    return scene, producer


async def poll_all(scene, consumer, quiet_ms=800):
    found, since = [], scene.loop.now_ms
    while scene.loop.now_ms - since < quiet_ms:
        for record in await consumer.poll(100, 100):
            found.append((record.partition, record.offset, record.value))
            since = scene.loop.now_ms
    return found


def test_a_seek_goes_back_and_a_new_assignment_begins_where_it_says():
    scene, _ = filled()
    consumer = scene.consumer()
    consumer.assign({T0: 3})
    assert [o for _, o, _ in scene.run(poll_all(scene, consumer))] == [3, 4]
    consumer.seek(T0, 1)
    assert [o for _, o, _ in scene.run(poll_all(scene, consumer))] == [1, 2, 3, 4]
    assert consumer.position(T0) == 5
    consumer.assign({T1: BEGINNING})
    assert consumer.position(T0) is None
    assert [o for _, o, _ in scene.run(poll_all(scene, consumer))] == [0, 1, 2, 3, 4]
    with pytest.raises(ClientError):
        consumer.seek(T0, 1)


def test_an_offset_out_of_range_is_reset_by_the_policy():
    scene, producer = filled()
    early, late = scene.consumer("e"), scene.consumer("l", offset_reset="latest")
    for consumer in (early, late):
        consumer.assign({T0: 1000})
    assert [o for _, o, _ in scene.run(poll_all(scene, early))] == [0, 1, 2, 3, 4]
    assert scene.run(poll_all(scene, late)) == []
    scene.run(producer.send("t", 0, b"new", scene.in_ms(5000)))
    assert [v for _, _, v in scene.run(poll_all(scene, late))] == [b"new"]


def test_reading_goes_on_through_the_loss_of_a_leader():
    scene, producer = filled(seed=9)
    consumer = scene.consumer()
    consumer.assign({T0: 0})
    before = scene.run(poll_all(scene, consumer))
    scene.cluster.nodes[scene.leader()].kill()
    scene.run(producer.send("t", 0, b"after", scene.in_ms(10_000)))
    after = scene.run(poll_all(scene, consumer, 4000))
    assert [o for _, o, _ in before + after] == list(range(6))


def test_offsets_are_committed_and_a_new_member_begins_there():
    scene, _ = filled()
    first = scene.consumer("c1", group_id="g")
    first.subscribe(["t"], lambda change: None)
    seen = scene.run(poll_all(scene, first, 3000))
    assert len(seen) == 10
    scene.run(first.offsets.commit({T0: 2, T1: 5}, first.group_metadata, scene.in_ms(5000)))
    scene.run(first.leave(2000))
    second = scene.consumer("c2", group_id="g")
    second.subscribe(["t"], lambda change: None)
    assert [(p, o) for p, o, _ in scene.run(poll_all(scene, second, 3000))] == [(0, 2), (0, 3), (0, 4)]
    found = scene.run(second.offsets.committed([T0, T1], scene.in_ms(5000)))
    assert found == {T0: 2, T1: 5}


def test_whoever_led_before_what_is_committed_was_written_is_not_believed():
    """Its log may end before that: a consumer that asked it would be out of range, and begin anew (KIP-320)."""
    scene, producer = filled(seed=9)
    first = scene.consumer("c1", group_id="g")
    first.subscribe(["t"], lambda change: None)
    scene.run(poll_all(scene, first, 3000))
    old = scene.leader()
    scene.cluster.nodes[old].kill()
    scene.run(producer.send("t", 0, b"after", scene.in_ms(10_000)))
    assert scene.run(poll_all(scene, first, 6000))[-1][1] == 5
    scene.run(first.offsets.commit({T0: 6}, first.group_metadata, scene.in_ms(10_000)))
    epoch = first.group_metadata.epochs[T0]
    assert epoch > 0
    second = scene.consumer("c2", group_id="g")
    second.contact.metadata.leaders[T0] = Leader(1, 0)
    assert scene.run(second.offsets.committed([T0], scene.in_ms(10_000))) == {T0: 6}
    assert second.contact.metadata.leaders[T0].epoch == epoch
    assert second.contact.metadata.leaders[T0].node != old


def test_who_is_out_of_the_group_can_not_commit():
    scene, _ = filled()
    consumer = scene.consumer(group_id="g")
    consumer.subscribe(["t"], lambda change: None)
    scene.run(poll_all(scene, consumer, 2000))
    for stale in (
        GroupMetadata("g", consumer.membership.generation - 1, consumer.membership.member_id),
        GroupMetadata("g"),
    ):
        with pytest.raises(ClientError) as refused:
            scene.run(consumer.offsets.commit({T0: 1}, stale, scene.in_ms(3000)))
        assert refused.value.name in {"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID"}


@pytest.mark.parametrize("assignor", [RANGE, COOPERATIVE])
@pytest.mark.parametrize("seed", [1, 2])
def test_members_come_and_go_and_each_partition_has_one_owner_in_each_generation(assignor, seed):
    scene = Scene(seed, partitions=5)
    changes = []
    members = {}

    def join(name):
        consumer = scene.consumer(name, group_id="g", assignors=(assignor,))
        consumer.subscribe(["t"], lambda change: changes.append((scene.loop.now_ms, name, change)))
        members[name] = consumer

    async def poll(duration_ms):
        end = scene.loop.now_ms + duration_ms
        while scene.loop.now_ms < end:
            for consumer in list(members.values()):
                await consumer.poll(20, 10)

    join("a")
    scene.run(poll(2000))
    join("b")
    join("c")
    scene.run(poll(5000))
    held = [key for consumer in members.values() for key in consumer.assignment]
    assert sorted(held) == [("t", i) for i in range(5)]
    assert all(len(consumer.assignment) in {1, 2} for consumer in members.values())
    scene.run(members.pop("b").leave(2000))
    members.pop("c").close()
    scene.run(poll(14_000))
    assert len(members["a"].assignment) == 5
    owners = {}
    for _, name, change in changes:
        for key in change.keys:
            if change.what == "assigned":
                assert owners.setdefault((change.generation, key), name) == name
    kinds = {change.what for _, _, change in changes}
    assert "assigned" in kinds
    if assignor == COOPERATIVE:
        kept = [change for _, name, change in changes if name == "a" and change.what == "revoked"]
        assert all(len(change.keys) < 5 for change in kept)


def test_a_group_survives_its_coordinator():
    scene, producer = filled(seed=4)
    consumer = scene.consumer(group_id="g")
    lost = []
    consumer.subscribe(["t"], lambda change: lost.append(change.what))
    scene.run(poll_all(scene, consumer, 2000))
    node = consumer.offsets.coordinator._node
    scene.cluster.nodes[node].kill()
    scene.pass_ms(3000)
    for i in range(4):
        scene.run(producer.send("t", i % 2, b"more", scene.in_ms(10_000)))
    seen = scene.run(poll_all(scene, consumer, 8000))
    assert [v for _, _, v in seen if v == b"more"] == [b"more"] * 4
    scene.run(consumer.offsets.commit({T0: 7}, consumer.group_metadata, scene.in_ms(10_000)))
