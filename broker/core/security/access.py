"""What each request needs: the rights without which it, or a part of it, is refused.

`RULES` has a row for every request of a client's door. A request without a row needs ALTER on the cluster, so that
what is added later is closed until somebody opens it. Rights and codes are those of Kafka's KafkaApis and
ControllerApis.
"""

from __future__ import annotations

from broker.core.security import hidden, of_shares, particular
from broker.core.security.acl import CLUSTER_NAME, Operation
from broker.core.security.operations import described, telling
from broker.core.security.rules import (
    CLUSTER,
    CODES,
    GROUP,
    TRANSACTIONAL_ID,
    May,
    NameOf,
    Rule,
    Verdict,
    after,
    error,
    free,
    names,
    shown,
    topics,
    whole,
)
from broker.wire.message import Request
from broker.wire.messages import (
    add_offsets_to_txn,
    add_partitions_to_txn,
    alter_client_quotas,
    alter_configs,
    alter_partition_reassignments,
    alter_replica_log_dirs,
    consumer_group_describe,
    consumer_group_heartbeat,
    create_acls,
    create_partitions,
    create_topics,
    delegation_tokens,
    delete_acls,
    delete_groups,
    delete_records,
    delete_topics,
    describe_acls,
    describe_client_quotas,
    describe_cluster,
    describe_configs,
    describe_groups,
    describe_log_dirs,
    describe_producers,
    describe_quorum,
    describe_topic_partitions,
    describe_transactions,
    describe_user_scram_credentials,
    elect_leaders,
    end_txn,
    fetch,
    find_coordinator,
    heartbeat,
    incremental_alter_configs,
    init_producer_id,
    join_group,
    leave_group,
    list_config_resources,
    list_groups,
    list_offsets,
    list_partition_reassignments,
    list_transactions,
    metadata,
    offset_commit,
    offset_delete,
    offset_fetch,
    offset_for_leader_epoch,
    produce,
    share_group_describe,
    share_group_offsets,
    sync_group,
    txn_offset_commit,
    unregister_broker,
    update_features,
    write_txn_markers,
)
from broker.wire.messages.alter_user_scram_credentials import AlterUserScramCredentialsRequest
from broker.wire.messages.share_acknowledge import ShareAcknowledgeRequest
from broker.wire.messages.share_fetch import ShareFetchRequest
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest

_DESCRIBE_CLUSTER, _ALTER_CLUSTER = (CLUSTER, Operation.DESCRIBE), (CLUSTER, Operation.ALTER)
_GROUP = [(GROUP, Operation.READ, "group_id")]
_TRANSACTION = [(TRANSACTIONAL_ID, Operation.WRITE, "transactional_id")]

RULES: dict[type[Request], Rule] = {
    produce.ProduceRequest: particular.transactional_produce,
    fetch.FetchRequest: topics(
        Operation.READ, particular.fetch_rule, fetch.FetchResponse, into="responses", name="topic"
    ),
    list_offsets.ListOffsetsRequest: topics(
        Operation.DESCRIBE,
        particular.partitions(list_offsets.ListOffsetsTopicResponse, list_offsets.ListOffsetsPartitionResponse),
        list_offsets.ListOffsetsResponse,
    ),
    offset_for_leader_epoch.OffsetForLeaderEpochRequest: topics(
        Operation.DESCRIBE,
        particular.partitions(
            offset_for_leader_epoch.OffsetForLeaderTopicResult,
            offset_for_leader_epoch.EpochEndOffset,
            name="topic",
            index="partition",
        ),
        offset_for_leader_epoch.OffsetForLeaderEpochResponse,
        name="topic",
    ),
    metadata.MetadataRequest: telling(particular.metadata_rule),
    describe_topic_partitions.DescribeTopicPartitionsRequest: telling(particular.topic_partitions),
    describe_cluster.DescribeClusterRequest: telling(free),
    delete_records.DeleteRecordsRequest: topics(
        Operation.DELETE,
        particular.partitions(delete_records.DeleteRecordsTopicResult, delete_records.DeleteRecordsPartitionResult),
        delete_records.DeleteRecordsResponse,
    ),
    describe_producers.DescribeProducersRequest: topics(
        Operation.READ, particular.producers, describe_producers.DescribeProducersResponse
    ),
    # Groups
    find_coordinator.FindCoordinatorRequest: particular.find_coordinator_rule,
    join_group.JoinGroupRequest: whole(*_GROUP[0][:2], error(join_group.JoinGroupResponse), "group_id"),
    sync_group.SyncGroupRequest: whole(*_GROUP[0][:2], error(sync_group.SyncGroupResponse), "group_id"),
    heartbeat.HeartbeatRequest: whole(*_GROUP[0][:2], error(heartbeat.HeartbeatResponse), "group_id"),
    leave_group.LeaveGroupRequest: whole(*_GROUP[0][:2], error(leave_group.LeaveGroupResponse), "group_id"),
    consumer_group_heartbeat.ConsumerGroupHeartbeatRequest: particular.group_heartbeat,
    consumer_group_describe.ConsumerGroupDescribeRequest: hidden.hiding(
        described(
            consumer_group_describe.DescribedGroup,
            consumer_group_describe.ConsumerGroupDescribeResponse,
            field="group_ids",
        ),
        hidden.groups,
    ),
    describe_groups.DescribeGroupsRequest: described(
        describe_groups.DescribedGroup, describe_groups.DescribeGroupsResponse, field="groups"
    ),
    list_groups.ListGroupsRequest: hidden.list_groups,
    delete_groups.DeleteGroupsRequest: names(
        GROUP,
        Operation.DELETE,
        lambda name, code: delete_groups.DeletableGroupResult(group_id=name, error_code=code),
        delete_groups.DeleteGroupsResponse,
        field="groups_names",
        into="results",
    ),
    offset_commit.OffsetCommitRequest: after(_GROUP, particular.offset_commit_rule(), particular.offset_commit_rule),
    offset_fetch.OffsetFetchRequest: particular.offset_fetch_rule,
    offset_delete.OffsetDeleteRequest: particular.offset_delete_rule,
    # Share groups
    ShareGroupHeartbeatRequest: of_shares.heartbeat,
    share_group_describe.ShareGroupDescribeRequest: hidden.hiding(
        described(
            share_group_describe.DescribedGroup, share_group_describe.ShareGroupDescribeResponse, field="group_ids"
        ),
        hidden.groups,
    ),
    ShareFetchRequest: of_shares.fetch,
    ShareAcknowledgeRequest: of_shares.acknowledge,
    share_group_offsets.DescribeShareGroupOffsetsRequest: of_shares.describe_offsets,
    share_group_offsets.AlterShareGroupOffsetsRequest: of_shares.alter_offsets,
    share_group_offsets.DeleteShareGroupOffsetsRequest: of_shares.delete_offsets,
    # Transactions
    init_producer_id.InitProducerIdRequest: particular.init_producer_id_rule,
    add_partitions_to_txn.AddPartitionsToTxnRequest: particular.add_partitions,
    add_offsets_to_txn.AddOffsetsToTxnRequest: after(
        _TRANSACTION + _GROUP,
        free,
        lambda code: lambda _, __, ___: add_offsets_to_txn.AddOffsetsToTxnResponse(error_code=code),
    ),
    end_txn.EndTxnRequest: whole(*_TRANSACTION[0][:2], error(end_txn.EndTxnResponse), "transactional_id"),
    txn_offset_commit.TxnOffsetCommitRequest: after(
        _TRANSACTION + _GROUP, particular.txn_offset_commit_rule(), particular.txn_offset_commit_rule
    ),
    describe_transactions.DescribeTransactionsRequest: hidden.hiding(
        names(
            TRANSACTIONAL_ID,
            Operation.DESCRIBE,
            lambda name, code: describe_transactions.TransactionState(transactional_id=name, error_code=code),
            describe_transactions.DescribeTransactionsResponse,
            field="transactional_ids",
            into="transaction_states",
        ),
        hidden.transactions,
    ),
    list_transactions.ListTransactionsRequest: shown(TRANSACTIONAL_ID, "transaction_states", "transactional_id"),
    write_txn_markers.WriteTxnMarkersRequest: particular.write_markers_rule,
    # Administration
    create_topics.CreateTopicsRequest: particular.create_topics_rule,
    delete_topics.DeleteTopicsRequest: particular.delete_topics_rule,
    create_partitions.CreatePartitionsRequest: topics(
        Operation.ALTER,
        lambda one, code: create_partitions.CreatePartitionsTopicResult(name=one.name, error_code=code),
        create_partitions.CreatePartitionsResponse,
        into="results",
    ),
    describe_configs.DescribeConfigsRequest: particular.configs(
        Operation.DESCRIBE_CONFIGS,
        describe_configs.DescribeConfigsResult,
        describe_configs.DescribeConfigsResponse,
        "results",
    ),
    incremental_alter_configs.IncrementalAlterConfigsRequest: particular.configs(
        Operation.ALTER_CONFIGS,
        incremental_alter_configs.AlterConfigsResourceResponse,
        incremental_alter_configs.IncrementalAlterConfigsResponse,
        "responses",
    ),
    alter_configs.AlterConfigsRequest: particular.configs(
        Operation.ALTER_CONFIGS,
        alter_configs.AlterConfigsResourceResponse,
        alter_configs.AlterConfigsResponse,
        "responses",
    ),
    list_config_resources.ListConfigResourcesRequest: whole(
        CLUSTER, Operation.DESCRIBE_CONFIGS, error(list_config_resources.ListConfigResourcesResponse)
    ),
    describe_client_quotas.DescribeClientQuotasRequest: whole(
        CLUSTER, Operation.DESCRIBE_CONFIGS, error(describe_client_quotas.DescribeClientQuotasResponse)
    ),
    alter_client_quotas.AlterClientQuotasRequest: whole(CLUSTER, Operation.ALTER_CONFIGS, particular.alter_quotas),
    elect_leaders.ElectLeadersRequest: whole(*_ALTER_CLUSTER, error(elect_leaders.ElectLeadersResponse)),
    alter_partition_reassignments.AlterPartitionReassignmentsRequest: whole(
        *_ALTER_CLUSTER, error(alter_partition_reassignments.AlterPartitionReassignmentsResponse)
    ),
    list_partition_reassignments.ListPartitionReassignmentsRequest: whole(
        *_DESCRIBE_CLUSTER, error(list_partition_reassignments.ListPartitionReassignmentsResponse)
    ),
    unregister_broker.UnregisterBrokerRequest: whole(
        *_ALTER_CLUSTER, error(unregister_broker.UnregisterBrokerResponse)
    ),
    update_features.UpdateFeaturesRequest: whole(*_ALTER_CLUSTER, error(update_features.UpdateFeaturesResponse)),
    describe_quorum.DescribeQuorumRequest: whole(*_DESCRIBE_CLUSTER, error(describe_quorum.DescribeQuorumResponse)),
    describe_log_dirs.DescribeLogDirsRequest: whole(
        *_DESCRIBE_CLUSTER, error(describe_log_dirs.DescribeLogDirsResponse)
    ),
    alter_replica_log_dirs.AlterReplicaLogDirsRequest: whole(
        *_ALTER_CLUSTER,
        lambda message, code: alter_replica_log_dirs.AlterReplicaLogDirsResponse(
            results=tuple(
                alter_replica_log_dirs.AlterReplicaLogDirTopicResult(
                    topic_name=topic.name,
                    partitions=tuple(
                        alter_replica_log_dirs.AlterReplicaLogDirPartitionResult(partition_index=index, error_code=code)
                        for index in topic.partitions
                    ),
                )
                for folder in message.dirs
                for topic in folder.topics
            )
        ),
    ),
    # Security
    describe_acls.DescribeAclsRequest: whole(*_DESCRIBE_CLUSTER, error(describe_acls.DescribeAclsResponse)),
    create_acls.CreateAclsRequest: whole(
        *_ALTER_CLUSTER,
        lambda message, code: create_acls.CreateAclsResponse(
            results=(create_acls.AclCreationResult(error_code=code),) * len(message.creations)
        ),
    ),
    delete_acls.DeleteAclsRequest: whole(
        *_ALTER_CLUSTER,
        lambda message, code: delete_acls.DeleteAclsResponse(
            filter_results=(delete_acls.DeleteAclsFilterResult(error_code=code),) * len(message.filters)
        ),
    ),
    describe_user_scram_credentials.DescribeUserScramCredentialsRequest: whole(
        *_DESCRIBE_CLUSTER, error(describe_user_scram_credentials.DescribeUserScramCredentialsResponse)
    ),
    AlterUserScramCredentialsRequest: whole(*_ALTER_CLUSTER, particular.alter_scram),
    # Everybody's own tokens
    delegation_tokens.CreateDelegationTokenRequest: free,
    delegation_tokens.RenewDelegationTokenRequest: free,
    delegation_tokens.ExpireDelegationTokenRequest: free,
    delegation_tokens.DescribeDelegationTokenRequest: free,
}
"""What is in the door's table and not here: ApiVersions and the SASL requests, which are answered before anybody is."""


def judge(message: Request, may: May, name_of: NameOf) -> Verdict:
    """Return what whoever asks may have done of the request; see `rules`."""
    rule = RULES.get(type(message))
    if rule is None:
        return None if may(Operation.ALTER, CLUSTER, CLUSTER_NAME) else CODES[CLUSTER]
    return rule(message, may, name_of)
