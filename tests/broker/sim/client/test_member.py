"""Members by KIP-848: what one holds nobody else holds, who is out hears of it, only the newest epoch commits."""

from __future__ import annotations

import pytest

from broker.sim.client.errors import ClientError
from broker.sim.client.transactional import GroupMetadata
from tests.broker.sim.client.scene import Scene

QUICK = {"consumer_session_timeout_ms": 3000, "consumer_heartbeat_interval_ms": 300}
T0 = ("t", 0)


class Group:
    """Members that poll in turn. Each change is held against what the others hold at that time."""

    def __init__(self, seed=1, partitions=4):
        self.scene = Scene(seed, partitions=partitions, settings=QUICK)
        self.members, self.holds, self.told = {}, {}, []

    def join(self, name):
        consumer = self.scene.consumer(name, group_id="g", group_protocol="consumer", rebalance_timeout_ms=2000)
        self.members[name], self.holds[name] = consumer, set()
        consumer.subscribe(["t"], lambda change: self.hear(name, change))
        return consumer

    def hear(self, name, change):
        self.told.append((name, change.what))
        if change.what == "assigned":
            held = {key: one for one, keys in self.holds.items() for key in keys}
            assert not [key for key in change.keys if key in held], f"{name} is given what {held} hold"
            self.holds[name] |= set(change.keys)
        else:
            assert set(change.keys) <= self.holds[name]
            self.holds[name] -= set(change.keys)

    def poll(self, duration_ms, *names):
        async def go():
            end = self.scene.loop.now_ms + duration_ms
            while self.scene.loop.now_ms < end:
                for name in names or list(self.members):
                    await self.members[name].poll(20, 10)

        self.scene.run(go())

    def gone(self, name):
        """It holds nothing any more: what it held may be given at once, or when its session is over."""
        self.holds[name] = set()
        return self.members.pop(name)

    def sizes(self):
        return sorted(len(keys) for keys in self.holds.values() if keys)


@pytest.mark.parametrize("seed", [1, 2])
def test_members_come_and_go_and_no_partition_has_two_owners_at_any_time(seed):
    group = Group(seed, partitions=5)
    group.join("a")
    group.poll(2000)
    assert group.sizes() == [5]
    group.join("b")
    group.join("c")
    group.poll(4000)
    assert group.sizes() == [1, 2, 2]
    group.scene.run(group.gone("b").leave(2000))
    group.poll(3000)
    assert group.sizes() == [2, 3]
    group.gone("c").close()
    group.poll(6000)
    assert group.sizes() == [5]
    assert "lost" not in {what for _, what in group.told}


def test_only_the_newest_epoch_of_a_member_commits():
    group = Group()
    consumer = group.join("a")
    group.poll(2000)
    group.join("b")
    group.poll(3000)
    now, scene = consumer.group_metadata, group.scene
    scene.run(consumer.offsets.commit({T0: 1}, now, scene.in_ms(3000)))
    refusals = []
    for stale in (GroupMetadata("g", now.generation - 1, now.member_id), GroupMetadata("g", 1, "nobody")):
        with pytest.raises(ClientError) as refused:
            scene.run(consumer.offsets.commit({T0: 0}, stale, scene.in_ms(3000)))
        refusals.append(refused.value.name)
    assert refusals == ["STALE_MEMBER_EPOCH", "UNKNOWN_MEMBER_ID"]
    assert scene.run(consumer.offsets.committed([T0], scene.in_ms(3000))) == {T0: 1}


def test_who_does_not_let_go_in_time_loses_all_and_joins_anew():
    group = Group()
    group.join("a")
    group.poll(2000)
    group.join("b")
    held, old = set(group.holds["a"]), group.members["a"].group_metadata
    group.holds["a"] = set()  # it does not poll: it is told later
    group.poll(4000, "b")
    assert group.holds["b"] == held
    assert group.members["a"].group_metadata == old, "it does not know yet that it is out"
    group.holds["a"] = held
    group.poll(100, "a")
    assert ("a", "lost") in group.told
    group.poll(3000)
    assert group.sizes() == [2, 2]
    assert group.members["a"].group_metadata.generation > old.generation


def test_a_group_survives_its_coordinator():
    group = Group()
    consumer = group.join("a")
    group.join("b")
    group.poll(3000)
    group.scene.cluster.nodes[consumer.offsets.coordinator._node].kill()
    group.poll(10_000)
    assert group.sizes() == [2, 2]
    group.join("c")
    group.poll(5000)
    assert group.sizes() == [1, 1, 2]
