"""Planted anomalies: each history breaks one guarantee; exactly the classes named are found (with those that follow
from it by definition), and each example names operations of the history."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers.story import Story, poll, send

RC, RU = "read_committed", "read_uncommitted"
PLANTED = {}


def planted(*names, **options):
    def register(plant):
        PLANTED[plant.__name__] = (plant, set(names), options)
        return plant

    return register


@planted("lost-write", "unseen")
def acknowledged_value_below_a_read_one_is_never_read(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])


@planted("unseen")
def acknowledged_tail_is_never_read(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll()])


@planted("lost-write")
def value_once_read_vanishes_from_the_complete_final_read(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(0, "send", [send("x", 2, 1)])
    story.phase("drain")
    story.ok(2, "poll", [poll(("x", [[1, 2]]))])
    story.drain("x", 2)


@planted("inconsistent-offsets")
def two_readers_see_different_values_at_one_offset(story):
    story.begin(0, "send", [send("x", 1)])
    story.begin(1, "send", [send("x", 2)])
    story.ok(2, "poll", [poll(("x", [[0, 1]]))])
    story.ok(3, "poll", [poll(("x", [[0, 2]]))])


@planted("duplicate")
def one_send_lies_at_two_offsets(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(2, "poll", [poll(("x", [[1, 1]]))])


@planted("G1a")
def ok_reader_sees_an_aborted_value(story):
    story.ok(0, "send", [send("x", 0, 0)])
    story.fail(0, "txn", [send("x", 1, 1)], commit_time=None)
    story.ok(1, "poll", [poll(("x", [[0, 0], [1, 1]]))])


@planted("aborted-read")
def failed_reader_sees_an_aborted_value(story):
    story.ok(0, "send", [send("x", 0, 0)])
    story.fail(0, "txn", [send("x", 1, 1)], commit_time=None)
    story.fail(1, "txn", [poll(("x", [[0, 0], [1, 1]]))])
    story.ok(1, "poll", [poll(("x", [[0, 0]]))])


@planted("aborted-read")
def reader_sees_a_transaction_that_never_called_commit(story):
    story.info(0, "txn", [send("x", 1, 0)], commit_time=None)
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(2, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])


@planted("dirty-read")
def poll_ends_before_the_writer_calls_commit(story):
    story.begin(0, "txn", [send("x", 1)])
    story.begin(1, "poll", [["poll"]])
    reading = story.now
    story.event(1, "ok", "poll", [poll(("x", [[0, 1]]))], times=[[reading, reading + 10]])
    story.event(0, "ok", "txn", [send("x", 1, 0)], commit_time=story.now)


def untimed(story, commit_time):
    """Write in a transaction what a poll shows of which only the operation's end is told: at 3 ms."""
    story.begin(0, "txn", [send("x", 1)])
    story.begin(1, "poll", [["poll"]])
    story.event(1, "ok", "poll", [poll(("x", [[0, 1]]))])
    story.event(0, "ok", "txn", [send("x", 1, 0)], commit_time=commit_time)


@planted("dirty-read")
def operation_of_a_poll_ends_before_the_writer_calls_commit(story):
    untimed(story, commit_time=3_500_000)


@planted()
def operation_of_a_poll_ends_after_the_writer_called_commit(story):
    untimed(story, commit_time=2_500_000)


@planted()
def commit_is_told_by_another_clock_than_the_operation(story):
    untimed(story, commit_time=9_000_000)


@planted()
def operations_are_told_by_a_clock_that_goes_backwards(story):
    story.ok(2, "poll", [poll()])
    story.ok(2, "poll", [poll()])
    story.wait(-0.003)
    story.begin(0, "txn", [send("x", 1)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.event(0, "ok", "txn", [send("x", 1, 0)], commit_time=story.now + 500_000)


@planted("precommitted-read")
def transaction_polls_its_own_send(story):
    story.ok(0, "send", [send("x", 0, 0)])
    story.ok(1, "txn", [send("x", 1, 1), poll(("x", [[0, 0], [1, 1]]))])


@planted("phantom-read")
def polled_value_was_never_sent(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 99]]))])


@planted("record-altered")
def record_does_not_fit_its_stamp(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1, {"altered": "stamped for t0/1, read from x"}]]))])


@planted("torn-transaction", "unseen")
def one_member_of_a_committed_transaction_is_missing(story):
    story.phase("main")
    story.ok(0, "txn", [send("x", 1, 0), send("y", 2, 0)], commit_time=1)
    story.phase("drain")
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 2)
    story.drain("y", 2)


@planted("torn-transaction")
def one_member_of_an_undecided_transaction_is_missing(story):
    story.phase("main")
    story.info(0, "txn", [send("x", 1, 0), send("y", 2)], commit_time=1)
    story.phase("drain")
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 2)
    story.drain("y", 1)


@planted("poll-skip")
def consumer_passes_over_a_value_between_polls(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(1, "poll", [poll(("x", [[2, 3]]))])
    story.ok(2, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])


@planted("poll-skip")
def failed_transaction_is_not_rewound(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    story.ok(1, "txn", [poll(("x", [[0, 1]]))])
    story.fail(1, "txn", [poll(("x", [[1, 2]]))])
    story.ok(1, "txn", [poll(("x", [[2, 3]]))])
    story.ok(2, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])


@planted("nonmonotonic-poll")
def consumer_steps_back_between_polls(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]]))])
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])


@planted("int-poll-skip")
def one_operation_passes_over_a_value(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [2, 3]]))])
    story.ok(2, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])


@planted("int-nonmonotonic-poll")
def one_operation_steps_back(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]])), poll(("x", [[0, 1]]))])


@planted("int-nonmonotonic-send")
def sends_of_one_operation_land_in_the_wrong_order(story):
    story.ok(0, "send", [send("x", 2, 1), send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]]))])


@planted("nonmonotonic-send")
def later_send_of_a_process_lands_before_its_earlier_one(story):
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]]))])


@planted("int-send-skip")
def another_send_lies_between_two_of_one_operation(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 3, 2)])
    story.ok(1, "send", [send("x", 2, 1)])
    story.ok(2, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])


@planted("hung-transaction")
def last_stable_offset_stands_still_after_healing(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.phase("drain")
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 9, lso=1, complete=False, **{"read-to": 1})


@planted("unavailable")
def partition_has_no_leader_after_healing(story):
    story.phase("main")
    story.ok(0, "send", [send("y", 1, 0)])
    story.phase("drain")
    story.ok(1, "poll", [poll(("y", [[0, 1]]))])
    story.drain("y", 1)
    story.drain("x", None, complete=False)


@planted("unavailable")
def nothing_succeeds_within_the_recovery_bound(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.fault(1, "kill-all", expects="stall")
    story.heal(1)
    story.begin(0, "send", [send("x", 2)])
    story.wait(61)
    story.event(0, "info", "send", [send("x", 2)])
    story.phase("heal")
    story.phase("drain")
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 1)


@pytest.mark.parametrize("name", PLANTED)
def test_planted_anomaly_is_found_and_nothing_else(name):
    plant, expected, options = PLANTED[name]
    story = Story()
    plant(story)
    judgement = judge(story.ops, CheckOptions(**options))
    found = (*judgement.anomalies, *judgement.allowed)
    assert {anomaly.name for anomaly in found} == expected
    assert not [reason for reason in judgement.reasons if "crashed" in reason]
    for anomaly in found:
        assert anomaly.count >= len(anomaly.examples) >= 1
        for example in anomaly.examples:
            assert example.ops
            assert set(example.ops) <= {op.index for op in story.ops}
            assert example.why.endswith((".", ")"))
