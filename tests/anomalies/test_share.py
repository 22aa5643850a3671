"""Share groups: what a member may never be given is found, what deposed leaders, locks and lost answers explain is not."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.share import rest, safety
from harness.history import HistoryError
from tests.anomalies.planting import Plants
from tests.anomalies.share_stories import LOCK_S, ack, begin_fetch, fetch, finish, given, lose, sent
from tests.checkers.story import Story, poll, send

PLANTS = Plants()
CLASSES = (*safety.CLASSES, rest.LOST)


def planted(*names, **options):
    return PLANTS.planted(*names, anomalies=CLASSES, **options)


def golden():
    return planted()


# Redelivery


@planted("share-redelivery")
def an_accepted_record_is_given_again_by_the_same_node(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    ack(story, 2, 0)
    fetch(story, 3, (0, 1))


@planted("share-redelivery")
def a_rejected_record_is_given_again_after_all_has_healed(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    ack(story, 2, 0, "reject")
    finish(story, 0, quiet=False)
    fetch(story, 3, (0, 1), node="n2")


@planted("share-redelivery")
def an_accepted_record_is_given_by_the_next_leader_and_accepted_again(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    ack(story, 2, 0)
    story.fault(1, "kill-leader")
    story.heal(1)
    fetch(story, 3, (0, 1), node="n2")
    ack(story, 3, 0, node="n2")


@golden()
def a_leader_that_may_have_been_deposed_knows_of_nothing(story):
    story.phase("main")
    sent(story, 0)
    story.fault(1, "partition-leader")
    fetch(story, 2, (0, 1), node="n2")
    ack(story, 2, 0, node="n2")
    fetch(story, 3, (0, 1), node="n1")
    ack(story, 3, 0, node="n1")  # taken, but it may have been of no effect: below the start of a new leadership
    story.heal(1)


@golden()
def a_deposed_leader_gives_what_was_accepted_elsewhere(story):
    sent(story, 0)
    fetch(story, 2, (0, 1), node="n2")
    ack(story, 2, 0, node="n2")
    fetch(story, 3, (0, 1), node="n1")
    ack(story, 3, 0, type_="fail", node="n1")


@golden()
def what_was_not_certainly_accepted_is_given_again(story):
    sent(story, 0, 1)
    fetch(story, 2, (0, 1), (1, 1))
    ack(story, 2, 0, type_="info")
    ack(story, 3, 1, type_="fail")
    story.wait(LOCK_S)
    fetch(story, 4, (0, 2), (1, 2))


@golden()
def a_delivery_begun_before_the_answer_is_no_redelivery(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    begin_fetch(story, 3)
    ack(story, 2, 0)
    given(story, 3, (0, 1))


# Two at a time


@planted("share-double-acquisition")
def a_record_is_given_to_somebody_while_its_holder_can_still_accept_it(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch(story, 3, (0, 1), node="n2")
    ack(story, 2, 0)


@planted("share-double-acquisition")
def one_answer_gives_a_record_twice(story):
    sent(story, 0)
    fetch(story, 2, (0, 1), (0, 1))
    ack(story, 2, 0)


@planted("share-double-acquisition")
def a_record_is_given_for_the_second_time_within_the_lock_of_the_first(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch(story, 3, (0, 2))
    fetch(story, 2)


@golden()
def a_lock_runs_out(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S)
    fetch(story, 3, (0, 2))
    ack(story, 3, 0)
    ack(story, 2, 0)  # below the start: taken, of no effect


@golden()
def a_leader_has_forgotten_who_has_what(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch(story, 3, (0, 1), node="n2")
    ack(story, 3, 0, node="n2")
    ack(story, 2, 0, node="n2")  # below the start


@golden()
def a_member_leaves_and_what_it_had_is_given_uncounted(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.event(2, "invoke", "share-leave", {}, group="g")
    story.event(2, "ok", "share-leave", {}, group="g")
    fetch(story, 3, (0, 1))


@golden()
def a_member_leaves_and_what_it_had_is_given_and_counted(story):  # Kafka 4.2
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.event(2, "invoke", "share-leave", {}, group="g")
    story.event(2, "ok", "share-leave", {}, group="g")
    fetch(story, 3, (0, 2))
    fetch(story, 2, session=7)


@golden()
def a_connection_is_lost_that_nobody_hears_of_before_the_next_request(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch(story, 3, (0, 2))
    begin_fetch(story, 2)
    story.event(2, "fail", "share-fetch", {"keys": ["x"], "node": "n1"}, group="g")


@golden()
def a_lost_answer_whose_lock_nobody_knows_explains_a_count(story):
    sent(story, 0)
    lose(story, 2)
    fetch(story, 3, (0, 2))


# Counts


@planted("share-delivery-count")
def a_record_is_given_beyond_the_limit(story):
    sent(story, 0)
    for count in range(1, 7):
        fetch(story, 2, (0, count))
        ack(story, 2, 0, "release")


@golden()
def a_record_is_given_up_to_the_limit(story):
    sent(story, 0)
    for count in range(1, 6):
        fetch(story, 2, (0, count))
        ack(story, 2, 0, "release")


@planted("share-delivery-count")
def a_count_that_nothing_explains(story):
    sent(story, 0)
    fetch(story, 2, (0, 2))


@planted("share-delivery-count")
def a_count_below_one(story):
    sent(story, 0)
    fetch(story, 2, (0, 0))


@planted("share-delivery-count")
def a_release_does_not_count(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    ack(story, 2, 0, "release")
    fetch(story, 3, (0, 1))


@golden()
def a_deposed_leader_counts_less(story):
    sent(story, 0)
    fetch(story, 2, (0, 1), node="n2")
    ack(story, 2, 0, "release", node="n2")
    fetch(story, 3, (0, 1), node="n1")


# Contents


@planted("share-uncommitted-read")
def an_aborted_record_is_given(story):
    story.fail(1, "txn", [send("x", 10)])
    fetch(story, 2, (0, 1))


@golden()
def a_read_uncommitted_group_is_given_an_aborted_record(story):
    story.fail(1, "txn", [send("x", 10)])
    fetch(story, 2, (0, 1), isolation="read_uncommitted")


@planted("share-uncommitted-read")
def a_record_is_given_before_anybody_asked_to_commit(story):
    story.begin(1, "txn", [send("x", 10)])
    fetch(story, 2, (0, 1))
    story.event(1, "ok", "txn", [send("x", 10, 0)], commit_time=story.now + 1)


@planted("share-uncommitted-read")
def a_record_whose_commit_was_never_called_is_given(story):
    story.info(1, "txn", [send("x", 10)], commit_time=None)
    fetch(story, 2, (0, 1))


@golden()
def a_record_of_a_transaction_whose_end_nobody_knows_is_given(story):
    story.info(1, "txn", [send("x", 10)], commit_time=1)
    fetch(story, 2, (0, 1))


@planted("share-phantom")
def a_record_that_nobody_sent(story):
    sent(story, 0)
    fetch(story, 2, (5, 1))


@planted("share-phantom")
def another_record_than_consumers_read(story):
    sent(story, 0, 1)
    story.ok(5, "assign", ["x"])
    story.ok(5, "poll", [poll(("x", [[0, 10]]))])
    fetch(story, 2, (0, 1, 11))


@planted("share-phantom")
def a_record_is_given_at_an_offset_at_which_nobody_reads_it(story):
    story.phase("main")
    sent(story, 0, 2)
    fetch(story, 2, (0, 1), (1, 1, 12), (2, 1))
    ack(story, 2, 0)
    ack(story, 2, 2)
    finish(story, 0, 2)


# What is left


@planted("share-lost")
def a_record_is_given_to_nobody(story):
    story.phase("main")
    sent(story, 0, 1)
    fetch(story, 2, (1, 1))
    ack(story, 2, 1)
    finish(story, 0, 1)


@planted("share-lost")
def a_released_record_is_not_given_again(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    ack(story, 2, 0, "release")
    finish(story, 0)


@planted("share-lost")
def a_record_whose_lock_ran_out_is_not_given_again(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    finish(story, 0)


@golden()
def a_record_has_used_up_its_deliveries(story):
    story.phase("main")
    sent(story, 0)
    for count in range(1, 6):
        fetch(story, 2, (0, count))
        ack(story, 2, 0, "release")
    finish(story, 0)


@golden()
def deliveries_may_have_been_used_up_by_requests_without_an_answer(story):
    story.phase("main")
    sent(story, 0)
    for process in range(2, 7):
        lose(story, process)
        story.wait(LOCK_S)
    finish(story, 0)


@golden()
def everything_was_accepted_or_may_have_been(story):
    story.phase("main")
    sent(story, 0, 1)
    fetch(story, 2, (0, 1), (1, 1))
    ack(story, 2, 0)
    ack(story, 2, 1, type_="info")
    finish(story, 0, 1)


@golden()
def members_that_stopped_asking_prove_nothing(story):
    story.phase("main")
    sent(story, 0)
    finish(story, 0, quiet=False)
    fetch(story, 91)


@pytest.mark.parametrize("name", PLANTS.table)
def test_found_or_silent(name):
    PLANTS.check(name)


def test_a_group_that_did_not_come_to_an_end_is_not_known():
    judgement = PLANTS.check("members_that_stopped_asking_prove_nothing")
    assert any("did not come to an end of x" in reason for reason in judgement.reasons)


def test_without_share_groups_their_classes_are_not_checked():
    story = Story()
    sent(story, 0)
    assert set(CLASSES) <= set(judge(story.ops).not_checked)


@pytest.mark.parametrize(
    "value",
    [{"records": [["x", [[-1, 5, 1]]]]}, {"keys": "x"}, {"lock-ms": "3"}, {"records": [["x", [[1, 5]]]]}, []],
)
def test_a_malformed_fetch_names_its_line(value):
    story = Story()
    story.ok(2, "share-fetch", value)
    with pytest.raises(HistoryError, match=r"history:\d+: 'share-fetch'"):
        judge(story.ops)
