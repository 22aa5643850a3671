"""One short scene for each bug: what a right broker does in it, and what happened.

A scene returns (what was seen, what is right). The clean broker sees what is right; with the bug planted it does not.
"""

from __future__ import annotations

from broker.core.cleaning.retention import Retention
from broker.core.config import CleanupConfig, IntakeConfig, TopicConfig
from broker.core.controller.partition_change import Election, change
from broker.core.controller.recovery import LogInfo, Recovery
from broker.core.errors import Code, Refused
from broker.core.log.partition_log import LogConfig, PartitionLog
from broker.core.ready import Outbox
from broker.core.replication import intake
from broker.core.replication.replica import Awaiting, Replica
from broker.core.share.partition import Acknowledgement, Acquired, SharePartition, Want
from broker.core.topic_settings import CODECS
from broker.core.transaction import state as transactions
from broker.core.transaction.state import End
from broker.sim.disk import Disk
from broker.wire import batch, record
from broker.wire.entries import unpacked
from broker.wire.messages.fetch import FetchPartition, PartitionData
from tests.broker.core import share_members as shares
from tests.broker.core import test_compacted_replicas as replicas
from tests.broker.core import test_consumer_group, test_group, test_partition_change, test_transaction_state
from tests.broker.core.keyed_log import KeyedLog, keyed_batch
from tests.broker.core.test_broker import cluster, create, fetch, healthy, newest_leader, produce
from tests.broker.core.test_group_coordinator import commit, committed, coordinator, joined
from tests.broker.core.test_group_coordinator import ready as with_groups
from tests.broker.core.test_partition_log import Bench, data_batch
from tests.broker.core.test_transactional_offsets import ready as with_offsets
from tests.broker.core.test_transactional_offsets import send_offset
from tests.broker.core.test_transactions import Producer, RefusedError
from tests.broker.core.test_transactions import committed as read_committed
from tests.broker.core.test_transactions import ready as with_transactions

KEY = ("ab" * 16, 0)
TOPIC = TopicConfig(min_isr=2)


def refusal(call):
    """The code by which the call is refused, None when it is not."""
    try:
        call()
    except Refused as refused:
        return refused.code
    except RefusedError as refused:
        return str(refused)
    return None


def state(**fields):
    return test_partition_change.state(topic_id=KEY[0], **fields)


def log_of(*batches, **config):
    """A log with these batches in epoch 0, on a disk."""
    bench = Bench(LogConfig(**config))
    for data in batches:
        bench.append(data)
    return bench


def led(bench, **fields):
    """Node 1 leads the bench's log."""
    replica = Replica(KEY, "t", bench.log, TOPIC)
    replica.become(1, state(**fields), 0)
    return replica


def silenced(network, leader):
    """Let nobody but the leader replicate any more."""
    for node in sorted(set(network.nodes) - {leader}):
        network.nodes[node].fetchers._fetch = lambda *_: None
    network.run(60)


def unreplicated():
    """A healthy cluster whose followers have stopped to fetch: (network, key, leader)."""
    network = cluster()
    key = create(network, min_insync_replicas=2)
    assert network.run(until=lambda: healthy(network))
    leader, _ = newest_leader(network, key)
    silenced(network, leader)
    return network, key, leader


# Replication.


def ack_before_replication():
    network, key, leader = unreplicated()
    request = produce(network, key, b"x", node=leader)
    network.run(100)
    return request in network.client_replies, False


def deposed_leader_acks():
    replica, codes = led(log_of()), []
    replica.awaiting.append(Awaiting(1, codes.append))
    replica.become(1, state(leader=2, leader_epoch=6, partition_epoch=8), 0)
    return codes, [Code.NOT_LEADER_OR_FOLLOWER]


def min_isr_ignored():
    return led(log_of(), isr=(1,)).leader.has_min_isr(2), False


def read_above_high_watermark():
    network, key, leader = unreplicated()
    produce(network, key, b"x", acks=1, node=leader)
    network.run(20)
    asked = fetch(network, leader, key)
    assert network.run(until=lambda: asked in network.client_replies)
    return network.client_replies[asked].responses[0].partitions[0].records, None


def no_truncation_after_epoch_change():
    bench = log_of(data_batch(), data_batch())
    replica = led(bench, leader_epoch=6)
    asked = replica.diverging(FetchPartition(partition=0, fetch_offset=5, last_fetched_epoch=4))
    return asked is not None, True


def truncation_below_high_watermark():
    bench = log_of(data_batch(), data_batch())
    bench.log.advance_high_watermark(1)
    replica = Replica(KEY, "t", bench.log, TOPIC)
    replica.become(1, state(leader=2), 0)
    return replica.log.end, 2


def high_watermark_of_a_deposed_leader():
    return led(log_of(data_batch(), data_batch())).log.high_watermark, 0


def isr_expanded_too_early():
    replica = led(log_of(*[data_batch()] * 3), isr=(1, 2))
    replica.log.advance_high_watermark(3)
    replica.leader.fetched(3, 9, 0, 1)
    return replica.leader.may_join(3, {3: 9}), False


def unclean_election_always():
    rules = test_partition_change.rules(3)
    return change(state(isr=(1, 2)), rules, isr=(1, 2), election=Election.ONLINE).leader, -1


def two_leaders_in_one_epoch():
    return change(state(), test_partition_change.rules(2, 3), isr=(2, 3)).leader_epoch, 6


def lso_ignored():
    network, key, _ = with_transactions()
    Producer(network, "x", v2=True).init().send(key, b"open")
    leader, _ = newest_leader(network, key)
    assert network.run(until=lambda: healthy(network))
    asked = fetch(network, leader, key, isolation_level=1)
    assert network.run(until=lambda: asked in network.client_replies)
    return network.client_replies[asked].responses[0].partitions[0].records, None


# Logs.


def sequence_not_checked():
    bench = Bench()
    data = bytes(data_batch(pid=7, epoch=0, sequence=0))
    return [bench.checked(bytearray(data)) for _ in range(2)], [0, 0]


def dedupe_state_lost_on_leader_change():
    bench = Bench()
    bench.checked(data_batch(pid=7, epoch=0, sequence=0))
    led(bench)
    header = batch.parse_header(data_batch(pid=7, epoch=0, sequence=0), 0)
    return bench.log.producers.check(header) is not None, True


def producer_state_expires_too_early():
    bench = Bench()
    bench.checked(data_batch(pid=7, epoch=0, sequence=0, timestamp=1000))
    return bench.log.producers.expire(1001, 60_000), 0


def _aborted():
    """A log with an aborted transaction at offsets 0 to 1, and its marker at 2."""
    marker = record.marker(producer_id=7, producer_epoch=0, commit=False, coordinator_epoch=0, timestamp_ms=1)
    return log_of(data_batch(2, pid=7, epoch=0, sequence=0, transactional=True), marker)


def aborted_index_lost_on_restart():
    bench = _aborted()
    bench.recover(recovery_point=0)
    return len(bench.log.aborted.overlapping(0, 3)), 1


def recovery_drops_a_good_tail():
    bench = log_of(data_batch(), data_batch(2))
    bench.recover(recovery_point=0)
    return bench.log.end, 3


def fetch_from_the_wrong_segment():
    bench = log_of(*[data_batch()] * 12, segment_bytes=400)
    assert len(bench.log.segments) > 2
    sealed = bench.log.segments[0]
    return bench.log.read(sealed.next_offset - 1, bench.log.end, 1000).base, sealed.base


def ack_before_sync():
    out = Outbox()
    log = PartitionLog("t-0", LogConfig(flush_messages=1), Disk(), out)
    data = data_batch()
    log.append(data, [batch.parse_header(data, 0)], 0, 0)
    return list(out.take(None).sync), ["t-0"]


# The quorum.


def vote_forgotten_after_restart():
    network = cluster()
    voter = next(n for n, node in network.nodes.items() if not node.quorum.is_leader)
    quorum = network.nodes[voter].quorum
    quorum._become_unattached(quorum.epoch + 1, network.now_ms, voted_for=9)
    network.disks[voter].perform(quorum._out.take(None))
    network.crash(voter)
    network.start(voter)
    reborn = network.nodes[voter].quorum
    return (reborn.epoch, reborn.voted_for), (quorum.epoch, 9)


def recovery_takes_the_first():
    def log(end):
        return LogInfo(broker_epoch=1, leader_epoch=1, last_epoch=0, end=end)

    return Recovery(None, None).most_complete({1: log(5), 2: log(7), 3: log(6)}), 2


# Transactions.


def no_epoch_bump_at_end():
    ongoing = transactions.add(test_transaction_state.transaction(), 7, 4, (("t", 0),), 1)
    return transactions.end(ongoing, End(7, 4, True, True), 99, 2).epoch, 5


def stale_marker_accepted():
    bench = Bench()
    bench.append(data_batch(pid=7, epoch=3, sequence=0, transactional=True))
    late = record.marker(producer_id=7, producer_epoch=2, commit=True, coordinator_epoch=0, timestamp_ms=1)
    header = batch.parse_header(late, 0)
    return refusal(lambda: bench.log.producers.check_marker(header, 0)), Code.INVALID_PRODUCER_EPOCH


def fencing_ignored():
    network, key, _ = with_transactions()
    old = Producer(network, "x", v2=False).init()
    old.send(key, b"old")
    Producer(network, "x", v2=False).init().send(key, b"new")
    return refusal(lambda: old.end(commit=True)), "PRODUCER_FENCED"


def timeout_that_commits():
    network, key, _ = with_transactions()
    Producer(network, "x", v2=True, timeout_ms=300).init().send(key, b"abandoned")
    replica = newest_leader(network, key)[1]
    assert network.run(until=lambda: replica.log.last_stable == replica.log.end == 2, limit_ms=3000)
    return read_committed(network, key), []


def open_transactions_forgotten_on_failover():
    network, key, _ = with_transactions()
    producer = Producer(network, "x", v2=True, timeout_ms=1000).init()
    producer.send(key, b"open")
    old = producer.coordinator()
    network.crash(old, power=False)
    assert network.run(until=lambda: producer.coordinator() != old, limit_ms=5000)
    leader = lambda: newest_leader(network, key)[1]  # noqa: E731
    ended = network.run(until=lambda: leader() is not None and leader().log.last_stable >= 2, limit_ms=6000)
    return ended, True


def offsets_outside_the_transaction():
    network, key = with_offsets()
    assert commit(network, 3) == Code.NONE
    producer = Producer(network, "x", v2=True).init()
    producer.send(key, b"a")
    send_offset(producer, 7)
    producer.end(commit=False)
    return committed(network), 3


# Groups.


def two_members_own_one_partition():
    bench = test_group.Bench()
    first, second = bench.join(), bench.join()
    leader = bench.answers.get(first) or bench.answers.get(second)
    again = bench.join(leader.member_id)
    other = bench.answers[second].member_id
    generation = bench.group.generation
    waiting = bench.sync(other, generation)
    bench.sync(bench.answers[again].member_id, generation, assignments=[(leader.member_id, b"a"), (other, b"b")])
    return bench.answers[waiting].assignment, b"b"


def former_members_commit():
    network = with_groups()
    member = joined(network)
    return commit(network, 5, generation=member.generation_id - 1, member=member.member_id), Code.ILLEGAL_GENERATION


def committed_offset_goes_back_on_failover():
    network = with_groups()
    for offset in (5, 9):
        assert commit(network, offset) == Code.NONE
    network.crash(coordinator(network), power=False)
    return committed(network), 9


def compacted():
    """A log of two values of one key and one of another, sealed and compacted."""
    log = KeyedLog()
    log.send((b"a", b"1"), (b"b", b"1"))
    log.send((b"a", b"2"))
    log.roll()
    log.compact()
    return log


def compaction_keeps_older_value():
    return compacted().state().get(b"a"), b"2"


def compaction_drops_live_key():
    return compacted().state(), {b"a": b"2", b"b": b"1"}


def compaction_drops_packed_batch():
    log = KeyedLog()
    log.send((b"a", b"1"), (b"b", b"1"), codec=CODECS["zstd"])
    log.send((b"a", b"2"))
    log.roll()
    log.compact()
    return log.state(), {b"a": b"2", b"b": b"1"}


def repacked_batch_loses_a_record():
    sent = keyed_batch([(None, b"1"), (None, b"2"), (None, b"3")], codec=CODECS["gzip"])
    topic = TopicConfig(intake=IntakeConfig(codec=CODECS["zstd"]))
    buffer, header = intake.take(sent, topic, 1000, ("t", 0))
    return [one.value for one in record.decode(*unpacked(buffer, header))], [b"1", b"2", b"3"]


def compaction_revives_tombstone():
    network = cluster(cleaner_backoff_ms=50)
    network.check = lambda _: None
    key = create(network, **replicas.SETTINGS)
    away = replicas.away_while_deleted(network, key, power=False)
    assert network.run(until=lambda: healthy(network), limit_ms=20_000)
    replicas.lead(network, key, away)
    return replicas.state_under(network, key), {b"b": b"1"}


def retention_deletes_unexpired():
    log = KeyedLog()
    for log.now_ms in (1000, 5000):
        log.send((b"a", b"1"))
    log.roll()
    Retention().apply(log.log, CleanupConfig(retention_ms=1000), 5500)
    return log.log.start, 0


def log_start_goes_back():
    log = KeyedLog()
    for _ in range(3):
        log.send((b"a", b"1"))
    follower = Replica(KEY, "t", log.log, TOPIC)
    follower.take(PartitionData(high_watermark=3, log_start_offset=2))
    return log.log.start, 2


def out_of_range_silent():
    log = KeyedLog()
    for _ in range(3):
        log.send((b"a", b"1"))
    log.log.advance_start(2)
    return refusal(lambda: log.log.read(0, 3, 1000)), Code.OFFSET_OUT_OF_RANGE


def partition_given_before_revoked():
    network = test_consumer_group.ready()
    holder = test_consumer_group.Consumer(network, "a").join()
    holder.stubborn = True
    other = test_consumer_group.Consumer(network, "b").join()
    return len(other.told & holder.owned), 0


def stale_member_epoch_accepted():
    network = test_consumer_group.ready()
    member = test_consumer_group.Consumer(network, "a").join()
    return member.commit(5, epoch=member.epoch + 1), Code.STALE_MEMBER_EPOCH


# Share groups.


def share_ack_before_write():
    network = shares.ready(size=1)
    place, one = shares.filled(network, 1), shares.Member(network).join()
    one.take(place)
    shares.deaf(network)
    return one.acknowledge(place, [(0, 0, shares.ACCEPT)]), Code.COORDINATOR_NOT_AVAILABLE


def acquired(partition, member):
    at = partition.next_offset
    return partition.acquire([(0, 4)] if at < 5 else [], at, member, Want(10), 100, 1000)


def written(partition):
    partition.write()
    partition.written()


def share_record_given_to_two():
    partition = SharePartition(0, 1, max_deliveries=5)
    acquired(partition, "a")
    return acquired(partition, "b"), []


def share_released_record_forgotten():
    partition = SharePartition(0, 1, max_deliveries=5)
    acquired(partition, "a")
    partition.acknowledge("a", [Acknowledgement(0, 4, (shares.RELEASE,))], 0, 1000)
    written(partition)
    return acquired(partition, "b"), [Acquired(0, 4, 2)]


def share_aborted_records_given():
    network = shares.ready(size=1)
    shares.configure(network, "g", **{"share.isolation.level": "read_committed"})
    place, node = shares.place_of(network), network.nodes[1]
    replica = newest_leader(network, place)[1]
    mine = {"producer_id": 7, "producer_epoch": 0}
    aborted = record.batch_of([(None, b"gone")], timestamp_ms=1, base_sequence=0, transactional=True, **mine)
    for data in (
        aborted,
        record.batch_of([(None, b"after")], timestamp_ms=1),
        record.marker(commit=False, coordinator_epoch=0, timestamp_ms=1, **mine),
    ):
        replica.log.append(data, [batch.parse_header(data, 0)], replica.log.epochs.latest, network.now_ms)
        node.replicas.appended(replica, network.now_ms)
    return [value for _, value, _ in shares.Member(network).join().take(place)], [b"after"]


def share_late_ack_taken():
    partition = SharePartition(0, 1, max_deliveries=5)
    acquired(partition, "a")
    partition.expire(1000)
    written(partition)
    partition.acquire([(0, 4)], 0, "b", Want(10), 100, 2000)
    late = [Acknowledgement(0, 4, (shares.ACCEPT,))]
    return refusal(lambda: partition.acknowledge("a", late, 1100, 2000)), Code.INVALID_RECORD_STATE


def share_piggybacked_ack_dropped():
    network = shares.ready(size=1)
    place, one = shares.filled(network, 2), shares.Member(network).join()
    one.take(place)
    one.fetch(place, [(0, 0, shares.ACCEPT)])
    network.run(2500)
    return shares.offsets(shares.Member(network, "m2").join().take(place)), [(1, 2)]


def share_renewal_forgotten():
    partition = SharePartition(0, 1, max_deliveries=5)
    acquired(partition, "a")
    partition.acknowledge("a", [Acknowledgement(0, 4, (shares.RENEW,))], 500, 1500)
    partition.expire(1100)
    written(partition)
    return acquired(partition, "b"), []


def share_limit_ignored():
    partition = SharePartition(0, 1, max_deliveries=1)
    acquired(partition, "a")
    partition.acknowledge("a", [Acknowledgement(0, 4, (shares.RELEASE,))], 0, 1000)
    written(partition)
    return acquired(partition, "b"), []
