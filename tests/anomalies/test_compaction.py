"""Scans of compacted topics: planted losses and resurrections are found, what compaction may do is not."""

from __future__ import annotations

import pytest

from checkers import compaction
from checkers.judge import judge
from checkers.options import CheckOptions
from tests.anomalies.planting import Plants
from tests.checkers.story import Story

PLANTS = Plants()
SETTINGS = {"compacted": True, "delete_retention_ms": 1000}


def planted(*names, **options):
    return PLANTS.planted(*names, **{**SETTINGS, **options})


def golden(**options):
    return planted(**options)


def put(story, process, offset, value, key="a", *, tombstone=False, type_="ok", f="send", **fields):
    """Write a record key; an offset of None is not known."""
    seen = {"record-key": key, **({"tombstone": True} if tombstone else {})}
    story.event(process, "invoke", f, [["send", "x", [None, value, seen]]])
    return story.event(process, type_, f, [["send", "x", [offset, value, seen]]], **fields)


def delete(story, process, offset, value, key="a", **fields):
    return put(story, process, offset, value, key, tombstone=True, **fields)


def record(offset, value, key="a", *, tombstone=False):
    return [offset, value, {"record-key": key, **({"tombstone": True} if tombstone else {})}]


def scan(story, *records, end, process=9, lasted_s=0.0, **fields):
    story.event(process, "invoke", "scan", "x")
    begun = story.now
    story.wait(lasted_s)
    value = [["poll", [["x", list(records)]]]]
    times = [[begun, story.now]]
    fields = {"isolation": "read_committed", **fields}
    return story.event(process, "ok", "scan", value, times=times, extra={"end": end, "key": "x"}, **fields)


@golden()
def older_values_are_gone(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11)
    scan(story, record(1, 11), end=2)
    scan(story, record(0, 10), record(1, 11), end=2)


@golden(retention_ms=500)
def last_value_expires_where_the_topic_expires_too(story):
    put(story, 1, 0, 10)
    story.wait(0.6)
    scan(story, end=1)


@planted("compaction-lost-latest", retention_ms=5000)
def last_value_is_gone_before_it_expires(story):
    put(story, 1, 0, 10)
    story.wait(0.6)
    scan(story, end=1)


@golden()
def last_value_goes_with_what_somebody_deleted(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11, key="b")
    story.ok(2, "delete-records", ["x", 2])
    scan(story, end=2)


@planted("compaction-lost-latest")
def last_value_lay_behind_what_somebody_deleted(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11, key="b")
    story.ok(2, "delete-records", ["x", 1])
    scan(story, end=2)


@golden(min_compaction_lag_ms=5000, retention_ms=500)
def record_that_expires_was_not_compacted_too_early(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11)
    story.wait(0.6)
    scan(story, end=2)


@golden()
def a_deleted_key_is_gone_and_so_is_its_tombstone(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    scan(story, record(1, 11, tombstone=True), end=2)
    scan(story, record(0, 10), record(1, 11, tombstone=True), end=2)
    story.wait(1.5)
    scan(story, end=2)


@planted("tombstone-resurrected")
def a_deleted_key_comes_back(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    story.wait(2)
    scan(story, end=2)
    scan(story, record(0, 10), end=2)
    scan(story, record(0, 10), end=2)


def finally_read(story, *records, end, isolation="read_committed"):
    story.phase("drain")
    story.ok(7, "assign", ["x"], seek_to_beginning=True, isolation=isolation)
    for one in (*records, None):
        story.ok(7, "poll", [["poll", [["x", [one]]] if one else []]], isolation=isolation)
    story.drain("x", end)


@planted("compaction-lost-latest")
def the_final_read_lacks_a_last_value(story):
    story.phase("main")
    put(story, 1, 0, 10)
    put(story, 1, 1, 11, key="b")
    put(story, 1, 2, 12, key="b")
    scan(story, record(0, 10), record(2, 12, "b"), end=3)
    finally_read(story, record(0, 10), end=3)


@planted("tombstone-resurrected")
def a_deleted_key_comes_back_in_the_end(story):
    story.phase("main")
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    story.wait(2)
    scan(story, record(0, 10), end=2)
    finally_read(story, record(0, 10), end=2)


def _read_from_a_deposed_leader(story, fault, healed_s):
    """Two short scans show the deleted key; both may have begun at a leader whose last stable offset stood still."""
    story.phase("main")
    put(story, 1, 0, 10)
    story.fault(1, fault)
    delete(story, 1, 1, 11)
    story.wait(2)
    if healed_s:
        story.heal(1)
        story.wait(healed_s)
    scan(story, record(0, 10), end=2)
    scan(story, record(0, 10), end=2)


@golden()
def scans_may_begin_at_a_leader_that_was_deposed(story):
    _read_from_a_deposed_leader(story, "deafen-leader", healed_s=0)


@golden()
def deposed_leader_may_hear_of_it_late(story):
    _read_from_a_deposed_leader(story, "deafen-leader", healed_s=5)


@planted("tombstone-resurrected")
def deposed_leader_has_heard_of_it(story):
    _read_from_a_deposed_leader(story, "deafen-leader", healed_s=15)


@planted("tombstone-resurrected")
def leader_that_was_killed_answers_nobody(story):
    _read_from_a_deposed_leader(story, "kill-leader", healed_s=0)


@golden()
def the_final_read_shows_what_is_left(story):
    story.phase("main")
    put(story, 1, 0, 10)
    put(story, 1, 1, 11)
    put(story, 1, 2, 12, key="b")
    scan(story, record(0, 10), record(1, 11), record(2, 12, "b"), end=3)
    finally_read(story, record(1, 11), record(2, 12, "b"), end=4)


@golden()
def a_scan_that_changed_leaders_may_show_it_once(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    story.wait(2)
    scan(story, record(0, 10), end=2)
    scan(story, end=2)


@golden()
def long_scans_at_three_leaders_may_show_it(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    story.wait(2)
    for _ in range(3):
        scan(story, record(0, 10), end=2, lasted_s=1.1)


@planted("tombstone-resurrected")
def four_long_scans_show_it(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    story.wait(2)
    for _ in range(4):
        scan(story, record(0, 10), end=2, lasted_s=1.1)


@golden()
def a_long_scan_may_pass_behind_the_tombstone(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    story.wait(2)
    scan(story, record(0, 10), end=2, lasted_s=1.1)


@golden()
def a_scan_that_ends_before_the_tombstone_shows_the_key(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    story.wait(2)
    scan(story, record(0, 10), end=1)


@golden()
def a_key_that_is_written_again_lives(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    put(story, 2, 2, 12)
    scan(story, record(2, 12), end=3)


@golden()
def a_key_that_may_have_been_written_again_has_no_last_word(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    put(story, 2, None, 12, type_="info")
    story.wait(2)
    scan(story, record(0, 10), end=3)


@golden()
def a_write_under_way_may_hide_what_it_replaces(story):
    put(story, 1, 0, 10)
    seen = {"record-key": "a"}
    story.event(2, "invoke", "send", [["send", "x", [None, 11, seen]]])
    scan(story, end=1)
    story.event(2, "ok", "send", [["send", "x", [1, 11, seen]]])


@planted("compaction-lost-latest")
def the_last_value_of_a_key_is_gone(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11, "b")
    scan(story, record(1, 11, "b"), end=2)


@planted("compaction-lost-latest")
def an_older_value_is_kept_instead_of_the_last(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11)
    scan(story, record(0, 10), end=2)


@golden()
def an_aborted_write_is_no_last_word(story):
    put(story, 1, 0, 10)
    put(story, 2, 1, 11, type_="fail", f="txn", txn_id="t", commit_time=None)
    delete(story, 2, 2, 12, type_="info", f="txn", txn_id="t", commit_time=None)
    scan(story, record(0, 10), end=4)


@planted("compaction-lost-latest")
def an_aborted_write_hides_nothing(story):
    put(story, 1, 0, 10)
    put(story, 2, 1, 11, type_="fail", f="txn", txn_id="t", commit_time=None)
    scan(story, end=4)


@planted("G1a")
def an_aborted_write_became_the_latest(story):
    put(story, 1, 0, 10)
    put(story, 2, 1, 11, type_="fail", f="txn", txn_id="t", commit_time=None)
    scan(story, record(1, 11), end=4)


@planted("compaction-reordered")
def offsets_fall(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11, "b")
    scan(story, record(1, 11, "b"), record(0, 10), end=2)


@planted("compaction-too-early")
def a_tombstone_goes_before_its_time(story):
    put(story, 1, 0, 10)
    delete(story, 1, 1, 11)
    scan(story, end=2)


@planted("compaction-too-early", min_compaction_lag_ms=500)
def a_young_value_goes_before_its_lag(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11)
    scan(story, record(1, 11), end=2)


@golden(min_compaction_lag_ms=500)
def an_old_value_goes_after_its_lag(story):
    put(story, 1, 0, 10)
    put(story, 1, 1, 11)
    story.wait(1)
    scan(story, record(1, 11), end=2)


@golden()
def what_read_uncommitted_shows_is_not_judged(story):
    put(story, 1, 0, 10)
    scan(story, end=2, isolation="read_uncommitted")


@pytest.mark.parametrize("name", list(PLANTS.table))
def test_what_is_planted_is_found_and_nothing_else(name):
    PLANTS.check(name)


def test_without_scans_the_classes_are_not_checked():
    story = Story()
    put(story, 1, 0, 10)
    judgement = judge(story.ops, CheckOptions(**SETTINGS))
    assert {"compaction-lost-latest", "tombstone-resurrected"} <= set(judgement.not_checked)


def test_offsets_of_a_scan_are_gathered_once_for_all_record_keys(monkeypatch):
    story = Story()
    for number in range(100):
        put(story, 1, number, number, key=f"k{number}")
    for _ in range(2):
        scan(story, *(record(number, number, key=f"k{number}") for number in range(100)), end=100)
    gathered = []

    def gather(offsets=()):
        gathered.append(len(offsets))
        return set(offsets)

    monkeypatch.setattr(compaction, "frozenset", gather, raising=False)
    judgement = judge(story.ops, CheckOptions(compacted=True, min_compaction_lag_ms=1))
    assert judgement.anomalies == ()
    assert gathered.count(100) == 2
