"""Request and response headers, by hand: they are read before anybody knows which message follows.

A request header is key, version, correlation id and client id (a legacy string even in version 2, KIP-511), in version
2 with tagged fields, which are skipped. A response header is the correlation id, in version 1 with tagged fields.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from broker.wire.apis import is_known, request_header_version, response_header_version
from broker.wire.errors import WireError
from broker.wire.primitives import Buffer, read_int16_length, read_uvarint, sized, write_int16_length

_FIXED: Final = struct.Struct(">hhi")
_UP_TO_CLIENT_ID: Final = struct.Struct(">hhih")
_CORRELATION: Final = struct.Struct(">i")
_read_client_id, _write_client_id = sized(read_int16_length, write_int16_length, text=True, nullable=True)


class RequestHeader(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The header of a request. `body_at` is where the body begins in the payload that it was read from."""

    api_key: int
    version: int
    correlation_id: int
    client_id: str | None
    body_at: int = 0


def read_request_header(payload: Buffer) -> RequestHeader:
    """Return the header at the start of a request's payload; WireError when it is truncated or the key is unknown."""
    if len(payload) < _UP_TO_CLIENT_ID.size:
        raise WireError(f"truncated: a request of {len(payload)} bytes has no header")
    api_key, version, correlation_id, size = _UP_TO_CLIENT_ID.unpack_from(payload)
    if not is_known(api_key):
        raise WireError(f"unknown API key {api_key}")
    client_id: str | None
    if size < 0:
        client_id, at = _read_client_id(payload, _FIXED.size)
    else:
        at = _UP_TO_CLIENT_ID.size + size
        client_id = _client_id(bytes(payload[_UP_TO_CLIENT_ID.size : at]), size)
    if request_header_version(api_key, version) == 2:
        at = at + 1 if at < len(payload) and not payload[at] else skip_tags(payload, at)
    return RequestHeader(
        api_key=api_key, version=version, correlation_id=correlation_id, client_id=client_id, body_at=at
    )


def _client_id(raw: bytes, size: int) -> str:
    if len(raw) != size:
        raise WireError(f"truncated: a client id of {size} bytes is announced where {len(raw)} are left")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise WireError(f"the client id is not UTF-8: {error.reason}") from error


def write_request_header(out: bytearray, header: RequestHeader) -> None:
    """Append the header."""
    try:
        out += _FIXED.pack(header.api_key, header.version, header.correlation_id)
        _write_client_id(out, header.client_id)
    except struct.error as error:
        raise WireError(f"a request header can't hold {header}: {error}") from error
    if request_header_version(header.api_key, header.version) == 2:
        out.append(0)


def read_response_header(payload: Buffer, api_key: int, version: int) -> tuple[int, int]:
    """Return the correlation id, and where the body begins."""
    if len(payload) < _CORRELATION.size:
        raise WireError(f"truncated: a response of {len(payload)} bytes has no header")
    correlation_id: int = _CORRELATION.unpack_from(payload)[0]
    at = _CORRELATION.size
    if response_header_version(api_key, version) == 1:
        at = skip_tags(payload, at)
    return correlation_id, at


def write_response_header(out: bytearray, api_key: int, version: int, correlation_id: int) -> None:
    """Append the header."""
    out += _CORRELATION.pack(correlation_id)
    if response_header_version(api_key, version) == 1:
        out.append(0)


def skip_tags(data: Buffer, at: int) -> int:
    """Return the position after a section of tagged fields."""
    count, at = read_uvarint(data, at)
    if count > len(data) - at:
        raise WireError(f"truncated: {count} tagged fields where {len(data) - at} bytes are left")
    for _ in range(count):
        _, at = read_uvarint(data, at)
        size, at = read_uvarint(data, at)
        if size > len(data) - at:
            raise WireError(f"truncated: a tagged field of {size} bytes where {len(data) - at} are left")
        at += size
    return at
