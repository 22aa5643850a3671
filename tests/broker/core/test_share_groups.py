"""Share groups in whole clusters: each record has one owner, what is acknowledged stays so, through every failover."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.share.coordinator import TOPIC as STATES
from broker.core.share.partition import State
from broker.core.share.state import ShareKey
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from broker.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.broker.core.share_members import (
    ACCEPT,
    REJECT,
    RELEASE,
    RENEW,
    Member,
    ask,
    call,
    configure,
    coordinator,
    deaf,
    filled,
    leader,
    offsets,
    place_of,
    ready,
)
from tests.broker.core.test_broker import create, healthy, image, newest_leader, produced


def state_leader(network, place, group="g"):
    """Who coordinates the group's state of the partition."""
    topic = image(network).topic(STATES)
    return topic.partitions[partition_for(ShareKey(group, *place).coordinator_key, len(topic.partitions))].leader


def restart(network, node, *, power=True):
    network.crash(node, power=power)
    assert network.run(until=lambda: all(n.quorum.leader_id not in {-1, node} for n in network.nodes.values()))


def test_records_are_delivered_until_they_are_acknowledged():
    network = ready()
    place = filled(network)
    one = Member(network, "one").join()
    assert offsets(one.take(place)) == [(n, 1) for n in range(10)]
    assert one.acknowledge(place, [(0, 4, ACCEPT), (5, 6, RELEASE), (7, 9, REJECT)]) == Code.NONE
    assert offsets(one.take(place)) == [(5, 2), (6, 2)]
    assert one.fetch(place, [(5, 6, ACCEPT)]).acknowledge_error_code == Code.NONE
    filled(network, 1, first=10)
    assert offsets(one.take(place)) == [(10, 1)]


def test_two_members_share_a_partition_and_never_a_record():
    network = ready()
    place = filled(network)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    first, second = one.take(place, max_records=4), two.take(place, max_records=100)
    assert offsets(first) == [(n, 1) for n in range(4)]
    assert offsets(second) == [(n, 1) for n in range(4, 10)]
    assert two.acknowledge(place, [(0, 3, ACCEPT)]) == Code.INVALID_RECORD_STATE
    assert one.acknowledge(place, [(0, 3, ACCEPT)]) == Code.NONE


def test_a_lock_that_runs_out_frees_the_record_and_its_late_acknowledgement_is_refused():
    network = ready()
    place = filled(network, 2)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    one.take(place)
    assert one.acknowledge(place, [(1, 1, RENEW)], is_renew_ack=True) == Code.NONE
    network.run(1500)
    assert one.acknowledge(place, [(1, 1, RENEW)], is_renew_ack=True) == Code.NONE
    network.run(600)
    assert offsets(two.take(place)) == [(0, 2)]
    assert one.acknowledge(place, [(0, 0, ACCEPT)]) == Code.INVALID_RECORD_STATE
    assert one.acknowledge(place, [(1, 1, ACCEPT)]) == Code.NONE


def test_a_record_is_given_up_after_so_many_deliveries():
    network = ready(share_max_deliveries=3)
    place = filled(network, 1)
    one = Member(network, "one").join()
    for count in (1, 2, 3):
        assert offsets(one.take(place)) == [(0, count)]
        assert one.acknowledge(place, [(0, 0, RELEASE)]) == Code.NONE
    filled(network, 1, first=1)
    assert offsets(one.take(place)) == [(1, 1)]


def test_a_closed_session_gives_back_what_was_not_delivered():
    network = ready()
    place = filled(network, 3)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    one.take(place)
    data = one.fetch(place, [(0, 0, ACCEPT)], epoch=-1)
    assert data.acknowledge_error_code == Code.NONE
    assert offsets(two.take(place)) == [(1, 1), (2, 1)]
    assert one.fetch(place, epoch=5) == Code.SHARE_SESSION_NOT_FOUND


def test_sessions_are_counted():
    network = ready()
    place = filled(network, 1)
    one = Member(network, "one").join()
    assert one.fetch(place, epoch=3) == Code.SHARE_SESSION_NOT_FOUND
    one.take(place)
    assert one.fetch(place, epoch=77) == Code.INVALID_SHARE_SESSION_EPOCH
    assert one.fetch(place, [(0, 0, ACCEPT)], epoch=0) == Code.INVALID_REQUEST
    assert one.acknowledge(place, [(0, 0, ACCEPT)], epoch=0) == Code.INVALID_SHARE_SESSION_EPOCH


def test_a_fetch_waits_for_records():
    network = ready()
    place = place_of(network)
    one = Member(network, "one").join()
    one.fetch(place)
    node = leader(network, place)
    network.later(300, lambda: filled_later(network, place))
    data = one.fetch(place, wait_ms=5000, node=node)
    assert [(a.first_offset, a.last_offset) for a in data.acquired_records] == [(0, 0)]


def filled_later(network, place):
    from tests.broker.core.test_broker import produce  # noqa: PLC0415 - sent from inside the run

    produce(network, place, b"late")


def test_the_fetch_of_a_record_that_is_released_is_woken():
    network = ready()
    place = filled(network, 1)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    one.take(place)
    two.fetch(place)
    network.later(200, lambda: network.send(leader(network, place), release(one, place), version=2))
    data = two.fetch(place, wait_ms=1500)
    assert [(a.first_offset, a.delivery_count) for a in data.acquired_records] == [(0, 2)]


def release(member, place):
    from broker.wire.messages import share_acknowledge as wire  # noqa: PLC0415 - sent from inside the run
    from tests.broker.core.share_members import batches  # noqa: PLC0415

    ask_for = wire.AcknowledgePartition(partition_index=place[1], acknowledgement_batches=batches([(0, 0, RELEASE)]))
    node = leader(member.network, place)
    return wire.ShareAcknowledgeRequest(
        group_id=member.group,
        member_id=member.id,
        share_session_epoch=member.sessions[node],
        topics=(wire.AcknowledgeTopic(topic_id=bytes.fromhex(place[0]), partitions=(ask_for,)),),
    )


@pytest.mark.parametrize("seed", range(4))
def test_what_is_acknowledged_stays_so_when_the_leader_goes(seed):
    network = ready(seed=seed)
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place)
    assert one.acknowledge(place, [(0, 1, ACCEPT), (3, 3, ACCEPT), (5, 5, RELEASE), (6, 6, REJECT)]) == Code.NONE
    old = leader(network, place)
    restart(network, old)
    assert network.run(until=lambda: leader(network, place) not in {-1, old})
    two = Member(network, "two").join()
    got = offsets(two.take(place))
    assert got == [(2, 1), (4, 1), (5, 2), (7, 1), (8, 1), (9, 1)]
    network.start(old)
    assert network.run(until=lambda: healthy(network))


@pytest.mark.parametrize("seed", range(4))
def test_what_is_acknowledged_stays_so_when_its_coordinator_goes(seed):
    network = ready(seed=seed)
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place)
    assert one.acknowledge(place, [(0, 4, ACCEPT), (6, 6, ACCEPT)]) == Code.NONE
    restart(network, state_leader(network, place))
    two = Member(network, "two").join()
    network.run(2100)  # the locks run out, wherever they are
    got = offsets(two.take(place))
    assert [offset for offset, _ in got] == [5, 7, 8, 9]
    node = leader(network, place)
    assert two.acknowledge(place, [(5, 9, ACCEPT)], node=node) == Code.INVALID_RECORD_STATE  # 6 is done with
    assert two.acknowledge(place, [(5, 5, ACCEPT), (7, 9, ACCEPT)], node=node) == Code.NONE


def test_an_acknowledgement_whose_coordinator_does_not_answer_is_not_confirmed():
    network = ready()
    place = filled(network, 2)
    one = Member(network, "one").join()
    one.take(place)
    hears = deaf(network)
    assert one.acknowledge(place, [(0, 1, ACCEPT)]) == Code.COORDINATOR_NOT_AVAILABLE
    hears()
    assert offsets(one.take(place)) == [(0, 1), (1, 1)], "it was never written"


def test_a_new_coordinator_goes_on_with_the_group():
    network = ready(partitions=4)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    for _ in range(20):
        one.beat()
        two.beat()
        network.run(50)
    assert sorted([*one.assigned, *two.assigned]) == [place_of(network, n) for n in range(4)]
    before = one.epoch, two.epoch
    restart(network, coordinator(network, "g"))
    assert (one.beat(), two.beat()) == (Code.NONE, Code.NONE)
    assert (one.epoch, two.epoch) == before


def test_a_silent_member_is_out_and_its_partitions_are_read_by_others():
    network = ready(partitions=2)
    one, two = Member(network, "one").join(), Member(network, "two").join()
    for _ in range(20):
        assert (one.beat(), two.beat()) == (Code.NONE, Code.NONE)
    assert (len(one.assigned), len(two.assigned)) == (1, 1)
    for _ in range(12):
        network.run(300)
        assert one.beat() == Code.NONE
    assert len(one.assigned) == 2
    assert two.beat() == Code.UNKNOWN_MEMBER_ID


def test_a_member_of_the_past_is_fenced():
    network = ready()
    one = Member(network, "one").join()
    assert one.beat(member_epoch=one.epoch + 5) == Code.FENCED_MEMBER_EPOCH
    assert one.beat(member_epoch=-2) == Code.INVALID_REQUEST
    assert one.beat(member_id="") == Code.INVALID_REQUEST
    assert one.beat(member_id="x", member_epoch=3) == Code.UNKNOWN_MEMBER_ID
    assert one.leave() == Code.NONE
    assert one.leave() == Code.UNKNOWN_MEMBER_ID


def test_groups_of_other_kinds_keep_their_names():
    network = ready()
    Member(network, "one").join()
    joins = ConsumerGroupHeartbeatRequest(
        group_id="g", member_id="c", rebalance_timeout_ms=1000, subscribed_topic_names=("t",), topic_partitions=()
    )
    assert ask(network, joins).error_code == Code.GROUP_ID_NOT_FOUND
    classic = JoinGroupRequest(
        group_id="g",
        session_timeout_ms=10_000,
        protocol_type="consumer",
        protocols=(JoinGroupRequestProtocol(name="range", metadata=b""),),
    )
    assert ask(network, classic).error_code == Code.INCONSISTENT_GROUP_PROTOCOL
    consumers = ConsumerGroupHeartbeatRequest(
        group_id="k", member_id="c", rebalance_timeout_ms=1000, subscribed_topic_names=("t",), topic_partitions=()
    )
    assert ask(network, consumers, "k").error_code == Code.NONE
    assert Member(network, "one", group="k").beat() == Code.GROUP_ID_NOT_FOUND


def test_a_deleted_topic_takes_its_states_along():
    network = ready()
    place = filled(network, 3)
    one = Member(network, "one").join()
    one.take(place)
    call(network, 1, DeleteTopicsRequest(topics=(DeleteTopicState(name="t"),), timeout_ms=5000), version=6)

    def entries():
        shards = [s for node in network.nodes.values() for s in node.shares.coordinator._shards.values()]
        return [key for shard in shards for key in shard.entries]

    assert network.run(until=lambda: not entries())
    assert one.fetch(place, node=1, epoch=0).error_code == Code.UNKNOWN_TOPIC_ID
    for _ in range(5):
        assert one.beat() == Code.NONE
        network.run(50)
    assert one.assigned == []


def test_deleted_records_are_passed_over():
    network = ready()
    place = filled(network)
    one = Member(network, "one").join()
    one.take(place, max_records=2)
    topic = DeleteRecordsTopic(name="t", partitions=(DeleteRecordsPartition(partition_index=0, offset=6),))
    node = leader(network, place)
    answer = call(network, node, DeleteRecordsRequest(topics=(topic,), timeout_ms=5000))
    assert answer.topics[0].partitions[0].error_code == Code.NONE
    assert [offset for offset, _ in offsets(one.take(place))] == [6, 7, 8, 9]
    assert one.acknowledge(place, [(0, 1, ACCEPT)]) == Code.NONE  # done with anyway


@pytest.mark.parametrize(("reset", "first"), [("latest", 10), ("earliest", 0), ("by_duration:PT1H", 0)])
def test_a_group_begins_where_its_settings_say(reset, first):
    network = ready(reset=reset)
    place = filled(network)
    one = Member(network, "one").join()
    data = one.fetch(place)
    led = network.nodes[leader(network, place)].shares.leading
    assert network.run(until=lambda: any(each.partition for each in led))
    filled(network, 1, first=10)
    if data is None or not data.acquired_records:
        assert one.take(place)[0][0] == first
    else:
        assert data.acquired_records[0].first_offset == first


def test_where_a_group_begins_is_not_forgotten_with_its_first_leader():
    network = ready(reset="latest")
    place = filled(network, 2)
    one = Member(network, "one").join()
    one.fetch(place)
    node = network.nodes[leader(network, place)]
    assert network.run(until=lambda: all(led.partition for led in node.shares.leading))
    filled(network, 3, first=2)
    assert offsets(one.take(place)) == [(2, 1), (3, 1), (4, 1)]
    old = leader(network, place)
    restart(network, old)
    assert network.run(until=lambda: leader(network, place) not in {-1, old})
    two = Member(network, "two").join()
    assert [offset for offset, _ in offsets(two.take(place))] == [2, 3, 4], "delivered, but not acknowledged"


def test_read_committed_waits_for_the_end_and_passes_over_what_was_aborted():
    network = ready(size=1)
    configure(network, "g", **{"share.isolation.level": "read_committed"})
    place = place_of(network)
    producer = {"producer_id": 7, "producer_epoch": 0, "transactional": True}
    node = network.nodes[1]
    log = newest_leader(network, place)[1].log
    from broker.wire import batch, record  # noqa: PLC0415

    def append(data):
        log.append(data, [batch.parse_header(data, 0)], log.epochs.latest, network.now_ms)
        node.replicas.appended(newest_leader(network, place)[1], network.now_ms)

    append(record.batch_of([(None, b"kept")], timestamp_ms=1))
    append(record.batch_of([(None, b"gone")], timestamp_ms=1, base_sequence=0, **producer))
    append(record.batch_of([(None, b"after")], timestamp_ms=1))
    one = Member(network, "one").join()
    assert [value for _, value, _ in one.take(place)] == [b"kept"]
    marker = record.marker(producer_id=7, producer_epoch=0, commit=False, coordinator_epoch=0, timestamp_ms=1)
    append(marker)
    assert [value for _, value, _ in one.take(place)] == [b"after"]
    led = next(iter(node.shares.leading))
    assert network.run(until=lambda: all(not run.mark for run in led.partition.runs))
    assert [run.state for run in led.partition.runs if run.first <= 1 <= run.last] == [State.ARCHIVED]


def test_a_states_log_is_replaced_by_snapshots_and_loses_its_beginning():
    network = ready(size=1, share_updates_per_snapshot=5, share_prune_interval_ms=1000)
    place = filled(network, 40)
    one = Member(network, "one").join()
    for number in range(40):
        got = one.take(place, max_records=1)
        assert [offset for offset, _ in offsets(got)] == [number]
        assert one.acknowledge(place, [(number, number, ACCEPT)]) == Code.NONE
    network.run(2500)
    assert any(replica.name == STATES and replica.log.start > 0 for replica in network.nodes[1].replicas)
    network.crash(1, power=False)
    network.start(1)
    filled(network, 1, first=40)
    two = Member(network, "two").join()
    assert offsets(two.take(place)) == [(40, 1)]


def test_share_groups_are_off_until_they_are_switched_on():
    network = ready(reset=None, share_enable=False)
    assert not any(node.shares.is_on for node in network.nodes.values())
    found = call(network, 1, FindCoordinatorRequest(key_type=2, coordinator_keys=("g:" + "A" * 22 + ":0",)))
    assert found.coordinators[0].error_code == Code.INVALID_REQUEST
    on = UpdateFeaturesRequest(
        feature_updates=(FeatureUpdateKey(feature="share.version", max_version_level=1, upgrade_type=1),)
    )
    assert call(network, 1, on).error_code == Code.NONE
    assert network.run(until=lambda: all(node.shares.is_on for node in network.nodes.values()))
    place = filled(network, 1)
    configure(network, "g", **{"share.auto.offset.reset": "earliest"})
    assert offsets(Member(network, "one").join().take(place)) == [(0, 1)]
    network.crash(2)
    network.start(2)
    assert network.run(until=lambda: healthy(network) and network.nodes[2].shares.is_on)


def test_partitions_that_come_later_are_read_from_where_the_settings_say():
    network = ready()
    configure(network, "g", **{"share.auto.offset.reset": "earliest"})
    Member(network, "one").join()
    create(network, "u", partitions=1, factor=3)
    place = image(network).topic_ids["u"], 0
    assert produced(network, place, b"before anybody asked").error_code == Code.NONE
    two = Member(network, "two", topics=("t", "u")).join()
    for _ in range(50):
        two.beat()
        if place in two.assigned:
            break
        network.run(50)
    assert place in two.assigned
    assert offsets(two.take(place)) == [(0, 1)]


def test_nobody_writes_to_the_states_but_their_coordinators():
    network = ready()
    filled(network, 1)
    Member(network, "one").join()
    place = image(network).topic_ids[STATES], 0
    assert produced(network, place, b"nonsense").error_code == Code.INVALID_TOPIC_EXCEPTION
