"""Planted and golden histories for ends of a log that can't be true (`impossible-watermark`)."""

from __future__ import annotations

import pytest

from tests.anomalies.planting import Plants, probe
from tests.checkers.story import poll, send

PLANTS = Plants()
planted, golden = PLANTS.planted, PLANTS.golden
KEEPS = {"logs_keep_their_start": True}


def ends(story, node="n1", epoch=1, **answer):
    probe(story, node, "ListOffsets", epoch=epoch, **answer)


def begin(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(0, "send", [send("x", 2, 1)])


def finish(story, *records, end=None):
    records = records or ((0, 1), (1, 2))
    story.phase("drain")
    story.ok(8, "poll", [poll(("x", [list(record) for record in records]))])
    story.drain("x", end or records[-1][0] + 1)


@planted("impossible-watermark")
def last_stable_offset_is_above_the_high_watermark(story):
    begin(story)
    ends(story, hw=2, lso=3, log_start=0)
    finish(story)


@golden()
def elsewhere_the_high_watermark_may_have_been_asked_for_first(story):
    story.ok(0, "send", [send("x", 1, 0)])
    ends(story, hw=2, lso=3, log_start=0)
    story.ok(8, "poll", [poll(("x", [[0, 1]]))])


@planted("impossible-watermark", looks_once=True)
def fetch_answer_of_who_looks_once_names_both(story):
    begin(story)
    probe(story, "n1", "Fetch", hw=1, lso=2, last_offset=0)
    finish(story)


@golden()
def fetch_answer_of_who_looks_twice_may_name_a_later_one(story):
    begin(story)
    probe(story, "n1", "Fetch", epoch=1, hw=1, lso=2, last_offset=0)
    ends(story, hw=2, lso=2, log_start=0)
    finish(story)


@planted("impossible-watermark", "read-past-hw", looks_once=True)
def fetch_answer_is_ahead_of_what_its_leader_answers_later(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    probe(story, "n1", "Fetch", epoch=1, hw=1, lso=4, last_offset=3)
    ends(story, hw=2, lso=1)
    story.ok(8, "poll", [poll(("x", [[0, 1]]))])


@planted("impossible-watermark")
def log_starts_above_a_later_last_stable_offset(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 5)])
    ends(story, hw=9, lso=6, log_start=7)
    ends(story, hw=9, lso=6, log_start=7)
    story.ok(8, "poll", [poll(("x", [[5, 1]]))])


@golden()
def log_start_moved_after_the_last_stable_offset_was_asked_for(story):
    story.ok(0, "send", [send("x", 1, 9)])
    ends(story, hw=9, lso=3, log_start=7)
    ends(story, hw=9, lso=7, log_start=7)
    story.ok(8, "poll", [poll(("x", [[9, 1]]))])


@golden()
def another_leader_has_not_heard_of_the_log_start(story):
    story.ok(0, "send", [send("x", 1, 9)])
    ends(story, hw=9, lso=9, log_start=7)
    probe(story, "n2", "Fetch", epoch=2, hw=5, lso=5)
    story.ok(8, "poll", [poll(("x", [[9, 1]]))])


@planted("impossible-watermark")
def record_lies_below_a_high_watermark_that_was_answered_before(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    ends(story, hw=2)
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(8, "poll", [poll(("x", [[0, 1], [1, 2]]))])


@golden()
def record_was_on_its_way_when_the_high_watermark_was_answered(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.begin(1, "send", [send("x", 2)])
    ends(story, hw=2)
    story.event(1, "ok", "send", [send("x", 2, 1)])
    story.ok(8, "poll", [poll(("x", [[0, 1], [1, 2]]))])


@golden()
def deposed_leader_answers_less_than_there_is(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    ends(story, hw=0, lso=0, log_start=0, epoch=1)
    ends(story, "n2", hw=1, lso=1, log_start=0, epoch=2)
    story.ok(0, "send", [send("x", 2, 1)])
    ends(story, hw=1, lso=1, log_start=0, epoch=1)
    finish(story)
    ends(story, "n2", hw=2, lso=2, log_start=0, epoch=2)


@planted("unseen", acks="1")
def deposed_leader_acknowledges_what_it_loses(story):
    story.ok(0, "send", [send("x", 1, 0)])
    ends(story, "n2", hw=2, epoch=2)
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(8, "poll", [poll(("x", [[0, 1]]))])


@planted("impossible-watermark")
def last_stable_offset_is_ahead_of_an_open_transaction(story):
    story.phase("main")
    story.begin(1, "txn", [["send", "x", 1]])
    ends(story, hw=1, lso=1)
    story.now += 1
    story.event(1, "ok", "txn", [send("x", 1, 0)], commit_time=story.now, txn_id="t")
    story.ok(8, "poll", [poll(("x", [[0, 1]]))])


@golden()
def last_stable_offset_may_have_moved_since_the_commit_was_called(story):
    begun = story.begin(1, "txn", [["send", "x", 1]])
    ends(story, hw=1, lso=1)
    story.event(1, "ok", "txn", [send("x", 1, 0)], commit_time=begun.time + 1, txn_id="t")
    story.ok(8, "poll", [poll(("x", [[0, 1]]))])


@planted("impossible-watermark")
def last_leader_answers_less_than_what_was_acknowledged(story):
    begin(story)
    ends(story, hw=1, lso=0, log_start=0)
    finish(story)
    ends(story, hw=2, lso=2, log_start=0)


@planted("impossible-watermark")
def last_leader_answers_a_last_stable_offset_below_what_was_read(story):
    begin(story)
    story.ok(7, "poll", [poll(("x", [[0, 1], [1, 2]]))])
    ends(story, hw=2, lso=1, log_start=0)
    finish(story)
    ends(story, hw=2, lso=2, log_start=0)


@golden()
def nobody_knows_who_led_last(story):
    begin(story)
    ends(story, hw=1, lso=0, log_start=0)
    finish(story)


@golden()
def acknowledged_transactions_may_wait_for_others(story):
    begin(story)
    ends(story, hw=2, lso=0, log_start=0)
    finish(story)
    ends(story, hw=2, lso=2, log_start=0)


@planted("impossible-watermark", **KEEPS)
def log_that_nothing_moves_begins_late(story):
    begin(story)
    ends(story, hw=2, lso=2, log_start=1)
    finish(story)


@planted("impossible-watermark", **KEEPS)
def replica_that_nothing_moves_begins_late(story):
    begin(story)
    finish(story)
    probe(story, "n2", "ReplicaLog", hw=2, log_start=1, batches=[[1, 1, 7]])


@golden(**KEEPS)
def log_was_asked_to_begin_late(story):
    begin(story)
    story.ok(3, "delete-records", ["x", 1])
    ends(story, hw=2, lso=2, log_start=1)
    finish(story)


@golden(logs_keep_their_start=False)
def log_of_somebody_else_may_begin_late(story):
    begin(story)
    ends(story, hw=2, lso=2, log_start=1)
    finish(story)


@pytest.mark.parametrize("name", PLANTS.table)
def test_ends_of_a_log(name):
    PLANTS.check(name)
