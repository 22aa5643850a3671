"""With eligible leader replicas on, `min.insync.replicas` is one value for all brokers (KIP-966)."""

from __future__ import annotations

from broker.core.errors import Code
from broker.wire.messages.alter_configs import AlterableConfig as Replaced
from broker.wire.messages.alter_configs import AlterConfigsRequest
from broker.wire.messages.alter_configs import AlterConfigsResource as ReplacedResource
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.broker.core.test_broker import cluster, create, healthy, image, newest_leader
from tests.broker.core.test_describe import setting
from tests.broker.core.test_topics import call

KEY = "min.insync.replicas"
SET, DELETE = 0, 1
BROKERS, TOPICS = 4, 2


def alter(network, name, value, kind=BROKERS, operation=SET):
    item = AlterableConfig(name=KEY, value=value, config_operation=operation)
    resource = AlterConfigsResource(resource_type=kind, resource_name=name, configs=(item,))
    return Code(call(network, IncrementalAlterConfigsRequest(resources=(resource,))).responses[0].error_code)


def level(network, wanted):
    key = FeatureUpdateKey(feature="eligible.leader.replicas.version", max_version_level=wanted, upgrade_type=2)
    assert call(network, UpdateFeaturesRequest(feature_updates=(key,))).error_code == Code.NONE
    assert network.run(until=lambda: image(network).has_elr == bool(wanted))


def test_a_new_cluster_begins_with_the_value_of_its_first_controller():
    network = cluster(one_min_isr=True, properties={KEY: "2"})
    assert image(network).config("broker", "") == {KEY: "2"}
    assert setting(network, BROKERS, "1", KEY) == ("2", [(3, "2"), (4, "2"), (5, "1")])
    key = create(network)
    assert newest_leader(network, key)[1].config.min_isr == 2
    network.crash(1, power=False)
    network.start(1)
    assert network.run(until=lambda: healthy(network))
    assert image(network).config("broker", "") == {KEY: "2"}


def test_the_value_for_all_brokers_changes_and_stays_and_none_is_for_one_alone():
    network = cluster(1, one_min_isr=True)
    assert image(network).config("broker", "") == {KEY: "1"}
    assert alter(network, "", "3") is Code.NONE
    assert alter(network, "", None, operation=DELETE) is Code.INVALID_CONFIG
    assert alter(network, "1", "1") is Code.INVALID_CONFIG
    resource = ReplacedResource(
        resource_type=BROKERS, resource_name="", configs=(Replaced(name="num.io.threads", value="4"),)
    )
    assert call(network, AlterConfigsRequest(resources=(resource,))).responses[0].error_code == Code.INVALID_CONFIG
    create(network, factor=1)
    assert alter(network, "t", "2", kind=TOPICS) is Code.NONE
    assert image(network).config("broker", "") == {KEY: "3"}


def test_what_brokers_had_alone_goes_when_elr_comes_on():
    network = cluster(1, one_min_isr=True, elr=False)
    assert image(network).config("broker", "") == {}
    assert alter(network, "1", "2") is Code.NONE
    level(network, 1)
    assert network.run(until=lambda: image(network).config("broker", "") == {KEY: "1"})
    assert image(network).config("broker", "1") == {}
    assert alter(network, "1", "2") is Code.INVALID_CONFIG
    level(network, 0)
    assert alter(network, "1", "2") is Code.NONE


def test_simulated_nodes_begin_without():
    network = cluster(1)
    assert image(network).config("broker", "") == {}
    assert alter(network, "1", "2") is Code.NONE
