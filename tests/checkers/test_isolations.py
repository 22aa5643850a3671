"""Readers of both isolation levels in one history: each is held to what it asked for, and to nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from checkers.isolations import isolations
from checkers.judge import judge
from checkers.options import CheckOptions
from checkers.verdict import Validity
from tests.checkers.story import Story, poll, send

RC, RU = "read_committed", "read_uncommitted"


@pytest.mark.parametrize(
    ("process", "told", "levels"),
    [
        ([1, 1, 1], [-1, 0, -1], [0, 0, 0]),
        ([1, 2, 1, 2], [1, -1, -1, -1], [1, 7, 1, 7]),
        ([1, 1, 2, 1, 1, 2], [1, -1, -1, 0, -1, 1], [1, 1, 1, 0, 0, 1]),
        ([1, 2, 1, 1, 2, 1], [-1, 0, 1, -1, -1, 0], [1, 0, 1, 1, 0, 0]),
        ([1, 2], [-1, -1], [7, 7]),
    ],
)
def test_level_is_the_last_that_the_process_told_or_else_its_first(process, told, levels):
    assert isolations(np.array(process), np.array(told), 7).tolist() == levels


def found(story, **options):
    judgement = judge(story.ops, CheckOptions(**options))
    return {anomaly.name for anomaly in judgement.anomalies}


def test_consumer_that_asks_for_another_level_is_held_to_the_one_that_it_had():
    story = Story()
    story.ok(1, "assign", ["x"], isolation=RU)
    story.fail(0, "txn", [send("x", 1, 0)], commit_time=None)
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(1, "assign", ["y"], isolation=RC)
    story.fail(0, "txn", [send("y", 2, 0)], commit_time=None)
    assert found(story) == set()
    story.ok(1, "poll", [poll(("y", [[0, 2]]))])
    assert found(story) == {"G1a"}


def test_what_only_uncommitted_readers_reached_is_not_missing_from_a_transaction():
    story = Story()
    story.ok(8, "assign", ["x", "y"], isolation=RC)
    story.ok(9, "assign", ["x", "y"], isolation=RU)
    story.ok(0, "txn", [send("x", 1, 0), send("y", 2, 5)])
    story.ok(9, "poll", [poll(("x", [[0, 1]]), ("y", [[5, 2]]))])
    story.ok(8, "poll", [poll(("x", [[0, 1]]))])
    assert found(story) == set()
    story.ok(0, "txn", [send("y", 3, 7)])
    story.ok(8, "poll", [poll(("y", [[7, 3]]))])
    assert "torn-transaction" in found(story)


def test_uncommitted_reader_may_poll_what_it_sends_itself():
    story = Story()
    story.ok(1, "txn", [send("x", 1, 0), poll(("x", [[0, 1]]))], isolation=RU)
    story.ok(2, "poll", [poll(("x", [[0, 1]]))])
    judgement = judge(story.ops)
    assert judgement.validity is Validity.VALID
    assert [(anomaly.name, anomaly.permitted_by) for anomaly in judgement.allowed] == [("precommitted-read", RU)]
    story.ok(3, "txn", [send("x", 2, 2), poll(("x", [[2, 2]]))])
    assert found(story) == {"precommitted-read"}


def crossing(level):
    story = Story()
    story.ok(1, "assign", ["x", "y"], isolation=level)
    story.begin(1, "txn", [send("x", 1), ["poll"]])
    story.begin(2, "txn", [send("y", 2), ["poll"]])
    story.event(1, "ok", "txn", [send("x", 1, 0), poll(("y", [[0, 2]]))])
    story.event(2, "ok", "txn", [send("y", 2, 0), poll(("x", [[0, 1]]))])
    story.ok(3, "poll", [poll(("x", [[0, 1]]), ("y", [[0, 2]]))])
    return story


def test_cycle_through_an_uncommitted_read_is_none():
    assert found(crossing(RU)) == set()
    assert found(crossing(RU), ww_deps=True) == set()
    assert found(crossing(RC)) == {"G1c"}
    assert found(crossing(RU), isolation=RU) == {"G1c"}


def test_no_level_shows_what_nobody_has_asked_to_send():
    story = Story()
    story.ok(1, "assign", ["x"], isolation=RU)
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(0, "txn", [send("x", 1, 0)])
    assert found(story) == {"G1c-realtime"}


def refused(level):
    story = Story()
    story.ok(1, "assign", ["x"], isolation=level)
    story.fail(0, "send", [send("x", 1)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    return story


def test_no_level_shows_a_record_that_was_refused_outside_transactions():
    assert found(refused(RU)) == {"G1a"}
    (anomaly,) = judge(refused(RU).ops, CheckOptions(isolation=RU)).anomalies
    assert (anomaly.name, anomaly.permitted_by) == ("G1a", None)


def test_value_of_an_aborted_transaction_that_was_sent_again_is_missing_nowhere():
    story = Story()
    story.ok(1, "assign", ["x"], isolation=RU, seek_to_beginning=True)
    story.ok(2, "assign", ["x"], isolation=RC, seek_to_beginning=True)
    story.fail(0, "txn", [send("x", 1, 0)])
    story.ok(0, "txn", [send("x", 1, 2)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [2, 1]]))])
    story.ok(2, "poll", [poll(("x", [[2, 1]]))])
    assert found(story) == set()


def copied(*, observed, seen):
    """A foreign history: input 0 of `in` is copied; who reads which output from `out`."""
    story = Story()
    story.ok(8, "assign", ["in", "out"], isolation=RC)
    story.ok(9, "assign", ["out"], isolation=RU)
    story.ok(0, "send", [send("in", 1, 0)])
    story.ok(0, "send", [send("in", 2, 1)])
    for source, offset in ((0, 0), (1, 2)):
        value = [poll(("in", [[source, source + 1]])), send("out", 5 + source, offset)]
        story.ok(1, "txn", value, group="g", offsets=[["in", source + 1]], commit_time=story.now)
    out = [[offset, 5 + source, {"source": ["in", source]}] for source, offset in ((0, 0), (1, 2))]
    story.ok(9, "poll", [poll(("out", out[:observed]))])
    story.ok(8, "poll", [poll(("in", [[0, 1], [1, 2]]), ("out", out[:seen]))])
    return found(story)


def test_copy_that_only_an_uncommitted_reader_came_to_is_not_lost():
    assert copied(observed=2, seen=1) == set()
    assert copied(observed=2, seen=2) == set()


def read_uncommitted_run(reads):
    """A run whose own readers are read_uncommitted, beside a committed one that reads `y` only from its middle on."""
    story = Story()
    story.phase("main")
    story.ok(8, "assign", ["x", "y"], isolation=RC)
    story.ok(0, "txn", [send("x", 1, 0), send("y", 2, 0)], commit_time=story.now)
    story.ok(0, "txn", [send("y", 3, 2)], commit_time=story.now)
    story.ok(8, "poll", [poll(("x", [[0, 1]]), ("y", [[2, 3]]))])
    story.ok(9, "poll", [poll(("x", [[0, 1]]), ("y", [[0, 2], [2, 3]]))])
    story.phase("drain")
    story.ok(10, "poll", [poll(*reads)])
    story.drain("x", 2)
    story.drain("y", 4)
    return judge(story.ops, CheckOptions(isolation=RU))


def test_final_reads_of_uncommitted_readers_prove_nothing_for_committed_ones():
    judgement = read_uncommitted_run((("x", [[0, 1]]), ("y", [[0, 2], [2, 3]])))
    assert judgement.anomalies == ()
    assert "torn-transaction" in judgement.not_checked
    assert {one.name for one in read_uncommitted_run((("x", [[0, 1]]), ("y", [[2, 3]]))).anomalies} == {"lost-write"}
