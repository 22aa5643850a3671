"""What requests need: every request has its row, and what is refused is refused in its own form."""

import msgspec
import pytest

from broker.core.errors import Code
from broker.core.security.access import RULES, judge
from broker.core.security.acl import Operation, ResourceType
from broker.core.security.rules import Narrowed
from broker.io.served import SERVED
from broker.wire import codec, record
from broker.wire.apis import Api
from broker.wire.message import Response
from broker.wire.messages import (
    add_partitions_to_txn,
    consumer_group_describe,
    create_topics,
    delete_topics,
    describe_cluster,
    describe_configs,
    describe_groups,
    describe_transactions,
    fetch,
    find_coordinator,
    list_groups,
    metadata,
    offset_commit,
    offset_fetch,
    produce,
    share_acknowledge,
    share_fetch,
)
from broker.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)

BEFORE_ANYBODY = {Api.API_VERSIONS, Api.SASL_HANDSHAKE, Api.SASL_AUTHENTICATE}
FOR_CLIENTS = [entry for api, entry in SERVED.items() if not entry.nodes_only and api not in BEFORE_ANYBODY]
TOPIC_ID = bytes(range(16))


def may(*allowed):
    return lambda operation, kind, name: (operation, kind, name) in allowed


def nothing(operation, kind, name):
    return False


def everything(operation, kind, name):
    return True


def name_of(topic):
    return topic if topic in {"open", "shut"} else "open" if topic == TOPIC_ID else ""


def test_every_request_of_a_client_has_a_row():
    assert {entry.request for entry in FOR_CLIENTS} <= set(RULES)


class NotListedRequest(metadata.MetadataRequest, frozen=True, kw_only=True):
    """What somebody adds tomorrow."""


def test_a_request_without_a_row_is_for_administrators():
    assert judge(NotListedRequest(), nothing, name_of) is Code.CLUSTER_AUTHORIZATION_FAILED
    administrator = may((Operation.ALTER, ResourceType.CLUSTER, "kafka-cluster"))
    assert judge(NotListedRequest(), administrator, name_of) is None


@pytest.mark.parametrize("entry", FOR_CLIENTS, ids=lambda entry: entry.request.__name__)
def test_a_refusal_is_an_answer_of_its_request_that_every_version_can_carry(entry):
    verdict = judge(entry.request(), nothing, name_of)
    if isinstance(verdict, Narrowed):
        verdict = verdict.finish(entry.response())
    if verdict is None:
        return
    assert type(verdict) is entry.response
    for version in range(entry.lowest, entry.highest + 1):
        codec.encode_response(verdict, version, correlation_id=1)


def test_what_holds_for_a_new_topic_is_told_to_who_may_see_it():
    names = ("seen", "hidden", "denied")
    message = create_topics.CreateTopicsRequest(topics=tuple(create_topics.CreatableTopic(name=name) for name in names))
    rights = may(
        (Operation.CREATE, ResourceType.TOPIC, "seen"),
        (Operation.CREATE, ResourceType.TOPIC, "hidden"),
        (Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, "seen"),
    )
    verdict = judge(message, rights, name_of)
    assert [topic.name for topic in verdict.message.topics] == ["seen", "hidden"]
    result = create_topics.CreatableTopicResult
    config = create_topics.CreatableTopicConfigs(name="retention.ms", value="7")
    made = tuple(result(name=name, num_partitions=2, replication_factor=1, configs=(config,)) for name in names[:2])
    seen, hidden, denied = verdict.finish(create_topics.CreateTopicsResponse(topics=made)).topics
    assert seen == made[0]
    refused = Code.TOPIC_AUTHORIZATION_FAILED
    assert hidden == result(name="hidden", topic_config_error_code=refused)
    assert denied == result(name="denied", error_code=refused)
    failed = (result(name="hidden", error_code=Code.TOPIC_ALREADY_EXISTS),)
    assert verdict.finish(create_topics.CreateTopicsResponse(topics=failed)).topics[0] == failed[0]
    for version in range(2, 8):
        codec.encode_response(create_topics.CreateTopicsResponse(topics=(hidden,)), version, correlation_id=1)


def test_markers_are_written_by_who_may_alter_the_cluster_or_act_for_it():
    message = WriteTxnMarkersRequest(
        markers=(WritableTxnMarker(producer_id=5, topics=(WritableTxnMarkerTopic(name="t", partition_indexes=(3,)),)),)
    )
    for operation in (Operation.ALTER, Operation.CLUSTER_ACTION):
        assert judge(message, may((operation, ResourceType.CLUSTER, "kafka-cluster")), name_of) is None
    (result,) = judge(message, nothing, name_of).markers
    (topic,) = result.topics
    (partition,) = topic.partitions
    said = (result.producer_id, topic.name, partition.partition_index, partition.error_code)
    assert said == (5, "t", 3, Code.CLUSTER_AUTHORIZATION_FAILED)


@pytest.mark.parametrize(("kind", "resource"), [(32, ResourceType.GROUP), (16, ResourceType.CLUSTER)])
def test_a_groups_settings_are_the_groups_and_a_subscription_is_the_clusters(kind, resource):
    asked = describe_configs.DescribeConfigsResource(resource_type=kind, resource_name="g")
    message = describe_configs.DescribeConfigsRequest(resources=(asked,))
    name = "g" if resource is ResourceType.GROUP else "kafka-cluster"
    assert judge(message, may((Operation.DESCRIBE_CONFIGS, resource, name)), name_of) is None
    other = may((Operation.DESCRIBE_CONFIGS, ResourceType.TOPIC, "g"))
    code = judge(message, other, name_of).results[0].error_code
    assert code == (Code.GROUP_AUTHORIZATION_FAILED if kind == 32 else Code.CLUSTER_AUTHORIZATION_FAILED)


@pytest.mark.parametrize("entry", FOR_CLIENTS, ids=lambda entry: entry.request.__name__)
def test_who_may_everything_is_not_held_up(entry):
    verdict = judge(entry.request(), everything, name_of)
    if isinstance(verdict, Narrowed):
        assert verdict.message == entry.request()
        verdict = None if verdict.finish(entry.response()) == entry.response() else verdict
    assert verdict is None


def topic_data(name, topic_id=bytes(16)):
    part = produce.PartitionProduceData(index=3, records=b"x")
    return produce.TopicProduceData(name=name, topic_id=topic_id, partition_data=(part,))


def test_a_produce_is_done_for_the_topics_that_may_be_written():
    asked = produce.ProduceRequest(acks=-1, topic_data=(topic_data("open"), topic_data("shut")))
    verdict = judge(asked, may((Operation.WRITE, ResourceType.TOPIC, "open")), name_of)
    assert isinstance(verdict, Narrowed)
    assert [one.name for one in verdict.message.topic_data] == ["open"]
    done = produce.TopicProduceResponse(
        name="open", partition_responses=(produce.PartitionProduceResponse(index=3, base_offset=7),)
    )
    whole = verdict.finish(produce.ProduceResponse(responses=(done,)))
    assert [(one.name, one.partition_responses[0].error_code) for one in whole.responses] == [
        ("open", 0),
        ("shut", Code.TOPIC_AUTHORIZATION_FAILED),
    ]


def test_a_topic_that_is_named_by_its_id_is_judged_by_its_name():
    asked = produce.ProduceRequest(topic_data=(topic_data("", TOPIC_ID),))
    assert judge(asked, may((Operation.WRITE, ResourceType.TOPIC, "open")), name_of) is None
    assert judge(asked, may((Operation.WRITE, ResourceType.TOPIC, "other")), name_of) is not None


def test_a_transactional_produce_needs_its_id_too():
    asked = produce.ProduceRequest(transactional_id="mine", topic_data=(topic_data("open"),))
    verdict = judge(asked, may((Operation.WRITE, ResourceType.TOPIC, "open")), name_of)
    assert isinstance(verdict, Response)
    assert verdict.responses[0].partition_responses[0].error_code == Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    both = may((Operation.WRITE, ResourceType.TOPIC, "open"), (Operation.WRITE, ResourceType.TRANSACTIONAL_ID, "mine"))
    assert judge(asked, both, name_of) is None


def test_a_fetch_of_what_may_not_be_read_holds_no_records():
    part = fetch.FetchPartition(partition=2)
    asked = fetch.FetchRequest(topics=(fetch.FetchTopic(topic="shut", partitions=(part,)),))
    verdict = judge(asked, nothing, name_of)
    assert isinstance(verdict, fetch.FetchResponse)
    data = verdict.responses[0].partitions[0]
    assert (data.error_code, data.partition_index, data.records) == (Code.TOPIC_AUTHORIZATION_FAILED, 2, b"")


def test_metadata_of_all_topics_shows_those_that_may_be_described():
    verdict = judge(
        metadata.MetadataRequest(topics=None), may((Operation.DESCRIBE, ResourceType.TOPIC, "open")), name_of
    )
    assert isinstance(verdict, Narrowed)
    topics = tuple(metadata.MetadataResponseTopic(name=name) for name in ("open", "shut"))
    shown = verdict.finish(metadata.MetadataResponse(topics=topics))
    assert [one.name for one in shown.topics] == ["open"]


def test_no_topic_is_created_by_asking_for_it_without_the_right():
    asked = metadata.MetadataRequest(topics=(metadata.MetadataRequestTopic(name="new"),))
    seen = (Operation.DESCRIBE, ResourceType.TOPIC, "new")
    verdict = judge(asked, may(seen), name_of)
    assert isinstance(verdict, Narrowed)
    assert verdict.message.topics == ()
    (topic,) = verdict.finish(metadata.MetadataResponse()).topics
    assert (topic.name, topic.error_code) == ("new", Code.TOPIC_AUTHORIZATION_FAILED)
    without = msgspec.structs.replace(asked, allow_auto_topic_creation=False)
    assert judge(without, may(seen), name_of).message == without, "nothing would be made"
    for right in ((ResourceType.TOPIC, "new"), (ResourceType.CLUSTER, "kafka-cluster")):
        verdict = judge(asked, may(seen, (Operation.CREATE, *right)), name_of)
        assert isinstance(verdict, Narrowed)
        assert verdict.message == asked


def test_a_topic_is_created_beside_one_that_is_there_and_could_not_be():
    named = tuple(metadata.MetadataRequestTopic(name=name) for name in ("open", "new", "newer"))
    seen = [(Operation.DESCRIBE, ResourceType.TOPIC, one.name) for one in named]
    asked = metadata.MetadataRequest(topics=named)
    verdict = judge(asked, may(*seen, (Operation.CREATE, ResourceType.TOPIC, "new")), name_of)
    assert [one.name for one in verdict.message.topics] == ["open", "new"]
    assert verdict.message.allow_auto_topic_creation


def test_a_commit_needs_the_group_and_each_topic():
    part = offset_commit.OffsetCommitRequestPartition(partition_index=1)
    topics = tuple(offset_commit.OffsetCommitRequestTopic(name=name, partitions=(part,)) for name in ("open", "shut"))
    asked = offset_commit.OffsetCommitRequest(group_id="g", topics=topics)
    refused = judge(asked, may((Operation.READ, ResourceType.TOPIC, "open")), name_of)
    assert {one.partitions[0].error_code for one in refused.topics} == {Code.GROUP_AUTHORIZATION_FAILED}
    group = (Operation.READ, ResourceType.GROUP, "g")
    verdict = judge(asked, may(group, (Operation.READ, ResourceType.TOPIC, "open")), name_of)
    assert isinstance(verdict, Narrowed)
    assert [one.name for one in verdict.message.topics] == ["open"]


def test_offsets_of_hidden_topics_and_groups_are_not_told():
    groups = tuple(offset_fetch.OffsetFetchRequestGroup(group_id=name, topics=None) for name in ("mine", "theirs"))
    asked = offset_fetch.OffsetFetchRequest(groups=groups)
    rights = may((Operation.DESCRIBE, ResourceType.GROUP, "mine"), (Operation.DESCRIBE, ResourceType.TOPIC, "open"))
    verdict = judge(asked, rights, name_of)
    assert isinstance(verdict, Narrowed)
    assert [one.group_id for one in verdict.message.groups] == ["mine"]
    partitions = (offset_fetch.OffsetFetchResponsePartitions(partition_index=0, committed_offset=5),)
    topics = tuple(
        offset_fetch.OffsetFetchResponseTopics(name=name, partitions=partitions) for name in ("open", "shut")
    )
    done = offset_fetch.OffsetFetchResponse(
        groups=(offset_fetch.OffsetFetchResponseGroup(group_id="mine", topics=topics),)
    )
    mine, theirs = verdict.finish(done).groups
    assert [(one.name, one.partitions[0].committed_offset) for one in mine.topics] == [("open", 5)]
    assert theirs.error_code == Code.GROUP_AUTHORIZATION_FAILED
    named = tuple(offset_fetch.OffsetFetchRequestTopics(name=name, partition_indexes=(0,)) for name in ("open", "shut"))
    group = offset_fetch.OffsetFetchRequestGroup(group_id="mine", topics=named)
    verdict = judge(offset_fetch.OffsetFetchRequest(groups=(group,)), rights, name_of)
    (mine,) = verdict.finish(done).groups
    assert [one.partitions[0].committed_offset for one in mine.topics] == [5, -1]
    assert mine.topics[1].partitions[0].error_code == Code.TOPIC_AUTHORIZATION_FAILED


def test_partitions_join_a_transaction_all_or_none():
    topics = tuple(
        add_partitions_to_txn.AddPartitionsToTxnTopic(name=name, partitions=(0,)) for name in ("open", "shut")
    )
    asked = add_partitions_to_txn.AddPartitionsToTxnRequest(
        v3_and_below_transactional_id="mine", v3_and_below_topics=topics
    )
    own = (Operation.WRITE, ResourceType.TRANSACTIONAL_ID, "mine")
    verdict = judge(asked, may(own, (Operation.WRITE, ResourceType.TOPIC, "open")), name_of)
    codes = [one.results_by_partition[0].partition_error_code for one in verdict.results_by_topic_v3_and_below]
    assert codes == [Code.OPERATION_NOT_ATTEMPTED, Code.TOPIC_AUTHORIZATION_FAILED]


def test_a_client_may_not_speak_to_a_coordinator_as_a_node():
    transaction = add_partitions_to_txn.AddPartitionsToTxnTransaction(transactional_id="mine")
    asked = add_partitions_to_txn.AddPartitionsToTxnRequest(transactions=(transaction,))
    own = (Operation.WRITE, ResourceType.TRANSACTIONAL_ID, "mine")
    assert judge(asked, may(own), name_of).error_code == Code.CLUSTER_AUTHORIZATION_FAILED


def test_coordinators_are_told_by_what_they_coordinate():
    asked = find_coordinator.FindCoordinatorRequest(
        key_type=find_coordinator.TRANSACTION, coordinator_keys=("mine", "theirs")
    )
    verdict = judge(asked, may((Operation.DESCRIBE, ResourceType.TRANSACTIONAL_ID, "mine")), name_of)
    assert isinstance(verdict, Narrowed)
    assert verdict.message.coordinator_keys == ("mine",)
    whole = verdict.finish(find_coordinator.FindCoordinatorResponse())
    assert whole.coordinators[0].error_code == Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_only_groups_that_may_be_described_are_listed():
    verdict = judge(list_groups.ListGroupsRequest(), may((Operation.DESCRIBE, ResourceType.GROUP, "mine")), name_of)
    assert isinstance(verdict, Narrowed)
    groups = tuple(list_groups.ListedGroup(group_id=name) for name in ("mine", "theirs"))
    assert [one.group_id for one in verdict.finish(list_groups.ListGroupsResponse(groups=groups)).groups] == ["mine"]

    everybody = may((Operation.DESCRIBE, ResourceType.CLUSTER, "kafka-cluster"))
    assert judge(list_groups.ListGroupsRequest(), everybody, name_of) is None


NOBODYS = bytes(reversed(TOPIC_ID))


@pytest.mark.parametrize(
    "asked",
    [
        produce.ProduceRequest(topic_data=(produce.TopicProduceData(topic_id=NOBODYS),)),
        fetch.FetchRequest(topics=(fetch.FetchTopic(topic_id=NOBODYS),)),
        delete_topics.DeleteTopicsRequest(topics=(delete_topics.DeleteTopicState(topic_id=NOBODYS),)),
        share_fetch.ShareFetchRequest(group_id="g", topics=(share_fetch.FetchTopic(topic_id=NOBODYS),)),
        share_acknowledge.ShareAcknowledgeRequest(
            group_id="g", topics=(share_acknowledge.AcknowledgeTopic(topic_id=NOBODYS),)
        ),
    ],
    ids=lambda asked: type(asked).__name__,
)
def test_an_id_that_no_topic_has_is_left_to_who_says_that_it_is_unknown(asked):
    rights = may((Operation.READ, ResourceType.GROUP, "g"))
    assert judge(asked, rights, name_of) is None


def test_offsets_by_an_id_that_no_topic_has_are_told_as_unknown():
    part = offset_commit.OffsetCommitRequestPartition(partition_index=0)
    topic = offset_commit.OffsetCommitRequestTopic(topic_id=NOBODYS, partitions=(part,))
    rights = may((Operation.READ, ResourceType.GROUP, "g"), (Operation.DESCRIBE, ResourceType.GROUP, "g"))
    assert judge(offset_commit.OffsetCommitRequest(group_id="g", topics=(topic,)), rights, name_of) is None
    wanted = offset_fetch.OffsetFetchRequestTopics(topic_id=NOBODYS, partition_indexes=(0,))
    group = offset_fetch.OffsetFetchRequestGroup(group_id="g", topics=(wanted,))
    verdict = judge(offset_fetch.OffsetFetchRequest(groups=(group,)), rights, name_of)
    unknown = offset_fetch.OffsetFetchResponsePartitions(partition_index=0, error_code=Code.UNKNOWN_TOPIC_ID)
    told = offset_fetch.OffsetFetchResponseTopics(topic_id=NOBODYS, partitions=(unknown,))
    given = offset_fetch.OffsetFetchResponse(
        groups=(offset_fetch.OffsetFetchResponseGroup(group_id="g", topics=(told,)),)
    )
    assert verdict.finish(given) == given


def test_a_topic_is_deleted_by_who_may_delete_what_its_id_names():
    hidden = bytes(reversed(TOPIC_ID))
    names = {hidden: "shut", TOPIC_ID: "open"}
    asked = delete_topics.DeleteTopicsRequest(
        topics=(delete_topics.DeleteTopicState(name="open", topic_id=hidden),)  # a right to one, the id of another
    )
    rights = may((Operation.DELETE, ResourceType.TOPIC, "open"))
    verdict = judge(asked, rights, lambda topic: names.get(topic, ""))
    assert isinstance(verdict, Response)
    assert verdict.responses[0].error_code == Code.TOPIC_AUTHORIZATION_FAILED
    asked = delete_topics.DeleteTopicsRequest(topics=(delete_topics.DeleteTopicState(topic_id=TOPIC_ID),))
    assert judge(asked, rights, lambda topic: names.get(topic, "")) is None
    asked = delete_topics.DeleteTopicsRequest(topic_names=("open", "shut"))
    assert judge(asked, may((Operation.DELETE, ResourceType.CLUSTER, "kafka-cluster")), name_of) is None


def test_records_of_a_transaction_need_its_id_shown():
    records = record.batch_of([(None, b"v")], timestamp_ms=0, producer_id=5, producer_epoch=0, transactional=True)
    part = produce.PartitionProduceData(index=0, records=memoryview(records))
    asked = produce.ProduceRequest(topic_data=(produce.TopicProduceData(name="open", partition_data=(part,)),))
    verdict = judge(asked, may((Operation.WRITE, ResourceType.TOPIC, "open")), name_of)
    assert isinstance(verdict, Response)
    assert verdict.responses[0].partition_responses[0].error_code == Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_hidden_topics_of_groups_and_transactions_are_not_told():
    places = tuple(
        consumer_group_describe.TopicPartitions(topic_name=name, partitions=(0,)) for name in ("open", "shut")
    )
    shall = consumer_group_describe.Assignment(topic_partitions=places)
    members = (consumer_group_describe.Member(member_id="m", target_assignment=shall),)
    described = consumer_group_describe.ConsumerGroupDescribeResponse(
        groups=(consumer_group_describe.DescribedGroup(group_id="g", group_state="Stable", members=members),)
    )
    group, topic = (Operation.DESCRIBE, ResourceType.GROUP, "g"), (Operation.DESCRIBE, ResourceType.TOPIC, "open")
    asked = consumer_group_describe.ConsumerGroupDescribeRequest(group_ids=("g",))
    (told,) = judge(asked, may(group, topic), name_of).finish(described).groups
    assert (told.error_code, told.members) == (Code.TOPIC_AUTHORIZATION_FAILED, ())
    assert judge(asked, everything, name_of).finish(described) == described
    topics = tuple(describe_transactions.TopicData(topic=name, partitions=(0,)) for name in ("open", "shut"))
    state = describe_transactions.TransactionState(transactional_id="x", topics=topics)
    given = describe_transactions.DescribeTransactionsResponse(transaction_states=(state,))
    own = (Operation.DESCRIBE, ResourceType.TRANSACTIONAL_ID, "x")
    asked = describe_transactions.DescribeTransactionsRequest(transactional_ids=("x",))
    (told,) = judge(asked, may(own, topic), name_of).finish(given).transaction_states
    assert told.topics == topics[:1]


def test_a_narrowed_message_keeps_everything_else():
    asked = produce.ProduceRequest(acks=1, timeout_ms=5, topic_data=(topic_data("open"), topic_data("shut")))
    verdict = judge(asked, may((Operation.WRITE, ResourceType.TOPIC, "open")), name_of)
    assert verdict.message == msgspec.structs.replace(asked, topic_data=asked.topic_data[:1])


def test_only_operations_that_are_allowed_are_told_and_only_to_who_asks():
    rights = may(
        (Operation.ALTER, ResourceType.CLUSTER, "kafka-cluster"),
        (Operation.DESCRIBE, ResourceType.TOPIC, "open"),
        (Operation.READ, ResourceType.TOPIC, "open"),
        (Operation.DESCRIBE, ResourceType.GROUP, "g"),
    )
    whole = (1 << 13) - 1
    given = describe_cluster.DescribeClusterResponse(cluster_authorized_operations=whole)
    asked = describe_cluster.DescribeClusterRequest(include_cluster_authorized_operations=True)
    assert judge(asked, rights, name_of).finish(given).cluster_authorized_operations == 1 << Operation.ALTER
    assert judge(describe_cluster.DescribeClusterRequest(), rights, name_of) is None
    topic = metadata.MetadataResponseTopic(name="open", topic_authorized_operations=whole)
    asked = metadata.MetadataRequest(
        topics=(metadata.MetadataRequestTopic(name="open"), metadata.MetadataRequestTopic(name="shut")),
        include_topic_authorized_operations=True,
    )
    told = judge(asked, rights, name_of).finish(metadata.MetadataResponse(topics=(topic,))).topics
    assert told[0].topic_authorized_operations == 1 << Operation.READ | 1 << Operation.DESCRIBE
    assert (told[1].name, told[1].topic_authorized_operations) == ("shut", metadata.NOT_ASKED)
    group = describe_groups.DescribedGroup(group_id="g", authorized_operations=whole)
    asked = describe_groups.DescribeGroupsRequest(groups=("g", "h"), include_authorized_operations=True)
    told = judge(asked, rights, name_of).finish(describe_groups.DescribeGroupsResponse(groups=(group,))).groups
    assert [one.authorized_operations for one in told] == [1 << Operation.DESCRIBE, metadata.NOT_ASKED]


@pytest.mark.parametrize("name", ["", None, "open"])
def test_a_topic_that_is_asked_for_by_id_is_judged_by_the_name_that_the_id_has(name):
    hidden = bytes(reversed(TOPIC_ID))
    rights = may((Operation.DESCRIBE, ResourceType.TOPIC, "open"))
    asked = metadata.MetadataRequest(topics=(metadata.MetadataRequestTopic(topic_id=hidden, name=name),))
    verdict = judge(asked, rights, lambda topic: "shut" if topic == hidden else "")
    assert verdict.message.topics == ()
    (topic,) = verdict.finish(metadata.MetadataResponse()).topics
    assert (topic.error_code, topic.name, topic.topic_id) == (Code.TOPIC_AUTHORIZATION_FAILED, None, hidden)
    asked = metadata.MetadataRequest(topics=(metadata.MetadataRequestTopic(topic_id=TOPIC_ID, name=name),))
    assert judge(asked, rights, name_of).message.topics == asked.topics
