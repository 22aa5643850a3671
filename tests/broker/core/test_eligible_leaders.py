"""Who may lead beside the ISR, when `min.insync.replicas` changes."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.broker.core.test_broker import cluster, contents, create, healthy, image, newest_leader, produced

TOPIC, BROKER = 2, 4


@pytest.mark.parametrize("where", ["topic", "cluster"])
def test_a_replica_that_was_eligible_by_a_higher_min_isr_is_not_elected_without_what_counts_by_the_new_one(where):
    network = cluster(5)
    own = {"min.insync.replicas": 2} if where == "topic" else {}

    def alter(value, resource_type, name):
        setting = (AlterableConfig(name="min.insync.replicas", value=value),)
        resource = AlterConfigsResource(resource_type=resource_type, resource_name=name, configs=setting)
        request_id = network.send(min(network.nodes), IncrementalAlterConfigsRequest(resources=(resource,)))
        assert network.run(until=lambda: request_id in network.client_replies)
        assert network.client_replies[request_id].responses[0].error_code == Code.NONE

    if where == "cluster":
        alter("2", BROKER, "")
    key = create(network, factor=2, **own)
    assert produced(network, key, b"x").error_code == Code.NONE
    leader, replica = newest_leader(network, key)
    (other,) = set(replica.state.replicas) - {leader}
    node = network.nodes[other]
    node.lifecycle.stop()
    assert network.run(until=lambda: node.is_stopped, limit_ms=1000)
    network.crash(other, power=False)
    assert network.run(until=lambda: image(network).partition(*key).elr == (other,), limit_ms=5000)
    alter("1", *((TOPIC, "t") if where == "topic" else (BROKER, "")))
    assert network.run(until=lambda: replica.config.min_isr == 1, limit_ms=1000)
    assert produced(network, key, b"y").error_code == Code.NONE
    network.crash(leader, power=False)
    assert network.run(until=lambda: image(network).partition(*key).leader < 0, limit_ms=5000)
    network.start(other)
    network.run(2000)
    assert image(network).partition(*key).leader < 0
    network.start(leader)
    assert network.run(until=lambda: healthy(network), limit_ms=5000)
    assert contents(network, key) == {0: b"x", 1: b"y"}


def test_eligible_replicas_stay_while_nobody_leads():
    """Else only the last leader could lead, and what it loses would be gone."""
    network = cluster(5)
    key = create(network, factor=2, **{"min.insync.replicas": 2})
    assert produced(network, key, b"x").error_code == Code.NONE
    leader, replica = newest_leader(network, key)
    (other,) = set(replica.state.replicas) - {leader}
    for node in (other, leader):
        broker = network.nodes[node]
        broker.lifecycle.stop()
        assert network.run(until=lambda broker=broker: broker.is_stopped, limit_ms=5000)
        network.crash(node, power=False)
    left = {other, leader}
    assert network.run(until=lambda: set(image(network).partition(*key).elr) == left, limit_ms=5000)
    setting = (AlterableConfig(name="min.insync.replicas", value="1"),)
    resource = AlterConfigsResource(resource_type=TOPIC, resource_name="t", configs=setting)
    asked = network.send(min(network.nodes.keys() - left), IncrementalAlterConfigsRequest(resources=(resource,)))
    assert network.run(until=lambda: asked in network.client_replies, limit_ms=5000)
    assert network.client_replies[asked].responses[0].error_code == Code.NONE
    network.start(other)
    assert network.run(until=lambda: image(network).partition(*key).leader == other, limit_ms=5000)
    assert image(network).partition(*key).elr == ()
