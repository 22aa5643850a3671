"""What administrators do with share groups, and what is left when they can't: offsets, lists, deletions."""

from __future__ import annotations

from broker.core.errors import Code
from broker.core.share.state import ShareKey
from broker.wire.messages.delete_groups import DeleteGroupsRequest
from broker.wire.messages.list_groups import ListGroupsRequest
from broker.wire.messages.share_group_describe import ShareGroupDescribeRequest
from broker.wire.messages.share_group_offsets import (
    AlterPartition,
    AlterShareGroupOffsetsRequest,
    AlterTopic,
    DeleteShareGroupOffsetsRequest,
    DeleteTopic,
    DescribeGroup,
    DescribeShareGroupOffsetsRequest,
    DescribeTopic,
)
from tests.broker.core.share_members import (
    ACCEPT,
    Member,
    ask,
    call,
    coordinator,
    deaf,
    filled,
    offsets,
    ready,
)


def described(network, topics=None):
    request = DescribeShareGroupOffsetsRequest(groups=(DescribeGroup(group_id="g", topics=topics),))
    group = ask(network, request).groups[0]
    found = {
        (t.topic_name, p.partition_index): (p.start_offset, p.error_code) for t in group.topics for p in t.partitions
    }
    return group.error_code, found


def test_offsets_are_described_set_and_forgotten():
    network = ready()
    place = filled(network)
    assert described(network) == (Code.GROUP_ID_NOT_FOUND, {})
    one = Member(network, "one").join()
    one.take(place)
    assert one.acknowledge(place, [(0, 6, ACCEPT)]) == Code.NONE
    assert described(network) == (Code.NONE, {("t", 0): (7, Code.NONE)})
    asked = (DescribeTopic(topic_name="t", partitions=(0, 9)), DescribeTopic(topic_name="none", partitions=(0,)))
    unknown = (0, Code.UNKNOWN_TOPIC_OR_PARTITION)
    assert described(network, asked)[1] == {("t", 0): (7, 0), ("t", 9): unknown, ("none", 0): unknown}
    sets = AlterShareGroupOffsetsRequest(
        group_id="g", topics=(AlterTopic(topic_name="t", partitions=(AlterPartition(start_offset=4),)),)
    )
    assert ask(network, sets).error_code == Code.NON_EMPTY_GROUP
    one.fetch(place, epoch=-1)
    one.leave()
    assert ask(network, sets).responses[0].partitions[0].error_code == Code.NONE
    assert described(network) == (Code.NONE, {("t", 0): (4, Code.NONE)})
    two = Member(network, "two").join()
    assert [offset for offset, _ in offsets(two.take(place))] == [4, 5, 6, 7, 8, 9]
    two.fetch(place, epoch=-1)
    two.leave()
    forgets = DeleteShareGroupOffsetsRequest(
        group_id="g", topics=(DeleteTopic(topic_name="t"), DeleteTopic(topic_name="none"))
    )
    assert [one.error_code for one in ask(network, forgets).responses] == [0, Code.UNKNOWN_TOPIC_OR_PARTITION]
    assert described(network) == (Code.NONE, {})


def test_what_can_not_be_set_or_forgotten_is_as_it_was():
    network = ready()
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place)
    one.acknowledge(place, [(0, 4, ACCEPT)])
    one.fetch(place, epoch=-1)
    one.leave()
    hears = deaf(network)
    sets = AlterShareGroupOffsetsRequest(
        group_id="g", topics=(AlterTopic(topic_name="t", partitions=(AlterPartition(start_offset=1),)),)
    )
    assert ask(network, sets).responses[0].partitions[0].error_code == Code.COORDINATOR_NOT_AVAILABLE
    forgets = DeleteShareGroupOffsetsRequest(group_id="g", topics=(DeleteTopic(topic_name="t"),))
    assert ask(network, forgets).responses[0].error_code == Code.COORDINATOR_NOT_AVAILABLE
    deletes = DeleteGroupsRequest(groups_names=("g",))
    assert call(network, coordinator(network, "g"), deletes).results[0].error_code == Code.COORDINATOR_NOT_AVAILABLE
    hears()
    assert described(network) == (Code.NONE, {("t", 0): (5, Code.NONE)})
    two = Member(network, "two").join()
    assert [offset for offset, _ in offsets(two.take(place))] == [5, 6, 7, 8, 9]


def test_a_group_that_could_not_be_set_begins_when_somebody_subscribes():
    network = ready()
    place = filled(network, 2)
    coordinator(network, "g")
    hears = deaf(network)
    sets = AlterShareGroupOffsetsRequest(
        group_id="g", topics=(AlterTopic(topic_name="t", partitions=(AlterPartition(start_offset=1),)),)
    )
    assert ask(network, sets).responses[0].partitions[0].error_code == Code.COORDINATOR_NOT_AVAILABLE
    hears()
    assert offsets(Member(network, "one").join().take(place)) == [(0, 1), (1, 1)]


def test_a_state_that_is_in_use_is_not_begun_again_by_a_wish_that_comes_twice():
    network = ready()
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place)
    one.acknowledge(place, [(0, 6, ACCEPT)])
    group = next(s.shares["g"] for n in network.nodes.values() for s in n.groups.shards() if "g" in s.shares)
    asked = []
    node = network.nodes[min(network.nodes)]
    node.shares.persister.initialize(ShareKey("g", *place), 1, -1, asked.append, network.now_ms)
    assert network.run(until=lambda: asked)
    assert (asked[0].error_code, group.states.places) == (Code.NONE, (place,))
    assert described(network) == (Code.NONE, {("t", 0): (7, Code.NONE)})


def test_a_leader_that_an_administrator_has_overtaken_is_fenced():
    network = ready()
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place)
    one.leave()  # its session stays open
    sets = AlterShareGroupOffsetsRequest(
        group_id="g", topics=(AlterTopic(topic_name="t", partitions=(AlterPartition(start_offset=0),)),)
    )
    assert ask(network, sets).error_code == Code.NONE
    assert one.acknowledge(place, [(0, 9, ACCEPT)]) == Code.NOT_LEADER_OR_FOLLOWER
    assert described(network)[1] == {("t", 0): (0, Code.NONE)}


def test_groups_are_listed_described_and_deleted():
    network = ready()
    one = Member(network, "one").join()
    listed = ask(network, ListGroupsRequest(types_filter=("share",)), version=5)
    assert [(g.group_id, g.group_type, g.group_state) for g in listed.groups] == [("g", "share", "Stable")]
    group = ask(network, ShareGroupDescribeRequest(group_ids=("g",))).groups[0]
    assert (group.group_state, group.assignor_name, group.members[0].member_id) == ("Stable", "simple", "one")
    deletes = DeleteGroupsRequest(groups_names=("g",))
    assert ask(network, deletes).results[0].error_code == Code.NON_EMPTY_GROUP
    one.leave()
    assert ask(network, deletes).results[0].error_code == Code.NONE
    assert ask(network, ShareGroupDescribeRequest(group_ids=("g",))).groups[0].error_code == Code.GROUP_ID_NOT_FOUND
    shards = [shard for node in network.nodes.values() for shard in node.shares.coordinator._shards.values()]
    assert not any(shard.entries for shard in shards), "the share coordinators have forgotten it, too"
