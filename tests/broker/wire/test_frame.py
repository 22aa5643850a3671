"""Framing: any cut of a stream gives the same frames; a lying length is refused at once."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire.errors import WireError
from broker.wire.frame import LENGTH, Frames, frame


@given(payloads=st.lists(st.binary(max_size=50), max_size=8), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_any_cut_of_a_stream_gives_the_same_frames(payloads, cuts):
    stream = b"".join(frame(payload) for payload in payloads)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    frames = Frames()
    seen = [one for start, end in itertools.pairwise(edges) for one in frames.feed(stream[start:end])]
    assert seen == payloads
    assert frames.pending() == 0


@pytest.mark.parametrize("size", [-1, -(2**31), 101, 2**31 - 1])
def test_a_negative_or_huge_length_is_refused_at_its_fourth_byte(size):
    frames = Frames(limit_bytes=100)
    assert frames.feed(LENGTH.pack(size)[:3]) == []
    with pytest.raises(WireError, match="is announced"):
        frames.feed(LENGTH.pack(size)[3:])


def test_http_on_the_port_is_refused_as_a_frame():
    with pytest.raises(WireError, match="not Kafka"):
        Frames().feed(b"HTTP/1.1 400 Bad Request\r\n")
