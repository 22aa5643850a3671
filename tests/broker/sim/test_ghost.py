"""What was committed is compared where it can be: a cleaned batch differs, another record in its place does not pass."""

from __future__ import annotations

import msgspec
import pytest

from broker.sim.ghost import Ghost
from broker.wire import batch
from broker.wire.record import encode


def header(value, *, horizon_ms=None):
    body, count = encode([(b"k", value)])
    data = batch.build(body, count=count, base_timestamp=1, max_timestamp=1)
    found = batch.parse_header(data, 0)
    if horizon_ms is None:
        return found
    anew = found.attributes | batch._DELETE_HORIZON
    return msgspec.structs.replace(found, attributes=anew, base_timestamp=horizon_ms, crc=horizon_ms)


@pytest.mark.parametrize("compacted", [True, False])
def test_another_record_in_the_place_of_one_is_told(compacted):
    ghost = Ghost(compacted=compacted)
    assert not ghost._compare(header(b"one"))
    assert not ghost._compare(header(b"one"))
    assert "was committed" in ghost._compare(header(b"other"))


def test_a_batch_that_cleaning_wrote_anew_is_the_same_batch_on_a_compacted_topic_only():
    for compacted, said in ((True, False), (False, True)):
        ghost = Ghost(compacted=compacted)
        assert not ghost._compare(header(None))
        assert bool(ghost._compare(header(None, horizon_ms=7))) is said
