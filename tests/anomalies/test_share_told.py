"""Share groups whose history does not tell all that their members were given: no more than `unknown` is known of them."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from tests.anomalies.share_stories import ack, begin_fetch, fetch, fetch_with, finish, given, lose, sent
from tests.checkers.story import Story


def begun():
    story = Story()
    story.phase("main")
    sent(story, 0, 1)
    return story


def doubts(story):
    return [reason for reason in judge(story.ops).reasons if "the history does not tell" in reason]


def test_member_that_acknowledges_what_it_was_given_is_believed():
    story = begun()
    fetch(story, 2, (0, 1), (1, 1))
    ack(story, 2, 0)
    ack(story, 2, 1)
    finish(story, 0, 1)
    judgement = judge(story.ops)
    assert (judgement.validity.name, judgement.reasons) == ("VALID", ())


def test_record_that_only_another_member_was_given_is_missing_somewhere():
    story = begun()
    fetch(story, 2, (0, 1))
    fetch(story, 3, (1, 1))
    ack(story, 2, 0)
    ack(story, 2, 1)
    finish(story, 0, 1)
    (reason,) = doubts(story)
    assert "op 12 (process 2, ok) said accept of offset 1 of x" in reason
    assert judge(story.ops).validity.name == "UNKNOWN"


@pytest.mark.parametrize("outcome", ["fail", "info"])
def test_acknowledgement_that_was_not_taken_says_nothing(outcome):
    story = begun()
    ack(story, 2, 1, type_=outcome)
    assert not doubts(story)


def test_answer_that_was_lost_may_have_brought_the_record():
    story = begun()
    lose(story, 2)
    ack(story, 2, 1)
    assert not doubts(story)


def test_answer_that_comes_later_brought_something_else():
    story = begun()
    begin_fetch(story, 2)
    ack(story, 3, 1)
    given(story, 2, (1, 1))
    assert doubts(story)


def test_acknowledgement_on_a_fetch_is_one():
    story = begun()
    fetch_with(story, 2, "accept", "ok")
    assert doubts(story)
