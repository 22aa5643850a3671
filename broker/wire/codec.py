"""Messages to bytes and back: what `harness.cluster.probe`, the proxy and the broker call.

A payload is what a frame carries: header, then body. The caller knows the version (negotiated through ApiVersions, or
read from the request's header). Every failure is a `WireError`: truncated, too long, not the protocol, no such version.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, TypeVar

from broker.wire.definitions import definition, prepare, versions
from broker.wire.errors import WireError
from broker.wire.header import (
    RequestHeader,
    read_response_header,
    write_request_header,
    write_response_header,
)
from broker.wire.message import Request, Response
from broker.wire.primitives import Buffer, Reader, Writer
from broker.wire.schema import compiled

__all__ = ["decode_body", "decode_response", "encode_request", "encode_response", "prepare", "versions"]

M = TypeVar("M", bound=Request | Response)
R = TypeVar("R", bound=Response)


def encode_request(request: Request, version: int, *, correlation_id: int, client_id: str | None) -> bytes:
    """Return the payload of a request: header and body."""
    out = bytearray()
    header = RequestHeader(api_key=request.api, version=version, correlation_id=correlation_id, client_id=client_id)
    write_request_header(out, header)
    return _finish(out, request, version)


def encode_response(response: Response, version: int, *, correlation_id: int) -> bytes:
    """Return the payload of a response: header and body."""
    out = bytearray()
    write_response_header(out, response.api, version, correlation_id)
    return _finish(out, response, version)


def decode_response(kind: type[R], version: int, payload: Buffer) -> tuple[int, R]:
    """Return the correlation id and the message of a response's payload."""
    correlation_id, at = read_response_header(payload, kind.api, version)
    return correlation_id, decode_body(kind, version, payload, at)


def decode_body(kind: type[M], version: int, payload: Buffer, at: int, *, exact: bool = True) -> M:
    """Return the message whose body fills the payload from `at` to its end (a request's header tells `at`).

    exact=False lets bytes follow, as Kafka's brokers do: librdkafka 2.16 leaves three behind a Metadata request.
    """
    key: Any = kind  # a type variable is not hashable to mypy
    read, _ = _codec(key, version)
    try:
        message, end = read(payload, at)
    except struct.error as error:
        raise WireError(f"truncated: {kind.__name__} version {version}: {error}") from error
    except WireError as error:
        raise WireError(f"{kind.__name__} version {version}: {error}") from error
    if exact and end != len(payload):
        raise WireError(f"{kind.__name__} version {version} ends {len(payload) - end} bytes before its frame")
    assert isinstance(message, kind)
    return message


def _finish(out: bytearray, message: Request | Response, version: int) -> bytes:
    _, write = _codec(type(message), version)
    try:
        write(out, message)
    except struct.error as error:
        raise WireError(f"a number does not fit {type(message).__name__} version {version}: {error}") from error
    return bytes(out)


@cache
def _codec(kind: Any, version: int) -> tuple[Reader, Writer]:
    try:
        theirs = definition(kind.api, version, request=issubclass(kind, Request))
    except LookupError as error:
        raise WireError(f"{kind.api.name} has no version {version}") from error
    return compiled(kind, theirs)
