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


def test_step_back_of_a_member_is_allowed_as_ever():
    story = member()
    polled(story, 0, 1, 2)
    polled(story, 2, 3)
    assert found(story) == (set(), {"nonmonotonic-poll"})


def by_hand(*, ours):
    story = four()
    if ours:
        story = Story()
        story.phase("main")
        story.ops += [op.at(op.index + 1, op.time) for op in four().ops]
        story.now = story.ops[-1].time
    return story


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
