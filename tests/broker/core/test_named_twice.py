"""What one request names several times is refused, and nothing of it is done: the request does not say what it wants."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.wire.messages.alter_configs import AlterableConfig as ReplacedConfig
from broker.wire.messages.alter_configs import AlterConfigsRequest
from broker.wire.messages.alter_configs import AlterConfigsResource as ReplacedResource
from broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.broker.core.test_broker import cluster, create, image
from tests.broker.core.test_topics import call

INVALID = Code.INVALID_REQUEST


@pytest.fixture
def network():
    """One node with the topics t and u."""
    one = cluster(1)
    for name in ("t", "u"):
        create(one, name, factor=1)
    return one


def told(results):
    return sorted((one.name or "", Code(one.error_code)) for one in results)


def id_of(network, name):
    return bytes.fromhex(image(network).topic_ids[name])


def test_topics_are_created_once(network):
    topics = tuple(CreatableTopic(name=name, num_partitions=1, replication_factor=1) for name in ("x", "y", "x", "x"))
    answer = call(network, CreateTopicsRequest(topics=topics))
    assert told(answer.topics) == [("x", INVALID), ("y", Code.NONE)]
    assert set(image(network).topic_ids) == {"t", "u", "y"}


def test_topics_grow_once(network):
    topics = tuple(CreatePartitionsTopic(name=name, count=count) for name, count in [("t", 2), ("u", 2), ("t", 3)])
    answer = call(network, CreatePartitionsRequest(topics=topics))
    assert told(answer.results) == [("t", INVALID), ("u", Code.NONE)]
    assert [len(image(network).topic(name).partitions) for name in ("t", "u")] == [1, 2]


def test_topics_are_deleted_by_one_name(network):
    answer = call(network, DeleteTopicsRequest(topic_names=("t", "u", "t")))
    assert told(answer.responses) == [("t", INVALID), ("u", Code.NONE)]
    assert set(image(network).topic_ids) == {"t"}


def test_topics_are_deleted_by_one_id(network):
    twice, once = DeleteTopicState(topic_id=id_of(network, "t")), DeleteTopicState(topic_id=id_of(network, "u"))
    answer = call(network, DeleteTopicsRequest(topics=(twice, once, twice)))
    assert told(answer.responses) == [("", INVALID), ("u", Code.NONE)]
    assert set(image(network).topic_ids) == {"t"}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("ids", [1, 2])
def test_a_topic_is_not_deleted_by_its_name_and_its_id(network, ids, order):
    by_id, by_name = DeleteTopicState(topic_id=id_of(network, "t")), DeleteTopicState(name="t")
    asked = (*[by_id] * ids, by_name, DeleteTopicState(name="u"))[::order]
    answer = call(network, DeleteTopicsRequest(topics=asked))
    doubled = [("", INVALID)] if ids > 1 else []
    assert told(answer.responses) == [*doubled, ("t", INVALID), ("u", Code.NONE)]
    assert set(image(network).topic_ids) == {"t"}


@pytest.mark.parametrize("replaces", [False, True], ids=["incremental", "whole"])
def test_settings_of_one_thing_are_altered_once(network, replaces):
    item, resource, request = (
        (ReplacedConfig, ReplacedResource, AlterConfigsRequest)
        if replaces
        else (AlterableConfig, AlterConfigsResource, IncrementalAlterConfigsRequest)
    )
    resources = tuple(
        resource(resource_type=2, resource_name=name, configs=(item(name=key, value="1000"),))
        for name, key in [("t", "retention.ms"), ("u", "retention.ms"), ("t", "segment.ms")]
    )
    answer = call(network, request(resources=resources))
    assert [(one.resource_name, Code(one.error_code)) for one in answer.responses] == [
        ("t", INVALID),
        ("u", Code.NONE),
        ("t", INVALID),
    ]
    assert [image(network).config("topic", name) for name in ("t", "u")] == [{}, {"retention.ms": "1000"}]
