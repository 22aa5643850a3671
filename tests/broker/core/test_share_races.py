"""Share groups: what comes late, twice, or while something else is on its way."""

from __future__ import annotations

import itertools

from broker.core.errors import Code
from broker.core.share.partition import Batch, State
from broker.core.share.state import ShareKey, ShareState, combined
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from broker.wire.messages.share_fetch import FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from broker.wire.messages.share_group_offsets import (
    AlterPartition,
    AlterShareGroupOffsetsRequest,
    AlterTopic,
    DeleteShareGroupOffsetsRequest,
    DeleteTopic,
)
from broker.wire.messages.share_group_state import DeleteShareGroupStateRequest
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.broker.core.share_members import (
    ACCEPT,
    RELEASE,
    Member,
    ask,
    batches,
    call,
    coordinator,
    deaf,
    filled,
    leader,
    offsets,
    ready,
)


def send_fetch(member, place, *, turn, acks=(), **what):
    """Send a ShareFetch without waiting for its answer."""
    one = FetchPartition(partition_index=place[1], acknowledgement_batches=batches(acks))
    message = ShareFetchRequest(
        **{
            "group_id": member.group,
            "member_id": member.id,
            "share_session_epoch": turn,
            "max_bytes": 1 << 20,
            "max_records": 500,
            "batch_size": 100,
            "topics": (FetchTopic(topic_id=bytes.fromhex(place[0]), partitions=(one,)),),
            **what,
        }
    )
    request_id = member.network.send(leader(member.network, place), message, version=2)
    member.network.run(10)
    return request_id


def forgotten(place):
    return (ForgottenTopic(topic_id=bytes.fromhex(place[0]), partitions=(place[1],)),)


def test_a_partition_that_is_given_up_with_its_last_acknowledgements_is_given_up():
    network = ready()
    place = filled(network, 2)
    one = Member(network, "one").join()
    assert offsets(one.take(place)) == [(0, 1), (1, 1)]
    last = one.fetch(place, [(0, 0, ACCEPT), (1, 1, RELEASE)], forgotten_topics_data=forgotten(place))
    assert (last.acknowledge_error_code, last.acquired_records) == (Code.NONE, ())
    assert one.fetch(place, topics=()) is None
    assert offsets(Member(network, "two").join().take(place)) == [(1, 2)]


def test_a_partition_may_be_given_up_twice_in_one_request():
    network = ready()
    place = filled(network, 2)
    one = Member(network, "one").join()
    assert offsets(one.take(place)) == [(0, 1), (1, 1)]
    one.fetch(place, [(0, 1, RELEASE)], forgotten_topics_data=forgotten(place) * 2)
    assert offsets(Member(network, "two").join().take(place)) == [(0, 2), (1, 2)]


def test_a_session_that_is_closed_while_it_acknowledges_gets_nothing_more():
    network = ready()
    place = filled(network)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    one.take(place, max_records=5, share_acquire_mode=1)
    hears = deaf(network)
    pending = send_fetch(one, place, turn=one.sessions[leader(network, place)], acks=[(0, 4, ACCEPT)])
    closed = send_fetch(one, place, turn=-1, topics=(), max_records=0)
    assert closed in network.client_replies
    hears()
    assert network.run(until=lambda: pending in network.client_replies)
    (data,) = network.client_replies[pending].responses[0].partitions
    assert (data.acknowledge_error_code, data.acquired_records) == (Code.NONE, ())
    assert offsets(two.take(place)) == [(5, 1), (6, 1), (7, 1), (8, 1), (9, 1)]


def test_a_session_that_ends_late_takes_nothing_from_the_one_that_has_replaced_it():
    network = ready(share_record_lock_ms=30_000)
    place = filled(network)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    one.take(place, max_records=5, share_acquire_mode=1)
    two.fetch(place, max_records=0)
    hears = deaf(network)
    closes = send_fetch(one, place, turn=-1, acks=[(0, 4, ACCEPT)], max_records=0)
    assert offsets(one.take(place, epoch=0)) == [(5, 1), (6, 1), (7, 1), (8, 1), (9, 1)]
    hears()
    assert network.run(until=lambda: closes in network.client_replies)
    data = two.fetch(place, wait_ms=200)
    assert data is None or not data.acquired_records, "they are the first member's still"
    assert one.acknowledge(place, [(5, 9, ACCEPT)]) == Code.NONE


def test_a_state_that_is_read_when_nobody_wants_it_any_more_is_not_kept():
    network = ready()
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place)
    one.fetch(place, epoch=-1, topics=(), max_records=0)
    network.run(200)  # what it had is given back, and that is written
    hears = deaf(network)
    one.fetch(place, epoch=0)
    one.fetch(place, epoch=-1, topics=(), max_records=0)
    one.leave()
    hears()
    network.run(4000)  # it is asked again
    sets = AlterShareGroupOffsetsRequest(
        group_id="g", topics=(AlterTopic(topic_name="t", partitions=(AlterPartition(start_offset=5),)),)
    )
    assert ask(network, sets).responses[0].partitions[0].error_code == Code.NONE
    assert offsets(Member(network, "two").join().take(place))[0] == (5, 1)


def test_whoever_waits_when_share_groups_are_switched_off_is_answered():
    network = ready()
    place = filled(network)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    one.take(place)
    two.fetch(place)
    waits = send_fetch(two, place, turn=two.sessions[leader(network, place)], max_wait_ms=600_000)
    deaf(network)
    acknowledges = send_fetch(one, place, turn=one.sessions[leader(network, place)], acks=[(0, 4, ACCEPT)])
    assert not {waits, acknowledges} & network.client_replies.keys()
    off = UpdateFeaturesRequest(
        feature_updates=(FeatureUpdateKey(feature="share.version", max_version_level=0, upgrade_type=2),)
    )
    assert call(network, 1, off).error_code == Code.NONE
    assert network.run(until=lambda: not any(node.shares.is_on for node in network.nodes.values()))
    assert network.run(until=lambda: {waits, acknowledges} <= network.client_replies.keys(), limit_ms=1000)
    assert network.client_replies[waits].error_code == Code.UNSUPPORTED_VERSION
    (told,) = network.client_replies[acknowledges].responses[0].partitions
    assert told.acknowledge_error_code == Code.COORDINATOR_NOT_AVAILABLE, "nobody knows whether it was written"


def test_a_question_to_share_coordinators_is_refused_while_share_groups_are_off():
    network = ready(share_enable=False, reset=None)
    told = []
    network.nodes[1].shares.persister.delete(ShareKey("g", "0" * 32, 0), told.append, network.now_ms)
    assert [one.error_code for one in told] == [Code.COORDINATOR_NOT_AVAILABLE]


def test_writes_that_come_again_and_late_change_nothing():
    released, accepted = Batch(3, 6, State.AVAILABLE, 1), Batch(5, 8, State.ACKNOWLEDGED, 2)
    again, rejected = Batch(0, 4, State.AVAILABLE, 2), Batch(9, 9, State.ARCHIVED, 1)
    writes = [(released,), (accepted, rejected), (again,)]
    there = ShareState(start=0)
    for write in writes:
        there = there.updated(1, 0, write)
    assert there.batches == (Batch(0, 4, 0, 2), Batch(5, 8, 2, 2), Batch(9, 9, 4, 1))
    for order in itertools.permutations(writes):
        late = there
        for write in order:
            late = late.updated(1, 0, write)
        assert late == there
    assert combined((Batch(0, 9, State.AVAILABLE, 1),), (Batch(2, 3, State.AVAILABLE, 2),), 0) == (
        Batch(0, 1, 0, 1),
        Batch(2, 3, 0, 2),
        Batch(4, 9, 0, 1),
    )


def test_a_log_of_states_keeps_a_snapshot_until_the_next_one_is_replicated():
    network = ready(share_updates_per_snapshot=3, share_prune_interval_ms=1 << 40)
    place = filled(network)
    Member(network, "one").join().take(place)
    key = ShareKey("g", *place)
    node = next(
        n
        for n in network.nodes.values()
        if any(key in shard.entries for shard in n.shares.coordinator._shards.values())
    )
    (shard,) = [shard for shard in node.shares.coordinator._shards.values() if key in shard.entries]
    assert shard.log.replica.log.end == shard.log.replica.log.high_watermark
    before = shard.entries[key].snapshot_at
    for count in range(4):  # nothing of it is replicated: no step carries it to the others
        shard.update(key, 0, 0, (Batch(count, count, State.ACKNOWLEDGED, 1),), network.now_ms, lambda _: None)
    assert shard.entries[key].snapshot_at > before
    shard.prune(0, network.now_ms)
    assert shard.log.replica.log.start <= before
    node.replicas.appended(shard.log.replica, network.now_ms)
    log = shard.log.replica.log
    assert network.run(until=lambda: log.high_watermark == log.end)
    shard.prune(0, network.now_ms)
    assert log.start == shard.entries[key].snapshot_at > before


def test_a_state_is_not_made_while_it_is_being_forgotten():
    network = ready()
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place)
    one.acknowledge(place, [(0, 9, ACCEPT)])
    one.fetch(place, epoch=-1, topics=(), max_records=0)
    one.leave()
    held = []
    for node in network.nodes.values():
        hold(node.shares.coordinator, held)
    forgets = DeleteShareGroupOffsetsRequest(group_id="g", topics=(DeleteTopic(topic_name="t"),))
    asked = network.send(coordinator(network, "g"), forgets)
    assert network.run(until=lambda: held)
    two = Member(network, "two")
    for _ in range(3):
        two.beat()
        network.run(50)
    for coordinates, request in held:
        del coordinates.handle
        coordinates.handle(*request)
    assert network.run(until=lambda: asked in network.client_replies)
    assert network.client_replies[asked].responses[0].error_code == Code.NONE
    two.join()
    assert offsets(two.take(place))[0] == (0, 1), "it begins anew"


def test_a_topic_that_goes_while_its_offsets_are_being_set_takes_no_node_along():
    network = ready()
    filled(network, 2)
    node = coordinator(network, "g")
    hears = deaf(network)
    sets = AlterShareGroupOffsetsRequest(
        group_id="g", topics=(AlterTopic(topic_name="t", partitions=(AlterPartition(start_offset=1),)),)
    )
    asked = network.send(node, sets)
    network.run(100)
    assert asked not in network.client_replies
    assert call(network, 1, DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),)), 6).responses[0].error_code == 0
    assert network.run(until=lambda: not any("t" in one.image.topic_ids for one in network.nodes.values()))
    hears()
    assert network.run(until=lambda: asked in network.client_replies)
    (topic,) = network.client_replies[asked].responses
    assert topic.partitions[0].error_code in {Code.UNKNOWN_TOPIC_OR_PARTITION, Code.COORDINATOR_NOT_AVAILABLE}


def hold(coordinates, held):
    """Let deletions of states wait in a list, with who they are for."""
    handle = coordinates.handle

    def handles(request_id, message, now_ms):
        if isinstance(message, DeleteShareGroupStateRequest):
            held.append((coordinates, (request_id, message, now_ms)))
        else:
            handle(request_id, message, now_ms)

    coordinates.handle = handles


def test_a_state_is_not_made_in_an_epoch_that_may_be_lost():
    network = ready()
    place = filled(network)
    node = network.nodes[coordinator(network, "g")]
    for other in network.nodes:
        network.cut(other, node.config.node_id)  # nobody fetches
    asked = []
    node.shares.persister.initialize = lambda key, *_: asked.append(key)
    member = Member(network, "one")
    network.send(
        node.config.node_id,
        ShareGroupHeartbeatRequest(group_id="g", member_id=member.id, subscribed_topic_names=("t",)),
        version=1,
    )
    network.run(100)
    shard = next(s for s in node.groups.shards() if "g" in s.shares)
    assert shard.log.replica.log.end > shard.log.replica.log.high_watermark
    assert not asked
    network.heal()
    del node.shares.persister.initialize
    member.join()
    assert offsets(member.take(place))[0] == (0, 1)
