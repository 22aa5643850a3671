"""Order on topics that drop records by themselves: the offsets that one operation reads of a partition rise."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers.story import Story, poll, send

BACK, FORGETS = "int-nonmonotonic-poll", {"retention_ms": 60_000}


def read(*offsets, f="scan", options=FORGETS, **more):
    story = Story()
    for offset in range(4):
        story.ok(0, "send", [send("x", 10 + offset, offset)])
    fields = {"end": 4, "key": "x"} if f == "scan" else {}
    shown = [poll(("x", [[offset, 10 + offset] for offset in offsets]))]
    story.begin(1, f, [["poll"]])
    story.event(1, "ok", f, shown, isolation="read_committed", extra=fields, **more)
    judgement = judge(story.ops, CheckOptions(**options))
    assert BACK not in judgement.not_checked
    return [anomaly.name for anomaly in judgement.anomalies]


@pytest.mark.parametrize("f", ["scan", "poll"])
def test_offsets_that_rise_are_in_order_whatever_is_gone(f):
    assert BACK not in read(1, 3, f=f)


@pytest.mark.parametrize("f", ["scan", "poll"])
@pytest.mark.parametrize("offsets", [(0, 2, 1, 3), (0, 1, 1, 2, 3)])
def test_offsets_that_fall_or_repeat_are_told(f, offsets):
    assert read(*offsets, f=f) == [BACK]


def test_key_that_was_moved_meanwhile_may_begin_anew():
    assert read(1, 2, 1, f="poll", rebalance_log=[{"keys": ["x"]}]) == []


def test_compacted_scans_have_a_class_of_their_own():
    assert BACK not in read(0, 2, 1, 3, options={"compacted": True})
    assert BACK in read(0, 2, 1, 3, f="poll", options={"compacted": True})


def test_examples_are_bounded_and_the_count_is_exact():
    story = Story()
    story.ok(1, "poll", [poll(("x", [[offset % 2, offset % 2] for offset in range(100)]))])
    (anomaly,) = [one for one in judge(story.ops, CheckOptions(**FORGETS)).anomalies if one.name == BACK]
    assert (anomaly.count, len(anomaly.examples)) == (49, 16)
