"""What a leader takes from a producer: times within the topic's limits, keys where they are needed, the topic's codec."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.config import CleanupConfig, IntakeConfig, TopicConfig
from broker.core.errors import Code, Refused
from broker.core.log.partition_log import LogConfig
from broker.core.replication import intake
from broker.core.replication.intake import RefusedRecords
from broker.core.topic_settings import CODECS
from broker.wire import batch, compression, record
from broker.wire.entries import records_of
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from tests.broker.core.test_broker import answer, cluster, contents, create, newest_leader, produce, produced

NOW_MS = 10_000_000
HOUR_MS = 3600 * 1000
COMPACTED = TopicConfig(cleanup=CleanupConfig(delete=False, compact=True))


def packed(*records, codec=0, **kwargs):
    """One batch; a record is (key, value, timestamp)."""
    base = records[0][2]
    body = bytearray()
    for index, (key, value, timestamp) in enumerate(records):
        inner = bytearray(b"\0")
        for number in (timestamp - base, index):
            record.put_varint(inner, number)
        for data in (key, value):
            record.put_varint(inner, -1 if data is None else len(data))
            inner += data or b""
        inner += b"\0"
        record.put_varint(body, len(inner))
        body += inner
    latest = max(timestamp for _, _, timestamp in records)
    return batch.build(
        compression.compress(codec, bytes(body)),
        count=len(records),
        base_timestamp=base,
        max_timestamp=latest,
        compression=codec,
        **kwargs,
    )


def timed(before=None, after=None, **log):
    limits = {k: v for k, v in {"timestamp_before_ms": before, "timestamp_after_ms": after}.items() if v is not None}
    return TopicConfig(intake=IntakeConfig(**limits), log=LogConfig(**log))


def refused(data, config):
    with pytest.raises(Refused) as caught:
        intake.take(data, config, NOW_MS, ("t", 0))
    return caught.value


@pytest.mark.parametrize("codec", range(5))
def test_a_record_from_too_far_ahead_is_named_and_refused(codec):
    data = packed((b"k", b"1", NOW_MS), (b"k", b"2", NOW_MS + HOUR_MS), (b"k", b"3", NOW_MS + HOUR_MS + 1), codec=codec)
    error = refused(data, TopicConfig())
    assert isinstance(error, RefusedRecords)
    assert error.code is Code.INVALID_TIMESTAMP
    assert [place for place, _ in error.records] == [2]
    assert str(NOW_MS + HOUR_MS + 1) in error.records[0][1]


def test_a_record_that_is_too_old_is_refused_though_the_batch_has_new_ones():
    config = timed(before=1000)
    error = refused(packed((None, b"1", NOW_MS), (None, b"2", NOW_MS - 1001), (None, b"3", NOW_MS - 1000)), config)
    assert error.code is Code.INVALID_TIMESTAMP
    assert [place for place, _ in error.records] == [1]
    intake.take(packed((None, b"1", NOW_MS - 1000)), config, NOW_MS, ("t", 0))


@pytest.mark.parametrize(
    ("timestamp", "config"),
    [
        (0, TopicConfig()),
        (batch.NO_TIMESTAMP, timed(before=1, after=1)),
        (NOW_MS + 2 * HOUR_MS, timed(append_time=True)),
        (NOW_MS - 2 * HOUR_MS, timed(before=1, append_time=True)),
        (NOW_MS + 2 * HOUR_MS, timed(after=2 * HOUR_MS)),
    ],
)
def test_what_has_no_time_or_gets_the_brokers_is_not_asked_for_it(timestamp, config):
    data = packed((b"k", b"v", timestamp))
    taken, header = intake.take(data, config, NOW_MS, ("t", 0))
    assert bytes(taken) == bytes(data)
    assert header.record_count == 1


@pytest.mark.parametrize("codec", range(5))
def test_a_compacted_topic_names_every_record_without_a_key(codec):
    data = packed((b"k", b"1", NOW_MS), (None, b"2", NOW_MS), (b"", b"3", NOW_MS), (None, None, NOW_MS), codec=codec)
    error = refused(data, COMPACTED)
    assert error.code is Code.INVALID_RECORD
    assert [place for place, _ in error.records] == [1, 3]
    assert "without key in topic partition t-0" in error.records[0][1]


def test_a_record_is_named_once_and_a_wrong_time_decides():
    config = msgspec.structs.replace(COMPACTED, intake=IntakeConfig(timestamp_before_ms=10))
    error = refused(packed((None, b"1", 1), (b"k", b"2", 1), (None, b"3", NOW_MS), (b"k", b"4", NOW_MS)), config)
    assert error.code is Code.INVALID_TIMESTAMP
    assert [place for place, _ in error.records] == [0, 1, 2]


@given(
    source=st.sampled_from(sorted(CODECS.items(), key=str)),
    target=st.sampled_from(sorted(CODECS.items(), key=str)),
    values=st.lists(st.binary(max_size=50), min_size=1, max_size=5),
)
def test_a_batch_is_kept_in_the_topics_codec_and_is_otherwise_the_same(source, target, values):
    records = [(b"k", value, NOW_MS + index) for index, value in enumerate(values)]
    kind = {"producer_id": 7, "producer_epoch": 3, "base_sequence": 11, "transactional": True}
    data = packed(*records, codec=source[1] or 0, **kind)
    before = batch.parse_header(data, 0)
    taken, header = intake.take(data, TopicConfig(intake=IntakeConfig(codec=target[1])), NOW_MS, ("t", 0))
    assert header.compression == (before.compression if target[1] is None else target[1])
    batch.check(taken, 0, header)
    assert records_of(taken, 0, header) == records_of(data, 0, before)
    same = ("last_offset_delta", "base_timestamp", "max_timestamp", "producer_id", "producer_epoch", "base_sequence")
    assert [getattr(header, name) for name in same] == [getattr(before, name) for name in same]
    assert header.is_transactional
    assert header.record_count == len(values)


def test_a_batch_that_is_too_large_only_without_its_codec_is_refused():
    data = packed((b"k", b"v" * 5000, NOW_MS), codec=1)
    config = TopicConfig(log=LogConfig(max_message_bytes=1000))
    assert intake.take(data, config, NOW_MS, ("t", 0))[1].size < 1000
    plain = msgspec.structs.replace(config, intake=IntakeConfig(codec=0))
    assert refused(data, plain).code is Code.MESSAGE_TOO_LARGE


def test_the_answer_names_the_bad_records_and_nothing_of_the_batch_is_kept():
    network = cluster(1)
    key = create(network, factor=1, cleanup_policy="compact")
    given_answer = produced(network, key, b"v")
    assert given_answer.error_code == Code.INVALID_RECORD
    assert [one.batch_index for one in given_answer.record_errors] == [0]
    assert given_answer.error_message
    assert contents(network, key) == {}


def test_a_topic_with_a_codec_keeps_and_replicates_batches_in_it():
    network = cluster()
    key = create(network, compression_type="gzip")
    first = produce(network, key, b"v" * 500)
    assert network.run(until=lambda: first in network.client_replies)
    assert answer(network, first).error_code == Code.NONE
    node, replica = newest_leader(network, key)
    data = network.disks[node].dump(replica.log.name)
    position, header = next(batch.parse(data))
    batch.check(data, position, header)
    assert header.compression == compression.GZIP
    assert b"v" * 500 in records_of(data, position, header)


@pytest.mark.parametrize(("version", "code"), [(6, Code.UNSUPPORTED_COMPRESSION_TYPE), (7, Code.NONE)])
def test_zstd_needs_the_version_that_brought_it(version, code):
    network = cluster(1)
    key = create(network, factor=1)
    data = packed((b"k", b"v", network.now_ms), codec=compression.ZSTD)
    part = PartitionProduceData(index=key[1], records=bytes(data))
    asked = ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(TopicProduceData(name="t", partition_data=(part,)),))
    request = network.send(1, asked, version=version)
    assert network.run(until=lambda: request in network.client_replies)
    assert answer(network, request).error_code == code
    assert newest_leader(network, key)[1].log.end == (code is Code.NONE)


@pytest.mark.parametrize("version", [4, 9, 10])
def test_zstd_is_served_to_whoever_asks(version):
    """Apache Kafka 4 converts nothing for older consumers any more, and refuses none of them what it has."""
    network = cluster(1)
    key = create(network, factor=1)
    data = bytes(packed((b"k", b"v", network.now_ms), codec=compression.ZSTD))
    part = PartitionProduceData(index=key[1], records=data)
    asked = ProduceRequest(acks=-1, timeout_ms=1000, topic_data=(TopicProduceData(name="t", partition_data=(part,)),))
    request = network.send(1, asked, version=7)
    assert network.run(until=lambda: request in network.client_replies)
    ask = FetchPartition(partition=key[1], fetch_offset=0, partition_max_bytes=1 << 20)
    request = network.send(1, FetchRequest(topics=(FetchTopic(topic="t", partitions=(ask,)),)), version=version)
    assert network.run(until=lambda: request in network.client_replies)
    (got,) = network.client_replies[request].responses[0].partitions
    assert got.error_code == Code.NONE
    ((_, header),) = batch.parse(got.records)
    assert header.compression == compression.ZSTD
