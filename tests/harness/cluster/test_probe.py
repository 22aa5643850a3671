"""The raw client: it speaks what both sides speak, ends in time, and fails only as ProbeError."""

import contextlib
import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire.apis import Api
from broker.wire.frame import LENGTH, frame
from broker.wire.messages.describe_quorum import DescribeQuorumResponse, PartitionData, ReplicaState, TopicData
from broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from broker.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from broker.wire.messages.metadata import MetadataRequest, MetadataResponse
from harness.cluster.probe import READ_COMMITTED, Probe, ProbeError, UnsentError, split_address
from tests.harness.cluster.fake_node import VERSIONS, FakeNode

QUICK_S = 0.3


@contextlib.contextmanager
def asking(answers, versions=VERSIONS, timeout_s=5.0):
    """A node that answers so, and a probe of it."""
    with FakeNode(answers, versions) as node, Probe(node.host, node.port, timeout_s=timeout_s) as probe:
        yield node, probe


def test_versions_are_negotiated_once_per_connection_and_the_highest_common_one_is_used():
    with asking({Api.METADATA: lambda _: MetadataResponse(cluster_id="c")}) as (node, probe):
        assert probe.metadata().cluster_id == "c"
        assert probe.metadata(("t",)).cluster_id == "c"
        assert [(one.api_key, one.version) for one in node.asked] == [
            (Api.API_VERSIONS, 3),
            (Api.METADATA, VERSIONS[Api.METADATA][1]),
            (Api.METADATA, VERSIONS[Api.METADATA][1]),
        ]


def test_a_node_without_the_api_is_named():
    with (
        asking({}, {Api.METADATA: (0, 12)}) as (node, probe),
        pytest.raises(ProbeError, match=rf"DESCRIBE_QUORUM to {node.address}: the node does not offer it"),
    ):
        probe.describe_quorum()


def test_a_node_whose_versions_are_all_too_new_is_refused():
    with (
        asking({}, {Api.METADATA: (90, 99)}) as (_, probe),
        pytest.raises(ProbeError, match=r"it speaks versions \(90, 99\), we"),
    ):
        probe.metadata()


def test_a_share_coordinator_is_asked_for_as_such():
    def answer(request):
        assert (request.key_type, request.coordinator_keys) == (2, ("g:AAAAAAAAAAAAAAAAAAAAAQ:0",))
        return FindCoordinatorResponse(coordinators=(Coordinator(key="g:AAAAAAAAAAAAAAAAAAAAAQ:0", node_id=3),))

    with asking({Api.FIND_COORDINATOR: answer}, {Api.FIND_COORDINATOR: (0, 6)}) as (_, probe):
        assert probe.find_coordinator("share", "g:AAAAAAAAAAAAAAAAAAAAAQ:0") == 3


@pytest.mark.parametrize("highest", [3, 4])
def test_a_coordinator_is_found_with_one_key_and_with_many(highest):
    def answer(request):
        if highest < 4:
            assert (request.key, request.key_type) == ("x", 1)
            return FindCoordinatorResponse(node_id=2)
        assert request.coordinator_keys == ("x",)
        return FindCoordinatorResponse(coordinators=(Coordinator(key="x", node_id=2),))

    with asking({Api.FIND_COORDINATOR: answer}, {Api.FIND_COORDINATOR: (0, highest)}) as (_, probe):
        assert probe.find_coordinator("transaction", "x") == 2


def test_an_error_code_is_a_probe_error_with_kafkas_name():
    answer = FindCoordinatorResponse(coordinators=(Coordinator(key="x", error_code=15),))
    with (
        asking({Api.FIND_COORDINATOR: lambda _: answer}) as (_, probe),
        pytest.raises(ProbeError, match="COORDINATOR_NOT_AVAILABLE"),
    ):
        probe.find_coordinator("group", "x")


def test_the_quorum_tells_leader_epoch_and_voters():
    voters = (ReplicaState(replica_id=1, log_end_offset=9), ReplicaState(replica_id=2, log_end_offset=7))
    partition = PartitionData(leader_id=1, leader_epoch=5, high_watermark=7, current_voters=voters)
    answer = DescribeQuorumResponse(topics=(TopicData(topic_name="__cluster_metadata", partitions=(partition,)),))
    with asking({Api.DESCRIBE_QUORUM: lambda _: answer}) as (_, probe):
        quorum = probe.describe_quorum()
    assert (quorum.leader_id, quorum.leader_epoch, [voter.log_end_offset for voter in quorum.current_voters]) == (
        1,
        5,
        [9, 7],
    )


def test_offsets_come_by_topic_and_partition():
    def answer(request):
        assert request.isolation_level == READ_COMMITTED
        return ListOffsetsResponse(
            topics=tuple(
                ListOffsetsTopicResponse(
                    name=topic.name,
                    partitions=tuple(
                        ListOffsetsPartitionResponse(
                            partition_index=part.partition_index, offset=part.partition_index + 10, leader_epoch=3
                        )
                        for part in topic.partitions
                    ),
                )
                for topic in request.topics
            )
        )

    with asking({Api.LIST_OFFSETS: answer}) as (_, probe):
        found = probe.list_offsets([("t0", 1), ("t1", 0), ("t0", 2)], isolation_level=READ_COMMITTED)
    assert {key: (part.offset, part.leader_epoch) for key, part in found.items()} == {
        ("t0", 1): (11, 3),
        ("t0", 2): (12, 3),
        ("t1", 0): (10, 3),
    }


def test_silence_ends_at_the_time_out_and_names_api_and_address():
    with asking({Api.METADATA: lambda _: None}, timeout_s=QUICK_S) as (node, probe):
        began = time.monotonic()
        with pytest.raises(ProbeError, match=rf"METADATA to {node.address}: no answer within 0.3 s"):
            probe.metadata()
        assert QUICK_S * 0.9 <= time.monotonic() - began < 10 * QUICK_S


def test_an_answer_in_drops_does_not_outlast_the_time_out():
    with (
        asking({Api.METADATA: lambda _: LENGTH.pack(1000) + b"some"}, timeout_s=QUICK_S) as (_, probe),
        pytest.raises(ProbeError, match="no answer within"),
    ):
        probe.metadata()


def test_nobody_listening_is_a_probe_error():
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
    with Probe(host, port) as probe, pytest.raises(ProbeError, match=f"{host}:{port}"):
        probe.api_versions()


def test_a_connection_that_a_restarted_node_dropped_is_replaced_silently():
    with asking({Api.METADATA: lambda _: MetadataResponse(cluster_id="c")}) as (node, probe):
        probe.metadata()
        node.drop_connections()
        assert probe.metadata().cluster_id == "c"
        assert node.connections == 2


def test_after_a_failure_the_next_call_opens_a_new_connection():
    said = [b"\xff\xff\xff\xff garbage", MetadataResponse(cluster_id="c")]
    with asking({Api.METADATA: lambda _: said.pop(0)}) as (node, probe):
        with pytest.raises(ProbeError, match="a frame of -1 bytes"):
            probe.metadata()
        assert probe.metadata().cluster_id == "c"
        assert node.connections == 2


def test_an_answer_to_another_question_is_refused():
    payload = b"\0\0\x03\xe7" + bytes(20)
    with (
        asking({Api.METADATA: lambda _: frame(payload)}) as (_, probe),
        pytest.raises(ProbeError, match="correlation id 999"),
    ):
        probe.metadata()


def test_a_huge_answer_is_refused_before_it_is_read():
    with (
        asking({Api.METADATA: lambda _: LENGTH.pack(1 << 30)}) as (_, probe),
        pytest.raises(ProbeError, match="1073741824 bytes"),
    ):
        probe.metadata()


@given(garbage=st.binary(min_size=4, max_size=100))
@settings(max_examples=50)
def test_garbage_is_a_probe_error_and_nothing_else(garbage):
    with asking({Api.METADATA: lambda _: frame(garbage)}, timeout_s=2.0) as (_, probe):
        try:
            answer = probe.metadata()
        except ProbeError:
            return
        assert isinstance(answer, MetadataResponse)


@pytest.mark.parametrize(
    ("text", "address"), [("localhost:9092", ("localhost", 9092)), ("[::1]:9092", ("::1", 9092)), ("a:0", ("a", 0))]
)
def test_an_address_is_split_at_its_last_colon(text, address):
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "localhost", ":9092", "h:", "h:x", "h:70000", "h:-1"])
def test_what_is_no_address_is_named(text):
    with pytest.raises(ValueError, match="not host:port"):
        split_address(text)


def test_what_must_not_be_sent_twice_is_sent_once():
    ask = MetadataRequest(topics=None)
    with asking({Api.METADATA: lambda _: MetadataResponse(cluster_id="c")}) as (node, probe):
        assert probe.ask_once(ask, MetadataResponse, 5.0).cluster_id == "c"
        node.drop_connections()
        with pytest.raises(ProbeError) as lost:
            probe.ask_once(ask, MetadataResponse, 5.0)
        assert not isinstance(lost.value, UnsentError), "it may have arrived"
        assert probe.ask_once(ask, MetadataResponse, 5.0).cluster_id == "c", "over a new connection"


def test_what_can_not_be_sent_is_told_as_such():
    with asking({}, {Api.LIST_OFFSETS: (0, 7)}) as (_, probe), pytest.raises(UnsentError, match="does not offer it"):
        probe.ask_once(MetadataRequest(topics=None), MetadataResponse, 5.0)
    with pytest.raises(UnsentError):
        Probe("127.0.0.1", 1).ask_once(MetadataRequest(topics=None), MetadataResponse, 1.0)
