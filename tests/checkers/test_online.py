"""What is told while a run goes is what the verdict says of it: no alarm without the class, and each class is found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers import online
from checkers.judge import judge
from checkers.online import Online
from checkers.options import CheckOptions
from harness.history import HistoryError
from tests.anomalies.test_planted import PLANTED
from tests.checkers import mutations, mutations_of_evidence, mutations_of_order
from tests.checkers.kafka_model import run
from tests.checkers.mutating import MUTATIONS, PLAYED_BY, apply
from tests.checkers.story import Story, poll, send

assert mutations  # importing them fills the table
assert mutations_of_evidence
assert mutations_of_order

DECIDED = (
    "inconsistent-offsets",
    "duplicate",
    "record-altered",
    "phantom-read",
    "G1a",
    "aborted-read",
    "nonmonotonic-poll",
    "int-nonmonotonic-poll",
    "nonmonotonic-send",
    "int-nonmonotonic-send",
)
ROOTS = {"inconsistent-offsets", "duplicate"}
"""Where these hold, the version order is arbitrary, and what depends on it may be told by the root alone."""


def first_alarm(ops, options, *, trimmed=False):
    watch = Online(options, logs_are_trimmed=trimmed)
    for place, op in enumerate(ops):
        alarm = watch.feed(op)
        if alarm is not None:
            return alarm, ops[: place + 1]
    return None, ops


def proven(alarm, so_far, options):
    """Return whether the checkers report the alarm of the history so far (or refuse that as malformed)."""
    try:
        found = {anomaly.name for anomaly in judge(so_far, options).anomalies}
    except HistoryError:
        return True
    return alarm.name in found or bool(found & ROOTS)


def test_correct_kafka_raises_no_alarm():
    for seed in range(300):
        world = run(seed)
        alarm, _ = first_alarm(world.ops, CheckOptions())
        assert alarm is None, f"seed {seed}: {alarm}"


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(MUTATIONS.keys() - PLAYED_BY.keys())), seed=st.integers(0, 400))
def test_alarm_is_what_the_checkers_say(name, seed):
    ops = apply(name, run(seed).ops, random.Random(seed))
    options = CheckOptions()
    alarm, so_far = first_alarm(ops or [], options)
    if alarm is not None:
        assert proven(alarm, so_far, options), alarm
        assert set(alarm.ops) <= {op.index for op in so_far}


def test_alarm_holds_to_the_end_and_each_class_is_raised_by_mutations():
    raised = dict.fromkeys(DECIDED, 0)
    options = CheckOptions()
    for name in sorted(MUTATIONS.keys() - PLAYED_BY.keys()):
        for seed in range(10):
            world = run(seed)
            ops = apply(name, world.ops, random.Random(seed))
            alarm, so_far = first_alarm(ops or [], options, trimmed=world.retention)
            if alarm is None:
                continue
            assert proven(alarm, so_far, options), f"{name}, seed {seed}: {alarm}"
            try:
                assert judge(ops, options).anomalies, f"{name}, seed {seed}: {alarm}"
            except HistoryError:
                continue
            raised[alarm.name] += 1
    assert [name for name, count in raised.items() if not count] == []


@pytest.mark.parametrize("name", PLANTED)
def test_planted_anomaly_raises_nothing_else(name):
    plant, expected, options = PLANTED[name]
    story = Story()
    plant(story)
    alarm, _ = first_alarm(story.ops, CheckOptions(**options))
    assert alarm is None or alarm.name in set(expected) | ROOTS


def test_memory_is_bounded_and_what_was_forgotten_raises_no_alarm(monkeypatch):
    monkeypatch.setattr(online, "HELD", 8)
    story = Story()
    for value in range(100):
        story.ok(0, "send", [send("x", value, value)])
    story.ok(1, "poll", [poll(("x", [[value, value] for value in range(100)]))])
    story.ok(0, "send", [send("x", "text", 100)])
    for value in range(101, 150):
        story.ok(0, "send", [send("x", value, value)])
    story.ok(2, "poll", [poll(("x", [[100, "text"]]))])
    watch = Online(CheckOptions())
    assert [watch.feed(op) for op in story.ops] == [None] * len(story.ops)
    assert len(watch._facts) + len(watch._old_facts) <= 2 * online.HELD
    assert len(watch._values) + len(watch._old_values) <= 2 * online.HELD
    story.ok(1, "poll", [poll(("x", [[150, 777]]))])
    assert judge(story.ops[-2:]).anomalies
    found, _ = first_alarm(story.ops, CheckOptions())
    assert found is None  # a key whose forgotten values are not all integers can't tell
    fresh = Story()
    for value in range(100):
        fresh.ok(0, "send", [send("x", value, value)])
    fresh.ok(1, "poll", [poll(("x", [[150, 777]]))])
    found, _ = first_alarm(fresh.ops, CheckOptions())
    assert found.name == "phantom-read"


def test_what_the_options_allow_raises_no_alarm():
    story = Story()
    for value in range(3):
        story.ok(0, "send", [send("x", value, value)])
    story.ok(1, "poll", [poll(("x", [[2, 2]]))])
    story.ok(1, "poll", [poll(("x", [[0, 0]]))])
    assert first_alarm(story.ops, CheckOptions())[0].name == "nonmonotonic-poll"
    assert first_alarm(story.ops, CheckOptions(sub_via=("subscribe",)))[0] is None
    assert first_alarm(story.ops, CheckOptions(anomalies=("duplicate",)))[0] is None
    assert first_alarm(story.ops, CheckOptions(workload="list-append"))[0] is None
