"""A pattern means the topics that a member may describe, until topics or rules change; names are judged at the door."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.core.security.acl import Operation, Pattern, Permission, ResourceType
from broker.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest
from broker.wire.messages.create_acls import AclCreation, CreateAclsRequest
from tests.broker.core.test_broker import create, image
from tests.broker.core.test_consumer_group import Consumer, call, coordinator, ready, settle


class Reader(Consumer):
    """A member that subscribes to a pattern, and may describe some topics."""

    def __init__(self, network, name, pattern, *sees):
        super().__init__(network, name, topics=(), subscribed_topic_regex=pattern)
        self.sees = sees

    def beat(self, **changed):
        self.network.may_describe = lambda name: name in self.sees
        return super().beat(**changed)

    @property
    def topics(self):
        """The names of the topics that it has something of."""
        names = {bytes.fromhex(topic_id): name for name, topic_id in image(self.network).topic_ids.items()}
        return sorted({names[topic_id] for topic_id, _ in self.owned})


@pytest.fixture
def network():
    """Three nodes with the topics t, tt and tu."""
    three = ready(partitions=2)
    for name in ("tt", "tu"):
        create(three, name, partitions=2, factor=3)
    return three


def epoch(network):
    return network.nodes[coordinator(network)].groups.shard("g").consumers["g"].epoch


def change_rules(network):
    rule = AclCreation(
        resource_type=ResourceType.TOPIC,
        resource_name="else",
        resource_pattern_type=Pattern.LITERAL,
        principal="User:else",
        host="*",
        operation=Operation.READ,
        permission_type=Permission.ALLOW,
    )
    assert call(network, 1, CreateAclsRequest(creations=(rule,))).results[0].error_code == Code.NONE
    version = image(network).acls_version
    assert network.run(until=lambda: all(node.image.acls_version >= version for node in network.nodes.values()))


def test_a_pattern_brings_what_may_be_described(network):
    one = Reader(network, "a", "t.*", "t", "tu", "x")
    settle(network, one)
    assert one.topics == ["t", "tu"]
    create(network, "tv", factor=3)
    one.sees = ("t", "tv")
    settle(network, one)
    assert one.topics == ["t", "tv"]


def test_without_an_authorizer_a_pattern_brings_all(network):
    one = Consumer(network, "a", topics=(), subscribed_topic_regex="t.*")
    settle(network, one)
    assert len(one.owned) == 6


def test_members_with_other_rights_change_nothing_until_topics_or_rules_do(network):
    one, other = Reader(network, "a", "t.*", "t", "tt"), Reader(network, "b", "t.*", "tt", "tu")
    settle(network, one, other)
    assert sorted({*one.topics, *other.topics}) == ["t", "tt"]
    before = epoch(network)
    settle(network, other, one)
    assert epoch(network) == before
    change_rules(network)
    settle(network, other, one)
    assert sorted({*one.topics, *other.topics}) == ["tt", "tu"]
    assert epoch(network) == before + 1


def test_another_pattern_is_resolved_for_who_brings_it(network):
    one, other = Reader(network, "a", "t.*", "t", "tt"), Reader(network, "b", "t[tu]", "tu")
    settle(network, one)
    settle(network, one, other)
    assert (one.topics, other.topics) == (["t", "tt"], ["tu"])


def test_the_next_coordinator_asks_for_rights_too(network):
    one = Reader(network, "a", "t.*", "t", "tu")
    settle(network, one)
    before = epoch(network)
    network.crash(coordinator(network), power=False)
    settle(network, one)
    assert (one.topics, epoch(network)) == (["t", "tu"], before)


def test_a_member_that_names_topics_leaves_patterns_as_they_are(network):
    one = Reader(network, "a", "t.*", "t", "tu")
    settle(network, one)
    network.may_describe = lambda name: name == "tt"
    message = ConsumerGroupHeartbeatRequest(
        group_id="g", member_id="b", rebalance_timeout_ms=2000, subscribed_topic_names=("tt",), topic_partitions=()
    )
    assert call(network, coordinator(network), message, 1).error_code == Code.NONE
    settle(network, one)
    assert one.topics == ["t", "tu"]
