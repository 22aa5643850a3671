"""Frames out of a stream, cut in any way: all of them, in order, with memory bounded by what has really come."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.io.framing import KEEP_BYTES, START_BYTES, Inbox
from broker.wire.errors import WireError
from broker.wire.frame import frame

LIMIT = 4 * START_BYTES


def feed(inbox, stream, cuts):
    """Deliver the stream in pieces; return the payloads, and the greatest capacity seen."""
    payloads, at, largest = [], 0, 0
    sizes = iter(cuts)
    while at < len(stream):
        space = inbox.space()
        assert len(space) > 0
        size = min(len(space), next(sizes, len(stream)), len(stream) - at)
        space[:size] = stream[at : at + size]
        payloads += [bytes(payload) for payload in inbox.take(size)]
        at += size
        largest = max(largest, inbox.capacity)
    return payloads, largest


@given(
    st.lists(st.integers(0, START_BYTES * 3), max_size=6),
    st.lists(st.integers(1, START_BYTES * 2), max_size=40),
)
def test_every_frame_arrives_once_and_whole_however_the_stream_is_cut(sizes, cuts):
    payloads = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    inbox = Inbox(LIMIT)
    found, largest = feed(inbox, b"".join(map(frame, payloads)), cuts)
    assert found == payloads
    assert inbox.pending == 0
    assert largest <= max(START_BYTES, *(2 * size + 8 for size in sizes), 0)


@given(st.binary(max_size=4000), st.lists(st.integers(1, 500), max_size=20))
def test_garbage_ends_in_a_wire_error_or_in_waiting_and_never_takes_more_memory_than_came(garbage, cuts):
    inbox = Inbox(LIMIT)
    try:
        _, largest = feed(inbox, garbage, cuts)
    except WireError:
        largest = inbox.capacity
    assert largest <= START_BYTES


@pytest.mark.parametrize("size", [-1, -(1 << 31), LIMIT + 1, (1 << 31) - 1])
def test_a_length_out_of_bounds_is_refused_as_soon_as_it_is_there(size):
    inbox = Inbox(LIMIT)
    space = inbox.space()
    space[:4] = struct.pack(">i", size)
    with pytest.raises(WireError, match="announced"):
        list(inbox.take(4))
    assert inbox.capacity == START_BYTES


def test_an_announced_length_alone_takes_no_memory():
    inbox = Inbox(100 * 1024 * 1024)
    space = inbox.space()
    space[:4] = struct.pack(">i", 100 * 1024 * 1024)
    assert list(inbox.take(4)) == []
    inbox.space()
    assert inbox.capacity == START_BYTES
    assert inbox.wanted == 100 * 1024 * 1024 + 4
    assert inbox.missing == 100 * 1024 * 1024


@pytest.mark.parametrize(("come", "missing"), [(0, 0), (3, 0), (4, 100), (104, 0), (107, 0), (108, 7), (114, 1)])
def test_what_is_missing_is_known_as_soon_as_the_length_is_there(come, missing):
    stream = frame(b"x" * 100) + frame(b"y" * 7)
    inbox = Inbox(LIMIT)
    inbox.space()[:come] = stream[:come]
    list(inbox.take(come))
    assert inbox.missing == missing


def test_a_large_buffer_is_given_back_when_its_frame_is_done():
    inbox = Inbox(1 << 30)
    found, largest = feed(inbox, frame(b"x" * (3 * KEEP_BYTES)), [])
    assert len(found[0]) == 3 * KEEP_BYTES
    assert largest > KEEP_BYTES
    inbox.space()
    assert inbox.capacity == START_BYTES
