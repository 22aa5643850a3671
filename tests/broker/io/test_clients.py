"""A real client over a real socket: groups of the new protocol, and what its admin client can ask."""

import time

import pytest
from confluent_kafka import Consumer, ConsumerGroupType, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic, ForgottenTopic
from harness.clients import settings
from harness.clients.deleting import delete_records
from harness.clients.errors import FailedError
from harness.clients.membership import leave
from harness.clients.patience import Deadline
from harness.cluster.probe import Probe
from harness.scenario import Scenario
from tests.broker.io.process import NodeProcess

WITHIN_S = 60.0
COUNT = 30


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    one = NodeProcess(
        tmp_path_factory.mktemp("node"),
        offsets_topic_num_partitions=2,
        group_consumer_heartbeat_interval_ms=200,
    ).start()
    yield one
    one.kill()


@pytest.fixture(scope="module")
def admin(node):
    client = AdminClient({"bootstrap.servers": node.address, "log_level": 0})
    done(client.create_topics([NewTopic("t", 2, 1), NewTopic("short", 1, 1)]))
    producer = Producer({"bootstrap.servers": node.address, "log_level": 0, "acks": "all"})
    for number in range(COUNT):
        producer.produce("t", b"%d" % number, partition=number % 2)
        producer.produce("short", b"%d" % number, partition=0)
    assert producer.flush(WITHIN_S) == 0
    return client


def done(futures):
    return {key: future.result(WITHIN_S) for key, future in futures.items()}


def test_a_consumer_of_the_new_protocol_reads_commits_and_is_described(node, admin):
    consumer = Consumer(
        {
            "bootstrap.servers": node.address,
            "group.id": "g",
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.subscribe(["^t$"])
    found, deadline = [], time.monotonic() + WITHIN_S
    while len(found) < COUNT and time.monotonic() < deadline:
        found += [message.value() for message in consumer.consume(COUNT, 0.2) if message.error() is None]
    assert sorted(found, key=int) == [b"%d" % number for number in range(COUNT)]
    consumer.commit(asynchronous=False)
    (group,) = done(admin.describe_consumer_groups(["g"])).values()
    assert group.type is ConsumerGroupType.CONSUMER
    assert [len(member.assignment.topic_partitions) for member in group.members] == [2]
    listed = admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(WITHIN_S)
    assert [one.group_id for one in listed.valid] == ["g"]
    leave(consumer)
    offsets = Consumer({"bootstrap.servers": node.address, "group.id": "g", "log_level": 0})
    stored = offsets.committed([TopicPartition("t", 0), TopicPartition("t", 1)], WITHIN_S)
    assert [one.offset for one in stored] == [COUNT // 2] * 2
    offsets.close()
    done(admin.delete_consumer_groups(["g"]))


def test_settings_are_changed_and_told(admin):
    entry = ConfigEntry("retention.ms", "12345", incremental_operation=AlterConfigOpType.SET)
    done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, "t", incremental_configs=[entry])]))
    asked = [ConfigResource(ResourceType.TOPIC, "t"), ConfigResource(ResourceType.BROKER, "1")]
    topic, broker = done(admin.describe_configs(asked)).values()
    assert (topic["retention.ms"].value, topic["retention.ms"].is_default) == ("12345", False)
    assert broker["group.consumer.heartbeat.interval.ms"].value == "200"


def deleted(config, key, offset):
    """Delete as a run does. Its bound is one for brokers that answer: on a busy machine it is asked again."""
    deadline = Deadline(WITHIN_S)
    while True:
        try:
            return delete_records(config, key, offset, deadline)
        except FailedError as error:
            if error.failure.name != "_TIMED_OUT" or deadline.over():
                raise


def test_deleted_records_raise_the_start(node, admin):
    place = TopicPartition("short", 0, 4)
    (answer,) = done(admin.delete_records([place])).values()
    assert answer.low_watermark == 4
    config = settings.common(Scenario(), node.address, "deleting")
    assert deleted(config, "short/0", 3) == 4, "a start never goes back"
    with pytest.raises(FailedError, match="delete-records: OFFSET_OUT_OF_RANGE"):
        deleted(config, "short/0", COUNT + 1)
    (first,) = done(admin.list_offsets({TopicPartition("short", 0): OffsetSpec.earliest()})).values()
    assert first.offset == 4


def test_cluster_and_topics_are_described(admin):
    cluster = admin.describe_cluster(include_authorized_operations=True).result(WITHIN_S)
    assert [one.id for one in cluster.nodes] == [cluster.controller.id] == [1]
    (topic,) = done(admin.describe_topics(TopicCollection(["t"]), include_authorized_operations=True)).values()
    assert [(one.id, one.leader.id) for one in topic.partitions] == [(0, 1), (1, 1)]
    assert topic.authorized_operations


def test_a_fetch_session_goes_on_where_it_was_when_its_connection_is_another(node, admin):
    done(admin.create_topics([NewTopic("followed", 2, 1)]))
    producer = Producer({"bootstrap.servers": node.address, "log_level": 0, "acks": "all"})
    producer.produce("followed", b"x", partition=0)
    producer.produce("followed", b"y", partition=1)
    assert producer.flush(WITHIN_S) == 0
    asks = tuple(FetchPartition(partition=index, fetch_offset=1, partition_max_bytes=1000) for index in (0, 1))
    with Probe("127.0.0.1", node.port) as probe:
        (topic,) = probe.metadata(("followed",)).topics
        first = probe.ask(FetchRequest(session_epoch=0, topics=(FetchTopic(topic_id=topic.topic_id, partitions=asks),)))
        assert first.session_id > 0
        assert {one.partition_index: one.high_watermark for one in first.responses[0].partitions} == {0: 1, 1: 1}
    with Probe("127.0.0.1", node.port) as probe:
        again = FetchPartition(partition=1, fetch_offset=0, partition_max_bytes=1000)
        second = probe.ask(
            FetchRequest(
                session_id=first.session_id,
                session_epoch=1,
                topics=(FetchTopic(topic_id=topic.topic_id, partitions=(again,)),),
                forgotten_topics_data=(ForgottenTopic(topic_id=topic.topic_id, partitions=(0,)),),
            )
        )
        assert second.session_id == first.session_id
        ((data,),) = (one.partitions for one in second.responses)
        assert data.partition_index == 1
        assert len(data.records) > 0
