"""From a frame to a message of the core, and from a message back to the chunks of a frame.

What a client may not or can not ask is answered here, in the form of the very request where that form is known:

    ApiVersions of a version that is too new    the versions, in version 0, with UNSUPPORTED_VERSION (KIP-511)
    an API or version that is not served        UNSUPPORTED_VERSION in the error field of that answer
    an API or version that nobody knows         the bare code, after the correlation id
    an API of the nodes at a client's door      as one that is not served
    a Fetch as a replica at a client's door     CLUSTER_AUTHORIZATION_FAILED: it would move a high watermark

A frame that contradicts itself raises WireError: its sender does not speak Kafka, and the connection goes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec

from broker.core.controller.features import SUPPORTED, levels
from broker.core.describe.configs import CLIENT_METRICS
from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.io import hot, hot_fetch, hot_transactions, older
from broker.io.served import CLIENTS_DOOR, CLIENTS_SHARES, NODES_DOOR, NODES_SHARES, SERVED, offered
from broker.io.stream import Chunk
from broker.wire import codec
from broker.wire.apis import Api, is_known
from broker.wire.definitions import definition
from broker.wire.errors import WireError
from broker.wire.frame import frame
from broker.wire.header import RequestHeader, read_request_header, write_response_header
from broker.wire.message import Part, Request, Response
from broker.wire.messages.api_versions import (
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)
from broker.wire.messages.fetch import FetchRequest, FetchResponse, Region
from broker.wire.messages.list_config_resources import ListConfigResourcesRequest
from broker.wire.messages.metadata import MetadataRequest
from broker.wire.messages.produce import ProduceResponse
from broker.wire.messages.share_fetch import ShareFetchResponse
from broker.wire.schema import compiled

CLUSTER_AUTHORIZATION_FAILED = 31
_API_VERSIONS, _PRODUCE, _FETCH = int(Api.API_VERSIONS), int(Api.PRODUCE), int(Api.FETCH)
_START = struct.Struct(">hhi")
_CODE = struct.Struct(">ih")


class Asked(NamedTuple):
    """A request for the core."""

    header: RequestHeader
    message: Request


class Answered(NamedTuple):
    """A request that was answered at the door: the frame to send, in its turn."""

    api_key: int
    data: bytes


class _ErrorOnly(Part, frozen=True, kw_only=True, gc=False):
    """The error field of any answer."""

    error_code: int = 0


def open_frame(payload: memoryview, *, to_nodes: bool, image: Callable[[], Image]) -> Asked | Answered:
    """Return what the frame asks, or its answer if nobody else is to be asked. Raises WireError."""
    if len(payload) < _START.size:
        raise WireError(f"truncated: a request of {len(payload)} bytes has no header")
    api_key, version, correlation_id = _START.unpack_from(payload)
    served = SERVED.get(api_key)
    taken = (NODES_DOOR if to_nodes else CLIENTS_DOOR).get(api_key) or _taken_of_shares(api_key, image, to_nodes)
    if served is None or taken is None:
        return Answered(api_key, refused(api_key, version, correlation_id))
    if api_key == _API_VERSIONS:
        return Answered(api_key, _api_versions(version, correlation_id, image(), to_nodes=to_nodes))
    if version not in taken:
        return Answered(api_key, refused(api_key, version, correlation_id))
    header = read_request_header(payload)
    if api_key == _PRODUCE:
        return Asked(header, hot.read_produce(payload, header.body_at, version))
    message: Request | None
    if api_key == _FETCH:
        message = hot_fetch.read_request(payload, header.body_at, version)
    else:
        message = hot_transactions.read(api_key, payload, header.body_at, version)
    if message is None:
        message = codec.decode_body(served.request, version, payload, header.body_at, exact=False)
    if version == 0:
        message = _as_meant(message)
    if not to_nodes and isinstance(message, FetchRequest) and _follows(message):
        return Answered(api_key, refused(api_key, version, correlation_id, CLUSTER_AUTHORIZATION_FAILED))
    return Asked(header, message)


def _taken_of_shares(api_key: int, image: Callable[[], Image], to_nodes: bool) -> range | None:  # noqa: FBT001
    """Return the versions of an API of share groups, where these are on."""
    taken = (NODES_SHARES if to_nodes else CLIENTS_SHARES).get(api_key)
    return taken if taken is not None and image().has_shares else None


def _as_meant(message: Request) -> Request:
    """Return a request of version 0 in the words of later ones."""
    if isinstance(message, MetadataRequest) and message.topics == ():
        return msgspec.structs.replace(message, topics=None)  # none meant all
    if isinstance(message, ListConfigResourcesRequest):  # was ListClientMetricsResources
        return msgspec.structs.replace(message, resource_types=(CLIENT_METRICS,))
    return message


def _follows(message: FetchRequest) -> bool:
    return message.replica_id >= 0 or message.replica_state.replica_id >= 0


class Source(Protocol):
    """Where regions are read from (`broker.io.disk`)."""

    def bytes_of(self, region: Region) -> bytes:
        """Return its bytes. Raises ShortReadError."""
        ...

    def chunk_of(self, region: Region) -> Chunk:
        """Return its bytes or, for a large one, a span of its file. Raises ShortReadError."""
        ...


def close_frame(message: Response, version: int, correlation_id: int, source: Source) -> list[Chunk]:
    """Return the frame of an answer, in chunks. Raises ShortReadError, WireError."""
    if isinstance(message, FetchResponse):
        if hot.is_plain(message):
            return hot.write_fetch(message, version, correlation_id, source.chunk_of)
        message = _with_bytes(message, source.bytes_of)
    if isinstance(message, ShareFetchResponse):
        message = _with_bytes(message, source.bytes_of)
    message = older.understood(message, version)
    data = hot_transactions.write(message, version, correlation_id)
    if data is None and isinstance(message, ProduceResponse):
        data = hot.write_produced(message, version, correlation_id)
    if data is not None:
        return [data]
    return [frame(codec.encode_response(message, version, correlation_id=correlation_id))]


def _with_bytes(message: Any, read: Callable[[Region], bytes]) -> Any:
    """Return the answer with bytes in place of regions, and none in place of null."""
    responses: list[Any] = []
    for topic in message.responses:
        partitions = tuple(
            msgspec.structs.replace(
                data, records=read(data.records) if isinstance(data.records, Region) else data.records or b""
            )
            for data in topic.partitions
        )
        responses.append(msgspec.structs.replace(topic, partitions=partitions))
    return msgspec.structs.replace(message, responses=tuple(responses))


def _api_versions(version: int, correlation_id: int, image: Image, *, to_nodes: bool) -> bytes:
    served = SERVED[Api.API_VERSIONS]
    known = served.lowest <= version <= served.highest
    finalized = sorted(levels(image).items())
    answer = ApiVersionsResponse(
        error_code=Code.NONE if known else Code.UNSUPPORTED_VERSION,
        api_keys=offered(to_nodes=to_nodes, shares=image.has_shares),
        supported_features=tuple(
            SupportedFeatureKey(name=name, min_version=low, max_version=high) for name, (low, high) in SUPPORTED.items()
        ),
        finalized_features_epoch=0 if finalized else -1,
        finalized_features=tuple(
            FinalizedFeatureKey(name=name, max_version_level=level, min_version_level=level)
            for name, level in finalized
            if level
        ),
    )
    return frame(codec.encode_response(answer, version if known else 0, correlation_id=correlation_id))


def refused(api_key: int, version: int, correlation_id: int, code: int = Code.UNSUPPORTED_VERSION) -> bytes:
    """Return the frame of an answer that says nothing but that code."""
    write = _error_writer(api_key, version)
    if write is None:
        return frame(_CODE.pack(correlation_id, code))
    out = bytearray()
    write_response_header(out, api_key, version, correlation_id)
    write(out, _ErrorOnly(error_code=code))
    return frame(bytes(out))


@lru_cache(maxsize=1024)
def _error_writer(api_key: int, version: int) -> Callable[[bytearray, Part], None] | None:
    """Return what writes an answer that says nothing but its error; None for an API or version that is not known."""
    if not is_known(api_key):
        return None
    try:
        return compiled(_ErrorOnly, definition(api_key, version, request=False))[1]
    except LookupError:
        return None
