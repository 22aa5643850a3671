"""What the simulator saw broken is the run's anomaly; other histories have no such events."""

from __future__ import annotations

from checkers.judge import judge
from harness.history import HARNESS, INFO
from tests.checkers.story import Story, poll, send

BROKEN = {
    "name": "StrongIsr",
    "node": "n2",
    "key": "t0/1",
    "time_ns": 3_120_400_000,
    "step": 1840,
    "detail": "n3 of the ISR ends at 7, the high watermark is 9",
}


def story_of_one_record():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    return story


def test_an_invariant_that_the_simulator_saw_broken_is_an_anomaly_with_its_place():
    story = story_of_one_record()
    story.event(HARNESS, INFO, "invariant", BROKEN)
    verdict = judge(story.ops)
    (anomaly,) = verdict.anomalies
    assert anomaly.name == "broken-invariant"
    why = anomaly.examples[0].why
    assert "StrongIsr does not hold on n2 for t0/1 at 3.120400 s (step 1840)" in why
    assert "the high watermark is 9" in why
    assert anomaly.examples[0].ops == [len(story.ops) - 1]


def test_a_history_without_such_events_says_nothing_of_them():
    assert not judge(story_of_one_record().ops).anomalies
