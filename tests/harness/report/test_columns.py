"""Calls in columns: invocations joined with completions, rows that never overlap, blocks that come back whole."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.history import Op
from harness.report import bundle
from harness.report.columns import NO_COMPLETION, OUTCOMES, Calls, pack, read_calls


def numbered(ops: list[Op]) -> Iterator[Op]:
    for index, op in enumerate(ops):
        yield op.at(index, op.time)


def calls_of(*ops: Op) -> Calls:
    return read_calls(numbered(list(ops)), lambda _: None)


def send(process: int, time: int, kind: str = "invoke", **fields) -> Op:
    return Op(process=process, type=kind, f="send", time=time, value=[["send", "t0/1", 7]], **fields)


def test_an_invocation_and_its_completion_are_one_call() -> None:
    calls = calls_of(send(0, 1_000), send(1, 1_500), send(0, 5_000, "ok"))
    assert list(calls.start) == [1_000, 1_500]
    assert list(calls.end) == [5_000, 1_500]
    assert [OUTCOMES[code] for code in calls.outcome] == ["ok", "pending"]
    assert list(calls.completion) == [2, NO_COMPLETION]


def test_a_completion_without_invocation_is_a_call_of_no_length() -> None:
    calls = calls_of(send(0, 4_000, "ok"))
    assert (calls.start[0], calls.end[0], calls.completion[0]) == (4_000, 4_000, 0)


def test_values_of_another_shape_have_no_keys() -> None:
    odd = [send(0, 1, "ok").completed("fail", value=5), Op(process=1, type="fail", f="assign", value=5)]
    calls = calls_of(*odd, Op(process=2, type="info", f="commit", value={"x": 1}))
    assert list(calls.key_count) == [0, 0, 0]


def test_keys_come_from_sends_polls_and_assignments() -> None:
    polled = [["poll", [["t1/0", [[3, 4]]]]]]
    calls = calls_of(
        Op(process=0, type="invoke", f="txn", time=1, value=[["send", "t0/1", 7], ["poll"]]),
        Op(process=0, type="ok", f="txn", time=2, value=[["send", "t0/1", [0, 7]], *polled]),
        Op(process=0, type="invoke", f="assign", time=3, value=["t2/9"]),
    )
    first = {calls.keys[key] for key in calls.key[: calls.key_count[0]]}
    assert first == {"t0/1", "t1/0"}
    assert [calls.keys[key] for key in calls.key[calls.key_count[0] :]] == ["t2/9"]


def test_values_of_no_known_shape_are_no_obstacle() -> None:
    odd = [7, "x", {"a": 1}, [], [1], ["poll", 3], ["send"], [["poll"]]]
    calls = calls_of(*(Op(process=i, type="ok", f="txn", time=i, value=[value]) for i, value in enumerate(odd)))
    assert len(calls) == len(odd)


def test_events_of_other_sources_are_handed_on_in_order() -> None:
    seen: list[str] = []
    ops = [Op(process="nemesis", type="info", f="kill", time=1), send(0, 2), Op(process="group", type="info", f="x")]
    assert len(read_calls(numbered(ops), lambda op: seen.append(op.f))) == 1
    assert seen == ["kill", "x"]


def test_errors_past_the_bound_are_other() -> None:
    ops = [send(i, i, "fail", error={"name": f"E{i}"}) for i in range(400)]
    calls = calls_of(*ops)
    assert len(calls.errors) <= 250
    assert calls.errors[calls.error[-1] - 1] == "other"


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=40)


@given(spans)
def test_packed_processes_of_one_row_never_overlap(drawn: list[tuple[int, int]]) -> None:
    starts = np.array([begin for begin, _ in drawn])
    ends = np.array([begin + length for begin, length in drawn])
    rows = pack(np.arange(len(drawn)), starts, ends, len(drawn))
    for i in range(len(drawn)):
        for j in range(i):
            if rows[i] == rows[j]:
                assert ends[i] <= starts[j] or ends[j] <= starts[i]


@given(spans)
def test_packing_needs_no_more_rows_than_run_at_once(drawn: list[tuple[int, int]]) -> None:
    starts = np.array([begin for begin, _ in drawn])
    ends = np.array([begin + length for begin, length in drawn])
    rows = pack(np.arange(len(drawn)), starts, ends, len(drawn))
    # A process of no length still stands on its row at its instant.
    busiest = max(int(((starts <= t) & (np.maximum(ends, starts + 1) > t)).sum()) for t in range(101))
    assert max(rows) + 1 <= busiest


# The block is undone here as data.js undoes it.


def planes(raw: bytes, at: int, count: int, size: int) -> tuple[list[int], int]:
    part = np.frombuffer(raw, np.uint8, count * size, at).reshape(size, count).astype(np.int64)
    return [int(sum(part[plane][i] << (8 * plane) for plane in range(size))) for i in range(count)], at + count * size


def undone(block: bundle.Bundle) -> dict[str, list[int]]:
    raw = zlib.decompress(base64.b64decode(block.block))
    count, at, out = block.meta["count"], 0, {}
    sizes = {"low": 4, "high": 4, "length": 4, "process": 4, "kind": 1, "outcome": 1, "error": 1}
    for name, size in {**sizes, "invoked": 4, "completed": 4, "keys": 2}.items():
        out[name], at = planes(raw, at, count, size)
    out["key"], at = planes(raw, at, block.meta["keyTotal"], 2)
    assert at == len(raw)
    time = np.cumsum([low + high * 2**32 for low, high in zip(out["low"], out["high"], strict=True)])
    index = np.cumsum([-((i + 1) // 2) if i % 2 else i // 2 for i in out["invoked"]])
    return out | {"start_us": [int(t) for t in time], "invocation": [int(i) for i in index]}


@given(st.lists(st.tuples(st.integers(0, 10**14), st.integers(0, 10**13)), max_size=30))
def test_a_block_comes_back_as_it_was(drawn: list[tuple[int, int]]) -> None:
    ops = []
    for process, (begin, length) in enumerate(drawn):
        ops += [send(process, begin), send(process, begin + length, "ok")]
    calls = calls_of(*ops)
    back = undone(bundle.bundle(calls, set()))
    assert back["start_us"] == [start // 1_000 for start in calls.start]
    assert back["invocation"] == list(calls.invocation)
    lengths = (calls.end - calls.start) // 1_000
    assert back["length"] == [min(int(length), 2**32 - 1) for length in lengths]
    assert [i + c for i, c in zip(back["invocation"], back["completed"], strict=True)] == list(calls.completion)


def test_thinning_keeps_all_that_is_not_ok_and_all_that_is_named(monkeypatch) -> None:
    monkeypatch.setattr(bundle, "MAX_CALLS", 40)
    ops = []
    for i in range(300):
        ops += [send(i, 10 * i), send(i, 10 * i + 5, "info" if i % 30 == 0 else "ok")]
    calls = calls_of(*ops)
    packed = bundle.bundle(calls, {2 * 17})
    back = undone(packed)
    assert packed.meta["count"] <= 41
    assert packed.meta["recorded"] == 300
    assert sum(OUTCOMES[code] == "info" for code in back["outcome"]) == 10
    assert 2 * 17 in back["invocation"]


def test_thinning_is_bounded_even_where_nothing_is_ok(monkeypatch) -> None:
    monkeypatch.setattr(bundle, "MAX_CALLS", 40)
    packed = bundle.bundle(calls_of(*(send(i, i, "fail") for i in range(300))), {5})
    assert packed.meta["count"] <= 41
    assert 5 in undone(packed)["invocation"]
