"""Expired records: what goes too early and what is answered silently is found, what retention may do is not."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from checkers.verdict import Validity
from tests.anomalies.planting import Plants
from tests.checkers.story import Story, poll, send

PLANTS = Plants()


def planted(*names, **options):
    return PLANTS.planted(*names, **{"retention_ms": 1000, **options})


def golden(**options):
    return planted(**options)


def scan(story, *offsets, end, process=9, key="x", isolation="read_committed"):
    story.event(process, "invoke", "scan", key)
    value = [["poll", [[key, [[offset, 10 + offset] for offset in offsets]]]]]
    fields = {"isolation": isolation, "extra": {"end": end, "key": key}}
    return story.event(process, "ok", "scan", value, **fields)


def read_at(story, offset, given=None, told=None, process=8):
    story.event(process, "invoke", "read-at", ["x", offset])
    value = [["poll", [] if given is None else [["x", [[given, 10 + given]]]]]]
    return story.event(process, "ok", "read-at", value, extra={"at": offset, "told": told, "key": "x"})


def sent(story, *offsets):
    for offset in offsets:
        story.ok(1, "send", [send("x", 10 + offset, offset)])


@golden()
def old_records_are_gone(story):
    sent(story, 0, 1)
    story.wait(2)
    sent(story, 2)
    scan(story, 2, end=3)
    scan(story, 0, 1, 2, end=3)


@golden()
def everything_old_is_gone(story):
    sent(story, 0, 1)
    story.wait(2)
    scan(story, end=2)


@planted("premature-deletion")
def a_young_record_is_gone(story):
    sent(story, 0, 1)
    story.wait(0.5)
    scan(story, 1, end=2)


@planted("premature-deletion")
def all_young_records_are_gone(story):
    sent(story, 0, 1)
    scan(story, end=2)


def _sent_while_it_is_read(story, end):
    story.event(9, "invoke", "scan", "x")
    sent(story, 0, 1)
    value = [["poll", [["x", [[0, 10]]]]]]
    story.event(9, "ok", "scan", value, isolation="read_committed", extra={"end": end, "key": "x"})


@planted("premature-deletion")
def a_record_that_was_sent_meanwhile_is_missing_below_the_end(story):
    _sent_while_it_is_read(story, 2)


@golden()
def a_record_that_was_sent_meanwhile_is_not_reached(story):
    _sent_while_it_is_read(story, 1)


def finally_read(story, *offsets, end, complete=True, ages_s=0.0, type_="ok"):
    """The final read of a run of ours, by two polls; what was polled before it counts for nothing."""
    story.phase("drain")
    story.ok(7, "assign", ["x"], seek_to_beginning=True, isolation="read_committed")
    story.wait(ages_s)
    story.call(7, type_, "poll", [poll(("x", [[offset, 10 + offset] for offset in offsets[:1]]))])
    story.ok(7, "poll", [poll(("x", [[offset, 10 + offset] for offset in offsets[1:]]))])
    story.drain("x", end, complete=complete)


def of_ours(story, *offsets):
    story.phase("main")
    sent(story, *offsets)
    scan(story, *offsets, end=len(offsets))


@planted("premature-deletion")
def a_young_record_is_gone_from_the_final_read(story):
    of_ours(story, 0, 1, 2)
    finally_read(story, 1, 2, end=3)


@planted("premature-deletion")
def a_young_record_is_gone_from_the_midst_of_the_final_read(story):
    of_ours(story, 0, 1, 2)
    finally_read(story, 0, 2, end=3)


@golden()
def an_old_record_is_gone_from_the_final_read(story):
    of_ours(story, 0, 1)
    story.wait(2)
    sent(story, 2)
    finally_read(story, 2, end=3)


@golden()
def a_record_expires_while_the_final_read_goes_on(story):
    of_ours(story, 0, 1, 2)
    finally_read(story, 2, end=3, ages_s=2)


@golden()
def a_poll_of_the_final_read_came_to_nothing(story):
    of_ours(story, 0, 1, 2)
    finally_read(story, 0, 2, end=3, type_="fail")


@planted("premature-deletion")
def a_young_record_is_gone_from_the_midst(story):
    sent(story, 0, 1, 2)
    story.wait(0.5)
    scan(story, 0, 2, end=3)


@planted("premature-deletion")
def a_young_record_is_gone_from_an_uncommitted_scan(story):
    sent(story, 0, 1, 2)
    scan(story, 0, 2, end=3, isolation="read_uncommitted")


@golden()
def what_expired_while_a_scan_read_on_is_gone_from_its_midst(story):
    sent(story, 0, 1)
    story.wait(2)
    sent(story, 2)
    scan(story, 0, 2, end=3)


def committed(story, offset):
    story.ok(2, "txn", [send("x", 10 + offset, offset)], commit_time=story.now)


@planted("premature-deletion")
def a_young_record_of_a_transaction_is_gone(story):
    committed(story, 0)
    sent(story, 2)
    scan(story, 2, end=3)


@golden()
def markers_of_a_transaction_may_come_later(story):
    sent(story, 0)
    committed(story, 1)
    scan(story, 0, end=2)


@golden()
def a_scan_that_ends_before_a_record_does_not_lack_it(story):
    sent(story, 0, 1)
    scan(story, 0, end=1)


@golden()
def a_record_that_is_acknowledged_meanwhile_may_be_missing(story):
    story.ok(1, "send", [send("y", 1, 0)])
    story.event(9, "invoke", "scan", "x")
    sent(story, 0)
    fields = {"isolation": "read_committed", "extra": {"end": 0, "key": "x"}}
    story.event(9, "ok", "scan", [["poll", [["x", []]]]], **fields)


@golden()
def what_is_gone_is_told(story):
    sent(story, 0, 1)
    story.wait(2)
    read_at(story, 0, told="_AUTO_OFFSET_RESET")
    read_at(story, 1, given=1)


@planted("offset-reset-silent")
def a_later_record_is_given_without_a_word(story):
    sent(story, 0, 1, 2)
    story.wait(2)
    read_at(story, 0, given=2)


@golden()
def an_offset_nobody_wrote_may_be_passed(story):
    sent(story, 0, 2)
    read_at(story, 1, given=2)


@golden()
def polls_may_pass_what_expired(story):
    sent(story, 0, 1, 2)
    story.ok(2, "assign", ["x"])
    story.ok(2, "poll", [poll(("x", [[0, 10]]))])
    story.wait(2)
    story.ok(2, "poll", [poll(("x", [[2, 12]]))])
    scan(story, 2, end=3)


@pytest.mark.parametrize("name", list(PLANTS.table))
def test_what_is_planted_is_found_and_nothing_else(name):
    PLANTS.check(name)


def test_final_read_that_is_not_complete_lacks_nothing():
    story = Story()
    of_ours(story, 0, 1, 2)
    finally_read(story, 0, end=3, complete=False)
    judgement = judge(story.ops, CheckOptions(retention_ms=1000))
    assert judgement.anomalies == ()
    assert judgement.validity is Validity.UNKNOWN
