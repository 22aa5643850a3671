"""What administrators' clients ask, and the answers that they are used to: Apache Kafka 4.1's codes and values."""

from __future__ import annotations

import pytest

from broker.core.errors import Code
from broker.wire.messages import alter_client_quotas as quotas
from broker.wire.messages import describe_configs as dc
from broker.wire.messages.alter_user_scram_credentials import AlterUserScramCredentialsRequest, ScramCredentialUpsertion
from broker.wire.messages.create_acls import AclCreation, CreateAclsRequest
from broker.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from broker.wire.messages.delete_groups import DeleteGroupsRequest
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from broker.wire.messages.describe_client_quotas import ComponentData, DescribeClientQuotasRequest
from broker.wire.messages.describe_groups import DescribeGroupsRequest
from broker.wire.messages.describe_transactions import DescribeTransactionsRequest
from broker.wire.messages.describe_user_scram_credentials import DescribeUserScramCredentialsRequest, UserName
from broker.wire.messages.elect_leaders import ElectLeadersRequest
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from broker.wire.messages.list_config_resources import ListConfigResourcesRequest
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from broker.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from tests.broker.core import test_consumer_group
from tests.broker.core.test_broker import cluster, create, image
from tests.broker.core.test_consumer_group import Consumer, ready
from tests.broker.core.test_describe import ask, described, setting, settle

TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND = 0, 1, 2
NOT_ASKED = -2147483648


def altered(network, kind, name, *items):
    resource = AlterConfigsResource(
        resource_type=kind,
        resource_name=name,
        configs=tuple(
            AlterableConfig(name=key, value=value, config_operation=operation) for key, value, operation in items
        ),
    )
    (answer,) = ask(network, 1, IncrementalAlterConfigsRequest(resources=(resource,))).responses
    settle(network)
    return Code(answer.error_code)


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("unclean.leader.election.enable", "True", "true"),
        ("retention.ms", " +60000 ", "60000"),
        ("cleanup.policy", " compact", "compact"),
        ("compression.zstd.level", "-7", "-7"),
        ("compression.gzip.level", "-1", "-1"),
    ],
)
def test_a_value_is_kept_as_kafka_reads_it(key, value, kept):
    network = cluster(1)
    create(network, "t", factor=1)
    assert altered(network, TOPIC, "t", (key, value, SET)) is Code.NONE
    assert setting(network, TOPIC, "t", key)[0] == kept
    configs = (CreatableTopicConfig(name=key, value=value),)
    wish = CreatableTopic(name="u", num_partitions=1, replication_factor=1, configs=configs)
    (made,) = ask(network, 1, CreateTopicsRequest(topics=(wish,))).topics
    assert {one.name: one.value for one in made.configs}[key] == kept
    settle(network)
    assert setting(network, TOPIC, "u", key)[0] == kept


def test_an_election_of_a_kind_that_nobody_knows_is_none():
    network = cluster(1)
    create(network, "t", factor=1)
    assert ask(network, 1, ElectLeadersRequest(election_type=2)).error_code == Code.INVALID_REQUEST


def test_a_topic_is_deleted_by_its_name_or_its_id_and_not_by_both():
    network = cluster(1)
    create(network, "t", factor=1)
    topic_id = bytes.fromhex(image(network).topic_ids["t"])
    for asked in (DeleteTopicState(name="t", topic_id=topic_id), DeleteTopicState(name=None)):
        (result,) = ask(network, 1, DeleteTopicsRequest(topics=(asked,))).responses
        assert result.error_code == Code.INVALID_REQUEST
    settle(network)
    assert "t" in image(network).topic_ids
    (result,) = ask(network, 1, DeleteTopicsRequest(topics=(DeleteTopicState(name=None, topic_id=topic_id),))).responses
    assert (result.error_code, result.name) == (Code.NONE, "t")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"resource_type": 2, "resource_name": "t", "resource_pattern_type": 4}, Code.NONE),
        ({"resource_type": 2, "resource_name": "", "resource_pattern_type": 4}, Code.INVALID_REQUEST),
        ({"resource_type": 4, "resource_name": "kafka-cluster"}, Code.NONE),
        ({"resource_type": 4, "resource_name": "my-cluster"}, Code.INVALID_REQUEST),
    ],
)
def test_a_rule_names_what_there_can_be(rule, code):
    creation = AclCreation(principal="User:eve", host="*", operation=3, permission_type=3, **rule)
    (result,) = ask(cluster(1, has_authorizer=True), 1, CreateAclsRequest(creations=(creation,))).results
    assert result.error_code == code


def test_a_topic_is_found_by_its_id_whatever_name_stands_beside_it():
    network = cluster(1)
    create(network, "t", factor=1)
    topic_id = bytes.fromhex(image(network).topic_ids["t"])
    for name in ("", None, "other"):
        asked = MetadataRequestTopic(topic_id=topic_id, name=name)
        (topic,) = ask(network, 1, MetadataRequest(topics=(asked,))).topics
        assert (topic.error_code, topic.name, topic.topic_id) == (Code.NONE, "t", topic_id)
        asked = MetadataRequestTopic(topic_id=bytes(15) + b"\x05", name=name)
        (topic,) = ask(network, 1, MetadataRequest(topics=(asked,))).topics
        assert (topic.error_code, topic.name, topic.topic_id) == (Code.UNKNOWN_TOPIC_ID, None, asked.topic_id)


def test_only_answers_about_topics_that_are_there_are_remembered():
    network = cluster(1)
    create(network, "t", factor=1)
    remembered = network.nodes[1]._told
    for names, count in ((("t",), 1), (("nobody",), 1), (("t",) * 1000, 1)):
        topics = tuple(MetadataRequestTopic(name=name) for name in names)
        asked = MetadataRequest(topics=topics, allow_auto_topic_creation=False)
        assert [one.name for one in ask(network, 1, asked).topics] == list(names)
        assert sum(question[0].topics is not None for question in remembered) == count


def test_nobody_makes_a_topic_of_the_metadata_logs_name():
    network = cluster(1)
    wish = CreatableTopic(name="__cluster_metadata", num_partitions=1, replication_factor=1)
    (made,) = ask(network, 1, CreateTopicsRequest(topics=(wish,))).topics
    assert made.error_code == Code.INVALID_REQUEST
    ask(network, 1, MetadataRequest(topics=(MetadataRequestTopic(name="__cluster_metadata"),)))
    settle(network)
    assert image(network).topics == {}


@pytest.mark.parametrize(
    ("kind", "name", "items", "code"),
    [
        (TOPIC, "t", [("retention.ms", "5", SET), ("retention.ms", None, DELETE)], Code.INVALID_REQUEST),
        (TOPIC, "t", [("retention.ms", None, SET)], Code.INVALID_REQUEST),
        (TOPIC, "t", [("retention.ms", "5", APPEND)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("retention.ms", "soon", SET)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("remote.storage.enable", "true", SET)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("remote.storage.enable", "false", SET)], Code.NONE),
        (TOPIC, "t", [("nonsense", None, DELETE)], Code.NONE),
        (TOPIC, "t", [("compression.gzip.level", "0", SET)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("compression.lz4.level", "18", SET)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("compression.zstd.level", "most", SET)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("retention.ms", "9" * 5000, SET)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("segment.bytes", "9" * 5000, SET)], Code.INVALID_CONFIG),
        (TOPIC, "t", [("leader.replication.throttled.replicas", f"{'9' * 5000}:1", SET)], Code.INVALID_CONFIG),
        (BROKER, "1", [("log.cleaner.backoff.ms", "9" * 5000, SET)], Code.INVALID_REQUEST),
        (GROUP, "g", [("share.auto.offset.reset", f"by_duration:PT{'9' * 400}H", SET)], Code.INVALID_CONFIG),
        (GROUP, "g", [("share.auto.offset.reset", "by_duration:PT12H", SET)], Code.NONE),
        (METRICS, "m", [("match", "client_id=a{99999999999}", SET)], Code.INVALID_CONFIG),
        (METRICS, "m", [("match", f"client_id={'(' * 3000}", SET)], Code.INVALID_CONFIG),
        (TOPIC, "", [("retention.ms", "5", SET)], Code.INVALID_REQUEST),
        (TOPIC, "nobody", [("retention.ms", "5", SET)], Code.UNKNOWN_TOPIC_OR_PARTITION),
        (GROUP, "", [("consumer.session.timeout.ms", "50000", SET)], Code.INVALID_REQUEST),
        (GROUP, "g", [("nonsense", None, DELETE)], Code.NONE),
        (METRICS, "", [("interval.ms", "1000", SET)], Code.INVALID_REQUEST),
        (METRICS, "m", [("nonsense", None, DELETE)], Code.NONE),
        (BROKER, "1", [("num.io.threads", "-1", SET)], Code.INVALID_REQUEST),
        (BROKER, "", [("log.retention.ms", "soon", SET)], Code.INVALID_REQUEST),
        (BROKER, "1", [("min.insync.replicas", "1", SET)], Code.NONE),
    ],
)
def test_a_change_of_settings_is_made_or_refused_with_kafkas_error(kind, name, items, code):
    network = cluster(1)
    create(network, "t", factor=1)
    assert altered(network, kind, name, *items) is code


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (TOPIC, "", Code.INVALID_TOPIC_EXCEPTION),
        (TOPIC, "bad name!", Code.INVALID_TOPIC_EXCEPTION),
        (TOPIC, "nobody", Code.UNKNOWN_TOPIC_OR_PARTITION),
        (GROUP, "", Code.INVALID_REQUEST),
    ],
)
def test_settings_of_what_can_not_be_are_refused(kind, name, code):
    asked = dc.DescribeConfigsResource(resource_type=kind, resource_name=name)
    (result,) = ask(cluster(1), 1, dc.DescribeConfigsRequest(resources=(asked,))).results
    assert (result.error_code, result.configs) == (code, ())


def test_settings_have_kafkas_types():
    network = cluster(1, properties={"process.roles": "broker,controller", "node.id": "1"})
    create(network, "t", factor=1)
    types = {name: one.config_type for name, one in described(network, BROKER, "1").items()}
    wanted = {
        "log.cleanup.policy": 7,
        "log.segment.bytes": 3,
        "log.retention.bytes": 5,
        "log.cleaner.min.cleanable.ratio": 6,
        "offsets.topic.replication.factor": 4,
        "broker.session.timeout.ms": 3,
        "replica.lag.time.max.ms": 5,
        "num.io.threads": 3,
        "process.roles": 7,
        "node.id": 3,
        "auto.create.topics.enable": 1,
        "group.consumer.migration.policy": 2,
    }
    assert {name: types[name] for name in wanted} == wanted


def test_a_broker_tells_its_own_settings_and_no_value_where_another_unit_has_it():
    network = cluster(1)
    create(network, "t", factor=1)
    broker, topic = described(network, BROKER, "1"), described(network, TOPIC, "t")
    of_topics_alone = {"segment.jitter.ms", "remote.storage.enable", "leader.replication.throttled.replicas"}
    assert of_topics_alone <= topic.keys()
    assert not of_topics_alone & broker.keys()
    assert "replica.alter.log.dirs.io.max.bytes.per.second" not in broker
    assert setting(network, BROKER, "1", "log.retention.ms") == (None, [])
    assert setting(network, TOPIC, "t", "retention.ms") == (str(7 * 24 * 3600 * 1000), [])
    assert altered(network, BROKER, "", ("log.retention.ms", "9", SET)) is Code.NONE
    assert setting(network, BROKER, "1", "log.retention.ms") == ("9", [(3, "9")])
    assert setting(network, METRICS, "m", "match") == ("", [])


def test_resources_of_a_type_that_nobody_knows_are_not_listed():
    network = cluster(1)
    assert ask(network, 1, ListConfigResourcesRequest(resource_types=(0,))).error_code == Code.UNSUPPORTED_VERSION
    answer = ask(network, 1, ListConfigResourcesRequest(resource_types=(BROKER, LOGGER)))
    assert [(one.resource_type, one.resource_name) for one in answer.config_resources] == [(BROKER, "1")]


def test_a_group_without_a_name_has_offsets_and_no_members():
    network = ready(1)
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=3)
    wish = OffsetCommitRequest(group_id="", topics=(OffsetCommitRequestTopic(name="t", partitions=(partition,)),))
    result = test_consumer_group.ask(network, wish, 8, "").topics[0].partitions[0]
    assert result.error_code == Code.NONE
    fetch = OffsetFetchRequest(groups=(OffsetFetchRequestGroup(group_id=""),))
    (group,) = test_consumer_group.ask(network, fetch, 8, "").groups
    assert [one.committed_offset for one in group.topics[0].partitions] == [3]
    (group,) = test_consumer_group.ask(network, DescribeGroupsRequest(groups=("",)), 5, "").groups
    assert (group.error_code, group.group_state) == (Code.NONE, "Empty")
    leave = LeaveGroupRequest(group_id="", members=(MemberIdentity(member_id="m"),))
    assert test_consumer_group.ask(network, leave, 4, "").error_code == Code.INVALID_GROUP_ID
    (result,) = test_consumer_group.ask(network, DeleteGroupsRequest(groups_names=("",)), 2, "").results
    assert result.error_code == Code.NONE


def test_what_may_be_done_to_a_group_is_told_to_who_asks():
    network = ready(1)
    partition = OffsetCommitRequestPartition(partition_index=0, committed_offset=3)
    wish = OffsetCommitRequest(group_id="g", topics=(OffsetCommitRequestTopic(name="t", partitions=(partition,)),))
    test_consumer_group.ask(network, wish, 8)
    for asks in (True, False):
        message = DescribeGroupsRequest(groups=("g", "nobody"), include_authorized_operations=asks)
        found, missing = test_consumer_group.ask(network, message, 5).groups
        operations = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11
        assert found.authorized_operations == (operations if asks else NOT_ASKED)
        assert missing.error_code == Code.GROUP_ID_NOT_FOUND  # clients of older versions hear no error, and of rights
        assert missing.authorized_operations == found.authorized_operations


def test_an_administrator_takes_members_of_the_consumer_protocol_out():
    network = ready(1)
    one = Consumer(network, "one").join()
    leave = LeaveGroupRequest(
        group_id="g", members=(MemberIdentity(member_id="one"), MemberIdentity(member_id="other"))
    )
    answer = test_consumer_group.ask(network, leave, 4)
    assert [member.error_code for member in answer.members] == [Code.NONE, Code.UNKNOWN_MEMBER_ID]
    assert one.beat() == Code.UNKNOWN_MEMBER_ID


def test_a_transaction_without_a_name_is_no_question():
    (told,) = ask(cluster(1), 1, DescribeTransactionsRequest(transactional_ids=("",))).transaction_states
    assert told.error_code == Code.INVALID_REQUEST


def test_a_limit_that_is_named_twice_is_not_set():
    network = cluster(1)
    bob = (quotas.EntityPart(entity_type="user", entity_name="bob"),)
    one = quotas.OpData(key="producer_byte_rate", value=5.0)
    wish = quotas.QuotaChange(entity=bob, ops=(one, one))
    (result,) = ask(network, 1, quotas.AlterClientQuotasRequest(entries=(wish,))).entries
    assert result.error_code == Code.INVALID_REQUEST
    wish = quotas.QuotaChange(entity=bob, ops=(one,))
    results = ask(network, 1, quotas.AlterClientQuotasRequest(entries=(wish, wish))).entries
    assert [result.error_code for result in results] == [Code.NONE, Code.INVALID_REQUEST]


@pytest.mark.parametrize(
    ("kind", "value", "code"),
    [
        ("request_percentage", 0.5, Code.NONE),
        ("request_percentage", float("inf"), Code.INVALID_REQUEST),
        ("request_percentage", float("nan"), Code.INVALID_REQUEST),
        ("producer_byte_rate", 1e19, Code.INVALID_REQUEST),
        ("producer_byte_rate", 0.5, Code.INVALID_REQUEST),
        ("producer_byte_rate", 0.0, Code.INVALID_REQUEST),
    ],
)
def test_a_limit_is_a_number_that_can_be_kept(kind, value, code):
    ops = (quotas.OpData(key=kind, value=value),)
    wish = quotas.QuotaChange(entity=(quotas.EntityPart(entity_type="user", entity_name="bob"),), ops=ops)
    (result,) = ask(cluster(1), 1, quotas.AlterClientQuotasRequest(entries=(wish,))).entries
    assert result.error_code == code


@pytest.mark.parametrize(
    ("kinds", "code"),
    [
        (("user", "client-id"), Code.NONE),
        (("user", "user"), Code.INVALID_REQUEST),
        (("user", "ip"), Code.INVALID_REQUEST),
        (("",), Code.INVALID_REQUEST),
        (("colour",), Code.UNSUPPORTED_VERSION),
    ],
)
def test_limits_are_looked_for_by_kinds_that_there_are(kinds, code):
    components = tuple(ComponentData(entity_type=kind, match_type=2) for kind in kinds)
    assert ask(cluster(1), 1, DescribeClientQuotasRequest(components=components)).error_code == code


def test_limits_and_settings_stand_in_kafkas_order():
    network = cluster(1)
    create(network, "t", factor=1)
    parts = tuple(
        quotas.EntityPart(entity_type=kind, entity_name=name) for kind, name in (("user", "bob"), ("client-id", "c"))
    )
    kinds = ("producer_byte_rate", "consumer_byte_rate", "request_percentage")
    ops = tuple(quotas.OpData(key=kind, value=5.0) for kind in kinds)
    wishes = tuple(quotas.QuotaChange(entity=entity, ops=ops) for entity in (parts, parts[:1]))
    results = ask(network, 1, quotas.AlterClientQuotasRequest(entries=wishes)).entries
    assert [[part.entity_type for part in result.entity] for result in results] == [["client-id", "user"], ["user"]]
    settle(network)
    entries = ask(network, 1, DescribeClientQuotasRequest()).entries
    assert [[part.entity_type for part in entry.entity] for entry in entries] == [["user"], ["client-id", "user"]]
    assert [one.key for one in entries[0].values] == ["consumer_byte_rate", "request_percentage", "producer_byte_rate"]
    names = list(described(network, TOPIC, "t"))
    assert names == sorted(names)


def test_a_users_credential_is_set_once_in_a_request_and_told_once():
    network = cluster(1)

    def wish(user, mechanism, iterations=4096):
        return ScramCredentialUpsertion(
            name=user, mechanism=mechanism, iterations=iterations, salt=b"salt", salted_password=b"password"
        )

    wishes = (wish("bob", 1), wish("bob", 2), wish("eve", 1), wish("max", 1, 5))
    results = ask(network, 1, AlterUserScramCredentialsRequest(upsertions=wishes)).results
    codes = {result.user: result.error_code for result in results}
    assert codes == {
        "bob": Code.DUPLICATE_RESOURCE,
        "eve": Code.NONE,
        "max": Code.UNACCEPTABLE_CREDENTIAL,
    }
    settle(network)
    asked = DescribeUserScramCredentialsRequest(users=tuple(UserName(name=name) for name in ("bob", "eve", "eve")))
    told = ask(network, 1, asked).results
    assert [(one.user, one.error_code) for one in told] == [
        ("bob", Code.RESOURCE_NOT_FOUND),
        ("eve", Code.DUPLICATE_RESOURCE),
    ]
