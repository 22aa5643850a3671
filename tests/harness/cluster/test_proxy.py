"""What a link knows of Kafka's protocol: where requests and answers begin, and what becomes of one that is struck."""

import itertools
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.api import Interception
from harness.cluster.proxy import ANSWER_HEAD_BYTES, MAX_FRAME_BYTES, REQUEST_HEAD_BYTES, Frames, Interceptor, Traffic

PRODUCE, END_TXN = 0, 26


def request(api, id_, body=b""):
    return struct.pack(">ihhi", 8 + len(body), api, 3, id_) + body


def answer(id_, body=b""):
    return struct.pack(">ii", 4 + len(body), id_) + body


def split(data, cuts):
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


requests = st.lists(
    st.builds(request, st.integers(0, 90), st.integers(0, 1 << 31 - 1), st.binary(max_size=40)), max_size=8
)
cuts = st.lists(st.integers(0, 500), max_size=12)


@given(requests, cuts)
def test_however_a_stream_comes_in_every_head_is_found_where_it_is_and_nothing_is_lost(sent, cuts):
    frames, out, found = Frames(REQUEST_HEAD_BYTES), b"", []
    for piece in split(b"".join(sent), cuts):
        passed, heads = frames.feed(piece)
        assert all(passed[at : at + REQUEST_HEAD_BYTES] == head for at, head in heads), "a head is passed on whole"
        found += [(len(out) + at, head) for at, head in heads]
        out += passed
    assert out == b"".join(sent)
    starts = [sum(map(len, sent[:index])) for index in range(len(sent))]
    assert found == [(start, one[:REQUEST_HEAD_BYTES]) for start, one in zip(starts, sent, strict=True)]


@pytest.mark.parametrize("size", [-1, MAX_FRAME_BYTES + 1])
def test_what_is_no_stream_of_frames_passes_as_it_is(size):
    frames, strange = Frames(ANSWER_HEAD_BYTES), struct.pack(">i", size) + b"whatever"
    assert frames.feed(strange) == (strange, [])
    assert frames.feed(b"abc") == (b"abc", []), "nothing of it is held back"


class Ends:
    """The two ends of a connection: what is done to them, in order."""

    def __init__(self, late_ms=None, chance_ppm=1_000_000, apis=("EndTxn",), most=None):
        self.done = []
        self.interceptor = Interceptor(Interception(apis, chance_ppm, late_ms, most), random.Random(1))
        self.traffic = Traffic(lambda: self.done.append("catch"), lambda: self.done.append("reset"))

    def forth(self, data):
        return self.traffic.forth(data, self.interceptor)


@given(cuts)
def test_a_lost_answer_is_that_of_the_request_and_those_before_it_pass(cuts):
    ends = Ends()
    sent = request(PRODUCE, 1, b"x") + request(END_TXN, 2, b"yy") + request(PRODUCE, 3)
    assert b"".join(ends.forth(piece) for piece in split(sent, cuts)) == sent, "the node gets all of it"
    said = [answer(1, b"first"), answer(2, b"second"), answer(3)]
    passed = b""
    for piece in (answer(1, b"first"), said[1][:5], said[1][5:]):
        passed += ends.traffic.back(piece)
    assert passed == said[0]
    assert ends.done == ["reset"]
    assert ends.interceptor.counts == {"EndTxn": 1}


@given(cuts)
def test_a_late_request_is_held_whole_and_nothing_passes_after_it(cuts):
    ends = Ends(late_ms=2000)
    first, late, last = request(PRODUCE, 1, b"x"), request(END_TXN, 2, b"y" * 30), request(PRODUCE, 3)
    assert b"".join(ends.forth(piece) for piece in split(first + late + last, cuts)) == first
    assert bytes(ends.traffic.late) == late
    assert ends.done == ["catch"]
    assert ends.interceptor.counts == {"EndTxn": 1}
    assert ends.traffic.back(answer(1)) == b"", "who would hear it is gone"
    assert ends.traffic.back(answer(2)) == b""
    assert ends.done == ["catch", "reset"]


def test_other_requests_and_those_that_chance_spares_pass():
    ends = Ends(late_ms=2000)
    sent = request(PRODUCE, 1) + request(PRODUCE, 2)
    assert ends.forth(sent) == sent
    spared = Ends(late_ms=2000, chance_ppm=0)
    assert spared.forth(request(END_TXN, 1)) == request(END_TXN, 1)
    assert ends.traffic.back(answer(1)) == answer(1)
    assert ends.done == spared.done == []
    assert not ends.interceptor.counts
    assert not spared.interceptor.counts


def test_an_answer_that_was_lost_is_lost_though_the_interception_is_over():
    ends = Ends()
    ends.forth(request(END_TXN, 7))
    assert ends.traffic.forth(request(END_TXN, 8), None) == request(END_TXN, 8)
    assert ends.traffic.back(answer(7)) == b""
    assert ends.done == ["reset"]


def test_after_so_many_requests_it_is_over():
    ends = Ends(late_ms=None, most=1)
    assert [ends.interceptor.strikes(request(api, 1)) for api in (PRODUCE, END_TXN, END_TXN)] == [False, True, False]
