"""What nobody serves is answered in the protocol's own words; what is no Kafka at all ends the connection."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.core.metadata.records import FeatureSet
from broker.io import door
from broker.io.door import Answered, Asked, open_frame
from broker.io.served import SERVED
from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.errors import WireError
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnResponse
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
)
from broker.wire.messages.api_versions import ApiVersionsResponse
from broker.wire.messages.end_txn import EndTxnResponse
from broker.wire.messages.fetch import FetchRequest, ReplicaState
from broker.wire.messages.init_producer_id import InitProducerIdResponse
from broker.wire.messages.join_group import JoinGroupResponse
from broker.wire.messages.list_config_resources import ListConfigResourcesRequest
from broker.wire.messages.metadata import MetadataRequest
from broker.wire.messages.quorum import VoteRequest
from broker.wire.messages.txn_offset_commit import (
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)
from broker.wire.messages.write_txn_markers import WriteTxnMarkersRequest

UNSUPPORTED_VERSION = 35


def opened(payload, *, to_nodes=False):
    return open_frame(memoryview(bytearray(payload)), to_nodes=to_nodes, image=Image)


def head(api_key, version, correlation_id=7):
    return struct.pack(">hhi", api_key, version, correlation_id) + b"\x00\x01c" + b"\0"


@pytest.mark.parametrize(
    ("api_key", "version", "at"),
    [
        (Api.STREAMS_GROUP_HEARTBEAT, 0, 13),
        (999, 3, 8),
        (Api.METADATA, 99, 8),
        (-5, -1, 8),
    ],
)
def test_what_is_not_served_is_answered_with_unsupported_version(api_key, version, at):
    answer = opened(head(api_key, version))
    assert isinstance(answer, Answered)
    assert struct.unpack_from(">ii", answer.data) == (len(answer.data) - 4, 7)
    assert struct.unpack_from(">h", answer.data, at) == (UNSUPPORTED_VERSION,)


def test_api_versions_of_the_future_gets_version_0_with_what_is_there():
    answer = opened(head(Api.API_VERSIONS, 42))
    _, said = codec.decode_response(ApiVersionsResponse, 0, answer.data[4:])
    assert said.error_code == UNSUPPORTED_VERSION
    assert {one.api_key for one in said.api_keys} >= {Api.PRODUCE, Api.FETCH, Api.API_VERSIONS}


def test_a_cluster_tells_the_metadata_version_whose_rules_it_follows():
    def told(image):
        payload = open_frame(memoryview(head(Api.API_VERSIONS, 3)), to_nodes=False, image=lambda: image)
        said = codec.decode_response(ApiVersionsResponse, 3, payload.data[4:])[1]
        return {one.name: one.max_version_level for one in said.finalized_features}

    image = Image()
    assert told(image) == {}
    image.apply(FeatureSet("group.version", 1))
    image.apply(FeatureSet("transaction.version", 0))
    assert told(image) == {"group.version": 1, "metadata.version": 27}


@pytest.mark.parametrize("to_nodes", [False, True])
def test_only_the_nodes_door_offers_what_nodes_ask_each_other(to_nodes):
    answer = opened(head(Api.API_VERSIONS, 0), to_nodes=to_nodes)
    _, said = codec.decode_response(ApiVersionsResponse, 0, answer.data[4:])
    assert (Api.VOTE in {one.api_key for one in said.api_keys}) is to_nodes
    vote = codec.encode_request(VoteRequest(), 2, correlation_id=1, client_id=None)
    assert isinstance(opened(vote, to_nodes=to_nodes), Asked if to_nodes else Answered)


def test_a_client_does_not_fetch_as_a_replica():
    payload = codec.encode_request(
        FetchRequest(replica_state=ReplicaState(replica_id=2)), 18, correlation_id=1, client_id=None
    )
    assert isinstance(opened(payload, to_nodes=True), Asked)
    refused = opened(payload)
    assert isinstance(refused, Answered)
    assert struct.unpack_from(">h", refused.data, 13) == (door.CLUSTER_AUTHORIZATION_FAILED,)


def test_bytes_behind_a_request_are_ignored_as_kafka_does():
    payload = codec.encode_request(MetadataRequest(topics=None), 13, correlation_id=1, client_id="c") + b"\1\0\0"
    assert opened(payload).message == MetadataRequest(topics=None)


def test_no_topics_mean_all_topics_in_the_first_version_of_metadata():
    payload = codec.encode_request(MetadataRequest(topics=()), 0, correlation_id=1, client_id="c")
    assert opened(payload).message.topics is None


def test_the_first_version_of_list_config_resources_asks_for_subscriptions_to_metrics():
    for version, wanted in ((0, (16,)), (1, ())):
        payload = codec.encode_request(ListConfigResourcesRequest(), version, correlation_id=1, client_id="c")
        assert opened(payload).message.resource_types == wanted


def test_clients_write_markers_as_in_kafka_and_nodes_in_their_own_version():
    for version, to_nodes, kind in ((1, False, Asked), (2, False, Answered), (1, True, Asked), (2, True, Asked)):
        payload = codec.encode_request(WriteTxnMarkersRequest(), version, correlation_id=1, client_id="c")
        assert isinstance(opened(payload, to_nodes=to_nodes), kind)
    answer = opened(head(Api.API_VERSIONS, 0))
    (offered,) = [
        one for one in codec.decode_response(ApiVersionsResponse, 0, answer.data[4:])[1].api_keys if one.api_key == 27
    ]
    assert (offered.min_version, offered.max_version) == (1, 1)


@pytest.mark.parametrize("version", range(10))
def test_a_refused_join_can_be_told_to_clients_of_every_version(version):
    refusal = JoinGroupResponse(error_code=79, member_id="m")
    payload = b"".join(door.close_frame(refusal, version, 7, lambda _: b""))[4:]
    assert codec.decode_response(JoinGroupResponse, version, payload)[1].error_code == 79


_FENCED, _OLDER = int(Code.PRODUCER_FENCED), int(Code.INVALID_PRODUCER_EPOCH)


def _added(code):
    one = AddPartitionsToTxnPartitionResult(partition_index=3, partition_error_code=code)
    return AddPartitionsToTxnResponse(
        results_by_topic_v3_and_below=(AddPartitionsToTxnTopicResult(name="t", results_by_partition=(one,)),)
    )


def _committed(code):
    one = TxnOffsetCommitResponsePartition(partition_index=3, error_code=code)
    return TxnOffsetCommitResponse(topics=(TxnOffsetCommitResponseTopic(name="t", partitions=(one,)),))


@pytest.mark.parametrize(
    ("make", "since", "newer", "older"),
    [
        (lambda code: InitProducerIdResponse(error_code=code), 4, _FENCED, _OLDER),
        (lambda code: AddOffsetsToTxnResponse(error_code=code), 2, _FENCED, _OLDER),
        (lambda code: EndTxnResponse(error_code=code), 2, _FENCED, _OLDER),
        (_added, 2, _FENCED, _OLDER),
        (_committed, 2, int(Code.COORDINATOR_LOAD_IN_PROGRESS), int(Code.COORDINATOR_NOT_AVAILABLE)),
    ],
)
def test_a_client_of_an_older_version_hears_an_error_that_it_knows(make, since, newer, older):
    for version in range(4):
        for code in (0, newer, int(Code.INVALID_TXN_STATE)):
            payload = b"".join(door.close_frame(make(code), version, 7, lambda _: b""))[4:]
            heard = codec.decode_response(type(make(0)), version, payload)[1]
            assert heard == make(older if code == newer and version < since else code)


@given(st.sampled_from(sorted(SERVED)) | st.integers(-300, 300), st.integers(-2, 20), st.binary(max_size=200))
def test_any_frame_is_asked_answered_or_refused(api_key, version, body):
    try:
        result = opened(struct.pack(">hhi", api_key, version, 1) + body, to_nodes=True)
    except WireError:
        return
    assert isinstance(result, Asked | Answered)
