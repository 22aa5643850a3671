"""A log start that goes back after DeleteRecords: told only of nodes that were live all the time."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.online import Online
from checkers.options import CheckOptions
from harness.history import DELETE_RECORDS, NEMESIS
from tests.anomalies.planting import Plants, probe
from tests.checkers.story import Story, poll, send

PLANTS = Plants()
EVERYBODY = ["n1", "n2", "n3"]


def planted(*names, **options):
    return PLANTS.planted(*names, **{"retention_ms": 1000, **options})


def golden(**options):
    return planted(**options)


def led(story, *isr, by="n1"):
    probe(story, by, "Metadata", key="x", leader=by, epoch=EVERYBODY.index(by) + 1, isr=list(isr or EVERYBODY))


def start(story, offset, *, node="n2", epoch=2):
    probe(story, node, "ListOffsets", key="x", hw=9, lso=9, log_start=offset, epoch=epoch)


def delete(story, below=4, type_="ok"):
    story.event(1, "invoke", DELETE_RECORDS, ["x", below])
    story.event(1, type_, DELETE_RECORDS, ["x", below])


def killed(story, *nodes, number=1):
    story.event(NEMESIS, "invoke", "kill-leader", {"keys": ["x"]})
    value = {"fault-id": number, "nodes": list(nodes), "keys": ["x"], "bit": True, "expects": "progress"}
    story.event(NEMESIS, "info", "kill-leader", value)


def begun(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(2, "poll", [poll(("x", [[0, 1]]))])


@planted("log-start-regression")
def the_next_leader_has_the_deleted_records(story):
    begun(story)
    led(story)
    delete(story)
    killed(story, "n1")
    led(story, "n2", "n3", by="n2")
    start(story, 0)


@planted("log-start-regression")
def even_a_deposed_leader_that_was_live_knows_it(story):
    begun(story)
    led(story)
    delete(story)
    start(story, 3, epoch=0)


@planted("log-start-regression")
def a_fault_that_was_over_long_ago_is_no_excuse(story):
    begun(story)
    killed(story, "n2")
    story.heal(1)
    story.wait(20)
    led(story)
    delete(story)
    start(story, 0)


@golden()
def what_stays_deleted(story):
    begun(story)
    led(story)
    delete(story)
    delete(story, 2)
    killed(story, "n1")
    start(story, 4)


@golden()
def what_nobody_acknowledged(story):
    begun(story)
    led(story)
    delete(story, type_="info")
    start(story, 0)


@golden()
def an_answer_that_was_asked_for_before(story):
    begun(story)
    led(story)
    story.event("probe/n2", "invoke", "probe", {"api": "ListOffsets", "key": "x"})
    delete(story)
    story.event(
        "probe/n2", "ok", "probe", {"api": "ListOffsets", "key": "x", "hw": 9, "lso": 9, "log-start": 0, "epoch": 2}
    )


@golden()
def the_new_leader_died_since(story):
    """All members of the ISR may have died before their log starts were written down."""
    begun(story)
    led(story)
    delete(story)
    killed(story, "n1", "n2")
    story.heal(1)
    start(story, 0)


@golden()
def the_new_leader_was_just_healed(story):
    begun(story)
    killed(story, "n2")
    story.heal(1)
    story.wait(5)
    led(story)
    delete(story)
    start(story, 0)


@golden()
def a_fault_that_concerns_nobody_knows_whom(story):
    begun(story)
    led(story)
    delete(story)
    killed(story)
    start(story, 0)


@golden()
def the_new_leader_was_being_killed(story):
    begun(story)
    led(story)
    delete(story)
    story.event(NEMESIS, "invoke", "kill-leader", {"keys": ["x"]})
    start(story, 0)
    value = {"fault-id": 1, "nodes": ["n2"], "keys": ["x"], "bit": True, "expects": "progress"}
    story.event(NEMESIS, "info", "kill-leader", value)


@golden()
def the_new_leader_was_out_of_sync(story):
    begun(story)
    led(story)
    led(story, "n1", "n3")
    delete(story)
    led(story)
    start(story, 0)


@golden()
def nobody_said_who_is_in_sync(story):
    begun(story)
    delete(story)
    led(story)
    start(story, 0)


@golden()
def a_topic_that_was_made_anew(story):
    begun(story)
    led(story)
    delete(story)
    probe(story, "n2", "ListOffsets", key="x", incarnation="b", hw=9, lso=9, log_start=0, epoch=2)


@pytest.mark.parametrize("name", list(PLANTS.table))
def test_what_is_planted_is_found_and_nothing_else(name):
    PLANTS.check(name)


def scanned(story, *offsets, end):
    story.event(9, "invoke", "scan", "x")
    value = [["poll", [["x", [[offset, 10 + offset] for offset in offsets]]]]]
    story.event(9, "ok", "scan", value, isolation="read_committed", extra={"end": end, "key": "x"})


@pytest.mark.parametrize(("type_", "below", "found"), [("ok", 1, 0), ("info", 1, 0), ("fail", 1, 1), ("ok", 0, 1)])
def test_what_somebody_deleted_did_not_go_too_early(type_, below, found):
    story = Story()
    story.ok(1, "send", [send("x", 10, 0)])
    story.ok(1, "send", [send("x", 11, 1)])
    story.call(2, type_, DELETE_RECORDS, ["x", below])
    scanned(story, 1, end=2)
    assert len(judge(story.ops, CheckOptions(retention_ms=1000)).anomalies) == found


def test_what_somebody_deleted_is_not_lost():
    story = Story()
    for number in range(3):
        story.ok(1, "send", [send("x", 10 + number, number)])
    kept = [*story.ops]
    story.call(2, "ok", DELETE_RECORDS, ["x", 2])
    for ops in (kept, story.ops):
        told = Story()
        told.ops, told.now = list(ops), story.now
        told.ok(3, "poll", [["poll", [["x", [[2, 12]]]]]])
        names = {anomaly.name for anomaly in judge(told.ops).anomalies}
        assert names == (set() if ops is story.ops else {"lost-write", "unseen"})


def test_a_malformed_deletion_is_named():
    story = Story()
    story.ok(2, DELETE_RECORDS, ["x", "all"])
    with pytest.raises(Exception, match="'delete-records' with a malformed value"):
        judge(story.ops)


def test_online_no_order_is_judged_where_records_are_deleted():
    alarms = []
    for deletes in (False, True):
        story = Story()
        for number in range(3):
            story.ok(1, "send", [send("x", 10 + number, number)])
        if deletes:
            story.call(2, "info", DELETE_RECORDS, ["x", 2])
        story.ok(3, "poll", [["poll", [["x", [[2, 12], [0, 10]]]]]])
        online = Online(CheckOptions())
        alarms.append([alarm.name for op in story.ops if (alarm := online.feed(op)) is not None])
    assert alarms == [["int-nonmonotonic-poll"], []]
