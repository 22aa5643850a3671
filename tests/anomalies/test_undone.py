"""Planted and golden histories of records whose transactions came to nothing: they were stored all the same."""

from __future__ import annotations

import pytest

from tests.anomalies.planting import Plants
from tests.checkers.story import poll, send

RC, RU = "read_committed", "read_uncommitted"
PLANTS = Plants()
planted, golden = PLANTS.planted, PLANTS.golden


def scan(story, process, isolation, *records):
    story.ok(process, "assign", ["x"], seek_to_beginning=True, isolation=isolation)
    story.ok(process, "poll", [poll(("x", [list(record) for record in records]))], isolation=isolation)


def aborted(story, *, ours=True, outcome="fail", value=2, offset=2):
    if ours:
        story.phase("main")
    story.ok(0, "txn", [send("x", 1, 0)], commit_time=1, txn_id="a")
    story.call(1, outcome, "txn", [send("x", value, offset)], commit_time=None, txn_id="b")
    story.ok(2, "txn", [send("x", 3, 4)], commit_time=2, txn_id="c")


def finish(story, *uncommitted, committed=((0, 1), (4, 3))):
    story.phase("drain")
    scan(story, 8, RC, *committed)
    story.drain("x", 6)
    scan(story, 9, RU, *uncommitted)


@golden()
def uncommitted_reading_shows_what_was_aborted(story):
    aborted(story)
    finish(story, (0, 1), (2, 2), (4, 3))


@planted("isolation-mismatch")
def uncommitted_reading_lacks_what_was_aborted(story):
    aborted(story)
    finish(story, (0, 1), (4, 3))


@planted("isolation-mismatch")
def uncommitted_reading_lacks_what_was_left_open(story):
    aborted(story, outcome="info")
    finish(story, (0, 1), (4, 3))


@golden()
def nobody_asked_to_see_what_was_aborted(story):
    aborted(story)
    story.phase("drain")
    scan(story, 8, RC, (0, 1), (4, 3))
    story.drain("x", 6)


@golden()
def reading_that_ends_before_it_has_not_passed_it(story):
    aborted(story, offset=5)
    finish(story, (0, 1), (4, 3))


@golden()
def elsewhere_acknowledgements_of_what_failed_prove_nothing(story):
    aborted(story, ours=False)
    scan(story, 8, RC, (0, 1), (4, 3))
    scan(story, 9, RU, (0, 1), (4, 3))


@golden(acks="1")
def with_one_acknowledgement_it_may_be_lost_with_its_leader(story):
    aborted(story)
    finish(story, (0, 1), (4, 3))


@golden(compacted=True)
def compaction_takes_away_what_was_aborted(story):
    aborted(story)
    finish(story, (0, 1), (4, 3))


@planted("inconsistent-offsets")
def committed_record_lies_where_an_aborted_one_was_acknowledged(story):
    aborted(story, offset=4)
    story.phase("drain")
    scan(story, 8, RC, (0, 1), (4, 3))
    story.drain("x", 6)


@planted("inconsistent-offsets")
def two_aborted_records_were_acknowledged_at_one_offset(story):
    aborted(story)
    story.fail(3, "txn", [send("x", 9, 2)], commit_time=None, txn_id="d")
    story.phase("drain")
    scan(story, 8, RC, (0, 1), (4, 3))
    story.drain("x", 6)


@planted("rolled-back-offset", "isolation-mismatch")
def aborted_record_is_shown_elsewhere(story):
    aborted(story)
    finish(story, (0, 1), (3, 2), (4, 3))


@pytest.mark.parametrize("name", PLANTS.table)
def test_records_of_transactions_that_came_to_nothing(name):
    PLANTS.check(name)
