"""The codec: it says what kio says on valid messages, and raises WireError, nothing else, on the rest."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kio.serial import entity_reader, entity_writer

from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.errors import WireError
from broker.wire.header import read_request_header, read_response_header
from broker.wire.message import Request
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from broker.wire.messages.metadata import MetadataRequest, MetadataResponse
from tests.broker.wire.messages import KINDS, OF_KIO, VERSIONS, messages, theirs

CORRELATION_ID = 77


def encode(message, version):
    """Return (payload, where its body begins)."""
    if isinstance(message, Request):
        payload = codec.encode_request(message, version, correlation_id=CORRELATION_ID, client_id="test")
        return payload, read_request_header(payload).body_at
    payload = codec.encode_response(message, version, correlation_id=CORRELATION_ID)
    return payload, read_response_header(payload, message.api, version)[1]


@pytest.mark.parametrize(("kind", "version"), OF_KIO, ids=lambda value: getattr(value, "__name__", str(value)))
@given(data=st.data())
@settings(max_examples=2)
def test_a_message_survives_the_round_trip_and_kio_agrees(kind, version, data):
    message = data.draw(messages(kind, version))
    payload, at = encode(message, version)
    assert codec.decode_body(kind, version, payload, at) == message

    entity, size = entity_reader(theirs(kind, version))(payload[at:], 0)
    assert size == len(payload) - at
    again = io.BytesIO()
    entity_writer(theirs(kind, version))(again, entity)
    assert again.getvalue() == payload[at:]


@pytest.mark.parametrize(
    ("kind", "version"),
    [case for case in OF_KIO if case != (MetadataRequest, 0)],  # version 0 has no null, it says "all" with no topic
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_message_left_at_its_defaults_is_what_kio_reads(kind, version):
    payload, at = encode(kind(), version)
    _, size = entity_reader(theirs(kind, version))(payload[at:], 0)
    assert size == len(payload) - at


@given(data=st.data(), case=st.sampled_from(VERSIONS))
@settings(max_examples=60)
def test_a_truncated_message_raises_wire_error(data, case):
    kind, version = case
    payload, at = encode(data.draw(messages(kind, version)), version)
    cut = data.draw(st.integers(at, len(payload)))
    if cut == len(payload):
        return
    with pytest.raises(WireError):
        codec.decode_body(kind, version, payload[:cut], at)


@given(garbage=st.binary(max_size=200), case=st.sampled_from(VERSIONS))
@settings(max_examples=100)
def test_garbage_raises_wire_error_and_nothing_else(garbage, case):
    kind, version = case
    try:
        message = codec.decode_body(kind, version, garbage, 0)
    except WireError:
        return
    assert isinstance(message, kind)


@given(data=st.data(), case=st.sampled_from(VERSIONS))
@settings(max_examples=60)
def test_a_flipped_byte_raises_wire_error_or_gives_a_message(data, case):
    kind, version = case
    payload, at = encode(data.draw(messages(kind, version)), version)
    if at == len(payload):
        return
    damaged = bytearray(payload)
    damaged[data.draw(st.integers(at, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        message = codec.decode_body(kind, version, damaged, at)
    except WireError:
        return
    assert isinstance(message, kind)


@given(garbage=st.binary(max_size=60))
def test_a_garbage_request_header_raises_wire_error_and_nothing_else(garbage):
    try:
        header = read_request_header(garbage)
    except WireError:
        return
    assert header.body_at <= len(garbage)


def test_an_array_that_announces_two_billion_elements_is_refused_without_memory():
    body = b"\0\0\0\0" + b"\xff\xff\xff\xff\x07" + bytes(30)
    with pytest.raises(WireError, match="announced where 30 bytes are left"):
        codec.decode_body(MetadataResponse, 12, body, 0)


@pytest.mark.parametrize(("size", "is_taken"), [(0x7FFF, True), (0x8000, False)])
def test_a_string_is_as_long_as_the_older_form_can_carry(size, is_taken):
    data = codec.encode_request(
        FindCoordinatorRequest(coordinator_keys=("k" * size,)), 4, correlation_id=1, client_id=""
    )
    at = read_request_header(data).body_at
    if is_taken:
        assert codec.decode_body(FindCoordinatorRequest, 4, data, at).coordinator_keys == ("k" * size,)
    else:
        with pytest.raises(WireError):
            codec.decode_body(FindCoordinatorRequest, 4, data, at)


def test_bytes_after_the_message_are_refused():
    payload, at = encode(MetadataResponse(), 12)
    with pytest.raises(WireError, match="ends 1 bytes before its frame"):
        codec.decode_body(MetadataResponse, 12, payload + b"\0", at)


def test_a_version_that_does_not_exist_is_refused():
    with pytest.raises(WireError, match="METADATA has no version 99"):
        codec.encode_request(MetadataRequest(), 99, correlation_id=1, client_id=None)


def test_a_request_refuses_what_its_version_cannot_carry():
    with pytest.raises(WireError, match="can't carry coordinator_keys"):
        codec.encode_request(FindCoordinatorRequest(coordinator_keys=("g",)), 2, correlation_id=1, client_id=None)


def test_a_response_drops_what_an_old_client_cannot_read():
    partition = ListOffsetsPartitionResponse(partition_index=1, offset=9, leader_epoch=4)
    response = ListOffsetsResponse(topics=(ListOffsetsTopicResponse(name="t", partitions=(partition,)),))
    payload, at = encode(response, 1)
    (topic,) = codec.decode_body(ListOffsetsResponse, 1, payload, at).topics
    assert topic.partitions == (ListOffsetsPartitionResponse(partition_index=1, offset=9),)


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(WireError, match="does not fit"):
        codec.encode_response(MetadataResponse(controller_id=1 << 40), 12, correlation_id=1)


def test_a_response_gives_back_its_correlation_id():
    payload = codec.encode_response(MetadataResponse(cluster_id="c"), 12, correlation_id=5)
    assert codec.decode_response(MetadataResponse, 12, payload) == (5, MetadataResponse(cluster_id="c"))


def test_every_kind_names_its_api():
    assert all(isinstance(kind.api, Api) for kind in KINDS)
