"""Which requests this node takes: their classes, their versions, and at which of its doors.

A client's door takes what clients may ask; the nodes' door also takes what only nodes ask each other (the quorum,
registration, heartbeats). The versions are those of Kafka 4.1; Produce is announced from version 0 on, as Kafka does,
for clients that take a higher lowest version for a broker that is too new. ApiVersions is answered from this table.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.wire.apis import Api
from broker.wire.message import Request, Response
from broker.wire.messages.alter_partition import AlterPartitionRequest, AlterPartitionResponse
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
)
from broker.wire.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from broker.wire.messages.broker_registration import BrokerRegistrationRequest, BrokerRegistrationResponse
from broker.wire.messages.create_topics import CreateTopicsRequest, CreateTopicsResponse
from broker.wire.messages.describe_quorum import DescribeQuorumRequest, DescribeQuorumResponse
from broker.wire.messages.elect_leaders import ElectLeadersRequest, ElectLeadersResponse
from broker.wire.messages.fetch import FetchRequest, FetchResponse
from broker.wire.messages.fetch_snapshot import FetchSnapshotRequest, FetchSnapshotResponse
from broker.wire.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from broker.wire.messages.metadata import MetadataRequest, MetadataResponse
from broker.wire.messages.produce import ProduceRequest, ProduceResponse
from broker.wire.messages.quorum import (
    BeginQuorumEpochRequest,
    BeginQuorumEpochResponse,
    EndQuorumEpochRequest,
    EndQuorumEpochResponse,
    VoteRequest,
    VoteResponse,
)


class Served(NamedTuple):
    """One API: lowest and highest version that are read, and whether only nodes may ask."""

    request: type[Request]
    response: type[Response]
    lowest: int
    highest: int
    nodes_only: bool = False


SERVED: dict[int, Served] = {
    entry.request.api: entry
    for entry in (
        Served(ProduceRequest, ProduceResponse, 3, 13),
        Served(FetchRequest, FetchResponse, 4, 18),
        Served(ListOffsetsRequest, ListOffsetsResponse, 1, 11),
        Served(MetadataRequest, MetadataResponse, 0, 13),
        Served(ApiVersionsRequest, ApiVersionsResponse, 0, 4),
        Served(CreateTopicsRequest, CreateTopicsResponse, 2, 7),
        Served(ElectLeadersRequest, ElectLeadersResponse, 0, 2),
        Served(AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, 0, 0),
        Served(DescribeQuorumRequest, DescribeQuorumResponse, 0, 2),
        Served(VoteRequest, VoteResponse, 2, 2, nodes_only=True),
        Served(BeginQuorumEpochRequest, BeginQuorumEpochResponse, 1, 1, nodes_only=True),
        Served(EndQuorumEpochRequest, EndQuorumEpochResponse, 1, 1, nodes_only=True),
        Served(FetchSnapshotRequest, FetchSnapshotResponse, 1, 1, nodes_only=True),
        Served(AlterPartitionRequest, AlterPartitionResponse, 3, 3, nodes_only=True),
        Served(BrokerRegistrationRequest, BrokerRegistrationResponse, 4, 4, nodes_only=True),
        Served(BrokerHeartbeatRequest, BrokerHeartbeatResponse, 1, 1, nodes_only=True),
    )
}


def offered(*, to_nodes: bool) -> tuple[ApiVersion, ...]:
    """Return the versions that a door announces."""
    return tuple(
        ApiVersion(api_key=api, min_version=0 if api == Api.PRODUCE else entry.lowest, max_version=entry.highest)
        for api, entry in sorted(SERVED.items())
        if to_nodes or not entry.nodes_only
    )
