"""The operations that prove an anomaly, and the log around it."""

from __future__ import annotations

import msgspec

from checkers.judge import judge
from harness.history import Op
from harness.report.order import Locator, Place, marks_of, places_of
from harness.report.proof import MAX_EFFECTS, call_row, collect


def history(*ops: Op) -> list[Op]:
    return [op.at(index, op.time) for index, op in enumerate(ops)]


def sent(process: int, time: int, kind: str, offset: int | None, value: object) -> Op:
    argument = value if offset is None else [offset, value]
    return Op(process=process, type=kind, f="send", time=time, value=[["send", "t0/1", argument]])


def polled(process: int, time: int, *records: list[object]) -> Op:
    return Op(process=process, type="ok", f="poll", time=time, value=[["poll", [["t0/1", list(records)]]]])


LOST = history(
    sent(0, 1, "invoke", None, "a"),
    sent(0, 2, "ok", 4, "a"),
    sent(1, 3, "invoke", None, "b"),
    sent(1, 4, "ok", 5, "b"),
    sent(2, 5, "invoke", None, "c"),
    sent(2, 9, "info", None, "c"),
    polled(3, 10, [4, "a"], [6, "c"]),
)


def test_a_lost_record_is_a_row_that_nobody_read() -> None:
    place = Place("t0/1", (5,))
    rows = collect(LOST, {3, 6}, [place]).orders[place]
    assert [row.offset for row in rows] == [4, 5, 6]
    lost = rows[1]
    assert (lost.hot, lost.cells[0].text, lost.cells[0].read_count) == (True, '"b"', 0)
    assert [who.process for who in lost.cells[0].writers] == [1]
    assert [who.process for who in rows[0].cells[0].readers] == [3]


def test_a_writer_without_an_offset_is_found_by_its_value() -> None:
    place = Place("t0/1", (6,))
    (row,) = [row for row in collect(LOST, {6}, [place]).orders[place] if row.offset == 6]
    assert [(who.process, who.outcome) for who in row.cells[0].writers] == [(2, "info")]


def test_two_records_at_one_offset_are_two_cells() -> None:
    place = Place("t0/1", (4,))
    ops = history(polled(0, 1, [4, "a"]), polled(1, 2, [4, "z"]))
    (row,) = collect(ops, {0, 1}, [place]).orders[place]
    assert [cell.text for cell in row.cells] == ['"a"', '"z"']


def test_a_named_invocation_or_completion_gives_the_same_call() -> None:
    calls = collect(LOST, {2, 3}, []).calls
    assert calls[2] == calls[3]
    row = call_row(*calls[2], hot=set())
    assert (row.index, row.invoked, row.completed, row.outcome) == (3, 3, 4, "ok")


def test_a_call_that_never_ended_has_no_answer() -> None:
    calls = collect(history(sent(0, 7, "invoke", None, 1)), {0}, []).calls
    row = call_row(*calls[0], hot=set())
    assert (row.outcome, row.completed, row.invoked) == ("pending", None, 7)


def test_the_record_that_matters_is_marked_inside_a_long_poll() -> None:
    op = polled(0, 1, *([place, place] for place in range(500)))
    (effect,) = call_row(None, op, hot={("t0/1", 321)}).effects
    assert [text for text, hot in effect.pieces if hot] == ["@321 = 321"]
    told = "".join(text for text, _ in effect.pieces)
    assert "@320 = 320" in told
    assert "@100 = 100" not in told
    assert told.endswith("(500 records)")


def test_many_effects_are_cut_around_what_matters() -> None:
    value = [["send", f"t0/{i}", [i, i]] for i in range(50)]
    row = call_row(None, Op(process=0, type="ok", f="txn", value=value), hot={("t0/40", 40)})
    assert len(row.effects) == MAX_EFFECTS
    assert row.left_out == 50 - MAX_EFFECTS
    assert any(effect.hot for effect in row.effects)


def test_values_travel_only_around_named_operations() -> None:
    ops = history(*(polled(0, i, [i, i]) for i in range(1_000)))
    valued = collect(ops, {500}, []).valued
    assert 500 in valued
    assert len(valued) < 100


def test_examples_that_name_a_value_are_placed_by_their_operations() -> None:
    locator = Locator({3, 6})
    for op in LOST:
        locator.take(op)
    assert places_of({"key": "t0/1", "value": "b"}, locator) == [Place("t0/1", (5,))]
    assert places_of({"key": "t0/1", "values": ["a", "c"]}, locator) == [Place("t0/1", (4, 6))]
    assert places_of({"missing": [["t0/1", "b"]], "visible": [["t9/0", 1]]}, locator) == [Place("t0/1", (5,))]
    assert places_of({"unseen": {"t0/1": 3}}, locator) == []


def test_the_records_that_link_the_steps_of_a_cycle_are_marked() -> None:
    locator = Locator({1, 3, 6})
    for op in LOST:
        locator.take(op)
    steps = [{"type": "wr", "from": 1, "to": 6}, {"type": "process", "from": 6, "to": 3}, {"from": None}, 7]
    assert marks_of({"cycle": [1, 6], "steps": steps}, locator) == {("t0/1", 4)}


def test_odd_examples_are_no_obstacle() -> None:
    locator = Locator(set())
    for odd in ({}, {"key": None}, {"key": ["x"]}, {"key": "k", "offset": -3}, {"key": "k", "offsets": "no"}):
        assert places_of(odd, locator) == []


def test_what_was_read_behind_a_lost_record_is_marked_too() -> None:
    (lost,) = (one for one in judge([op for op in LOST if op.type != "invoke"]).anomalies if one.name == "lost-write")
    example = msgspec.to_builtins(lost.examples[0])["details"]
    locator = Locator({3, 6})
    for op in LOST:
        locator.take(op)
    assert marks_of(example, locator) == {("t0/1", 5), ("t0/1", 6)}
    reader = call_row(None, LOST[6], marks_of(example, locator))
    assert [text for effect in reader.effects for text, hot in effect.pieces if hot] == ['@6 = "c"']
