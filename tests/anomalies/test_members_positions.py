"""Where members of a group read on: nothing but a rebalance moves them, and what they pass over nobody gives them."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.anomalies.planting import commit, rebalance
from tests.checkers.story import Story, poll, send

BOTH = ("assign", "subscribe")


def four():
    story = Story()
    story.ok(0, "send", [send("x", value, offset) for offset, value in enumerate((1, 2, 3, 4))])
    story.ok(9, "assign", ["x"])
    polled(story, 0, 1, 2, 3, process=9)
    return story


def polled(story, *offsets, process=1, type_="ok", f="poll"):
    story.call(process, type_, f, [poll(("x", [[offset, offset + 1] for offset in offsets]))])


def found(story, sub_via=("subscribe",)):
    """Return what invalidates, and what is allowed."""
    judgement = judge(story.ops, CheckOptions(sub_via=sub_via))
    return tuple({one.name for one in part} - {"int-send-skip"} for part in (judgement.anomalies, judgement.allowed))


def member(*, told=True):
    story = four()
    story.ok(1, "subscribe", ["x"])
    if told:
        rebalance(story, 1, 1, assigned=["x"])
    return story


def test_member_that_passes_over_a_record_without_a_rebalance_has_lost_it():
    story = member()
    polled(story, 0, 1)
    polled(story, 3)
    assert found(story) == ({"poll-skip"}, set())


def test_rebalance_that_nobody_tells_may_have_moved_a_member():
    story = member(told=False)
    polled(story, 0, 1)
    polled(story, 3)
    assert found(story) == (set(), {"poll-skip"})


def test_rebalance_that_is_told_moves_a_member():
    story = member()
    polled(story, 0, 1)
    rebalance(story, 1, 1, revoked=["x"])
    rebalance(story, 1, 2, assigned=["x"])
    polled(story, 3)
    assert found(story) == (set(), set())


def test_member_may_be_dealt_its_first_keys_by_the_poll_that_reads_them():
    story = four()
    story.ok(1, "subscribe", ["x"])
    story.begin(1, "poll", [["poll"]])
    rebalance(story, 1, 1, assigned=["x"])
    story.event(1, "ok", "poll", [poll(("x", [[0, 1], [1, 2]]))])
    polled(story, 3)
    assert found(story) == ({"poll-skip"}, set())
    moved = four()
    moved.ok(1, "assign", ["x"])
    polled(moved, 0)
    moved.ok(1, "subscribe", ["x"])
    moved.begin(1, "poll", [["poll"]])
    rebalance(moved, 1, 1, assigned=["x"])
    moved.event(1, "ok", "poll", [poll(("x", [[1, 2]]))])
    polled(moved, 3)
    assert found(moved, BOTH) == (set(), set())


def test_member_that_polled_in_vain_in_between_need_not_have_been_set_back():
    story = member()
    polled(story, 0, 1)
    polled(story, 2, type_="fail")
    polled(story, 3)
    assert found(story) == (set(), {"poll-skip"})


@pytest.mark.parametrize("ours", [True, False])
def test_step_back_of_a_member_without_a_rebalance_is_allowed_in_foreign_histories(ours):
    story = by_hand(ours=ours)
    joins(story)
    polled(story, 0, 1, 2)
    polled(story, 2, 3)
    back = {"nonmonotonic-poll"}
    assert found(story) == ((back, set()) if ours else (set(), back))


def test_step_back_after_a_rebalance_or_a_poll_that_came_to_nothing_or_an_assign_is_allowed():
    story = by_hand(ours=True)
    joins(story)
    polled(story, 0, 1, 2)
    rebalance(story, 1, 1, revoked=["x"])
    rebalance(story, 1, 2, assigned=["x"])
    polled(story, 0, 1, 2, 3)
    assert found(story) == (set(), set())
    for between in (lambda story: polled(story, 3, type_="fail"), lambda story: story.ok(1, "assign", ["x"])):
        story = by_hand(ours=True)
        joins(story)
        polled(story, 0, 1, 2)
        between(story)
        polled(story, 2, 3)
        assert found(story, BOTH) == (set(), {"nonmonotonic-poll"})


def joins(story):
    story.ok(1, "subscribe", ["x"])
    rebalance(story, 1, 1, assigned=["x"])


def by_hand(*, ours):
    story = four()
    if ours:
        story = Story()
        story.phase("main")
        story.ops += [op.at(op.index + 1, op.time) for op in four().ops]
        story.now = story.ops[-1].time
    return story


@pytest.mark.parametrize("ours", [True, False])
def test_consumer_that_holds_its_keys_by_hand_begins_at_the_beginning_in_a_run_of_ours(ours):
    story = by_hand(ours=ours)
    story.ok(1, "assign", ["x"])
    polled(story, 2, 3)
    assert found(story, ("assign",)) == ({"poll-skip"} if ours else set(), set())


def test_consumer_that_came_to_nothing_at_the_beginning_begins_there_again():
    for again, expected in (((0, 1), set()), ((1, 2), {"poll-skip"})):
        story = by_hand(ours=True)
        story.ok(1, "assign", ["x"])
        polled(story, 0, type_="fail")
        polled(story, *again)
        assert found(story, ("assign",)) == (expected, set())


def test_consumer_that_ever_subscribed_may_begin_anywhere():
    story = by_hand(ours=True)
    story.ok(1, "subscribe", ["x"])
    story.ok(1, "assign", ["x"])
    polled(story, 2, 3)
    assert found(story, BOTH) == (set(), set())


def test_consumer_may_begin_behind_what_no_reader_like_it_was_shown():
    story = Story()
    story.phase("main")
    aborted = {"txn_id": "t", "commit_time": None}
    story.fail(0, "txn", [send("x", 1, 0)], **aborted)
    story.ok(0, "send", [send("x", 2, 2)])
    story.ok(8, "assign", ["x"], isolation="read_uncommitted")
    polled(story, 0, 1, process=8, type_="info")
    story.ok(9, "assign", ["x"])
    story.ok(9, "poll", [poll(("x", [[2, 2]]))])
    assert "poll-skip" not in found(story, ("assign",))[0]


def test_member_that_nobody_committed_for_begins_at_the_beginning_in_a_run_of_ours():
    for ours, stored, expected in ((True, False, {"resume-gap"}), (True, True, set()), (False, False, set())):
        story = by_hand(ours=ours)
        if stored:
            story.info(7, "commit", [["x", 2]], group="g")
        joins(story)
        polled(story, 2, 3)
        assert found(story) == (expected, set())
    story = by_hand(ours=True)
    story.begin(7, "poll", [["poll"]])  # it never came home: nobody knows what it has committed
    joins(story)
    polled(story, 2, 3)
    assert found(story) == (set(), set())


def first_keys(story, *offsets, held=False):
    story.ok(1, "subscribe", ["x"])
    if held:
        rebalance(story, 1, 1, assigned=["x"])
    story.begin(1, "poll", [["poll"]])
    rebalance(story, 1, 2, assigned=["x"])
    records = [[offset, offset + 1] for offset in offsets]
    story.event(1, "ok", "poll", [poll(("x", records))], rebalance_log=[{"keys": ["x"]}])
    return found(story)


def test_poll_that_was_dealt_its_first_keys_excuses_no_skip_in_itself():
    assert first_keys(by_hand(ours=True), 0, 1, 2) == (set(), set())
    assert first_keys(by_hand(ours=True), 0, 2) == ({"int-poll-skip"}, set())
    assert first_keys(by_hand(ours=True), 0, 1, 1) == ({"int-nonmonotonic-poll"}, set())
    assert first_keys(by_hand(ours=True), 0, 2, held=True) == (set(), set())


@pytest.mark.parametrize("ours", [True, False])
def test_who_holds_its_keys_by_hand_is_moved_by_no_rebalance_of_others(ours):
    story = by_hand(ours=ours)
    story.ok(1, "assign", ["x"])
    polled(story, 0, 1)
    story.ok(1, "assign", ["x"])
    polled(story, 3)
    skipped = {"poll-skip"}
    assert found(story, BOTH) == ((skipped, set()) if ours else (set(), skipped))


def test_who_subscribed_in_between_may_have_been_moved():
    story = by_hand(ours=True)
    story.ok(1, "assign", ["x"])
    polled(story, 0, 1)
    story.ok(1, "subscribe", ["x"])
    story.ok(1, "assign", ["x"])
    polled(story, 3)
    assert found(story, BOTH) == (set(), {"poll-skip"})


def test_both_kinds_of_skips_are_told_apart():
    story = member()
    polled(story, 0, 1)
    polled(story, 3)
    story.ok(2, "subscribe", ["x"])
    polled(story, 0, process=2)
    polled(story, 2, process=2)
    assert found(story) == ({"poll-skip"}, {"poll-skip"})
    only = judge(story.ops, CheckOptions(sub_via=("subscribe",), anomalies=("poll-skip",)))
    assert [(one.name, one.count) for one in (*only.anomalies, *only.allowed)] == [("poll-skip", 1), ("poll-skip", 1)]


def resumed(*offsets, held_before=False):
    story = four()
    story.ok(1, "subscribe", ["x"])
    if held_before:
        rebalance(story, 1, 4, assigned=["x"])
        rebalance(story, 1, 4, revoked=["x"])
    commit(story, 9, 1)
    story.begin(1, "poll", [["poll"]])
    rebalance(story, 1, 5, assigned=["x"])
    story.event(1, "ok", "poll", [poll(("x", [[offset, offset + 1] for offset in offsets]))])
    return found(story)


def test_first_records_count_also_where_the_poll_that_read_them_held_the_callback():
    assert resumed(1, 2) == (set(), set())
    assert resumed(2, 3) == ({"resume-gap"}, set())
    assert resumed(0, 1) == ({"resume-gap"}, set())
    assert resumed(2, 3, held_before=True) == (set(), set())
