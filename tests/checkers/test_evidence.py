"""Nothing is left unchecked without a word why."""

from __future__ import annotations

from checkers.catalog import QUEUE_CLASSES
from checkers.evidence import NEEDS
from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers import kafka_evidence
from tests.checkers.kafka_model import run
from tests.checkers.story import Story, poll, send


def bare():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    return story.ops


def test_every_class_that_is_not_checked_says_what_it_needs():
    options = [CheckOptions(), CheckOptions(fresh=True, min_isr=2), CheckOptions(compacted=True, topics_existed=True)]
    seen = set()
    for ops in (bare(), *(each(seed).ops for seed in range(12) for each in (run, kafka_evidence.run))):
        for each in options:
            verdict = judge(ops, each).verdict_json()
            assert list(verdict["not-checked-because"]) == verdict["not-checked"]
            seen |= set(verdict["not-checked"])
    assert len(seen) > 25


def test_only_known_classes_are_told_of():
    assert set(NEEDS) - QUEUE_CLASSES <= {"incompatible-schema", "state-divergence", "dlq-loss"}
