"""The four codecs of record batches: gzip, snappy, lz4, zstd; only who must look into a batch comes here.

`decompress` takes what any Kafka client writes: gzip of several members, snappy raw or in xerial's blocks (as the Java
client frames it), lz4 frames, zstd frames with or without their size. `compress` writes what any of them reads: xerial
blocks, lz4 frames of independent blocks (the Java client refuses linked ones). What comes out is bounded, so that a
small batch can't fill the memory. Modules are loaded when a batch of their codec is met.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

from broker.wire.batch import Buffer, CorruptBatchError

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
MAX_BYTES = 256 << 20
"""Bound on one batch's records: far above any `max.message.bytes` times any honest ratio."""

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEAD = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_BLOCK_BYTES = 32 << 10
_LZ4_HEAD = bytes.fromhex("04224d18604082")
"""Magic, version 1 with independent blocks, blocks of 64 KiB at most, and the checksum of these two bytes."""
_LZ4_BLOCK_BYTES = 64 << 10
_LZ4_STORED = 1 << 31
"""Bit of a block's size: the block is not compressed."""


def decompress(codec: int, data: Buffer) -> bytes:
    """Return the records' bytes. Raise CorruptBatchError where they can't be had."""
    try:
        if codec == NONE:
            return bytes(data)
        if codec == GZIP:
            return _gunzip(data)
        if codec == SNAPPY:
            return _unsnappy(bytes(data))
        if codec == LZ4:
            return _stream(_arrow().CompressedInputStream(_arrow().BufferReader(data), "lz4"))
        if codec == ZSTD:
            import zstandard  # noqa: PLC0415 - loaded when met

            with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
                return _stream(stream)
    except (OSError, ValueError, zlib.error, struct.error, _zstd_error()) as error:
        raise CorruptBatchError(f"records of codec {codec} can't be decompressed: {error}") from error
    raise CorruptBatchError(f"unknown codec {codec}")


def compress(codec: int, data: bytes) -> bytes:
    """Return the records' bytes under a codec."""
    if codec == GZIP:
        packer = zlib.compressobj(wbits=31)
        return packer.compress(data) + packer.flush()
    if codec == SNAPPY:
        snappy = _arrow().Codec("snappy")
        out = bytearray(_XERIAL_HEAD)
        for at in range(0, len(data), _BLOCK_BYTES):
            block = snappy.compress(data[at : at + _BLOCK_BYTES], asbytes=True)
            out += struct.pack(">i", len(block)) + block
        return bytes(out)
    if codec == LZ4:
        return _lz4(data)
    if codec == ZSTD:
        import zstandard  # noqa: PLC0415 - loaded when met

        return zstandard.ZstdCompressor().compress(data)
    assert codec == NONE, codec
    return data


def _arrow() -> Any:
    import pyarrow as pa  # noqa: PLC0415 - 20 MB, loaded when met

    return pa


def _zstd_error() -> type[Exception]:
    import zstandard  # noqa: PLC0415 - only after a failure, or with zstd

    return zstandard.ZstdError


def _stream(stream: Any) -> bytes:
    data: bytes = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CorruptBatchError(f"the records take more than {MAX_BYTES} bytes")
    return data


def _gunzip(data: Buffer) -> bytes:
    out = b""
    rest = bytes(data)
    while rest:
        unpacker = zlib.decompressobj(wbits=47)
        out += unpacker.decompress(rest, MAX_BYTES + 1 - len(out))
        if len(out) > MAX_BYTES:
            raise CorruptBatchError(f"the records take more than {MAX_BYTES} bytes")
        if not unpacker.eof:
            raise CorruptBatchError("the gzip stream is cut short")
        rest = unpacker.unused_data
    return out


def _unsnappy(data: bytes) -> bytes:
    if not data.startswith(_XERIAL_MAGIC):
        return _snappy_block(data)
    out, at = bytearray(), len(_XERIAL_HEAD)
    while at < len(data):
        size = struct.unpack_from(">i", data, at)[0]
        at += 4
        if not 0 <= size <= len(data) - at:
            raise CorruptBatchError(f"a snappy block of {size} bytes where {len(data) - at} are left")
        out += _snappy_block(data[at : at + size])
        at += size
        if len(out) > MAX_BYTES:
            raise CorruptBatchError(f"the records take more than {MAX_BYTES} bytes")
    return bytes(out)


def _snappy_block(data: bytes) -> bytes:
    size = 0
    for index, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            break
    if size > MAX_BYTES:
        raise CorruptBatchError(f"the records take {size} bytes, more than {MAX_BYTES}")
    block: bytes = _arrow().Codec("snappy").decompress(data, decompressed_size=size, asbytes=True)
    return block


def _lz4(data: bytes) -> bytes:
    raw = _arrow().Codec("lz4_raw")
    out = bytearray(_LZ4_HEAD)
    for at in range(0, len(data), _LZ4_BLOCK_BYTES):
        block = data[at : at + _LZ4_BLOCK_BYTES]
        packed: bytes = raw.compress(block, asbytes=True)
        if len(packed) < len(block):
            out += struct.pack("<I", len(packed)) + packed
        else:
            out += struct.pack("<I", len(block) | _LZ4_STORED) + block
    return bytes(out + struct.pack("<I", 0))
