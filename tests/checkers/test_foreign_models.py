"""Small foreign histories of list-append and of the linearizability models, with the verdicts of their definitions."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers.foreign import FORMS, REFUSED, TEXT, Foreign, found, written

NOT = {"nonlinearizable"}


def check(tmp_path, story, expected, **options):
    for form in TEXT if expected == REFUSED else FORMS:
        assert found(tmp_path, story.lines, form, **options) == expected, form


# List-append: transactions one after another, or all at once


def a(key, value):
    return ["append", key, value]


def r(key, *values):
    return ["r", key, list(values)]


def serial(*transactions):
    story = Foreign()
    for process, type_, micro_ops in transactions:
        story.op(process, type_, "txn", micro_ops)
    return story


def together(*transactions):
    story = Foreign()
    for process, micro_ops in enumerate(transactions):
        story.add(process, "invoke", "txn", [["r", m[1], None] if m[0] == "r" else m for m in micro_ops])
    for process, micro_ops in enumerate(transactions):
        story.add(process, "ok", "txn", micro_ops)
    return story


SKEW = together([r("x"), a("y", 1)], [r("y"), a("x", 1)], [r("x", 1), r("y", 1)])
STALE = serial((0, "ok", [a("x", 1)]), (1, "ok", [r("x")]))
APPENDS = {
    "one after another": (
        serial((0, "ok", [a("x", 1)]), (0, "ok", [r("x", 1), a("x", 2)]), (1, "ok", [r("x", 1, 2)])),
        "valid",
    ),
    "write cycle": (together([a("x", 1), a("y", 1)], [a("x", 2), a("y", 2)], [r("x", 1, 2), r("y", 2, 1)]), {"G0"}),
    "aborted": (serial((0, "fail", [a("x", 1)]), (1, "ok", [r("x", 1)])), {"G1a"}),
    "in the middle": (together([a("x", 1), a("x", 2)], [r("x", 1)], [r("x", 1, 2)]), {"G1b", "G-single-item"}),
    "information cycle": (together([a("x", 1), r("y", 1)], [a("y", 1), r("x", 1)]), {"G1c"}),
    "read skew": (together([a("x", 1), a("y", 1)], [r("x", 1), r("y")]), {"G-single-item"}),
    "two reads apart": (
        together(
            [r("x"), r("w", 1)],
            [a("x", 1), a("y", 1)],
            [r("y", 1), r("z")],
            [a("z", 1), a("w", 1)],
            [r("x", 1), r("z", 1)],
        ),
        {"G-nonadjacent-item"},
    ),
    "write skew": (SKEW, {"G2-item"}),
    "write skew, which snapshot isolation allows": (SKEW, "valid", "snapshot-isolation"),
    "lost update": (
        together([r("x"), a("x", 1)], [r("x"), a("x", 2)], [r("x", 1, 2)]),
        {"lost-update", "G-single-item"},
    ),
    "own append is not seen": (serial((0, "ok", [a("x", 1), r("x")])), {"internal"}),
    "own append is seen too early": (serial((0, "ok", [r("x", 1), a("x", 1)])), {"future-read"}),
    "two orders": (
        serial((0, "ok", [a("x", 1), a("x", 2)]), (1, "ok", [r("x", 1, 2)]), (1, "ok", [r("x", 2, 1)])),
        {"incompatible-order", "G1b"},
    ),
    "twice in one read": (serial((0, "ok", [a("x", 1)]), (1, "ok", [r("x", 1, 1)])), {"duplicate-elements"}),
    "never appended": (serial((0, "ok", [a("x", 1)]), (1, "ok", [r("x", 1, 7)])), {"phantom-read"}),
    "never appended, in the middle": (serial((0, "ok", [a("x", 1)]), (1, "ok", [r("x", 7, 1)])), {"phantom-read"}),
    "never appended, in one of two reads": (
        serial((0, "ok", [a("x", 1)]), (1, "ok", [r("x", 1)]), (1, "ok", [r("x", 7, 1)])),
        {"phantom-read", "incompatible-order"},
    ),
    "on top of the aborted": (
        serial((0, "fail", [a("x", 1)]), (0, "ok", [a("x", 2)]), (1, "ok", [r("x", 1, 2)])),
        {"dirty-update", "G1a"},
    ),
    "stale": (STALE, {"G-single-item-realtime"}),
    "stale, which serializability allows": (STALE, "valid", "serializable"),
    "stale in one process": (
        serial((0, "ok", [a("x", 1)]), (0, "ok", [r("x")])),
        {"G-single-item-process"},
        "strong-session-serializable",
    ),
    "undecided, seen late": (serial((0, "info", [a("x", 1)]), (1, "ok", [r("x")]), (2, "ok", [r("x", 1)])), "valid"),
    "undecided, never seen": (
        serial((0, "info", [a("x", 1)]), (1, "ok", [a("x", 2)]), (2, "ok", [r("x", 2)])),
        "valid",
    ),
    "appended again after it failed": (
        serial((0, "fail", [a("x", 1)]), (1, "ok", [a("x", 1)]), (1, "ok", [r("x", 1)])),
        "valid",
    ),
    "what an undecided transaction read": (
        serial((0, "ok", [a("x", 1)]), (2, "ok", [r("x", 1)]), (1, "info", [r("x", 9)])),
        "valid",
    ),
    "words, and keys that look alike": (
        serial((0, "ok", [a("x", "a"), a(1, "b"), a("1", "c")]), (1, "ok", [r("x", "a"), r(1, "b"), r("1", "c")])),
        "valid",
    ),
    "true is not 1": (serial((0, "ok", [a("x", 1)]), (1, "ok", [r("x", True)])), {"phantom-read"}),
    "a large number": (serial((0, "ok", [a("x", 2**80)]), (1, "ok", [r("x", 2**80)])), "valid"),
    "nothing to judge": (serial((0, "ok", [])), "unknown"),
    "true as a key": (serial((0, "ok", [a(True, 1)])), REFUSED),
    "a word is no list": (serial((0, "ok", [a("x", 1)]), (1, "ok", [["r", "x", "1"]])), REFUSED),
    "an object is no list": (serial((0, "ok", [a("x", 1)]), (1, "ok", [["r", "x", {"1": 1}]])), REFUSED),
    "zero is no list": (serial((0, "ok", [a("x", 1)]), (1, "ok", [["r", "x", 0]])), REFUSED),
    "another micro-op": (serial((0, "ok", [["w", "x", 0]])), REFUSED),
}


@pytest.mark.parametrize("name", APPENDS)
def test_list_append_has_the_verdict_of_the_definitions(tmp_path, name):
    story, expected, *model = APPENDS[name]
    check(tmp_path, story, expected, workload="list-append", consistency_model=model[0] if model else None)


FALLING = {
    "list-append": serial((0, "ok", [a("x", 1)]), (1, "ok", [r("x", 1)])),
    "register": Foreign().op(0, "ok", "write", 1).op(1, "ok", "read", 1, asked=None),
}


@pytest.mark.parametrize("workload", FALLING)
def test_time_that_falls_is_unknown_in_every_workload(tmp_path, workload):
    story = FALLING[workload]
    story.lines[2]["time"] = 3
    check(tmp_path, story, "unknown", workload=workload)


# Models


def calls(*operations):
    story = Foreign()
    for process, type_, f, given, out, *key in operations:
        more = {"key": key[0]} if key else {}
        story.add(process, "invoke", f, given, **more).add(process, type_, f, out, **more)
    return story


def ok(f, given=None, out=None, *key):
    return (0 if given is not None else 1, "ok", f, given, out, *key)


MODELLED = {
    "register": {
        "written and read": ("valid", ok("write", 1), ok("read", None, 1)),
        "null at first": ("valid", ok("read"), ok("write", 1)),
        "stale": (NOT, ok("write", 1), ok("write", 2), ok("read", None, 1)),
        "stale, with values that come again": (
            NOT,
            ok("write", 1),
            ok("write", 1),
            ok("write", 2),
            ok("read", None, 1),
        ),
        "undecided, seen late": ("valid", (3, "info", "write", 1, None), ok("read"), ok("read", None, 1)),
        "undecided, seen and gone": (
            NOT,
            (3, "info", "write", 1, None),
            ok("write", 2),
            ok("read", None, 1),
            ok("read", None, 2),
        ),
        "failed and seen": (NOT, (3, "fail", "write", 1, 1), ok("read", None, 1)),
        "failed and not seen": ("valid", (3, "fail", "write", 1, 1), ok("read")),
        "never written": (NOT, ok("write", 1), ok("read", None, 7)),
        "1.0 is not 1": (NOT, ok("write", 1), ok("read", None, 1.0)),
        "true is not 1": (NOT, ok("write", 1), ok("read", None, True)),
        "an object": ("valid", ok("write", [1, {"a": 2}]), ok("read", None, [1, {"a": 2}])),
        "keys that look alike": (
            "valid",
            ok("write", 1, 1, 1),
            ok("write", 2, 2, "1"),
            ok("read", None, 1, 1),
            ok("read", None, 2, "1"),
        ),
        "another key's value": (NOT, ok("write", 1, 1, "a"), ok("write", 2, 2, "b"), ok("read", None, 2, "a")),
        "true as a key": (REFUSED, ok("write", 1, 1, True)),
        "another kind": ("unknown", ok("write", 1), ok("reed", None, 1)),
        "nothing that succeeded": ("vacuous", (3, "info", "write", 1, None), (1, "fail", "read", None, None)),
    },
    "cas-register": {
        "swapped": ("valid", ok("write", 1), ok("cas", [1, 2], [1, 2]), ok("read", None, 2)),
        "swapped what was not there": (NOT, ok("write", 1), ok("cas", [3, 2], [3, 2])),
        "not swapped": ("valid", ok("write", 1), (3, "fail", "cas", [1, 2], [1, 2]), ok("read", None, 1)),
        "no pair": (REFUSED, ok("cas", [1], [1])),
        "keys as in jepsen.independent": (
            REFUSED,
            ok("write", ["k", 1], ["k", 1]),
            ok("read", ["j", None], ["j", None]),
        ),
    },
    "mutex": {
        "held by two": (NOT, (0, "ok", "acquire", None, None), (1, "ok", "acquire", None, None)),
        "passed on": (
            "valid",
            (0, "ok", "acquire", None, None),
            (0, "ok", "release", None, None),
            (1, "ok", "acquire", None, None),
        ),
        "undecided": ("valid", (0, "info", "acquire", None, None), (1, "ok", "acquire", None, None)),
        "released perhaps": (
            "valid",
            (0, "ok", "acquire", None, None),
            (0, "info", "release", None, None),
            (1, "ok", "acquire", None, None),
        ),
    },
    "queue": {
        "in order": ("valid", ok("enqueue", 1), ok("enqueue", 2), ok("dequeue", None, 1)),
        "out of order": (NOT, ok("enqueue", 1), ok("enqueue", 2), ok("dequeue", None, 2)),
        "empty too early": (NOT, ok("enqueue", 1), ok("dequeue")),
        "taken by one that nobody heard of": (
            "valid",
            ok("enqueue", 1),
            (3, "info", "dequeue", None, None),
            ok("dequeue"),
        ),
        "taken twice": (NOT, ok("enqueue", 1), ok("dequeue", None, 1), ok("dequeue", None, 1)),
        "never there": (NOT, ok("enqueue", 1), ok("dequeue", None, 9)),
    },
    "set": {
        "in any order": ("valid", ok("add", 1), ok("add", 2), ok("read", None, [2, 1])),
        "missing": (NOT, ok("add", 1), ok("read", None, [])),
        "removed": ("valid", ok("add", 1), ok("remove", 1), ok("read", None, [])),
        "comes and goes": (NOT, (3, "info", "add", 1, None), ok("read", None, [1]), ok("read", None, [])),
        "true is not 1": (NOT, ok("add", 1), ok("read", None, [True])),
    },
    "counter": {
        "sum": ("valid", ok("add", 2), ok("add", -1), ok("read", None, 1)),
        "wrong sum": (NOT, ok("add", 2), ok("read", None, 1)),
        "undecided": ("valid", (3, "info", "add", 2, None), ok("read", None, 0), ok("read", None, 2)),
        "nothing yet": ("valid", ok("read"), ok("add", 1), ok("read", None, 1)),
        "nothing any more": (NOT, ok("add", 1), ok("read")),
    },
    "stack": {
        "in order": ("valid", ok("push", 1), ok("push", 2), ok("pop", None, 2), ok("pop", None, 1), ok("pop")),
        "out of order": (NOT, ok("push", 1), ok("push", 2), ok("pop", None, 1)),
    },
    "priority-queue": {
        "least first": ("valid", ok("insert", 2), ok("insert", 1), ok("delete-min", None, 1)),
        "not the least": (NOT, ok("insert", 2), ok("insert", 1), ok("delete-min", None, 2)),
        "words have no order here": (REFUSED, ok("insert", "b")),
    },
    "log": {
        "whole": ("valid", ok("append", 1, [0, 1]), ok("append", 2, [5, 2]), ok("read", None, [1, 2])),
        "a part, later": ("valid", ok("append", 1, [0, 1]), ok("append", 2, [1, 2]), ok("read", None, [1])),
        "a part, in the writer's own process": (NOT, ok("append", 1, [0, 1]), (0, "ok", "read", None, [])),
        "another order": (NOT, ok("append", 1, [0, 1]), ok("append", 2, [1, 2]), ok("read", None, [2, 1])),
        "shrinks": (NOT, ok("append", 1, [0, 1]), ok("read", None, [1]), ok("read", None, [])),
        "never appended": (NOT, ok("append", 1, [0, 1]), ok("read", None, [1, 9])),
        "failed and there": (NOT, (3, "fail", "append", 1, 1), ok("read", None, [1])),
        "undecided": ("valid", (3, "info", "append", 1, 1), ok("read", None, []), ok("read", None, [1])),
        "one offset for two": (NOT, ok("append", 1, [0, 1]), (3, "ok", "append", 2, [0, 2])),
        "lost below what was read": (
            NOT,
            (2, "ok", "append", 1, [0, 1]),
            (3, "ok", "append", 2, [1, 2]),
            ok("read", None, [2]),
        ),
        "offset that is a word": (REFUSED, ok("append", 1, ["0", 1])),
        "read of a word": (REFUSED, ok("append", 1, [0, 1]), ok("read", None, "1")),
    },
    "kv-append": {
        "put and appended": ("valid", ok("put", "a"), ok("append", "b"), ok("get", None, "ab")),
        "the other way round": (NOT, ok("put", "a"), ok("append", "b"), ok("get", None, "ba")),
        "nothing yet": ("valid", ok("get"), ok("get", None, ""), ok("put", "a"), ok("get", None, "a")),
        "nothing any more": (NOT, ok("put", "a"), ok("get")),
    },
    "multi-register": {
        "null tells nothing": (
            "valid",
            ok("txn", [["write", "x", 1], ["write", "y", 1]], [["write", "x", 1], ["write", "y", 1]]),
            ok("txn", [["read", "x", None], ["read", "y", None]], [["read", "x", 1], ["read", "y", None]]),
        ),
        "never written": (
            NOT,
            ok("txn", [["write", "x", 1]], [["write", "x", 1]]),
            ok("txn", [["read", "x", None]], [["read", "x", 2]]),
        ),
    },
}


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, table in MODELLED.items() for name in table])
def test_model_has_the_verdict_of_its_definition(tmp_path, model, name):
    expected, *operations = MODELLED[model][name]
    check(tmp_path, calls(*operations), expected, workload=model)


def test_a_part_of_the_log_is_stale_where_real_time_counts(tmp_path):
    check(tmp_path, calls(ok("append", 1, [0, 1]), ok("read", None, [])), NOT, workload="log", fresh=True)


def test_completions_alone_have_no_real_time(tmp_path):
    check(tmp_path, Foreign().add(0, "ok", "write", 1).add(1, "ok", "read", 1), "unknown", workload="register")


def test_root_causes_of_a_list_append_history_come_first(tmp_path):
    story = together([a("x", 1), r("y", 1)], [a("y", 1), r("x", 1)], [r("x", 1), a("z", 1)], [r("z", 1), r("y")])
    path = written(tmp_path, story.lines, ".jsonl")
    anomalies = judge(path, CheckOptions(workload="list-append")).anomalies
    assert [anomaly.name for anomaly in anomalies] == ["G1c", "G-single-item"]


def test_no_proof_says_that_a_read_missed_what_it_shows(tmp_path):
    story = serial((0, "ok", [a("x", 1)]), (0, "ok", [a("x", 2)]), (1, "ok", [r("x", 1, 2)]), (1, "ok", [r("x", 2, 1)]))
    check(tmp_path, story, {"incompatible-order"}, workload="list-append")
