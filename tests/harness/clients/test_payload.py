"""The stamp in a record's value: it survives the way, and any change or wrong place is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clients.payload import Damage, Stamp, decode, encode, outgoing, written

TOPIC = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", min_size=1, max_size=20)
KEYS = st.builds("{}/{}".format, TOPIC, st.integers(0, 10**6))
STAMPS = st.builds(Stamp, KEYS, st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-(2**63), 2**63))


@given(STAMPS)
def test_what_was_encoded_is_decoded(stamp):
    assert decode(encode(stamp)) == stamp


@given(STAMPS, st.integers(0, 10**12))
def test_a_record_read_where_it_was_sent_is_offset_and_value(stamp, offset):
    assert written(stamp.key, offset, encode(stamp), None) == [offset, stamp.v]
    assert written(stamp.key, offset, encode(stamp), 7) == [offset, stamp.v, {"epoch": 7}]


@given(STAMPS, KEYS)
def test_a_record_read_elsewhere_names_where_it_was_sent(stamp, key):
    entry = written(key, 3, encode(stamp), None)
    assert (entry == [3, stamp.v]) == (key == stamp.key)
    assert key == stamp.key or entry[2]["altered"] == f"sent to {stamp.key}"


@given(STAMPS, st.data())
def test_no_changed_bit_goes_unseen(stamp, data):
    value = bytearray(encode(stamp))
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    entry = written(stamp.key, 3, bytes(value), None)
    assert entry[1] == "?" + bytes(value)[:16].hex()
    assert entry[2]["altered"] in {"checksum", "undecodable"}


@given(STAMPS, st.data())
def test_no_truncated_value_passes(stamp, data):
    value = encode(stamp)
    assert isinstance(decode(value[: data.draw(st.integers(0, len(value) - 1))]), Damage)


@given(st.none() | st.binary(max_size=60))
def test_foreign_bytes_are_undecodable_and_shown(value):
    entry = written("t0/0", 9, value, 2)
    assert entry[0] == 9
    assert entry[1].startswith("?")
    assert entry[2] == {"epoch": 2, "altered": "undecodable"}


def test_a_value_is_one_readable_line():
    assert encode(Stamp("t0/3", 17, 5, 1234)).startswith(b"h1 t0/3 17 5 1234 ")
    assert len(encode(Stamp("t0/3", 17, 5, 1234))) == 26


def test_a_copy_says_what_it_was_made_from():
    sent = outgoing(["send", "t1/0", [None, 9, {"copy": True}]], 4, 0, ["t0/3", 17])
    assert sent.sent(5) == ["send", "t1/0", [5, 9, {"source": ["t0/3", 17]}]]
    assert written("t1/0", 5, sent.value, None, None, sent.headers) == [5, 9, {"source": ["t0/3", 17]}]
    assert written("t1/0", 5, sent.value, None, None, [("source", b"nonsense")])[2]["source"] is None


def test_what_is_no_send_is_refused():
    for wrong in (["send", "t0/0"], ["pull"], ["send", "t0/0", [None, 1, {"copy": True}]]):
        with pytest.raises(ValueError, match="a micro-op is"):
            outgoing(wrong, 0, 0)
