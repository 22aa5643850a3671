"""What a node tells about the cluster, settings, partitions and transactions."""

from __future__ import annotations

import pytest

from broker.core import queries
from broker.core.errors import Code
from broker.core.topic_settings import DEFAULTS
from broker.wire.messages import describe_configs as dc
from broker.wire.messages.alter_configs import AlterableConfig as Replaced
from broker.wire.messages.alter_configs import AlterConfigsRequest
from broker.wire.messages.alter_configs import AlterConfigsResource as ReplacedResource
from broker.wire.messages.alter_replica_log_dirs import (
    AlterReplicaLogDir,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirTopic,
)
from broker.wire.messages.create_acls import AclCreation, CreateAclsRequest
from broker.wire.messages.describe_acls import DescribeAclsRequest
from broker.wire.messages.describe_cluster import DescribeClusterRequest
from broker.wire.messages.describe_log_dirs import DescribeLogDirsRequest
from broker.wire.messages.describe_producers import DescribeProducersRequest, TopicRequest
from broker.wire.messages.describe_topic_partitions import Cursor, DescribeTopicPartitionsRequest
from broker.wire.messages.describe_topic_partitions import TopicRequest as AskedTopic
from broker.wire.messages.describe_transactions import DescribeTransactionsRequest
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from broker.wire.messages.list_config_resources import ListConfigResourcesRequest
from broker.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from broker.wire.messages.list_transactions import ListTransactionsRequest
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from broker.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.broker.core.test_broker import cluster, create, healthy, newest_leader, produced
from tests.broker.core.test_transactions import Producer


def ask(network, node, message):
    """Ask as the driver does: a question, or else a step."""
    found = queries.answer(network.nodes[node], network.disks[node], message, network.now_ms)
    if found is not None:
        return found
    request_id = network.send(node, message)
    assert network.run(until=lambda: request_id in network.client_replies)
    return network.client_replies[request_id]


def settle(network):
    assert network.run(until=lambda: healthy(network))


def setting(network, kind, name, key, node=1):
    resource = dc.DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=(key,))
    (result,) = ask(network, node, dc.DescribeConfigsRequest(resources=(resource,), include_synonyms=True)).results
    assert result.error_code == Code.NONE, result
    (config,) = result.configs
    return config.value, [(synonym.source, synonym.value) for synonym in config.synonyms]


def alter(network, kind, name, key, value):
    resource = AlterConfigsResource(
        resource_type=kind, resource_name=name, configs=(AlterableConfig(name=key, value=value),)
    )
    (answer,) = ask(network, 1, IncrementalAlterConfigsRequest(resources=(resource,))).responses
    settle(network)
    return answer.error_code


def test_a_setting_is_told_with_all_values_that_it_overrides():
    network = cluster(properties={"log.retention.ms": "7"})
    create(network, retention_ms=5)
    assert alter(network, 4, "", "log.retention.ms", "6") == Code.NONE
    assert setting(network, 2, "t", "retention.ms") == (
        "5",
        [(1, "5"), (3, "6"), (4, "7")],
    )
    assert setting(network, 4, "1", "log.retention.ms")[0] == "6"
    assert alter(network, 4, "1", "log.retention.ms", "9") == Code.NONE
    assert setting(network, 4, "1", "log.retention.ms")[1][0] == (2, "9")
    assert setting(network, 4, "2", "log.retention.ms", node=2)[1][0] == (3, "6")


def test_a_group_has_settings_of_its_own():
    network = cluster()
    assert alter(network, 32, "g", "consumer.session.timeout.ms", "50000") == Code.NONE
    assert alter(network, 32, "g", "consumer.nonsense", "1") == Code.INVALID_CONFIG
    assert setting(network, 32, "g", "consumer.session.timeout.ms") == ("50000", [(8, "50000")])
    found = ask(network, 1, ListConfigResourcesRequest(resource_types=(32,))).config_resources
    assert [(one.resource_name, one.resource_type) for one in found] == [("g", 32)]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("consumer.session.timeout.ms", "44999", Code.INVALID_CONFIG),
        ("consumer.session.timeout.ms", "60001", Code.INVALID_CONFIG),
        ("consumer.session.timeout.ms", "soon", Code.INVALID_CONFIG),
        ("consumer.heartbeat.interval.ms", "1000", Code.NONE),
        ("share.auto.offset.reset", "earliest", Code.NONE),
        ("share.auto.offset.reset", "nowhere", Code.INVALID_CONFIG),
        ("share.isolation.level", "read_committed", Code.NONE),
        ("share.isolation.level", "none", Code.INVALID_CONFIG),
        ("streams.num.standby.replicas", "1", Code.NONE),
        ("streams.num.standby.replicas", "3", Code.INVALID_CONFIG),
    ],
)
def test_a_groups_setting_keeps_to_the_bounds_of_its_node(key, value, code):
    network = cluster(1, properties={"group.consumer.min.heartbeat.interval.ms": "1000"})
    assert alter(network, 32, "g", key, value) == code
    assert (setting(network, 32, "g", key)[0] == value) == (code == Code.NONE)


def listed_metrics(network):
    found = ask(network, 1, ListConfigResourcesRequest(resource_types=(16,))).config_resources
    return [(one.resource_name, one.resource_type) for one in found]


def test_a_subscription_to_metrics_is_kept_told_and_taken_away():
    network = cluster(1)
    assert alter(network, 16, "m", "interval.ms", "30000") == Code.NONE
    assert alter(network, 16, "m", "match", "client_id=a.*,client_software_name=librdkafka") == Code.NONE
    told = described(network, 16, "m")
    assert {name: config.value for name, config in told.items()} == {
        "interval.ms": "30000",
        "match": "client_id=a.*,client_software_name=librdkafka",
        "metrics": "",
    }
    assert [told[name].config_source for name in ("interval.ms", "metrics")] == [7, 5]
    assert [told[name].config_type for name in ("interval.ms", "metrics")] == [3, 7]
    assert listed_metrics(network) == [("m", 16)]
    item = AlterableConfig(name="metrics", config_operation=2, value="a.,b.")
    grown = AlterConfigsResource(resource_type=16, resource_name="m", configs=(item,))
    assert ask(network, 1, IncrementalAlterConfigsRequest(resources=(grown,))).responses[0].error_code == Code.NONE
    settle(network)
    assert described(network, 16, "m")["metrics"].value == "a.,b."
    for key in ("interval.ms", "match", "metrics"):
        item = AlterableConfig(name=key, config_operation=1)
        gone = AlterConfigsResource(resource_type=16, resource_name="m", configs=(item,))
        ask(network, 1, IncrementalAlterConfigsRequest(resources=(gone,)))
        settle(network)
    assert listed_metrics(network) == []


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("interval.ms", "1", Code.INVALID_REQUEST),
        ("interval.ms", "soon", Code.INVALID_CONFIG),
        ("match", "client_id", Code.INVALID_CONFIG),
        ("match", "client_id=(", Code.INVALID_CONFIG),
        ("match", "colour=red", Code.INVALID_CONFIG),
        ("no.such", "1", Code.INVALID_REQUEST),
    ],
)
def test_a_subscription_that_means_nothing_is_refused(key, value, code):
    assert alter(cluster(1), 16, "m", key, value) == code


def test_alter_configs_takes_away_what_it_does_not_name():
    network = cluster()
    create(network, retention_ms=5, min_insync_replicas=2)
    resource = ReplacedResource(
        resource_type=2, resource_name="t", configs=(Replaced(name="min.insync.replicas", value="1"),)
    )
    assert ask(network, 1, AlterConfigsRequest(resources=(resource,))).responses[0].error_code == Code.NONE
    settle(network)
    assert setting(network, 2, "t", "min.insync.replicas")[1][0] == (1, "1")
    assert setting(network, 2, "t", "retention.ms") == (DEFAULTS["retention.ms"], [])


def described(network, kind, name, node=1):
    resource = dc.DescribeConfigsResource(resource_type=kind, resource_name=name)
    asked = dc.DescribeConfigsRequest(resources=(resource,), include_documentation=True)
    (result,) = ask(network, node, asked).results
    return {config.name: config for config in result.configs}


def test_settings_of_brokers_alone_change_and_act_while_they_run():
    network = cluster()
    assert alter(network, 4, "", "log.cleaner.backoff.ms", "20") == Code.NONE
    assert alter(network, 4, "1", "log.cleaner.backoff.ms", "30") == Code.NONE
    assert alter(network, 4, "2", "producer.id.expiration.ms", "40") == Code.NONE
    assert [network.nodes[node].replicas.cleaner_backoff_ms for node in (1, 2)] == [30, 20]
    assert [network.nodes[node].replicas.producer_expiration_ms for node in (1, 2)] == [24 * 3600 * 1000, 40]
    assert setting(network, 4, "1", "log.cleaner.backoff.ms") == ("30", [(2, "30"), (3, "20"), (5, "15000")])
    network.crash(1, power=False)
    network.start(1)
    settle(network)
    assert network.nodes[1].replicas.cleaner_backoff_ms == 30
    assert alter(network, 4, "1", "log.cleaner.backoff.ms", None) == Code.INVALID_REQUEST
    assert alter(network, 4, "1", "log.cleaner.backoff.ms", "soon") == Code.INVALID_REQUEST


def test_what_means_nothing_here_is_kept_and_told():
    network = cluster(1)
    assert setting(network, 4, "1", "num.io.threads") == ("8", [(5, "8")])
    assert alter(network, 4, "1", "num.io.threads", "0") == Code.INVALID_REQUEST
    assert alter(network, 4, "1", "num.io.threads", "4") == Code.NONE
    assert setting(network, 4, "1", "num.io.threads")[0] == "4"
    for name in ("node.id", "listeners", "broker.session.timeout.ms", "sasl.enabled.mechanisms", "harness.bug"):
        assert alter(network, 4, "1", name, "4") == Code.INVALID_REQUEST
    assert alter(network, 4, "1", "plug.in.of.mine", "any") == Code.NONE
    assert setting(network, 4, "1", "plug.in.of.mine") == ("any", [(2, "any")])


def test_what_a_setting_does_and_whether_it_may_change_is_told():
    network = cluster(1, properties={"listeners": "CLIENT://h:1"})
    create(network, factor=1)
    topic, broker = described(network, 2, "t"), described(network, 4, "1")
    assert topic.keys() == DEFAULTS.keys()
    assert all(config.documentation for config in topic.values())
    assert not any(config.read_only for config in topic.values())
    assert broker["log.retention.ms"].documentation == topic["retention.ms"].documentation
    may_not = {name for name, config in broker.items() if config.read_only}
    assert {"listeners", "broker.session.timeout.ms"} <= may_not
    assert not may_not & {"log.retention.ms", "num.io.threads", "log.cleaner.backoff.ms"}


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [(2, "nobody", Code.UNKNOWN_TOPIC_OR_PARTITION), (4, "7", Code.INVALID_REQUEST), (99, "x", Code.INVALID_REQUEST)],
)
def test_a_resource_that_is_not_there_is_refused(kind, name, code):
    network = cluster(1)
    resource = dc.DescribeConfigsResource(resource_type=kind, resource_name=name)
    (result,) = ask(network, 1, dc.DescribeConfigsRequest(resources=(resource,))).results
    assert (result.error_code, result.configs) == (code, ())


def test_secrets_are_not_told():
    network = cluster(1, properties={"ssl.keystore.password": "hunter2"})
    resource = dc.DescribeConfigsResource(resource_type=4, resource_name="1")
    (result,) = ask(network, 1, dc.DescribeConfigsRequest(resources=(resource,), include_synonyms=True)).results
    (config,) = [one for one in result.configs if one.name == "ssl.keystore.password"]
    assert config.is_sensitive
    assert (config.value, config.synonyms[0].value) == (None, None)


def test_a_topic_that_is_asked_about_comes_into_being():
    network = cluster(default_partitions=2, default_replication_factor=3)
    asked = MetadataRequest(topics=(MetadataRequestTopic(name="new"), MetadataRequestTopic(name="in/valid")))
    first = {one.name: one.error_code for one in ask(network, 2, asked).topics}
    assert first == {"new": Code.UNKNOWN_TOPIC_OR_PARTITION, "in/valid": Code.INVALID_TOPIC_EXCEPTION}
    assert network.run(until=lambda: "new" in network.nodes[2].image.topic_ids)
    settle(network)
    (topic, _) = ask(network, 2, asked).topics
    assert [len(one.replica_nodes) for one in topic.partitions] == [3, 3]


@pytest.mark.parametrize(("enabled", "allowed"), [(False, True), (True, False)])
def test_no_topic_comes_into_being_where_it_is_not_wanted(enabled, allowed):
    network = cluster(auto_create_topics=enabled)
    asked = MetadataRequest(topics=(MetadataRequestTopic(name="new"),), allow_auto_topic_creation=allowed)
    assert ask(network, 1, asked).topics[0].error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
    network.run(1000)
    assert all("new" not in node.image.topic_ids for node in network.nodes.values())


def test_the_cluster_names_its_nodes_also_fenced_ones():
    network = cluster()
    network.crash(3, power=False)
    assert network.run(until=lambda: not network.nodes[1].image.is_active(3))
    alive = ask(network, 1, DescribeClusterRequest())
    everybody = ask(network, 1, DescribeClusterRequest(include_fenced_brokers=True))
    assert alive.controller_id in {1, 2}
    assert alive.cluster_id == everybody.cluster_id == "cluster"
    assert ask(network, 1, DescribeClusterRequest(endpoint_type=2)).error_code == Code.MISMATCHED_ENDPOINT_TYPE


def test_partitions_come_page_by_page_without_null_arrays():
    network = cluster()
    create(network, "a", partitions=3)
    create(network, "b", partitions=2)
    settle(network)
    pages, cursor = [], None
    for _ in range(10):
        page = ask(network, 1, DescribeTopicPartitionsRequest(response_partition_limit=2, cursor=cursor))
        pages += [(topic.name, one.partition_index) for topic in page.topics for one in topic.partitions]
        assert all(one.eligible_leader_replicas == () for topic in page.topics for one in topic.partitions)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert pages == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]
    request = DescribeTopicPartitionsRequest(topics=(AskedTopic(name="zz"),), cursor=Cursor(topic_name="b"))
    assert ask(network, 1, request).topics[0].error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


def epoch_end(network, node, epoch, current=-1):
    partition = OffsetForLeaderPartition(partition=0, leader_epoch=epoch, current_leader_epoch=current)
    topic = OffsetForLeaderTopic(topic="t", partitions=(partition,))
    one = ask(network, node, OffsetForLeaderEpochRequest(replica_id=-1, topics=(topic,))).topics[0].partitions[0]
    return one.error_code, one.leader_epoch, one.end_offset


def test_an_epoch_ends_where_the_next_one_starts():
    network = cluster()
    key = create(network)
    assert produced(network, key, b"x").error_code == Code.NONE
    old, replica = newest_leader(network, key)
    first = replica.leader.epoch
    network.crash(old, power=False)
    assert network.run(until=lambda: newest_leader(network, key)[0] not in {None, old})
    leader, replica = newest_leader(network, key)
    assert produced(network, key, b"y").error_code == Code.NONE
    newest = replica.leader.epoch
    assert epoch_end(network, leader, first) == (Code.NONE, first, 1)
    assert epoch_end(network, leader, newest) == (Code.NONE, newest, 2)
    assert epoch_end(network, leader, newest + 1) == (Code.NONE, -1, -1)
    assert epoch_end(network, leader, first, current=first)[0] == Code.FENCED_LEADER_EPOCH
    follower = next(node for node in network.nodes if node != leader)
    assert epoch_end(network, follower, first)[0] == Code.NOT_LEADER_OR_FOLLOWER


def test_transactions_and_their_producers_are_told():
    network = cluster()
    key = create(network)
    producer = Producer(network, "tx", v2=True).init()
    producer.send(key, b"x")
    node = producer.coordinator()
    (one,) = ask(network, node, DescribeTransactionsRequest(transactional_ids=("tx",))).transaction_states
    assert (one.transaction_state, one.producer_id, one.producer_epoch) == ("Ongoing", producer.id, producer.epoch)
    assert [(topic.topic, topic.partitions) for topic in one.topics] == [("t", (0,))]
    leader = newest_leader(network, key)[0]
    asked = DescribeProducersRequest(topics=(TopicRequest(name="t", partition_indexes=(0, 5)),))
    there, missing = ask(network, leader, asked).topics[0].partitions
    (active,) = there.active_producers
    assert (active.producer_id, active.last_sequence, active.current_txn_start_offset) == (producer.id, 0, 0)
    assert missing.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION

    def listed(**filters):
        return [
            item.transactional_id for item in ask(network, node, ListTransactionsRequest(**filters)).transaction_states
        ]

    assert listed() == listed(state_filters=("Ongoing",)) == listed(transactional_id_pattern="t.") == ["tx"]
    assert listed(state_filters=("Empty",)) == listed(producer_id_filters=(producer.id + 1,)) == []
    assert listed(duration_filter=1 << 40) == listed(transactional_id_pattern="t") == []
    assert listed(transactional_id_pattern="(t|x)+") == ["tx"]
    assert listed(transactional_id_pattern="a{99999999999}") == []
    for pattern in ("(", "(" * 3000):
        wrong = ask(network, node, ListTransactionsRequest(transactional_id_pattern=pattern))
        assert wrong.error_code == Code.INVALID_REGULAR_EXPRESSION
    assert ask(network, node, ListTransactionsRequest(state_filters=("Odd",))).unknown_state_filters == ("Odd",)
    (nobody,) = ask(network, node, DescribeTransactionsRequest(transactional_ids=("no",))).transaction_states
    assert nobody.error_code in {Code.TRANSACTIONAL_ID_NOT_FOUND, Code.NOT_COORDINATOR}


def test_a_replica_tells_its_size():
    network = cluster(1, properties={"log.dirs": "somewhere"})
    key = create(network, factor=1)
    assert produced(network, key, b"x").error_code == Code.NONE
    (result,) = ask(network, 1, DescribeLogDirsRequest(topics=None)).results
    assert result.log_dir == "somewhere"
    sizes = {topic.name: topic.partitions[0].partition_size for topic in result.topics}
    assert sizes["t"] == newest_leader(network, key)[1].log.size > 0


def test_a_replica_lies_in_the_one_folder_of_its_node():
    network = cluster(3, properties={"log.dirs": "/data/"})
    key = create(network, factor=1, partitions=3)
    settle(network)
    leader = newest_leader(network, key)[0]
    other = next(node for node in network.nodes if node != leader)

    def moved(node, path, name="t"):
        topic = AlterReplicaLogDirTopic(name=name, partitions=(0,))
        message = AlterReplicaLogDirsRequest(dirs=(AlterReplicaLogDir(path=path, topics=(topic,)),))
        (result,) = ask(network, node, message).results
        return result.topic_name, [one.error_code for one in result.partitions]

    assert moved(leader, "/data") == ("t", [Code.NONE])
    assert moved(leader, "/elsewhere") == ("t", [Code.LOG_DIR_NOT_FOUND])
    assert moved(other, "/data/") == ("t", [Code.REPLICA_NOT_AVAILABLE])
    assert moved(leader, "/data", "nobody") == ("nobody", [Code.UNKNOWN_TOPIC_OR_PARTITION])


def test_without_an_authorizer_rules_are_refused_one_by_one():
    network = cluster(1)
    assert ask(network, 1, DescribeAclsRequest()).error_code == Code.SECURITY_DISABLED
    results = ask(network, 1, CreateAclsRequest(creations=(AclCreation(), AclCreation()))).results
    assert [one.error_code for one in results] == [Code.SECURITY_DISABLED] * 2


def test_a_feature_rises_at_once_and_falls_only_when_allowed():
    network = cluster()

    def update(level, kind=1, name="transaction.version"):
        key = FeatureUpdateKey(feature=name, max_version_level=level, upgrade_type=kind)
        code = ask(network, 2, UpdateFeaturesRequest(feature_updates=(key,))).error_code
        settle(network)
        return code, network.nodes[1].image.features.get(name)

    assert network.nodes[1].image.features["transaction.version"] == 2
    assert update(1) == (Code.INVALID_UPDATE_VERSION, 2)
    assert update(1, kind=2) == (Code.NONE, 1)
    assert update(2) == (Code.NONE, 2)
    assert update(3) == (Code.INVALID_UPDATE_VERSION, 2)
    assert update(1, name="odd.version") == (Code.INVALID_UPDATE_VERSION, None)
    assert update(27, name="metadata.version") == (Code.NONE, None), "it is that of Kafka 4.1, and no record says so"
    for level in (21, 28):
        assert update(level, kind=2, name="metadata.version") == (Code.INVALID_UPDATE_VERSION, None)


def test_list_offsets_knows_nothing_in_remote_storage():
    network = cluster(1)
    key = create(network, factor=1)
    assert produced(network, key, b"x").error_code == Code.NONE

    def listed(timestamp):
        partition = ListOffsetsPartition(partition_index=0, timestamp=timestamp)
        topics = (ListOffsetsTopic(name="t", partitions=(partition,)),)
        (answer,) = ask(network, 1, ListOffsetsRequest(topics=topics)).topics[0].partitions
        return answer.error_code, answer.offset

    assert listed(-5) == (Code.NONE, -1)
    assert listed(-4) == (Code.NONE, 0)
    assert listed(-9) == (Code.UNSUPPORTED_FOR_MESSAGE_FORMAT, -1)
