"""1, 1.0 and true are three values, by whatever road a history is judged; a number that is calculated with is one."""

from __future__ import annotations

import msgspec
import pytest

from checkers.exact import Exact, comparable, exact, plain
from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import Op


def judged(model, *calls):
    ops = []
    for f, given, out in calls:
        for type_, value in (("invoke", given), ("ok", out)):
            ops.append(Op(index=len(ops), time=len(ops), process=0, type=type_, f=f, value=value))
    return judge(ops, CheckOptions(workload=model))


def both_ways(put, take, twice):
    """Return calls that put 1 and take something else: once (a monitor decides), and after as much again (a search)."""
    usual = (put, take(1)) if twice else ()
    return lambda other: (*usual, put, take(other))


ROADS = {
    "register": lambda other: (("write", 1, 1), ("read", None, other)),
    "cas-register": lambda other: (("write", 1, 1), ("read", None, other)),
    "multi-register": lambda other: (
        ("txn", [["write", "x", 1]], [["write", "x", 1]]),
        ("txn", [["read", "x", None]], [["read", "x", other]]),
    ),
    "queue": both_ways(("enqueue", 1, 1), lambda seen: ("dequeue", None, seen), twice=False),
    "queue, repeated": both_ways(("enqueue", 1, 1), lambda seen: ("dequeue", None, seen), twice=True),
    "stack": both_ways(("push", 1, 1), lambda seen: ("pop", None, seen), twice=False),
    "stack, repeated": both_ways(("push", 1, 1), lambda seen: ("pop", None, seen), twice=True),
    "set": lambda other: (("add", 1, 1), ("read", None, [other])),
    "set, repeated": lambda other: (("add", 1, 1), ("add", 1, 1), ("read", None, [other])),
    "log": lambda other: (
        ("append", 1, [0, 1]),
        ("read", None, [other]),
        ("append", 2, [1, 2]),
        ("read", None, [1, 2]),
    ),
    "list-append": lambda other: (
        ("txn", [["append", "x", 1]], [["append", "x", 1]]),
        ("txn", [["r", "x", None]], [["r", "x", [other]]]),
    ),
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("other", [1.0, True, "1"])
def test_another_json_value_is_another_value(road, other):
    model = road.partition(",")[0]
    assert judged(model, *ROADS[road](1)).validity.wire is True
    wrong = judged(model, *ROADS[road](other))
    assert wrong.validity.wire is False
    assert msgspec.json.encode(wrong.verdict_json())


def test_a_cas_from_another_value_fails():
    assert judged("cas-register", ("write", 1, 1), ("cas", [1, 2], [1, 2])).validity.wire is True
    assert judged("cas-register", ("write", 1, 1), ("cas", [True, 2], [True, 2])).validity.wire is False


@pytest.mark.parametrize("value", [False, True, 0.0])
def test_a_queue_may_hold_what_is_not_true(value):
    once = (("enqueue", value, value), ("dequeue", None, value))
    assert judged("queue", *once, *once).validity.wire is True


def test_numbers_that_are_calculated_with_are_what_they_amount_to():
    assert judged("counter", ("add", 1.0, 1.0), ("read", None, 1)).validity.wire is True
    assert judged("priority-queue", ("insert", 1, 1), ("delete-min", None, 1.0)).validity.wire is True
    assert judged("priority-queue", ("insert", 2, 2), ("delete-min", None, 1.0)).validity.wire is False


@pytest.mark.parametrize("model", ["set", "log"])
def test_null_is_the_empty_content_for_the_search_too(model):
    f = "add" if model == "set" else "append"
    calls = [("read", None, None), (f, 1, 1), (f, 1, 1)]
    if model == "set":
        calls += [("remove", 1, 1), ("read", None, None)]
        assert judged(model, *calls).validity.wire is True
    ops = judged(model, ("read", None, None), (f, 1, 1), ("read", None, [1]))
    assert ops.validity.wire is True


def test_an_exact_value_is_told_as_it_was():
    values = [exact(value) for value in (1, 1.0, True, "1", 1.5, None)]
    assert len(set(values)) == 6
    assert [type(value) is Exact for value in values] == [False, True, True, False, False, False]
    assert plain({"a": values, "b": (values[2],)}) == {"a": [1, 1.0, True, "1", 1.5, None], "b": (True,)}
    assert type(plain(values)[1]) is float
    assert comparable([1, "x", None])
    assert not comparable([1, 1.0])
