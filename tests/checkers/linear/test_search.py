"""The search agrees with published verdicts and with the definition; the monitors agree with the definition."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.judge import judge
from checkers.linear.check import MONITORS
from checkers.linear.model import IMPOSSIBLE, MODELS, NEVER, UNKNOWN, Model, Operation
from checkers.linear.monitors import Witness
from checkers.linear.search import Answer, search, search_keys
from checkers.linear.table import build_table
from checkers.options import CheckOptions
from checkers.source import lines_of_ops
from checkers.verdict import Validity
from harness.history import HistoryError, Op
from tests.checkers.linear.brute import linearizable
from tests.checkers.linear.published import histories, load

EXPECTED = {True: Answer.LINEARIZABLE, False: Answer.NOT}
BUDGET = 5_000_000
FUZZED = 400
PUTS = ("write", "add", "enqueue", "append", "push", "insert")
TAKES = ("dequeue", "pop", "delete-min")


@pytest.mark.shared
def test_there_are_230_published_histories():
    assert len(histories()) == 230


@pytest.mark.shared
@pytest.mark.parametrize("path", histories(), ids=lambda path: path.stem)
def test_published_verdict(path):
    model, valid, by_key = load(path)
    _, outcome = search_keys(model, by_key, BUDGET)
    assert outcome.answer is EXPECTED[valid]
    if not valid:
        assert outcome.stuck is not None


def arguments(f, rng, counter):
    counter[0] += 1
    if f in PUTS:
        return counter[0] if rng.random() < 0.8 else rng.randrange(3)
    if f == "cas":
        return [rng.randrange(3), rng.randrange(3)]
    return None


def outputs(model, f, state, rng):
    """Return the output that the state would give, or now and then another."""
    wrong = rng.random() < 0.12
    if f == "append":  # the offset that it is told; None: not known
        return rng.randrange(6) if wrong else rng.choice([None, len(state), len(state)])
    if f == "read" and model.name == "log":
        state = tuple(value for _, value in state)
    if f in ("read", "get"):
        right = sorted(state) if isinstance(state, frozenset) else list(state) if isinstance(state, tuple) else state
        if not wrong:
            return right
        if isinstance(right, list):
            return right[:-1] if right and rng.random() < 0.7 else [*right, 77]
        return rng.randrange(5)
    if f in TAKES:
        if wrong:
            return rng.choice([None, *range(1, 6)])
        return (state[-1] if f == "pop" else state[0]) if state else None
    return True if f == "cas" else None


def generate(model, seed):
    """Return a random small history as ops of the harness; effects happen at random moments inside each op."""
    rng = random.Random(seed)
    kinds = sorted(model.kinds - {"remove"})
    state, ops, counter = model.initial, [], [0]
    running: dict[int, list] = {}
    unique = rng.random() < 0.7
    for _ in range(rng.randrange(4, 22)):
        process = rng.randrange(4)
        if process not in running:
            f = rng.choice(kinds)
            given = arguments(f, rng, counter)
            if unique and f in PUTS:
                given = counter[0]
            running[process] = [f, given, None, False]
            ops.append(Op(process=process, type="invoke", f=f, value=given, index=len(ops), time=len(ops)))
            continue
        slot = running[process]
        if not slot[3]:
            op = Operation(slot[0], slot[1], UNKNOWN, 0, 1, 0)  # what it is told may be wrong: it has its effect
            slot[2] = outputs(model, slot[0], state, rng)
            after = model.step(state, op)
            slot[3] = True
            if not isinstance(after, type(UNKNOWN)):
                state = after
            elif slot[0] in ("cas", "acquire", "release"):
                slot[2] = rng.random() < 0.15
            continue
        f, given, out, _ = running.pop(process)
        type_ = "info" if rng.random() < 0.1 else "ok"
        if out is False:
            type_ = "fail"
        value = out if f in ("read", "get", *TAKES) else given
        if f == "append":
            value = given if out is None else [out, given]
        ops.append(Op(process=process, type=type_, f=f, value=value, index=len(ops), time=len(ops)))
        if type_ == "info":
            ops[-1] = Op(process=process, type=type_, f=f, value=given, index=len(ops) - 1, time=len(ops))
    return ops


@pytest.mark.parametrize(
    "name", ["register", "cas-register", "mutex", "log", "queue", "set", "counter", "stack", "priority-queue"]
)
def test_search_and_monitor_agree_with_the_definition(name):
    model = MODELS[name]
    seen = {True: 0, False: 0}
    decided = 0
    for seed in range(FUZZED):
        ops = generate(model, seed)
        table = build_table(lines_of_ops(ops), "fuzz", model)
        if not len(table.f):
            continue
        operations = table.operations(exact=model.exact)
        truth = linearizable(model, operations)
        seen[truth] += 1
        assert search(model, operations, 10**6).answer is EXPECTED[truth], f"seed {seed}"
        if name in MONITORS:
            found = MONITORS[name](table, model, CheckOptions(fresh=True))
            if found is not None:
                decided += 1
                assert (found is True) == truth, f"seed {seed}: {found}"
                if isinstance(found, Witness):
                    assert set(found.ops) <= {op.index for op in ops}
    assert min(seen.values()) > FUZZED // 20, seen
    assert name not in MONITORS or decided > FUZZED // 8


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(set(MODELS) - {"multi-register", "kv-append"})),
    seed=st.integers(0, 10**6),
    budget=st.integers(1, 60),
)
def test_a_budget_only_ever_costs_the_answer(name, seed, budget):
    model = MODELS[name]
    operations = build_table(lines_of_ops(generate(model, seed)), "fuzz", model).operations(exact=model.exact)
    truth = EXPECTED[linearizable(model, operations)]
    outcome = search(model, operations, budget)
    assert outcome.answer in {truth, Answer.UNDECIDED}
    assert outcome.answer is not Answer.UNDECIDED or outcome.steps >= budget
    _, by_key = search_keys(model, {"x": operations, "y": operations}, budget)
    assert by_key.answer in {truth, Answer.UNDECIDED}
    assert search(model, operations, 10**6).answer is truth


def history(*events, f="register"):
    return [
        Op(process=process, type=type_, f=f_, value=value, index=number, time=number)
        for number, (process, type_, f_, value) in enumerate(events)
    ]


STALE_READ = history(
    (0, "invoke", "write", 1),
    (0, "ok", "write", 1),
    (0, "invoke", "write", 2),
    (0, "ok", "write", 2),
    (1, "invoke", "read", None),
    (1, "ok", "read", 1),
)


def test_stale_read_is_not_linearizable_and_named():
    judgement = judge(STALE_READ, CheckOptions(workload="register"))
    (anomaly,) = judgement.anomalies
    assert anomaly.name == "nonlinearizable"
    assert set(anomaly.examples[0].ops) == {1, 3, 5}
    assert judgement.models == {"not": ["linearizable"], "also-not": []}


def test_search_names_the_operation_that_can_not_return():
    judgement = judge(STALE_READ, CheckOptions(workload="cas-register"))
    assert judgement.anomalies[0].examples[0].ops[0] == 5


def test_keys_are_judged_apart():
    ops = [
        Op(process=p, type=t, f=f, value=v, index=i, time=i, extra={"key": k})
        for i, (p, t, f, v, k) in enumerate(
            [
                (0, "invoke", "write", 1, "x"),
                (0, "ok", "write", 1, "x"),
                (1, "invoke", "read", None, "y"),
                (1, "ok", "read", None, "y"),
            ]
        )
    ]
    assert judge(ops, CheckOptions(workload="register")).validity is Validity.VALID


def test_exhausted_budget_is_unknown():
    ops = []
    for process in range(12):
        ops.append(Op(process=process, type="invoke", f="write", value=process % 3, index=len(ops), time=len(ops)))
    for process in range(12):
        ops.append(Op(process=process, type="ok", f="write", value=process % 3, index=len(ops), time=len(ops)))
    ops.append(Op(process=0, type="invoke", f="read", index=len(ops), time=len(ops)))
    ops.append(Op(process=0, type="ok", f="read", value=9, index=len(ops), time=len(ops)))
    judgement = judge(ops, CheckOptions(workload="cas-register", budget=50))
    assert judgement.validity is Validity.UNKNOWN
    assert "--budget" in judgement.reasons[0]


def test_log_needs_no_real_time_unless_asked():
    stale = history(
        (0, "invoke", "append", 1),
        (0, "ok", "append", [0, 1]),
        (1, "invoke", "read", None),
        (1, "ok", "read", []),
    )
    assert judge(stale, CheckOptions(workload="log")).validity is Validity.VALID
    assert judge(stale, CheckOptions(workload="log", fresh=True)).validity is Validity.INVALID


OFFSETS = {
    "one offset for two": ([(0, "append", 1, 0), (1, "append", 2, 0)], [1, 3]),
    "what lies before what was read was not read": (
        [(0, "append", 1, 0), (1, "append", 2, 1), (2, "read", None, [2])],
        [1, 3],
    ),
    "reads show another order": ([(0, "append", 1, 4), (1, "append", 2, 2), (2, "read", None, [1, 2])], [3, 1]),
    "one process goes backwards": ([(0, "append", 1, 4), (0, "append", 2, 2)], [1, 3]),
}


@pytest.mark.parametrize("name", OFFSETS)
def test_offsets_that_appends_were_told_count(name):
    told, named = OFFSETS[name]
    events = []
    for process, f, asked, out in told:
        done = out if f == "read" else [out, asked]
        events += [(process, "invoke", f, asked), (process, "ok", f, done)]
    judgement = judge(history(*events), CheckOptions(workload="log"))
    assert judgement.anomalies[0].examples[0].ops == named


def test_log_reads_must_be_prefixes_of_each_other():
    torn = history(
        (0, "invoke", "append", 1),
        (1, "invoke", "append", 2),
        (2, "invoke", "read", None),
        (2, "ok", "read", [1, 2]),
        (3, "invoke", "read", None),
        (3, "ok", "read", [2]),
    )
    judgement = judge(torn, CheckOptions(workload="log"))
    assert judgement.anomalies[0].examples[0].ops == [5, 3]


def test_own_model_takes_few_lines():
    def step(state, op):
        return max(state, op.input) if op.f == "raise" else state

    model = Model("max", 0, step, reads=frozenset({"read"}), kinds=frozenset({"raise", "read"}))
    assert search(model, [Operation("raise", 3, None, 0, 1, 1)], 100).answer is Answer.LINEARIZABLE


def test_own_model_may_tell_apart_who_asked():
    def step(state, op):  # a lock that only its owner may release
        if op.f == "acquire":
            return op.process if state is None else IMPOSSIBLE
        return None if state == op.process else IMPOSSIBLE

    model = Model("owned", None, step)
    events = [(0, "acquire", NEVER), (1, "acquire", NEVER), (1, "release", 3)]
    ops = [Operation(f, None, None, call, ret, call, process) for call, (process, f, ret) in enumerate(events)]
    assert linearizable(model, ops)
    assert search(model, ops, 1000).answer is Answer.LINEARIZABLE


@pytest.mark.parametrize(("model", "put", "take"), [("queue", "enqueue", "dequeue"), ("stack", "push", "pop")])
def test_null_is_put_nowhere_since_it_stands_for_nothing(model, put, take):
    held = history((0, "invoke", put, None), (0, "ok", put, None), (1, "invoke", take, None), (1, "ok", take, None))
    with pytest.raises(HistoryError, match="null stands for none"):
        judge(held, CheckOptions(workload=model))


def test_a_compare_and_set_that_is_told_as_an_ok_false_is_malformed():
    refused = history((0, "invoke", "cas", [1, 2]), (0, "ok", "cas", False))
    with pytest.raises(HistoryError, match="`fail` where it was refused"):
        judge(refused, CheckOptions(workload="cas-register"))


@pytest.mark.parametrize(
    ("model", "silent"),
    [("register", "write"), ("set", "add"), ("queue", "enqueue"), ("stack", "push"), ("priority-queue", "insert")],
)
def test_what_nobody_looked_at_is_lawful_and_it_is_said_that_nobody_did(model, silent):
    judgement = judge(history((0, "invoke", silent, 1), (0, "ok", silent, 1)), CheckOptions(workload=model))
    assert judgement.validity is Validity.VALID
    assert "nothing was observed" in judgement.warnings[0]


def test_unknown_operation_is_unknown():
    judgement = judge(history((0, "invoke", "jump", 1), (0, "ok", "jump", 1)), CheckOptions(workload="queue"))
    assert judgement.validity is Validity.UNKNOWN


def test_undecided_operations_never_return():
    assert NEVER > 2**60
