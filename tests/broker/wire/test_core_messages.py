"""The messages between nodes fit Kafka's schemas: every version writes and reads back what it can carry."""

from __future__ import annotations

import pytest

from broker.wire.codec import decode_body, encode_request, encode_response, versions
from broker.wire.header import read_request_header, read_response_header
from broker.wire.message import Request
from broker.wire.messages import alter_partition as ap
from broker.wire.messages import alter_partition_reassignments as reassign
from broker.wire.messages import broker_heartbeat as heartbeat
from broker.wire.messages import broker_registration as registration
from broker.wire.messages import create_topics as create
from broker.wire.messages import elect_leaders as elect
from broker.wire.messages import fetch_snapshot as snapshot
from broker.wire.messages import quorum

UUID = bytes(range(16))
MESSAGES = [
    quorum.VoteRequest(
        voter_id=2,
        topics=(
            quorum.VoteTopic(
                partitions=(quorum.VotePartition(replica_epoch=5, replica_id=1, last_offset_epoch=4, last_offset=9),)
            ),
        ),
    ),
    quorum.VoteResponse(
        topics=(
            quorum.QuorumAnswerTopic(partitions=(quorum.QuorumAnswer(leader_id=1, leader_epoch=5, vote_granted=True),)),
        )
    ),
    quorum.BeginQuorumEpochRequest(
        topics=(quorum.BeginTopic(partitions=(quorum.BeginPartition(leader_id=1, leader_epoch=5),)),)
    ),
    quorum.BeginQuorumEpochResponse(
        topics=(quorum.QuorumAnswerTopic(partitions=(quorum.QuorumAnswer(leader_id=1, leader_epoch=5),)),)
    ),
    quorum.EndQuorumEpochRequest(
        topics=(quorum.EndTopic(partitions=(quorum.EndPartition(leader_id=1, leader_epoch=5),)),)
    ),
    quorum.EndQuorumEpochResponse(
        topics=(quorum.QuorumAnswerTopic(partitions=(quorum.QuorumAnswer(leader_id=1, leader_epoch=5),)),)
    ),
    snapshot.FetchSnapshotRequest(
        replica_id=1, topics=(snapshot.TopicSnapshot(partitions=(snapshot.PartitionSnapshot(position=7),)),)
    ),
    snapshot.FetchSnapshotResponse(
        topics=(
            snapshot.TopicSnapshotData(partitions=(snapshot.PartitionSnapshotData(size=3, unaligned_records=b"abc"),)),
        )
    ),
    registration.BrokerRegistrationRequest(
        broker_id=1, cluster_id="c", incarnation_id=UUID, listeners=(registration.Listener(name="P", host="h", port=9),)
    ),
    registration.BrokerRegistrationResponse(broker_epoch=7),
    heartbeat.BrokerHeartbeatRequest(broker_id=1, broker_epoch=7, current_metadata_offset=3, want_shut_down=True),
    heartbeat.BrokerHeartbeatResponse(is_caught_up=True, is_fenced=False),
    ap.AlterPartitionRequest(
        broker_id=1,
        broker_epoch=7,
        topics=(
            ap.AlterPartitionTopic(
                topic_id=UUID, partitions=(ap.AlterPartitionData(leader_epoch=3, partition_epoch=4),)
            ),
        ),
    ),
    ap.AlterPartitionResponse(
        topics=(ap.TopicState(topic_id=UUID, partitions=(ap.PartitionState(leader_id=1, isr=(1, 2)),)),)
    ),
    create.CreateTopicsRequest(topics=(create.CreatableTopic(name="t", num_partitions=3, replication_factor=1),)),
    create.CreateTopicsResponse(topics=(create.CreatableTopicResult(name="t", error_code=36),)),
    elect.ElectLeadersRequest(topic_partitions=(elect.TopicPartitions(topic="t", partitions=(0, 1)),)),
    elect.ElectLeadersResponse(
        replica_election_results=(
            elect.ReplicaElectionResult(
                topic="t", partition_result=(elect.PartitionResult(partition_id=1, error_code=84),)
            ),
        )
    ),
    reassign.AlterPartitionReassignmentsRequest(
        topics=(reassign.ReassignableTopic(name="t", partitions=(reassign.ReassignablePartition(replicas=(1, 2)),)),)
    ),
    reassign.AlterPartitionReassignmentsResponse(responses=(reassign.ReassignableTopicResult(name="t"),)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_the_newest_version_reads_back_what_it_wrote(message):
    kind = type(message)
    version = versions(message.api)[1]
    if isinstance(message, Request):
        payload = encode_request(message, version, correlation_id=1, client_id="x")
        at = read_request_header(payload).body_at
    else:
        payload = encode_response(message, version, correlation_id=1)
        at = read_response_header(payload, message.api, version)[1]
    assert decode_body(kind, version, payload, at) == message
