"""The stamp in a record's value: it survives the way, and any change or wrong place is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clients import payload
from harness.clients.packing import Packing
from harness.clients.payload import Damage, Stamp, decode, encode, outgoing, written

TOPIC = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", min_size=1, max_size=20)
KEYS = st.builds("{}/{}".format, TOPIC, st.integers(0, 10**6))
PADS = st.none() | st.binary(max_size=40).map(lambda padding: lambda v, size: padding)
STAMPS = st.builds(Stamp, KEYS, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-(2**63), 2**63))


@given(STAMPS, PADS)
def test_what_was_encoded_is_decoded(stamp, pad):
    assert decode(encode(stamp, pad)) == stamp


@given(STAMPS, st.integers(0, 10**12))
def test_a_record_read_where_it_was_sent_is_offset_and_value(stamp, offset):
    assert written(stamp.key, offset, encode(stamp), None) == [offset, stamp.v]
    assert written(stamp.key, offset, encode(stamp), 7) == [offset, stamp.v, {"epoch": 7}]


@given(STAMPS, KEYS)
def test_a_record_read_elsewhere_names_where_it_was_sent(stamp, key):
    entry = written(key, 3, encode(stamp), None)
    assert (entry == [3, stamp.v]) == (key == stamp.key)
    assert key == stamp.key or entry[2]["altered"] == f"sent to {stamp.key}"


@given(STAMPS, PADS, st.data())
def test_no_changed_bit_goes_unseen(stamp, pad, data):
    value = bytearray(encode(stamp, pad))
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    entry = written(stamp.key, 3, bytes(value), None)
    assert entry[1] == "?" + bytes(value)[:16].hex()
    assert entry[2]["altered"] in {"checksum", "undecodable"}


@given(STAMPS, PADS, st.data())
def test_no_truncated_value_passes(stamp, pad, data):
    value = encode(stamp, pad)
    assert isinstance(decode(value[: data.draw(st.integers(0, len(value) - 1))]), Damage)


@given(st.none() | st.binary(max_size=60))
def test_foreign_bytes_are_undecodable_and_shown(value):
    entry = written("t0/0", 9, value, 2)
    assert entry[0] == 9
    assert entry[1].startswith("?")
    line = (value or b"").partition(b"\n")[0]
    looks_like_one = line.startswith(b"h1 ") and line.count(b" ") == 5
    assert entry[2] == {"epoch": 2, "altered": "checksum" if looks_like_one else "undecodable"}


def test_a_value_is_one_readable_line():
    assert encode(Stamp("t0/3", 17, 5, 1234)).startswith(b"h1 t0/3 17 5 1234 ")
    assert len(encode(Stamp("t0/3", 17, 5, 1234))) == 26


def test_a_padded_value_begins_with_its_line_and_an_unpadded_one_is_the_line():
    stamp, packing = Stamp("t0/3", 17, 5, 1234), Packing(sizes=(2000, 2000))
    value = encode(stamp, packing.pad)
    assert len(value) == 2000
    assert value.startswith(b"h1 t0/3 17 5 1234 ")
    assert value[26:27] == b"\n"
    assert encode(stamp, Packing(sizes=(26, 26)).pad) == encode(stamp) == b"h1 t0/3 17 5 1234 bd4b8938"


def test_only_the_value_of_a_record_with_a_key_is_padded():
    sent = outgoing(["send", "t0/0", [None, 7, {"record-key": "k1"}]], 4, 0, pad=Packing(sizes=(500, 500)).pad)
    assert len(sent.value) == 500
    assert sent.headers == (("h1", encode(Stamp("t0/0", 4, 0, 7))),)
    assert written("t0/0", 3, sent.value, None, b"k1", sent.headers) == [3, 7, {"record-key": "k1"}]
    assert written("t0/0", 3, sent.value[:-1] + b"!", None, b"k1", sent.headers)[2]["altered"] == "checksum"


def test_a_big_value_is_not_remembered():
    before = payload._remembered.cache_info().currsize
    assert decode(encode(Stamp("t0/3", 17, 5, 99), Packing(sizes=(9000, 9000)).pad)) == Stamp("t0/3", 17, 5, 99)
    assert payload._remembered.cache_info().currsize == before


def test_a_copy_says_what_it_was_made_from():
    sent = outgoing(["send", "t1/0", [None, 9, {"copy": True}]], 4, 0, ["t0/3", 17])
    assert sent.sent(5) == ["send", "t1/0", [5, 9, {"source": ["t0/3", 17]}]]
    assert written("t1/0", 5, sent.value, None, None, sent.headers) == [5, 9, {"source": ["t0/3", 17]}]
    assert written("t1/0", 5, sent.value, None, None, [("source", b"nonsense")])[2]["source"] is None


def test_what_is_no_send_is_refused():
    for wrong in (["send", "t0/0"], ["pull"], ["send", "t0/0", [None, 1, {"copy": True}]]):
        with pytest.raises(ValueError, match="a micro-op is"):
            outgoing(wrong, 0, 0)


ORIGINS = frozenset({"t0/0", "t0/3"})


def test_what_a_program_has_copied_says_what_it_was_made_of():
    value = encode(Stamp("t0/3", 17, 5, 99))
    assert written("t1/0", 8, value, 4, origins=ORIGINS) == [8, "99@8", {"epoch": 4, "origin": ["t0/3", 99]}]
    assert written("t0/0", 8, value, None, origins=ORIGINS) == [8, 99, {"altered": "sent to t0/3"}], "an input"
    strange = encode(Stamp("t9/0", 17, 5, 99))
    assert written("t1/0", 8, strange, None, origins=ORIGINS) == [8, 99, {"altered": "sent to t9/0"}]


def test_the_line_may_stand_in_what_a_program_has_made_of_it():
    line = encode(Stamp("t0/3", 17, 5, 99))
    wrapped = b'{"payload": "%b", "seen": 1}' % line
    assert written("t1/0", 8, wrapped, None, origins=ORIGINS) == [8, "99@8", {"origin": ["t0/3", 99]}]
    assert written("t1/0", 8, wrapped, None)[2]["altered"] == "undecodable", "nobody copies here"
    assert written("t1/0", 8, wrapped.replace(b" 99 ", b" 98 "), None, origins=ORIGINS)[2]["altered"] == "undecodable"
    two = line + b"," + encode(Stamp("t0/3", 17, 6, 100))
    assert written("t1/0", 8, two, None, origins=ORIGINS)[2]["altered"] == "undecodable", "of which of them is it?"


def test_headers_of_a_program_are_its_own_affair():
    value = encode(Stamp("t0/3", 17, 5, 99))
    for header in (("source", None), ("source", b"t0/3 17"), ("h1", b"x"), ("source", b"\xff")):
        assert written("t1/0", 8, value, None, b"k", [header], ORIGINS)[1:] == [
            "99@8",
            {"record-key": "k", "origin": ["t0/3", 99]},
        ]


def test_what_a_program_writes_of_its_own_is_no_record_twice():
    first, second = (written("t1/0", offset, b"{}", None, origins=ORIGINS)[1] for offset in (8, 9))
    assert (first, second) == ("?7b7d@8", "?7b7d@9")
