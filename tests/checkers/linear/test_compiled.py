"""The compiled search and the pure one are one search: the same answer, steps and window, whatever the history."""

from __future__ import annotations

import random
import sys

import pytest

from checkers import linear
from checkers.judge import judge
from checkers.linear import check
from checkers.linear.model import MODELS, NEVER, UNKNOWN, Operation
from checkers.linear.search import Answer, Search, search
from checkers.options import CheckOptions
from harness.history import Op

REGISTER = MODELS["cas-register"]
FUZZED = 300
pytestmark = pytest.mark.xdist_group("compiled")  # it is compiled once, not by two workers


def operations(seed):
    """Return random operations on one register, right or wrong: some overlap, some never return, some were refused."""
    rng = random.Random(seed)
    processes, values, size = rng.randrange(1, 9), rng.randrange(1, 6), rng.randrange(1, 60)
    state, now, busy, made = None, 0, dict.fromkeys(range(processes), 0), []
    for number in range(size):
        process = rng.choice(list(busy))
        call = max(now, busy[process]) + 1
        now, ret = call, call + rng.randrange(1, 3 * processes)
        f = rng.choice(("read", "write", "cas"))
        given = {"read": None, "write": rng.randrange(values)}.get(f, (rng.randrange(values), rng.randrange(values)))
        out = None
        if f == "read":
            out = state if rng.random() < 0.9 else rng.randrange(values)
        elif f == "write":
            state = given
        else:
            out = state == given[0]
            state = given[1] if out else state
        if rng.random() < 0.1:
            out, ret = UNKNOWN, NEVER
            processes += 1
            busy[processes] = 0
            del busy[process]
        else:
            busy[process] = ret
        made.append(
            Operation(
                f,
                given,
                out,
                2 * call * size + number,
                NEVER if ret == NEVER else 2 * ret * size + size + number,
                number,
            )
        )
    return made


def test_both_searches_take_the_same_steps_to_the_same_answer():
    answers = set()
    for seed in range(FUZZED):
        history, budget = operations(seed), random.Random(seed).choice((7, 300, 10**5))
        pure, compiled = (search(REGISTER, history, budget, compiled=each) for each in (False, True))
        assert pure == compiled, f"seed {seed}"
        answers.add(pure.answer)
    assert answers == set(Answer)


def test_a_search_goes_on_where_it_stopped_and_outgrows_its_tables():
    writes = [Operation("write", value, None, value, 100 + value, value) for value in range(12)]
    wrong = [*writes, Operation("read", None, 99, 200, 201, 12)]
    pure, compiled = (Search(REGISTER, wrong, compiled=each) for each in (False, True))
    while (outcome := pure.run(pure.taken + 5000)).answer is Answer.UNDECIDED:
        assert compiled.run(compiled.taken + 5000) == outcome
    assert compiled.run(compiled.taken + 5000) == outcome
    assert outcome.answer is Answer.NOT
    assert outcome.steps > 50_000


def test_what_has_no_bit_or_no_numba_is_searched_in_python(monkeypatch):
    many = [Operation("write", value, UNKNOWN, value, NEVER, value) for value in range(70)]
    history = [*many, Operation("read", None, 3, 100, 101, 70)]
    assert search(REGISTER, history, 10**5, compiled=True) == search(REGISTER, history, 10**5)
    short = operations(3)
    monkeypatch.delattr(linear, "compiled", raising=False)  # there once another test has imported it
    monkeypatch.setitem(sys.modules, "checkers.linear.compiled", None)
    assert search(REGISTER, short, 10**5, compiled=True) == search(REGISTER, short, 10**5)


def test_a_judgement_compiles_only_what_the_first_round_left_undecided(monkeypatch):
    asked = []
    monkeypatch.setattr(check, "FIRST_BUDGET", 10)
    monkeypatch.setattr(
        check, "search", lambda *given, compiled: asked.append(compiled) or search(*given, compiled=compiled)
    )
    written = [(process, type_, "write", process % 3) for type_ in ("invoke", "ok") for process in range(6)]
    events = [*written, (7, "invoke", "read", None), (7, "ok", "read", 8)]
    ops = [
        Op(process=process, type=type_, f=f, value=value, index=index, time=index)
        for index, (process, type_, f, value) in enumerate(events)
    ]
    judgement = judge(ops, CheckOptions(workload="cas-register"))
    assert [anomaly.name for anomaly in judgement.anomalies] == ["nonlinearizable"]
    assert asked == [False, True]
