"""The history file: round trips, torn tails, foreign fields."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import OK, HistoryError, HistoryWriter, Op, decode, encode, read_lines

LINE = b'{"index":2,"time":31,"process":3,"type":"ok","f":"txn","value":[["send","t0/1",[40,17]]],"commit-time":20}\n'

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
ops = st.builds(
    Op,
    index=st.integers(0, 2**40),
    time=st.integers(0, 2**62),
    process=st.integers(0, 2**31) | st.sampled_from(["nemesis", "harness", "probe/n1", "group"]),
    type=st.sampled_from(["invoke", "ok", "fail", "info"]),
    f=st.text(min_size=1),
    value=json_values,
    commit_time=st.none() | st.integers(0, 2**62) | st.just(msgspec.UNSET),
    times=st.none() | st.lists(st.lists(st.integers(0, 2**62), min_size=2, max_size=2), max_size=3),
    error=st.none() | st.dictionaries(st.text(), st.text(), max_size=2),
    txn_id=st.none() | st.text(),
    abort=st.booleans(),
    seek_to_beginning=st.booleans(),
    extra=st.none() | st.just({"their-field": [1, {"x": None}]}),
)


@given(ops)
def test_an_op_survives_the_round_trip(op):
    line = encode(op)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line, where="x:1") == op


def test_fields_carry_the_names_of_the_format():
    op = Op(index=0, time=5, process=1, type=OK, f="txn", commit_time=None, seek_to_beginning=True, txn_id="h-1")
    fields = json.loads(encode(op))
    expected = {"index": 0, "time": 5, "process": 1, "type": "ok", "f": "txn"}
    assert fields == expected | {"commit-time": None, "seek-to-beginning?": True, "txn-id": "h-1"}


def test_a_commit_that_was_never_called_differs_from_an_unknown_one():
    base = b'{"process":0,"type":"info","f":"txn"'
    assert decode(base + b',"commit-time":null}', where="x").commit_time is None
    assert decode(base + b"}", where="x").commit_time is msgspec.UNSET


def test_a_torn_last_line_is_dropped():
    assert len(list(read_lines([LINE, LINE[:40]], name="h"))) == 1


@pytest.mark.parametrize(
    "bad",
    [
        b"{\n",
        b'{"process":1}\n',
        b'{"process":[],"type":"ok","f":"x"}\n',
        b"[]\n",
        b'{"process":1,"type":"done","f":"x"}\n',
    ],
)
def test_a_bad_line_is_named(bad):
    with pytest.raises(HistoryError, match="h:2: "):
        list(read_lines([LINE, bad, LINE], name="h"))


def test_indexes_are_assigned_where_absent():
    line = b'{"process":0,"type":"invoke","f":"read"}\n'
    assert [op.index for op in read_lines([line, line], name="h")] == [0, 1]


def test_a_history_is_never_overwritten(tmp_path):
    path = tmp_path / "history.jsonl"
    HistoryWriter(path).close()
    with pytest.raises(FileExistsError):
        HistoryWriter(path)


@pytest.mark.parametrize("at_once", [True, False])
def test_lines_that_are_collected_are_the_same_lines(tmp_path, at_once):
    path = tmp_path / "history.jsonl"
    ops = [Op(index=i, time=i, process=0, type="invoke", f="send", value="x" * (i % 97)) for i in range(1000)]

    def write():
        with HistoryWriter(path, at_once=at_once) as writer:
            for op in ops:
                writer.append(op)
            raise KeyError("a run that fails")

    with pytest.raises(KeyError):
        write()
    assert path.read_bytes() == b"".join(encode(op) for op in ops)


def test_what_was_appended_survives_kill_9(tmp_path):
    path = tmp_path / "history.jsonl"
    program = (
        "import sys; from pathlib import Path; from harness.history import HistoryWriter, Op\n"
        "w = HistoryWriter(Path(sys.argv[1]))\n"
        "for i in range(1000): w.append(Op(index=i, time=i, process=0, type='invoke', f='send', value=i))\n"
        "print('written', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"written\n"
        os.kill(child.pid, signal.SIGKILL)
    with path.open("rb") as lines:
        assert [op.value for op in read_lines(lines, name="h")] == list(range(1000))
