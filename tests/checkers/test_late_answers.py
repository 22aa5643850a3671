"""A send that hung until the final reads had begun: its record may lie behind the ends that those read to."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers.story import Story, poll, send


@pytest.mark.parametrize(
    ("offset", "is_late", "is_unseen"),
    [
        (1, True, False),  # behind the end: nobody need have read it
        (None, True, False),  # nobody knows where
        (0, True, True),  # below the end, and not there
        (1, False, True),  # answered before the ends were frozen: it must be below them
    ],
)
def test_what_is_answered_during_the_final_reads_is_unseen_only_below_their_end(offset, is_late, is_unseen):
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 1 if offset == 0 else 0)])
    hung = [send("x", 2, offset)]
    story.begin(1, "send", hung)
    if not is_late:
        story.event(1, "ok", "send", hung)
    story.phase("drain")
    if is_late:
        story.event(1, "ok", "send", hung)
    story.ok(4, "poll", [poll(("x", [[1 if offset == 0 else 0, 1]]))])
    story.drain("x", 2 if offset == 0 else 1)
    names = {anomaly.name for anomaly in judge(story.ops, CheckOptions()).anomalies}
    assert ("unseen" in names) is is_unseen


@pytest.mark.parametrize("is_late", [True, False])
def test_a_transaction_that_is_answered_then_is_not_torn_by_what_lies_behind_one_end(is_late):
    story = Story()
    story.phase("main")
    hung = [send("x", 1, 0), send("y", 2, 0)]
    story.begin(1, "txn", hung)
    if not is_late:
        story.event(1, "ok", "txn", hung, commit_time=1)
    story.phase("drain")
    if is_late:
        story.event(1, "ok", "txn", hung, commit_time=1)
    story.ok(4, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 1)
    story.drain("y", 0)
    names = {anomaly.name for anomaly in judge(story.ops, CheckOptions()).anomalies}
    assert names == (set() if is_late else {"torn-transaction", "unseen"})


def hanging_poll(*, end):
    """A poll that hangs until the final reads have begun shows a record at offset 1, which those did not show."""
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(3, "poll", [poll(("x", [[0, 1]]))])
    story.begin(1, "send", [send("x", 2)])
    story.begin(3, "poll", [["poll"]])
    story.phase("drain")
    story.event(1, "ok", "send", [send("x", 2, 1)])
    story.event(3, "ok", "poll", [poll(("x", [[1, 2]]))])
    story.ok(9, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", end)
    return {anomaly.name for anomaly in judge(story.ops, CheckOptions()).anomalies}


def test_what_was_appended_behind_the_end_and_read_by_a_poll_that_hung_has_not_vanished():
    assert hanging_poll(end=1) == set()
    assert hanging_poll(end=2) == {"lost-write"}


def test_nothing_has_vanished_from_final_reads_of_which_nobody_says_when_they_began():
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 1)
    assert judge(story.ops, CheckOptions()).anomalies == ()
