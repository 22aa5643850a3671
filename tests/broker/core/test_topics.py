"""Topics and settings through the controller: created, grown, altered, deleted; nonsense is refused by name."""

from __future__ import annotations

import pytest

from broker.core import topic_settings
from broker.core.errors import Code, Refused
from broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from broker.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.broker.core.test_broker import cluster, create, healthy, image, newest_leader, produced


def call(network, message, node=1):
    request_id = network.send(node, message)
    assert network.run(until=lambda: request_id in network.client_replies)
    return network.client_replies[request_id]


def created(network, **fields):
    topic = CreatableTopic(**{"name": "x", "num_partitions": 1, "replication_factor": 3, **fields})
    return Code(call(network, CreateTopicsRequest(topics=(topic,))).topics[0].error_code)


def placed(*replicas):
    return tuple(
        CreatableReplicaAssignment(partition_index=index, broker_ids=ids) for index, ids in enumerate(replicas)
    )


def settings(**values):
    return tuple(CreatableTopicConfig(name=name.replace("_", "."), value=value) for name, value in values.items())


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "a b"}, Code.INVALID_TOPIC_EXCEPTION),
        ({"name": ".."}, Code.INVALID_TOPIC_EXCEPTION),
        ({"num_partitions": 0}, Code.INVALID_PARTITIONS),
        ({"replication_factor": 4}, Code.INVALID_REPLICATION_FACTOR),
        ({"configs": settings(retention_ms="soon")}, Code.INVALID_CONFIG),
        ({"configs": settings(min_insync_replicas="0")}, Code.INVALID_CONFIG),
        ({"configs": settings(nonsense="1")}, Code.INVALID_CONFIG),
        ({"assignments": placed((1, 2)), "num_partitions": 1}, Code.INVALID_REQUEST),
        (
            {"assignments": placed((1, 1)), "num_partitions": -1, "replication_factor": -1},
            Code.INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            {"assignments": placed((1, 9)), "num_partitions": -1, "replication_factor": -1},
            Code.INVALID_REPLICA_ASSIGNMENT,
        ),
        ({"assignments": placed((2, 1), (3, 2)), "num_partitions": -1, "replication_factor": -1}, Code.NONE),
        ({"configs": settings(cleanup_policy="compact,delete", retention_ms="-1")}, Code.NONE),
        ({"configs": settings(cleanup_policy="")}, Code.NONE),
        ({"configs": settings(cleanup_policy="delete,,compact")}, Code.INVALID_CONFIG),
    ],
)
def test_a_topic_is_created_or_refused_with_kafkas_error(fields, code):
    network = cluster()
    assert created(network, **fields) is code
    assert len(image(network).topics) == (code is Code.NONE)


def test_names_that_differ_by_dots_and_underscores_only_collide():
    network = cluster(1)
    assert created(network, name="a.b_c", replication_factor=1) == Code.NONE
    assert created(network, name="a_b.c", replication_factor=1) == Code.INVALID_TOPIC_EXCEPTION
    assert created(network, name="a.b_d", replication_factor=1) == Code.NONE


def test_a_new_topic_is_told_with_the_settings_that_hold_for_it():
    network = cluster(1, properties={"log.retention.ms": "7"})
    topic = CreatableTopic(name="x", num_partitions=1, replication_factor=1, configs=settings(segment_bytes="2000"))
    for validate_only in (True, False):
        (answer,) = call(network, CreateTopicsRequest(topics=(topic,), validate_only=validate_only)).topics
        told = {one.name: (one.value, one.config_source) for one in answer.configs}
        assert told.keys() == topic_settings.DEFAULTS.keys()
        assert told["segment.bytes"] == ("2000", 1)
        assert told["retention.ms"] == ("7", 4)
        assert told["flush.ms"] == (topic_settings.DEFAULTS["flush.ms"], 5)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("retention.ms", "soon", "Not a number of type LONG"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("segment.bytes", "1" * 20, "Not a number of type INT"),
        ("segment.bytes", "--1", "Not a number of type INT"),
    ],
)
def test_a_wrong_number_is_refused_in_kafkas_words(name, value, said):
    with pytest.raises(Refused, match=f"Invalid value {value} for configuration {name}: {said}"):
        topic_settings.check(name, value)


def test_a_topic_exists_once_and_may_be_only_validated():
    network = cluster()
    topic = CreatableTopic(name="x", num_partitions=1, replication_factor=1)
    assert call(network, CreateTopicsRequest(topics=(topic,), validate_only=True)).topics[0].error_code == Code.NONE
    assert image(network).topic("x") is None
    assert [created(network), created(network)] == [Code.NONE, Code.TOPIC_ALREADY_EXISTS]


def test_a_deleted_topic_is_gone_from_every_disk_and_its_name_is_free():
    network = cluster()
    key = create(network, min_insync_replicas=2)
    assert produced(network, key, b"x").error_code == Code.NONE
    answer = call(network, DeleteTopicsRequest(topics=(DeleteTopicState(topic_id=bytes.fromhex(key[0])),)))
    assert (answer.responses[0].error_code, answer.responses[0].name) == (Code.NONE, "t")
    assert network.run(until=lambda: all(not node.image.topics for node in network.nodes.values()))
    network.run(10)
    assert all(disk.segments("t-0") == [] for disk in network.disks.values())
    again = create(network)
    assert again != key
    assert produced(network, again, b"y").base_offset == 0
    assert image(network).config("topic", "t") == {}
    unknown = call(network, DeleteTopicsRequest(topic_names=("nobody",)))
    assert unknown.responses[0].error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


def test_a_topic_grows_and_never_shrinks():
    network = cluster()
    key = create(network, partitions=2)

    def grow(count):
        topics = (CreatePartitionsTopic(name="t", count=count),)
        return call(network, CreatePartitionsRequest(topics=topics)).results[0].error_code

    assert grow(2) == Code.INVALID_PARTITIONS
    assert grow(4) == Code.NONE
    assert network.run(until=lambda: healthy(network) and len(image(network).topics[key[0]].partitions) == 4)
    assert produced(network, (key[0], 3), b"x").error_code == Code.NONE


def test_settings_change_while_the_topic_is_in_use():
    network = cluster()
    key = create(network)

    def alter(operation, name, value, kind=2, resource="t"):
        item = AlterableConfig(name=name, config_operation=operation, value=value)
        request = IncrementalAlterConfigsRequest(
            resources=(AlterConfigsResource(resource_type=kind, resource_name=resource, configs=(item,)),)
        )
        return Code(call(network, request).responses[0].error_code)

    replica = newest_leader(network, key)[1]
    assert alter(0, "min.insync.replicas", "2") is Code.NONE
    assert network.run(until=lambda: replica.config.min_isr == 2)
    assert alter(1, "min.insync.replicas", None) is Code.NONE
    assert network.run(until=lambda: replica.config.min_isr == 1)
    assert alter(2, "cleanup.policy", "compact") is Code.NONE
    assert image(network).config("topic", "t")["cleanup.policy"] == "delete,compact"
    assert alter(0, "message.max.bytes", "99", kind=4, resource="") is Code.NONE
    assert network.run(until=lambda: replica.config.log.max_message_bytes == 99)
    assert alter(0, "segment.bytes", "many") is Code.INVALID_CONFIG
    assert alter(0, "segment.bytes", "5", resource="nobody") is Code.UNKNOWN_TOPIC_OR_PARTITION
    assert alter(0, "node.id", "5", kind=4, resource="") is Code.INVALID_REQUEST


def test_every_default_is_a_value_of_its_setting():
    for name, value in topic_settings.DEFAULTS.items():
        topic_settings.check(name, value)
    with pytest.raises(Refused):
        topic_settings.check("retention.ms", "-2")


def test_a_topic_is_made_although_a_node_is_away_which_stands_last_and_joins_later():
    network = cluster()
    network.crash(3, power=False)
    assert network.run(until=lambda: image(network).brokers[3].fenced, limit_ms=5000)
    assert created(network, num_partitions=3) == Code.NONE
    assert created(network, name="y", num_partitions=2, replication_factor=2) == Code.NONE
    states = list(image(network).partitions())
    wide = [state for state in states if len(state.replicas) == 3]
    assert len(wide) == 3
    assert {state.replicas[-1] for state in wide} == {3}
    assert {state.leader for state in wide} == {1, 2}
    assert all(3 not in state.replicas for state in states if len(state.replicas) == 2), "it is not needed there"
    network.start(3)
    assert network.run(until=lambda: healthy(network), limit_ms=5000)
    assert created(network, name="z", replication_factor=4) == Code.INVALID_REPLICATION_FACTOR
