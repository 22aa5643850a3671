"""Which partition of an internal topic an id belongs to: Java's String.hashCode, made positive."""

from __future__ import annotations

import struct
from functools import lru_cache


@lru_cache(maxsize=1024)
def partition_for(name: str, partitions: int) -> int:
    """Return the partition index that Kafka would take (`Utils.abs(name.hashCode) % partitions`)."""
    code = 0
    data = name.encode("utf-16-be", "surrogatepass")
    for (unit,) in struct.iter_unpack(">H", data):
        code = (31 * code + unit) & 0xFFFFFFFF
    signed = code - (1 << 32) if code >> 31 else code
    return 0 if signed == -(1 << 31) else abs(signed) % partitions
