"""Patterns of consumer groups are RE2's: its grammar, whole names, and no name or pattern that takes for ever."""

from __future__ import annotations

import pytest

from broker.core.errors import Code, Refused
from broker.core.group.consumer.records import Subscription
from broker.core.group.consumer.subscriptions import Resolved, Subscriptions, check_pattern
from broker.core.metadata.image import Image
from broker.core.metadata.records import TopicCreated

EVIL = r"(a|aa|a.)*(a+)+[^a]"
"""Python's `re` needs time exponential in the length of a name of as to say no."""


def matched(pattern, *names):
    image = Image()
    for name in names:
        image.apply(TopicCreated(topic_id=f"id-{name}", name=name))
    member, subscriptions, known = Subscription(regex=pattern), Subscriptions(lambda: image), Resolved()
    subscriptions.resolve(known, {"member": member}, None)
    return [one.removeprefix("id-") for one in subscriptions.topics(member, known)]


def test_a_pattern_matches_whole_names():
    assert matched("t.", "t1", "t12", "xt1", "t2") == ["t1", "t2"]
    assert matched(r"(?i)T\d+|other", "t12", "tx", "other") == ["t12", "other"]


def test_no_pattern_takes_for_ever():
    names = ["a" * 249, "a" * 248 + "b"]
    assert matched(EVIL, *names) == names[1:]


@pytest.mark.parametrize("pattern", ["(", "[", "a**", r"(a)\1", "(?=a)a", "(?<!a)b", "a{1001}", "((a{100}){100}){100}"])
def test_what_re2_does_not_know_is_refused_and_named(pattern):
    with pytest.raises(Refused) as refused:
        check_pattern(pattern)
    assert refused.value.code == Code.INVALID_REGULAR_EXPRESSION
    assert pattern in refused.value.message


def test_a_pattern_that_an_earlier_broker_took_matches_nothing():
    assert matched(r"(t)\1", "tt") == []
