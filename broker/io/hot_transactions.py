"""The requests of a transaction and their answers, by hand: with Produce they are all that a busy producer sends.

As in `broker.io.hot_fetch`: what is usual is read and written here, and the same way as by `broker.wire.codec`;
everything else, damage included, gives None and is left to that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from broker.wire.apis import Api
from broker.wire.frame import LENGTH
from broker.wire.message import Request
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic,
)
from broker.wire.messages.end_txn import EndTxnRequest, EndTxnResponse

_FLEXIBLE = 3
"""Of both APIs; from the next version of AddPartitionsToTxn on, many transactions are in one request."""
_WITH_IDENTITY = 5
_INT16, _INT32 = struct.Struct(">h"), struct.Struct(">i")
_END = struct.Struct(">qhb")
_ADD = struct.Struct(">qhi")
_ANSWER = struct.Struct(">iih")
_ANSWER_HEAD = struct.Struct(">iii")
_FLEXIBLE_ANSWER = struct.Struct(">ibihb")
_IDENTITY_ANSWER = struct.Struct(">ibihqhb")
_RESULT = struct.Struct(">ih")
_SMALL = 0x80
"""Below it a varint is one byte."""


class _Unusual(Exception):  # noqa: N818 - not an error: the codec's turn
    """Not for here."""


def read(api_key: int, payload: memoryview, at: int, version: int) -> Request | None:
    """Return the request whose body begins at `at`, None when it is of another API, or not usual."""
    reader = _READERS.get(api_key)
    if reader is None:
        return None
    try:
        return reader(payload, at, version)
    except (_Unusual, IndexError, struct.error, UnicodeDecodeError):
        return None


def _read_end(payload: memoryview, at: int, version: int) -> EndTxnRequest:
    name, at = _text(payload, at) if version < _FLEXIBLE else _compact_text(payload, at)
    producer_id, epoch, committed = _END.unpack_from(payload, at)
    if version >= _FLEXIBLE and payload[at + _END.size]:
        raise _Unusual
    return EndTxnRequest(transactional_id=name, producer_id=producer_id, producer_epoch=epoch, committed=committed != 0)


def _read_add(payload: memoryview, at: int, version: int) -> AddPartitionsToTxnRequest:
    if version >= _FLEXIBLE:
        raise _Unusual
    name, at = _text(payload, at)
    producer_id, epoch, count = _ADD.unpack_from(payload, at)
    at += _ADD.size
    _check(count)
    topics = []
    for _ in range(count):
        topic, at = _text(payload, at)
        inner = _INT32.unpack_from(payload, at)[0]
        at += _INT32.size
        _check(inner)
        if inner * _INT32.size > len(payload) - at:
            raise _Unusual
        partitions = struct.unpack_from(f">{inner}i", payload, at)
        at += inner * _INT32.size
        topics.append(AddPartitionsToTxnTopic(name=topic, partitions=partitions))
    return AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=name,
        v3_and_below_producer_id=producer_id,
        v3_and_below_producer_epoch=epoch,
        v3_and_below_topics=tuple(topics),
    )


def _check(count: int) -> None:
    if count < 0:
        raise _Unusual


def _text(payload: memoryview, at: int) -> tuple[str, int]:
    size = _INT16.unpack_from(payload, at)[0]
    return _decoded(payload, at + _INT16.size, size)


def _compact_text(payload: memoryview, at: int) -> tuple[str, int]:
    size = payload[at]
    if size >= _SMALL:
        raise _Unusual
    return _decoded(payload, at + 1, size - 1)


def _decoded(payload: memoryview, at: int, size: int) -> tuple[str, int]:
    if not 0 <= size <= len(payload) - at:
        raise _Unusual
    return str(payload[at : at + size], "utf-8"), at + size


_READERS: dict[int, Callable[[memoryview, int, int], Request]] = {
    Api.END_TXN: _read_end,
    Api.ADD_PARTITIONS_TO_TXN: _read_add,
}


def _write_end(message: EndTxnResponse, version: int, correlation_id: int) -> bytes | None:
    head = (message.throttle_time_ms, message.error_code)
    if version < _FLEXIBLE:
        body = _ANSWER.pack(correlation_id, *head)
    elif version < _WITH_IDENTITY:
        body = _FLEXIBLE_ANSWER.pack(correlation_id, 0, *head, 0)
    else:
        identity = (message.producer_id, message.producer_epoch)
        body = _IDENTITY_ANSWER.pack(correlation_id, 0, *head, *identity, 0)
    return LENGTH.pack(len(body)) + body


def _write_add(message: AddPartitionsToTxnResponse, version: int, correlation_id: int) -> bytes | None:
    if version >= _FLEXIBLE:
        return None
    results = message.results_by_topic_v3_and_below
    out = bytearray(LENGTH.size)
    out += _ANSWER_HEAD.pack(correlation_id, message.throttle_time_ms, len(results))
    for topic in results:
        name = topic.name.encode()
        out += _INT16.pack(len(name))
        out += name
        out += _INT32.pack(len(topic.results_by_partition))
        for one in topic.results_by_partition:
            out += _RESULT.pack(one.partition_index, one.partition_error_code)
    LENGTH.pack_into(out, 0, len(out) - LENGTH.size)
    return bytes(out)


def write(message: Any, version: int, correlation_id: int) -> bytes | None:
    """Return the frame of an answer, None when it is to another request, or not usual."""
    writer = _WRITERS.get(type(message))
    if writer is None:
        return None
    try:
        return writer(message, version, correlation_id)
    except struct.error:
        return None


_WRITERS: dict[type, Callable[[Any, int, int], bytes | None]] = {
    EndTxnResponse: _write_end,
    AddPartitionsToTxnResponse: _write_add,
}
