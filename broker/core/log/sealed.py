"""What is saved of a sealed segment: its index, and the aborted transactions that ended in it, in one small file.

In one, so that a power loss takes both or neither: an index without its aborted transactions would let read_committed
consumers have what they left out. A checksum tells of a file that the disk has in part.
"""

from __future__ import annotations

import struct

import msgspec

from broker.core.log import aborted
from broker.core.log.aborted import AbortedTransaction
from broker.core.log.segment import Segment
from broker.wire.checksum import crc32c

_HEAD = struct.Struct(">4sII")
_MAGIC = b"seal"


def dump(segment: Segment, entries: list[AbortedTransaction]) -> bytes:
    """Return the file of a segment; `entries`: those whose markers it holds."""
    index = segment.dump()
    body = index + aborted.dump(entries)
    return _HEAD.pack(_MAGIC, crc32c(body), len(index)) + body


def load(base: int, size: int, data: bytes | None) -> tuple[Segment, list[AbortedTransaction]] | None:
    """Return what `dump` saved, None where it is missing, damaged, or not of a segment of this base and size."""
    if data is None or len(data) < _HEAD.size:
        return None
    magic, checksum, length = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or crc32c(body) != checksum:
        return None
    segment = Segment.load(base, size, body[:length])
    try:
        return None if segment is None else (segment, aborted.load(body[length:]))
    except msgspec.MsgspecError:
        return None
