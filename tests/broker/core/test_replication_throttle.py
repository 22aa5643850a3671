"""Limits of replication (KIP-73) on the virtual clock: who catches up waits for them, who is in sync never does."""

from __future__ import annotations

import pytest

from broker.core import topic_settings
from broker.core.dynamic_settings import LEADER_RATE
from broker.core.errors import Code, Refused
from broker.core.replication.throttle import MAX_WAIT_MS, Bucket
from broker.core.throttled import NOBODY, throttled
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.broker.core.test_broker import cluster, create, healthy, image, newest_leader, produced

TOPIC, BROKER = 2, 4
SUBTRACT = 3
RECORDS, RECORD_BYTES = 20, 2000
RATE = 8000
CAUGHT_UP_MS = (RECORDS * RECORD_BYTES - RATE) * 1000 // RATE
"""What a bucket with room for a second lets through at once is not waited for."""


def alter(network, kind, name, operation=0, **values):
    items = tuple(
        AlterableConfig(name=key.replace("_", "."), value=value, config_operation=operation)
        for key, value in values.items()
    )
    resource = AlterConfigsResource(resource_type=kind, resource_name=name, configs=items)
    request_id = network.send(1, IncrementalAlterConfigsRequest(resources=(resource,)))
    assert network.run(until=lambda: request_id in network.client_replies)
    (result,) = network.client_replies[request_id].responses
    assert not result.error_code, result
    assert network.run(until=lambda: len({node.quorum.metadata.applied for node in network.nodes.values()}) == 1)


def filled(seed=1):
    """A cluster of four, a topic on three of them with records; the fourth may join."""
    network = cluster(4, seed=seed, replica_fetch_max_bytes=2500)
    key = create(network)
    for number in range(RECORDS):
        assert produced(network, key, b"%d" % number + bytes(RECORD_BYTES)).error_code == Code.NONE
    state = image(network).partition(*key)
    (newcomer,) = {1, 2, 3, 4} - set(state.replicas)
    return network, key, newcomer


def grow(network, key, newcomer):
    replicas = (*image(network).partition(*key).replicas, newcomer)
    ask = ReassignableTopic(name="t", partitions=(ReassignablePartition(partition_index=0, replicas=replicas),))
    network.send(1, AlterPartitionReassignmentsRequest(topics=(ask,)))


def joined_ms(network, key, newcomer):
    """Let the newcomer join; return how long that took."""
    began_ms = network.now_ms
    grow(network, key, newcomer)
    assert network.run(until=lambda: newcomer in image(network).partition(*key).isr and healthy(network))
    return network.now_ms - began_ms


def test_without_a_limit_a_newcomer_joins_at_once():
    assert joined_ms(*filled()) < CAUGHT_UP_MS / 2


@pytest.mark.parametrize("side", ["leader", "follower"])
@pytest.mark.parametrize("named", ["*", "all"])
def test_a_newcomer_catches_up_no_faster_than_the_limit_and_the_others_do_not_wait(side, named):
    network, key, newcomer = filled()
    leader, _ = newest_leader(network, key)
    here = leader if side == "leader" else newcomer
    alter(network, BROKER, str(here), **{f"{side}_replication_throttled_rate": str(RATE)})
    who = named if named == "*" else f"0:{here}"
    alter(network, TOPIC, "t", **{f"{side}_replication_throttled_replicas": who})
    began_ms = network.now_ms
    grow(network, key, newcomer)
    network.run(duration_ms=500)
    assert newcomer not in image(network).partition(*key).isr
    asked_ms = network.now_ms
    assert produced(network, key, b"more").error_code == Code.NONE
    assert network.now_ms - asked_ms < 300, "those who are in sync wait for the limit of one who is not"
    assert network.run(until=lambda: newcomer in image(network).partition(*key).isr)
    took_ms = network.now_ms - began_ms
    assert CAUGHT_UP_MS - 500 < took_ms < 2 * CAUGHT_UP_MS
    assert len(image(network).partition(*key).isr) == 4, "nobody has left the ISR meanwhile"


def test_a_limit_that_names_others_holds_nobody_back():
    network, key, newcomer = filled()
    leader, _ = newest_leader(network, key)
    alter(network, BROKER, "", leader_replication_throttled_rate="1", follower_replication_throttled_rate="1")
    alter(network, TOPIC, "t", leader_replication_throttled_replicas=f"0:{newcomer},1:{leader}")
    alter(network, TOPIC, "t", follower_replication_throttled_replicas=f"0:{leader},1:{newcomer}")
    assert joined_ms(network, key, newcomer) < CAUGHT_UP_MS / 2


@pytest.mark.parametrize("side", ["leader", "follower"])
def test_a_limit_that_is_lifted_lets_the_newcomer_go_on(side):
    network, key, newcomer = filled()
    alter(network, BROKER, "", **{f"{side}_replication_throttled_rate": "1"})
    alter(network, TOPIC, "t", **{f"{side}_replication_throttled_replicas": "*"})
    grow(network, key, newcomer)
    network.run(duration_ms=8000)
    assert newcomer not in image(network).partition(*key).isr
    alter(network, TOPIC, "t", SUBTRACT, **{f"{side}_replication_throttled_replicas": "*"})
    lifted_ms = network.now_ms
    assert network.run(until=lambda: newcomer in image(network).partition(*key).isr)
    assert network.now_ms - lifted_ms < MAX_WAIT_MS + 1000


def test_a_bucket_without_a_rate_never_waits_and_one_with_a_rate_drains_at_it():
    bucket = Bucket(LEADER_RATE)
    bucket.use(1 << 40, 0)
    assert bucket.wait_ms(0) == 0
    bucket.bytes_per_s = 1000
    bucket.use(1500, 0)
    assert bucket.wait_ms(0) == 500
    assert bucket.wait_ms(400) == 100
    assert bucket.wait_ms(500) == 0


@pytest.mark.parametrize("text", ["0", "0:", ":1", "a:1", "0:1;1:1", "0:1,", "**"])
def test_what_is_no_list_of_replicas_is_refused(text):
    for name in ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas"):
        with pytest.raises(Refused) as refused:
            topic_settings.check(name, text)
        assert refused.value.code == Code.INVALID_CONFIG


def test_a_list_names_pairs_of_partition_and_node():
    found = throttled("0:1, 3:2")
    assert (found.has(0, 1), found.has(3, 2), found.has(0, 2), found.has(1, 1)) == (True, True, False, False)
    assert throttled("*").has(7, 7)
    assert throttled("") is NOBODY
