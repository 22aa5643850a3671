"""Which requests this node takes: their classes, their versions, and at which of its doors.

A client's door takes what clients may ask; the nodes' door also takes what only nodes ask each other (the quorum,
registration, heartbeats). The versions are those of Kafka 4.1; Produce is announced from version 0 on, as Kafka does,
for clients that take a higher lowest version for a broker that is too new. WriteTxnMarkers 2, of nodes alone, is
newer (KIP-1228); with version 1 administrators end transactions that hang. The APIs of share groups (KIP-932) are
taken where share groups are on, in the versions of Kafka 4.2; their states are a matter between nodes. ApiVersions is
answered from this table.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.wire.apis import Api
from broker.wire.message import Request, Response
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest, AddOffsetsToTxnResponse
from broker.wire.messages.add_partitions_to_txn import AddPartitionsToTxnRequest, AddPartitionsToTxnResponse
from broker.wire.messages.allocate_producer_ids import AllocateProducerIdsRequest, AllocateProducerIdsResponse
from broker.wire.messages.alter_client_quotas import AlterClientQuotasRequest, AlterClientQuotasResponse
from broker.wire.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse
from broker.wire.messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
)
from broker.wire.messages.alter_replica_log_dirs import AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse
from broker.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
)
from broker.wire.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from broker.wire.messages.broker_registration import BrokerRegistrationRequest, BrokerRegistrationResponse
from broker.wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse
from broker.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse
from broker.wire.messages.create_acls import CreateAclsRequest, CreateAclsResponse
from broker.wire.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsResponse
from broker.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from broker.wire.messages.delegation_tokens import (
    CreateDelegationTokenRequest,
    CreateDelegationTokenResponse,
    DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse,
    ExpireDelegationTokenRequest,
    ExpireDelegationTokenResponse,
    RenewDelegationTokenRequest,
    RenewDelegationTokenResponse,
)
from broker.wire.messages.delete_acls import DeleteAclsRequest, DeleteAclsResponse
from broker.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
from broker.wire.messages.delete_records import DeleteRecordsRequest, DeleteRecordsResponse
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from broker.wire.messages.describe_acls import DescribeAclsRequest, DescribeAclsResponse
from broker.wire.messages.describe_client_quotas import DescribeClientQuotasRequest, DescribeClientQuotasResponse
from broker.wire.messages.describe_cluster import DescribeClusterRequest, DescribeClusterResponse
from broker.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResponse
from broker.wire.messages.describe_groups import DescribeGroupsRequest, DescribeGroupsResponse
from broker.wire.messages.describe_log_dirs import DescribeLogDirsRequest, DescribeLogDirsResponse
from broker.wire.messages.describe_producers import DescribeProducersRequest, DescribeProducersResponse
from broker.wire.messages.describe_quorum import DescribeQuorumRequest, DescribeQuorumResponse
from broker.wire.messages.describe_topic_partitions import (
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
)
from broker.wire.messages.describe_transactions import DescribeTransactionsRequest, DescribeTransactionsResponse
from broker.wire.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
)
from broker.wire.messages.elect_leaders import ElectLeadersRequest, ElectLeadersResponse
from broker.wire.messages.end_txn import EndTxnRequest, EndTxnResponse
from broker.wire.messages.fetch import FetchRequest, FetchResponse
from broker.wire.messages.fetch_snapshot import FetchSnapshotRequest, FetchSnapshotResponse
from broker.wire.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from broker.wire.messages.get_replica_log_info import GetReplicaLogInfoRequest, GetReplicaLogInfoResponse
from broker.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from broker.wire.messages.incremental_alter_configs import (
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from broker.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from broker.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from broker.wire.messages.list_config_resources import ListConfigResourcesRequest, ListConfigResourcesResponse
from broker.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
from broker.wire.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from broker.wire.messages.list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
)
from broker.wire.messages.list_transactions import ListTransactionsRequest, ListTransactionsResponse
from broker.wire.messages.metadata import MetadataRequest, MetadataResponse
from broker.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from broker.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
from broker.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse
from broker.wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse
from broker.wire.messages.produce import ProduceRequest, ProduceResponse
from broker.wire.messages.quorum import (
    BeginQuorumEpochRequest,
    BeginQuorumEpochResponse,
    EndQuorumEpochRequest,
    EndQuorumEpochResponse,
    VoteRequest,
    VoteResponse,
)
from broker.wire.messages.sasl_authenticate import SaslAuthenticateRequest, SaslAuthenticateResponse
from broker.wire.messages.sasl_handshake import SaslHandshakeRequest, SaslHandshakeResponse
from broker.wire.messages.share_acknowledge import ShareAcknowledgeRequest, ShareAcknowledgeResponse
from broker.wire.messages.share_fetch import ShareFetchRequest, ShareFetchResponse
from broker.wire.messages.share_group_describe import ShareGroupDescribeRequest, ShareGroupDescribeResponse
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse
from broker.wire.messages.share_group_offsets import (
    AlterShareGroupOffsetsRequest,
    AlterShareGroupOffsetsResponse,
    DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse,
    DescribeShareGroupOffsetsRequest,
    DescribeShareGroupOffsetsResponse,
)
from broker.wire.messages.share_group_state import (
    DeleteShareGroupStateRequest,
    DeleteShareGroupStateResponse,
    InitializeShareGroupStateRequest,
    InitializeShareGroupStateResponse,
    ReadShareGroupStateRequest,
    ReadShareGroupStateResponse,
    ReadShareGroupStateSummaryRequest,
    ReadShareGroupStateSummaryResponse,
    WriteShareGroupStateRequest,
    WriteShareGroupStateResponse,
)
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from broker.wire.messages.txn_offset_commit import TxnOffsetCommitRequest, TxnOffsetCommitResponse
from broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse
from broker.wire.messages.update_features import UpdateFeaturesRequest, UpdateFeaturesResponse
from broker.wire.messages.write_txn_markers import WriteTxnMarkersRequest, WriteTxnMarkersResponse


class Served(NamedTuple):
    """One API: lowest and highest version that are read, and whether only nodes may ask."""

    request: type[Request]
    response: type[Response]
    lowest: int
    highest: int
    nodes_only: bool = False
    for_clients: int | None = None
    """The highest version that clients may use, if it is another."""
    of_shares: bool = False
    """Taken only where share groups are on."""


SERVED: dict[int, Served] = {
    entry.request.api: entry
    for entry in (
        Served(ProduceRequest, ProduceResponse, 3, 13),
        Served(FetchRequest, FetchResponse, 4, 18),
        Served(ListOffsetsRequest, ListOffsetsResponse, 1, 10),
        Served(MetadataRequest, MetadataResponse, 0, 13),
        Served(OffsetCommitRequest, OffsetCommitResponse, 2, 9),
        Served(OffsetFetchRequest, OffsetFetchResponse, 1, 9),
        Served(FindCoordinatorRequest, FindCoordinatorResponse, 0, 6),
        Served(JoinGroupRequest, JoinGroupResponse, 0, 9),
        Served(HeartbeatRequest, HeartbeatResponse, 0, 4),
        Served(LeaveGroupRequest, LeaveGroupResponse, 0, 5),
        Served(DescribeGroupsRequest, DescribeGroupsResponse, 0, 6),
        Served(ListGroupsRequest, ListGroupsResponse, 0, 5),
        Served(DeleteGroupsRequest, DeleteGroupsResponse, 0, 2),
        Served(SyncGroupRequest, SyncGroupResponse, 0, 5),
        Served(ApiVersionsRequest, ApiVersionsResponse, 0, 4),
        Served(CreateTopicsRequest, CreateTopicsResponse, 2, 7),
        Served(DeleteTopicsRequest, DeleteTopicsResponse, 1, 6),
        Served(InitProducerIdRequest, InitProducerIdResponse, 0, 5),
        Served(AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, 0, 5),
        Served(AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, 0, 4),
        Served(EndTxnRequest, EndTxnResponse, 0, 5),
        Served(TxnOffsetCommitRequest, TxnOffsetCommitResponse, 0, 5),
        Served(CreatePartitionsRequest, CreatePartitionsResponse, 0, 3),
        Served(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, 0, 1),
        Served(ElectLeadersRequest, ElectLeadersResponse, 0, 2),
        Served(AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, 0, 1),
        Served(AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, 1, 2),
        Served(DescribeQuorumRequest, DescribeQuorumResponse, 0, 2),
        Served(AlterConfigsRequest, AlterConfigsResponse, 0, 2),
        Served(CreateAclsRequest, CreateAclsResponse, 1, 3),
        Served(DeleteAclsRequest, DeleteAclsResponse, 1, 3),
        Served(DeleteRecordsRequest, DeleteRecordsResponse, 0, 2),
        Served(DescribeAclsRequest, DescribeAclsResponse, 1, 3),
        Served(DescribeClientQuotasRequest, DescribeClientQuotasResponse, 0, 1),
        Served(DescribeClusterRequest, DescribeClusterResponse, 0, 2),
        Served(DescribeConfigsRequest, DescribeConfigsResponse, 1, 4),
        Served(DescribeLogDirsRequest, DescribeLogDirsResponse, 1, 4),
        Served(DescribeProducersRequest, DescribeProducersResponse, 0, 0),
        Served(DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, 0, 0),
        Served(DescribeTransactionsRequest, DescribeTransactionsResponse, 0, 0),
        Served(SaslHandshakeRequest, SaslHandshakeResponse, 0, 1),
        Served(SaslAuthenticateRequest, SaslAuthenticateResponse, 0, 2),
        Served(AlterClientQuotasRequest, AlterClientQuotasResponse, 0, 1),
        Served(AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, 0, 0),
        Served(DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, 0, 0),
        Served(ListConfigResourcesRequest, ListConfigResourcesResponse, 0, 1),
        Served(ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, 0, 0),
        Served(ListTransactionsRequest, ListTransactionsResponse, 0, 2),
        Served(OffsetDeleteRequest, OffsetDeleteResponse, 0, 0),
        Served(OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, 2, 4),
        Served(UpdateFeaturesRequest, UpdateFeaturesResponse, 0, 2),
        Served(CreateDelegationTokenRequest, CreateDelegationTokenResponse, 1, 3),
        Served(RenewDelegationTokenRequest, RenewDelegationTokenResponse, 1, 2),
        Served(ExpireDelegationTokenRequest, ExpireDelegationTokenResponse, 1, 2),
        Served(DescribeDelegationTokenRequest, DescribeDelegationTokenResponse, 1, 3),
        Served(UnregisterBrokerRequest, UnregisterBrokerResponse, 0, 0),
        Served(ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, 0, 1),
        Served(ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, 0, 1),
        Served(ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse, 1, 1, of_shares=True),
        Served(ShareGroupDescribeRequest, ShareGroupDescribeResponse, 1, 1, of_shares=True),
        Served(ShareFetchRequest, ShareFetchResponse, 1, 2, of_shares=True),
        Served(ShareAcknowledgeRequest, ShareAcknowledgeResponse, 1, 2, of_shares=True),
        Served(DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse, 0, 1, of_shares=True),
        Served(AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, 0, 0, of_shares=True),
        Served(DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsResponse, 0, 0, of_shares=True),
        Served(
            InitializeShareGroupStateRequest,
            InitializeShareGroupStateResponse,
            0,
            0,
            nodes_only=True,
            of_shares=True,
        ),
        Served(ReadShareGroupStateRequest, ReadShareGroupStateResponse, 0, 0, nodes_only=True, of_shares=True),
        Served(WriteShareGroupStateRequest, WriteShareGroupStateResponse, 0, 1, nodes_only=True, of_shares=True),
        Served(DeleteShareGroupStateRequest, DeleteShareGroupStateResponse, 0, 0, nodes_only=True, of_shares=True),
        Served(
            ReadShareGroupStateSummaryRequest,
            ReadShareGroupStateSummaryResponse,
            0,
            1,
            nodes_only=True,
            of_shares=True,
        ),
        Served(WriteTxnMarkersRequest, WriteTxnMarkersResponse, 1, 2, for_clients=1),
        Served(AllocateProducerIdsRequest, AllocateProducerIdsResponse, 0, 0, nodes_only=True),
        Served(GetReplicaLogInfoRequest, GetReplicaLogInfoResponse, 0, 0, nodes_only=True),
        Served(VoteRequest, VoteResponse, 2, 2, nodes_only=True),
        Served(BeginQuorumEpochRequest, BeginQuorumEpochResponse, 1, 1, nodes_only=True),
        Served(EndQuorumEpochRequest, EndQuorumEpochResponse, 1, 1, nodes_only=True),
        Served(FetchSnapshotRequest, FetchSnapshotResponse, 1, 1, nodes_only=True),
        Served(AlterPartitionRequest, AlterPartitionResponse, 3, 3, nodes_only=True),
        Served(BrokerRegistrationRequest, BrokerRegistrationResponse, 4, 4, nodes_only=True),
        Served(BrokerHeartbeatRequest, BrokerHeartbeatResponse, 1, 1, nodes_only=True),
    )
}


def _door(*, to_nodes: bool, of_shares: bool) -> dict[int, range]:
    """Return the versions that a door takes, of share groups or of all else."""
    return {
        api: range(one.lowest, (one.highest if to_nodes or one.for_clients is None else one.for_clients) + 1)
        for api, one in SERVED.items()
        if one.of_shares is of_shares and (to_nodes or not one.nodes_only)
    }


NODES_DOOR = _door(to_nodes=True, of_shares=False)
CLIENTS_DOOR = _door(to_nodes=False, of_shares=False)
"""The versions that each door takes."""
NODES_SHARES = _door(to_nodes=True, of_shares=True)
CLIENTS_SHARES = _door(to_nodes=False, of_shares=True)
"""What each takes besides, where share groups are on."""


def offered(*, to_nodes: bool, shares: bool = False) -> tuple[ApiVersion, ...]:
    """Return the versions that a door announces; `shares`: with those of share groups."""
    taken = NODES_DOOR if to_nodes else CLIENTS_DOOR
    if shares:
        taken = {**taken, **(NODES_SHARES if to_nodes else CLIENTS_SHARES)}
    return tuple(
        ApiVersion(api_key=api, min_version=0 if api == Api.PRODUCE else versions[0], max_version=versions[-1])
        for api, versions in sorted(taken.items())
    )
