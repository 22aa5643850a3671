"""What some serial order explains is never accused, and what was really broken is found."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from checkers.append import cycles
from checkers.append.consistency import WEAKER
from checkers.judge import judge
from checkers.options import CheckOptions
from checkers.verdict import Validity
from harness.history import Op

OPTIONS = CheckOptions(workload="list-append")


def history(seed, *, wrong):
    """Return a small history whose transactions take effect one after another, with some reads made wrong."""
    rng = random.Random(seed)
    lists, ops, waiting, count = {"x": [], "y": []}, [], {}, 0
    for _ in range(rng.randrange(3, 16)):
        process = rng.randrange(3)
        if process not in waiting:
            asked = []
            for _ in range(rng.randrange(1, 4)):
                key = rng.choice("xy")
                count += 1
                asked.append(["append", key, count] if rng.random() < 0.5 else ["r", key, None])
            waiting[process] = [asked, None]
            ops.append(Op(process=process, type="invoke", f="txn", value=asked, index=len(ops), time=len(ops)))
            continue
        slot = waiting[process]
        if slot[1] is None:
            slot[1] = []
            for kind, key, value in slot[0]:
                if kind == "append":
                    lists[key].append(value)
                    slot[1].append([kind, key, value])
                else:
                    seen = list(lists[key])
                    if seen and rng.random() < wrong:
                        seen = seen[: rng.randrange(len(seen))]
                    slot[1].append([kind, key, seen])
            continue
        asked, done = waiting.pop(process)
        type_ = rng.choice(("ok", "ok", "ok", "ok", "info"))
        value = done if type_ == "ok" else asked
        ops.append(Op(process=process, type=type_, f="txn", value=value, index=len(ops), time=len(ops)))
    return ops


def explained(ops):
    """Whether some order of the transactions, undecided ones left out at will, respects real time and all reads."""
    calls, pending = [], {}
    for op in ops:
        if op.type == "invoke":
            pending[op.process] = op
        else:
            calls.append((pending.pop(op.process).index, op.index if op.type == "ok" else 10**6, op.type, op.value))
    calls += [(op.index, 10**6, "info", op.value) for op in pending.values()]
    sure = [call for call in calls if call[2] == "ok"]
    maybe = [call for call in calls if call[2] != "ok"]
    for mask in range(1 << len(maybe)):
        chosen = sure + [call for place, call in enumerate(maybe) if mask >> place & 1]
        if any(_runs(order) for order in permutations(chosen)):
            return True
    return False


def _runs(order):
    lists = {"x": [], "y": []}
    for place, (begun, _, type_, value) in enumerate(order):
        if any(later[1] < begun for later in order[place + 1 :]):
            return False
        for kind, key, element in value:
            if kind == "append":
                lists[key].append(element)
            elif type_ == "ok" and element != lists[key]:
                return False
    return True


def small(ops):
    return sum(op.type == "invoke" for op in ops) <= 6


def test_serial_histories_are_never_accused():
    for seed in range(300):
        ops = history(seed, wrong=0)
        if ops:
            assert judge(ops, OPTIONS).validity is not Validity.INVALID, f"seed {seed}"


def test_verdict_agrees_with_all_orders():
    broken = found = 0
    for seed in range(700):
        ops = history(seed, wrong=0.4)
        if not ops or not small(ops):
            continue
        truth = explained(ops)
        judgement = judge(ops, OPTIONS)
        if truth:
            assert judgement.anomalies == (), f"seed {seed}: {judgement.anomalies}"
        else:
            broken += 1
            found += judgement.validity is Validity.INVALID
    assert broken > 50
    assert found > 0.98 * broken


def told(*events):
    """Return a history from (process, type, value)."""
    return [Op(process=p, type=t, f="txn", value=v, index=i, time=i) for i, (p, t, v) in enumerate(events)]


def test_an_undecided_transaction_that_shows_in_one_key_must_show_in_all():
    half = [["append", "x", 1], ["append", "y", 2]]
    reads = [["r", "x", [1]], ["r", "y", []]]
    ops = told((0, "invoke", half), (0, "info", half), (1, "invoke", reads), (1, "ok", reads))
    assert not explained(ops)
    assert [anomaly.name for anomaly in judge(ops, OPTIONS).anomalies] == ["G-single-item"]
    unseen = [["r", "x", []], ["r", "y", []]]
    assert judge([*ops[:3], ops[3].completed("ok", value=unseen).at(3, 3)], OPTIONS).anomalies == ()


def test_a_key_with_an_element_that_is_appended_twice_is_undecided_and_accuses_nobody():
    twice, reads = [["append", "x", 1]], [["r", "x", [1, 1]], ["r", "y", []]]
    ops = told(
        (0, "invoke", twice),
        (0, "ok", twice),
        (1, "invoke", twice),
        (1, "ok", twice),
        (2, "invoke", reads),
        (2, "ok", reads),
    )
    judgement = judge(ops, OPTIONS)
    assert judgement.anomalies == ()
    assert judgement.validity is Validity.UNKNOWN
    assert "x is not judged" in judgement.reasons[0]


def test_appends_that_nobody_read_are_lawful_and_it_is_said_that_nobody_did():
    ops = told(*[(0, type_, [["append", "x", n]]) for n in range(3) for type_ in ("invoke", "ok")])
    judgement = judge(ops, OPTIONS)
    assert judgement.validity is Validity.VALID
    assert judgement.warnings == ("No read succeeded: nothing was observed that could be wrong.",)


@pytest.mark.parametrize("said", [[], [["append", "x", 1]]])
def test_an_undecided_completion_that_says_less_than_was_asked_for_hides_no_append(said):
    asked, reads = [["append", "x", 1], ["append", "x", 2]], [["r", "x", [1, 2]]]
    ops = told((0, "invoke", asked), (0, "info", said), (1, "invoke", reads), (1, "ok", reads))
    assert judge(ops, OPTIONS).validity is Validity.VALID


def test_of_overlapping_invocations_none_is_forgotten():
    first, second, reads = [["append", "x", 1]], [["append", "x", 2]], [["r", "x", [2, 1]]]
    ops = told((0, "invoke", first), (0, "invoke", second), (1, "invoke", reads), (1, "ok", reads))
    assert judge(ops, OPTIONS).validity is Validity.VALID


def write_skews(pairs):
    """Return pairs of transactions that miss each other's append, chained to one component by further reads."""
    events = []
    for n in range(pairs):
        one = [["r", f"b{n}", []], ["append", f"a{n}", 1]]
        other = [["r", f"a{n}", []], ["append", f"b{n}", 1]]
        ring = [["r", f"a{n}", [1]], ["r", f"b{n}", [1]]]
        events += [(0, "invoke", one), (1, "invoke", other), (0, "ok", one), (1, "ok", other)]
        events += [(2, "invoke", ring), (2, "ok", ring)]
    return told(*events)


def test_a_cycle_of_real_time_beside_a_write_skew_rules_out_its_models_too():
    one = [["r", "x", []], ["append", "y", 1], ["r", "z", [1]]]
    other, late = [["r", "y", []], ["append", "x", 1]], [["append", "z", 1]]
    skew = [(0, "invoke", one), (1, "invoke", other), (0, "ok", one), (1, "ok", other)]
    judgement = judge(told(*skew, (2, "invoke", late), (2, "ok", late)), OPTIONS)
    assert {anomaly.name for anomaly in judgement.anomalies} == {"G2-item", "G1c-realtime"}
    assert judgement.models["not"] == ["repeatable-read", "strong-read-committed"]


@pytest.mark.parametrize("seed", range(0, 400, 2))
def test_the_models_ruled_out_are_those_that_are_found_broken_one_by_one(seed):
    ops = history(seed, wrong=0.6)
    out = judge(ops, OPTIONS).models
    broken = {
        model
        for model in WEAKER
        if judge(ops, CheckOptions(workload="list-append", consistency_model=model)).validity is Validity.INVALID
    }
    assert {*out["not"], *out["also-not"]} == broken


def test_a_search_for_a_class_that_is_given_up_is_unknown(monkeypatch):
    ops = write_skews(3)
    lax = CheckOptions(workload="list-append", consistency_model="snapshot-isolation")
    assert judge(ops, lax).validity is Validity.VALID
    assert judge(ops, OPTIONS).validity is Validity.INVALID
    monkeypatch.setattr(cycles, "VISITS", 0)
    judgement = judge(ops, lax)
    assert judgement.validity is Validity.UNKNOWN
    assert "given up" in judgement.reasons[0]
    assert judge(ops, OPTIONS).validity is Validity.INVALID
