"""Golden histories: what Kafka may do, however odd, is no anomaly."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from checkers.verdict import Validity
from tests.checkers.story import Story, poll, send

RU = "read_uncommitted"
GOLDEN = {}


def golden(**options):
    def register(plant):
        GOLDEN[plant.__name__] = (plant, options)
        return plant

    return register


@golden()
def offsets_have_gaps(story):
    story.ok(0, "txn", [send("x", 1, 0), send("x", 2, 1)], commit_time=1)
    story.ok(0, "txn", [send("x", 3, 3)], commit_time=1)
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2], [3, 3]]))])


@golden()
def aborted_data_is_passed_over(story):
    story.ok(0, "txn", [send("x", 1, 0)])
    story.fail(0, "txn", [send("x", 2, 2)], commit_time=None)
    story.ok(0, "txn", [send("x", 3, 4)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [4, 3]]))])


@golden()
def aborted_data_seen_uncommitted_is_no_skip_for_committed_readers(story):
    story.ok(0, "txn", [send("x", 1, 0)])
    story.info(0, "txn", [send("x", 2, 2)], commit_time=5)
    story.ok(3, "txn", [send("x", 3, 4)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [2, 2], [4, 3]]))], isolation=RU)
    story.ok(2, "poll", [poll(("x", [[0, 1], [4, 3]]))])


@golden()
def unacknowledged_send_lands_after_the_next_one_of_its_process(story):
    story.info(0, "send", [send("x", 1)])
    story.ok(0, "send", [send("x", 2, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 2], [1, 1]]))])


@golden()
def uncommitted_read_of_an_undecided_transaction_proves_no_commit(story):
    story.info(0, "txn", [send("x", 1, 0), send("y", 2, 0)], commit_time=5)
    story.ok(3, "txn", [send("y", 3, 2)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))], isolation=RU)
    story.ok(2, "poll", [poll(("y", [[2, 3]]))])


@golden()
def undecided_send_turns_up(story):
    story.begin(0, "send", [send("x", 1)])
    story.event(0, "info", "send", [send("x", 1)])
    story.ok(2, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]]))])


@golden()
def undecided_send_never_turns_up(story):
    story.info(0, "send", [send("x", 1)])
    story.ok(2, "send", [send("x", 2, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 2]]))])


@golden()
def failed_transaction_is_read_again(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1)])
    story.ok(1, "txn", [poll(("x", [[0, 1]]))])
    story.fail(1, "txn", [poll(("x", [[1, 2]]))])
    story.ok(1, "txn", [poll(("x", [[1, 2]]))])


@golden()
def fresh_assignment_forgets_other_keys(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1)])
    story.ok(0, "send", [send("y", 3, 0)])
    story.ok(1, "assign", ["x"])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]]))])
    story.ok(1, "assign", ["y"])
    story.ok(1, "poll", [poll(("y", [[0, 3]]))])
    story.ok(1, "assign", ["x"])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]]))])


@golden()
def rebalance_within_an_operation_may_move_the_position(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    story.ok(1, "txn", [poll(("x", [[0, 1], [1, 2], [2, 3]])), poll(("x", [[0, 1]]))], rebalance_log=[{"keys": ["x"]}])


@golden(sub_via=("subscribe",))
def rebalance_between_operations_may_move_the_position(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    story.ok(1, "subscribe", ["x"])
    story.ok(1, "poll", [poll(("x", [[0, 1], [1, 2]]))])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(1, "poll", [poll(("x", [[2, 3]]))])


@golden()
def same_value_on_two_keys_is_two_values(story):
    story.ok(0, "send", [send("x", 1, 0), send(7, 1, 0), send("7", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]), (7, [[0, 1]]), ("7", [[0, 1]]))])


@golden()
def values_of_every_kind_are_told_apart(story):
    values = [1, "1", 1.5, True, None, 2**70, -(2**63), {"a": 1}]
    story.ok(0, "send", [["send", "x", [offset, value]] for offset, value in enumerate(values)])
    story.ok(1, "poll", [poll(("x", [[offset, value] for offset, value in enumerate(values)]))])


@golden()
def killed_run_leaves_open_invocations(story):
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.begin(0, "txn", [send("x", 2), ["poll"]])
    story.begin(1, "poll", [["poll"]])


@golden()
def commit_is_answered_before_the_reader_polls(story):
    story.begin(0, "txn", [send("x", 1)])
    commit = story.now
    story.begin(1, "poll", [["poll"]])
    story.event(1, "ok", "poll", [poll(("x", [[0, 1]]))], times=[[commit, commit + 10]])
    story.event(0, "ok", "txn", [send("x", 1, 0)], commit_time=commit)


@golden(faults=("kill-leader",))
def faults_bite_and_work_goes_on(story):
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.fault(1, "kill-leader")
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])
    story.heal(1)
    story.ok(0, "send", [send("x", 3, 2)])
    story.ok(1, "poll", [poll(("x", [[2, 3]]))])
    story.phase("drain")
    story.ok(2, "poll", [poll(("x", [[0, 1], [1, 2], [2, 3]]))])
    story.drain("x", 3)


@pytest.mark.parametrize("name", GOLDEN)
def test_legal_history_is_valid(name):
    plant, options = GOLDEN[name]
    story = Story()
    plant(story)
    judgement = judge(story.ops, CheckOptions(**options))
    assert {anomaly.name for anomaly in judgement.anomalies} == set()
    assert judgement.reasons == ()
    assert judgement.validity is Validity.VALID


def test_compacted_topic_loses_nothing_that_can_be_told():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])
    judgement = judge(story.ops, CheckOptions(compacted=True))
    assert judgement.anomalies == ()
    assert {"lost-write", "unseen", "poll-skip", "torn-transaction"} <= set(judgement.not_checked)


def test_aborted_value_that_only_uncommitted_readers_saw_is_legal_unless_everybody_reads_so():
    story = Story()
    story.ok(0, "send", [send("x", 0, 0)])
    story.fail(0, "txn", [send("x", 1, 1)], commit_time=None)
    story.ok(1, "poll", [poll(("x", [[0, 0], [1, 1]]))], isolation=RU)
    judgement = judge(story.ops, CheckOptions())
    assert judgement.validity is Validity.VALID
    (anomaly,) = judgement.allowed
    assert (anomaly.name, anomaly.permitted_by) == ("G1a", "read_uncommitted")
    (anomaly,) = judge(story.ops, CheckOptions(isolation=RU)).anomalies
    assert (anomaly.name, anomaly.permitted_by) == ("G1a", "read_uncommitted")
    story.ok(2, "poll", [poll(("x", [[0, 0], [1, 1]]))])
    (anomaly,) = judge(story.ops, CheckOptions()).anomalies
    assert anomaly.permitted_by is None
