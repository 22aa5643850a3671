"""The columns agree with the definitions, on random histories that need make no sense at all."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import Op
from tests.checkers.definitions import Tables, judge_slowly

KEYS = ("x", "y")
CYCLES = {base + suffix for base in ("G0", "G1c") for suffix in ("", "-process", "-realtime")}
SEEN = st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 6)), max_size=4)
MICRO = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(KEYS), st.one_of(st.none(), st.integers(0, 6))),
    st.tuples(st.just("poll"), SEEN),
)
CALL = st.fixed_dictionaries(
    {
        "process": st.integers(0, 3),
        "micro": st.lists(MICRO, min_size=1, max_size=4),
        "type": st.sampled_from(("ok", "ok", "ok", "info", "fail")),
        "control": st.one_of(
            st.none(), st.none(), st.none(), st.tuples(st.sampled_from(("assign", "subscribe")), SEEN)
        ),
        "rebalance": st.booleans(),
        "overlap": st.booleans(),
    }
)


def history_of(calls, *, honest):
    """Turn drawn calls into a history; honest: each offset holds one value, that of its sender or of nobody."""
    ops, value, placed, open_calls = [], 0, {}, []

    def add(**fields):
        ops.append(Op(index=len(ops), time=len(ops), **fields))

    def finish(call, asked, done):
        fields = {"rebalance_log": [{"keys": ["x"]}]} if call["rebalance"] else {}
        add(process=call["process"], type=call["type"], f=asked[0], value=done, **fields)

    prepared = []
    for call in calls:
        if call["control"]:
            kind, seen = call["control"]
            keys = sorted({key for key, _ in seen})
            prepared.append((call, (kind, keys), keys))
            continue
        asked, done = [], []
        for micro in call["micro"]:
            if micro[0] == "send":
                value += 1
                offset = micro[2]
                if honest and offset is not None:
                    offset = None if (micro[1], offset) in placed else offset
                if offset is not None:
                    placed.setdefault((micro[1], offset), value)
                asked.append(["send", micro[1], value])
                done.append(["send", micro[1], value if offset is None else [offset, value]])
            else:
                asked.append(["poll"])
                done.append(["poll", micro[1]])
        prepared.append((call, ("txn", asked), done))
    for call, asked, done in prepared:
        if asked[0] == "txn":
            done[:] = [_polled(m, placed, value, honest) if m[0] == "poll" else m for m in done]
        busy = {other["process"] for other, _, _ in open_calls}
        while open_calls and (call["process"] in busy or not call["overlap"]):
            finish(*open_calls.pop(0))
            busy = {other["process"] for other, _, _ in open_calls}
        add(process=call["process"], type="invoke", f=asked[0], value=asked[1])
        open_calls.append((call, asked, done))
    for one in open_calls:
        finish(*one)
    return ops


def _polled(micro, placed, values, honest):
    batches = []
    for key, offset in micro[1]:
        value = placed.get((key, offset))
        if value is None and (honest or not values):
            continue
        batches.append([key, [[offset, value if value is not None else 1 + (offset * 7) % values]]])
    return ["poll", batches]


def judged_twice(ops, *, ww_deps):
    """Return what the checkers say and what the definitions say, of all that a history like this decides."""
    slow = judge_slowly(ops, ww_deps=ww_deps)
    consistent = Tables(ops).consistent
    judgement = judge(ops, CheckOptions(ww_deps=ww_deps))
    assert not [reason for reason in judgement.reasons if "crashed" in reason], judgement.reasons
    fast = {anomaly.name: anomaly.count for anomaly in (*judgement.anomalies, *judgement.allowed)}
    names = ["inconsistent-offsets", "duplicate", "G1a", "precommitted-read", "lost-write"]
    if consistent:
        names += ["int-poll-skip", "int-nonmonotonic-poll", "int-send-skip", "int-nonmonotonic-send"]
        names += ["poll-skip", "nonmonotonic-poll", "nonmonotonic-send"]
    ours: dict[str, object] = {name: fast.get(name, 0) for name in names}
    theirs: dict[str, object] = {name: slow[name] for name in names}
    if slow["unseen"] is not None:
        ours["unseen"], theirs["unseen"] = "unseen" in fast, slow["unseen"]
    if consistent or not ww_deps:
        ours["cycles"], theirs["cycles"] = {name for name in fast if name in CYCLES}, slow["cycles"]
    return ours, theirs


SETTINGS = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(st.lists(CALL, min_size=1, max_size=14), st.booleans())
def test_honest_logs_agree_with_the_definitions(calls, ww_deps):
    fast, slow = judged_twice(history_of(calls, honest=True), ww_deps=ww_deps)
    assert fast == slow


@SETTINGS
@given(st.lists(CALL, min_size=1, max_size=14), st.booleans())
def test_nonsense_agrees_with_the_definitions(calls, ww_deps):
    fast, slow = judged_twice(history_of(calls, honest=False), ww_deps=ww_deps)
    assert fast == slow
