"""Members of groups that stand still (`stuck-consumer`): from a rebalance that deals them a key to the next one."""

from __future__ import annotations

import pytest

from tests.anomalies.planting import Plants, commit, rebalance
from tests.checkers.story import poll, send

PLANTS = Plants()
LONG_S, TOO_SHORT_S, PATIENT_S = 70, 50, 90
"""Longer than the recovery bound, shorter, and longer by a transaction's time-out and the sweep."""


def planted(*names):
    return PLANTS.planted(*names, sub_via=("subscribe",))


def begun(story, process=2):
    """Member 1 has read three records and is gone; another one is dealt the key."""
    story.phase("main")
    story.ok(1, "subscribe", ["x"])
    story.ok(process, "subscribe", ["x"])
    rebalance(story, 1, 1, assigned=["x"])
    for value in (1, 2, 3):
        story.ok(0, "send", [send("x", value, value - 1)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])
    rebalance(story, 1, 2, revoked=["x"])
    rebalance(story, process, 2, assigned=["x"])


def polling(story, seconds, process=2, *shown, outcome="ok"):
    for second in range(seconds):
        story.wait(1)
        told = [poll(("x", list(shown)))] if shown and second % 10 == 0 else [poll()]
        story.call(process, outcome if told != [poll()] else "ok", "poll", told)


def finish(story):
    story.phase("drain")
    story.ok(8, "assign", ["x"], seek_to_beginning=True)
    story.ok(8, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])
    story.drain("x", 3)


@planted("stuck-consumer")
def member_reads_nothing_of_what_its_predecessor_read(story):
    begun(story)
    polling(story, PATIENT_S)
    finish(story)


@planted("stuck-consumer")
def member_stands_still_behind_its_first_record(story):
    begun(story)
    story.ok(2, "poll", [poll(("x", [[0, 1]]))])
    polling(story, LONG_S)
    finish(story)


@planted()
def member_waits_for_a_transaction_that_holds_its_offset(story):
    begun(story)
    polling(story, LONG_S)
    finish(story)


@planted()
def member_may_go_on_behind_all(story):
    begun(story)
    commit(story, 1, 3)
    polling(story, PATIENT_S)
    finish(story)


@planted("stuck-consumer")
def member_may_go_on_behind_some(story):
    begun(story)
    commit(story, 1, 2)
    polling(story, PATIENT_S)
    finish(story)


@planted()
def member_gets_it_in_time(story):
    begun(story)
    polling(story, TOO_SHORT_S)
    story.ok(2, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])
    polling(story, LONG_S)
    finish(story)


@planted()
def member_loses_the_key_in_between(story):
    begun(story)
    polling(story, TOO_SHORT_S)
    rebalance(story, 2, 3, revoked=["x"])
    rebalance(story, 2, 4, assigned=["x"])
    polling(story, TOO_SHORT_S)
    finish(story)


@planted()
def member_is_shown_it_by_polls_that_come_to_nothing(story):
    begun(story)
    polling(story, PATIENT_S, 2, [0, 1], outcome="fail")
    finish(story)


@pytest.mark.parametrize("name", PLANTS.table)
def test_members_that_stand_still(name):
    PLANTS.check(name)
