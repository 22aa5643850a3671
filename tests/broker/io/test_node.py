"""One node as a process: it survives what clients send it, and being killed at any moment."""

import json
import random
import struct
import threading
import time
import urllib.request

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.io.served import SERVED
from broker.wire import codec, record
from broker.wire.frame import frame
from broker.wire.messages.alter_client_quotas import AlterClientQuotasRequest, EntityPart, OpData, QuotaChange
from broker.wire.messages.describe_quorum import DescribeQuorumRequest
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from broker.wire.messages.metadata import MetadataRequest
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from harness.cluster import ports
from tests.broker.io.process import NodeProcess, until

WITHIN_S = 30.0


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    one = NodeProcess(tmp_path_factory.mktemp("node"), socket_request_max_bytes=1 << 20).start()
    yield one
    one.kill()


@pytest.fixture
def own(tmp_path):
    made = []

    def make(**properties):
        made.append(NodeProcess(tmp_path / f"node{len(made)}", **properties))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None:
            one.kill()


def create(node, name="t", partitions=1, **config):
    admin = AdminClient({"bootstrap.servers": node.address, "log_level": 0})
    topic = NewTopic(name, partitions, 1, config={key.replace("_", "."): str(value) for key, value in config.items()})
    for created in admin.create_topics([topic]).values():
        created.result(WITHIN_S)


def consume(node, topic, count):
    consumer = Consumer({"bootstrap.servers": node.address, "group.id": "g", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    deadline = time.monotonic() + WITHIN_S
    while len(found) < count and time.monotonic() < deadline:
        found += [(one.offset(), one.value()) for one in consumer.consume(1000, 0.2) if one.error() is None]
    consumer.close()
    return found


def receive(connection):
    size = struct.unpack(">i", exactly(connection, 4))[0]
    return exactly(connection, size)


def exactly(connection, size):
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "the node closed the connection"
        data += piece
    return data


def flood(connection, data):
    sent = 0
    while sent < 64 << 20:
        sent += connection.send(data)


def request(message, version, correlation_id):
    return frame(codec.encode_request(message, version, correlation_id=correlation_id, client_id="test"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(min_size=1, max_size=300),
        st.integers(-(1 << 31), (1 << 31) - 1).map(lambda size: struct.pack(">i", size) + b"x" * 50),
        st.tuples(st.integers(0, 92), st.integers(0, 13), st.binary(max_size=60)).map(
            lambda case: frame(struct.pack(">hhi", case[0], case[1], 1) + case[2])
        ),
    )
)
def test_garbage_neither_ends_the_node_nor_fills_it(node, garbage):
    before = node.rss_kib()
    with node.connect() as connection:
        connection.sendall(garbage)
    assert node.serves()
    assert node.rss_kib() < before + 4096


def test_answers_come_in_the_order_of_their_requests(node):
    create(node, "order")
    fetch = FetchRequest(
        max_wait_ms=300,
        min_bytes=1,
        topics=(FetchTopic(topic="order", partitions=(FetchPartition(partition=0, partition_max_bytes=1000),)),),
    )
    with node.connect() as connection:
        asked = [
            request(fetch, 12, 1),
            request(MetadataRequest(topics=()), 9, 2),
            frame(struct.pack(">hhih", 999, 0, 3, -1)),
        ]
        connection.sendall(b"".join(asked))
        answered = [struct.unpack_from(">i", receive(connection))[0] for _ in asked]
    assert answered == [1, 2, 3], "the fetch waits for records, and everything behind it waits for the fetch"


def test_a_client_that_sends_without_reading_is_made_to_wait(node):
    before = node.rss_kib()
    ask = request(MetadataRequest(topics=None), 9, 1) * 200
    with node.connect() as connection:
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            flood(connection, ask)
    assert node.serves()
    assert node.rss_kib() < before + 32 * 1024


def test_a_batch_larger_than_any_buffer_goes_in_and_comes_out(node):
    create(node, "large", max_message_bytes=900_000)
    producer = Producer({"bootstrap.servers": node.address, "message.max.bytes": 900_000, "log_level": 0})
    values = [random.Random(number).randbytes(800_000) for number in range(3)]
    for value in values:
        producer.produce("large", value, partition=0)
    assert producer.flush(WITHIN_S) == 0
    assert consume(node, "large", 3) == list(enumerate(values))


def test_a_killed_node_has_every_record_that_it_acknowledged(own):
    node = own().start()
    create(node, segment_bytes=20_000)
    producer = Producer({"bootstrap.servers": node.address, "acks": "all", "linger.ms": 0, "log_level": 0})
    acked = {}
    running = threading.Event()
    running.set()

    def delivered(error, message):
        if error is None:
            acked[message.offset()] = message.value()

    def write():
        number = 0
        while running.is_set():
            number += 1
            producer.produce("t", b"%d-" % number + b"x" * (number % 500), partition=0, on_delivery=delivered)
            producer.poll(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    rng = random.Random(5)
    try:
        for _ in range(4):
            enough = len(acked) + rng.randint(20, 300)
            until(lambda enough=enough: len(acked) >= enough, what="progress")
            node.kill()
            node.start()
    finally:
        running.clear()
        writer.join()
    assert producer.flush(WITHIN_S) == 0
    held = consume(node, "t", max(acked) + 1)
    assert [offset for offset, _ in held] == list(range(len(held))), "no hole, no offset twice"
    assert all(dict(held).get(offset) == value for offset, value in acked.items())


def test_a_torn_tail_is_cut_with_a_warning_and_what_lies_before_stays(own):
    node = own().start()
    create(node)
    producer = Producer({"bootstrap.servers": node.address, "log_level": 0})
    for number in range(3):
        producer.produce("t", b"%d" % number, partition=0)
        assert producer.flush(WITHIN_S) == 0
    node.kill()
    segment = node.data / "t-0" / f"{0:020d}.log"
    whole = segment.read_bytes()
    segment.write_bytes(whole + whole[:50])
    node.start()
    assert consume(node, "t", 3) == [(0, b"0"), (1, b"1"), (2, b"2")]
    assert "t-0: cut 50 bytes" in node.log()
    assert segment.read_bytes() == whole


def test_a_terminated_node_stops_in_order_and_starts_clean(own):
    node = own().start()
    create(node)
    producer = Producer({"bootstrap.servers": node.address, "log_level": 0})
    producer.produce("t", b"x", partition=0)
    assert producer.flush(WITHIN_S) == 0
    assert node.stop() == 0
    assert int((node.data / "clean-shutdown").read_text()) >= 0
    node.start()
    assert consume(node, "t", 1) == [(0, b"x")]


def test_flush_messages_1_syncs_and_serves(own):
    node = own(log_flush_interval_messages=1).start()
    create(node)
    producer = Producer({"bootstrap.servers": node.address, "acks": "all", "log_level": 0})
    for number in range(20):
        producer.produce("t", b"%d" % number, partition=0)
    assert producer.flush(WITHIN_S) == 0
    assert len(consume(node, "t", 20)) == 20


def test_a_wrong_property_is_said_in_one_line(own):
    node = own(broker_session_timeout_ms="soon")
    with pytest.raises(AssertionError, match=r"broker\.session\.timeout\.ms=soon: it must be a whole number"):
        node.start()
    assert node.process.wait() == 78


def test_connections_beyond_the_limit_are_refused(own):
    node = own(max_connections=3).start()
    kept = []

    def is_kept():
        """Connect once more; the connection that asked whether the node serves may still count."""
        connection = node.connect()
        connection.sendall(request(MetadataRequest(topics=()), 9, 1))
        try:
            receive(connection)
        except (AssertionError, OSError):
            connection.close()
        else:
            kept.append(connection)
        return len(kept) == 3

    try:
        until(is_kept)
        with node.connect() as fourth:
            assert fourth.recv(1) == b""
        for connection in kept:
            connection.sendall(request(MetadataRequest(topics=()), 9, 2))
            assert receive(connection)
    finally:
        for connection in kept:
            connection.close()


def test_logs_are_json_and_metrics_are_on_loopback_when_asked(own):
    node = own()
    (port,) = ports.choose(1)
    node.start("--log-format", "json", "--metrics-port", str(port))
    lines = [json.loads(line) for line in node.log().splitlines()]
    assert any("Kafka Server started" in line["message"] for line in lines)
    create(node)
    with node.connect() as connection:
        connection.sendall(request(MetadataRequest(topics=()), 9, 1))
        receive(connection)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WITHIN_S) as answer:
            text = answer.read().decode()
    assert "broker_running 1" in text.splitlines()
    assert "broker_partitions_led 1" in text.splitlines()
    assert 'broker_requests_total{api="CREATE_TOPICS"} 1' in text
    told = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(told['broker_request_bytes_total{api="CREATE_TOPICS"}']) > 20
    gauges = ("partitions_under_replicated", "produces_parked", "fetches_parked", "unsent_bytes", "receiving_bytes")
    assert {int(told[f"broker_{name}"]) for name in gauges} == {0}
    assert int(told["broker_connections"]) >= 1
    assert int(told["broker_requests_waiting"]) <= int(told["broker_connections"])
    assert int(told["broker_max_rss_kib"]) > 10_000


def ask(node, message, version):
    """Return the answer of one request on a connection of its own."""
    with node.connect() as connection:
        connection.sendall(request(message, version, 1))
        payload = receive(connection)
    return codec.decode_response(SERVED[message.api].response, version, payload)[1]


def test_the_quorum_is_described_with_where_its_voters_listen(node):
    (voter,) = ask(node, DescribeQuorumRequest(), 2).nodes
    (listener,) = voter.listeners
    assert (voter.node_id, listener.name, listener.host) == (1, "CONTROLLER", "127.0.0.1")
    assert f"CONTROLLER://127.0.0.1:{listener.port}" in (node.folder / "p").read_text()


def unheard(topic):
    records = bytes(record.batch_of([(None, b"x")], timestamp_ms=1000))
    part = TopicProduceData(name=topic, partition_data=(PartitionProduceData(index=0, records=records),))
    return ProduceRequest(acks=0, timeout_ms=5000, topic_data=(part,))


def test_who_wants_no_answer_and_is_refused_hears_it_by_the_end_of_the_connection(node):
    create(node, "unheard")
    with node.connect() as connection:
        connection.sendall(request(unheard("unheard"), 9, 1) + request(MetadataRequest(topics=()), 9, 2))
        assert struct.unpack(">i", receive(connection)[:4]) == (2,)
        connection.sendall(request(unheard("nobodys"), 9, 3))
        connection.settimeout(WITHIN_S)
        assert connection.recv(1) == b""
    assert [value for _, value in consume(node, "unheard", 1)] == [b"x"]


def test_a_client_beyond_its_limit_is_told_and_held_back(own):
    node = own().start()
    create(node, "limited")
    who = (EntityPart(entity_type="client-id", entity_name="test"),)
    ops = (OpData(key="producer_byte_rate", value=2000.0), OpData(key="consumer_byte_rate", value=2000.0))
    changed = ask(node, AlterClientQuotasRequest(entries=(QuotaChange(entity=who, ops=ops),)), 1)
    assert changed.entries[0].error_code == 0
    records = bytes(record.batch_of([(None, b"x" * 3000)], timestamp_ms=1000))
    produce = ProduceRequest(
        acks=-1,
        timeout_ms=5000,
        topic_data=(
            TopicProduceData(name="limited", partition_data=(PartitionProduceData(index=0, records=records),)),
        ),
    )
    with node.connect() as connection:
        began = time.monotonic()
        connection.sendall(request(produce, 9, 1) + request(MetadataRequest(topics=()), 9, 2))
        told = codec.decode_response(ProduceResponse, 9, receive(connection))[1]
        assert told.responses[0].partition_responses[0].error_code == 0
        assert told.throttle_time_ms > 400
        receive(connection)
        assert time.monotonic() - began >= told.throttle_time_ms / 1000 * 0.9, "it was not heard meanwhile"
    fetch = FetchRequest(
        min_bytes=1,
        max_wait_ms=1000,
        topics=(FetchTopic(topic="limited", partitions=(FetchPartition(partition=0, partition_max_bytes=9000),)),),
    )
    got = ask(node, fetch, 12)
    assert len(got.responses[0].partitions[0].records) > 3000
    assert got.throttle_time_ms > 400
    other = frame(codec.encode_request(produce, 9, correlation_id=1, client_id="other"))
    with node.connect() as connection:
        connection.sendall(other)
        assert codec.decode_response(ProduceResponse, 9, receive(connection))[1].throttle_time_ms == 0
