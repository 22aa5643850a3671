"""The messages between nodes fit Kafka's schemas: every version writes and reads back what it can carry."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import typing

import msgspec
import pytest

from broker.wire import messages
from broker.wire.codec import decode_body, encode_request, encode_response, versions
from broker.wire.definitions import definition
from broker.wire.header import read_request_header, read_response_header
from broker.wire.message import Part, Request
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


NOT_READ = {"node_endpoints", "leader_endpoints", "throttle_time"}
"""Addresses of controllers are configured, not learnt; an answer without throttle time is one without throttling."""
NOT_SERVED = {
    "enable2_pc": "InitProducerId 6 (KIP-939)",
    "keep_prepared_txn": "InitProducerId 6 (KIP-939)",
    "ongoing_txn_producer_id": "InitProducerId 6 (KIP-939)",
    "ongoing_txn_producer_epoch": "InitProducerId 6 (KIP-939)",
    "cordoned_log_dirs": "BrokerHeartbeat 2 (KIP-1066)",
}
"""Fields of versions after Kafka 4.1, which the broker does not serve."""


def all_messages():
    for info in pkgutil.iter_modules(messages.__path__):
        module = importlib.import_module(f"broker.wire.messages.{info.name}")
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__ and hasattr(kind, "api"):
                yield kind


def part_of(hint, wanted):
    """The class inside of a tuple or an optional."""
    found = [hint, *typing.get_args(hint), *(arg for outer in typing.get_args(hint) for arg in typing.get_args(outer))]
    return next((one for one in found if isinstance(one, type) and wanted(one)), None)


def compare(ours, theirs, path, newest):
    """Yield what only one side has, down to the innermost structure."""
    our_hints, their_hints = typing.get_type_hints(ours), typing.get_type_hints(theirs)
    names = {field.name: field.name for field in msgspec.structs.fields(ours)}
    names |= {name.removesuffix("_ms"): name for name in names}
    for field in dataclasses.fields(theirs):
        if field.name not in names:
            if newest and field.name not in {*NOT_READ, *NOT_SERVED}:
                yield f"{path}.{field.name} is missing"
            continue
        inner = part_of(their_hints[field.name], dataclasses.is_dataclass)
        if inner is not None:
            mine = part_of(our_hints[names[field.name]], lambda one: issubclass(one, Part))
            if mine is None:
                yield f"{path}.{field.name} is no structure"
            else:
                yield from compare(mine, inner, f"{path}.{field.name}", newest)


def known_names(kind):
    low, high = versions(kind.api)
    request = issubclass(kind, Request)
    schemas = [definition(kind.api, version, request=request) for version in range(low, high + 1)]
    return {field.name for schema in schemas for field in dataclasses.fields(schema)}


@pytest.mark.parametrize("kind", list(all_messages()), ids=lambda kind: kind.__name__)
def test_a_message_has_every_field_of_its_newest_version_and_none_that_is_not_kafkas(kind):
    version = versions(kind.api)[1]
    assert (
        list(
            compare(kind, definition(kind.api, version, request=issubclass(kind, Request)), kind.__name__, newest=True)
        )
        == []
    )
    ours = {field.name for field in msgspec.structs.fields(kind)}
    known = known_names(kind)
    assert {name for name in ours if name not in known and name.removesuffix("_ms") not in known} == set()
