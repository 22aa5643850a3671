"""One batch unpacked is the batch that was packed."""

from __future__ import annotations

import pytest

from broker.wire import batch, compression, entries, record

CODECS = [compression.NONE, compression.GZIP, compression.SNAPPY, compression.LZ4, compression.ZSTD]


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_packed_is_unpacked_with_the_same_offsets_and_identity(codec):
    plain = record.batch_of([(b"k", b"v" * 50), (None, None)], timestamp_ms=7, producer_id=9, transactional=True)
    header = batch.parse_header(plain, 0)
    body = compression.compress(codec, entries.records_of(plain, 0, header)) if codec else plain[batch.HEADER_SIZE :]
    packed = batch.rebuild(header, bytes(body), count=2, max_timestamp=7, compression=codec)
    assert (packed != plain) == bool(codec)
    content, position, unpacked = entries.unpacked(packed, batch.parse_header(packed, 0))
    assert (bytes(content), position, unpacked) == (bytes(plain), 0, header)
    assert len(list(record.decode(content, position, unpacked))) == 2
