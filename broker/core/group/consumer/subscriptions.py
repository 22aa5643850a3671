"""From what members subscribe to, to the topics that there are: by name, or by regular expression (KIP-848).

A pattern is RE2's, as in Kafka, and must match a whole topic name: matching takes time linear in the name whatever a
client has written, and a pattern that would need more memory than RE2 allows is refused. What a pattern matches is kept
until topics come or go. Kafka: TopicRegexResolver, TopicIds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from broker.core.errors import Refused
from broker.core.group.consumer.records import Subscription
from broker.core.metadata.image import Image
from broker.core.patterns import compiled

MAX_KEPT = 1000
"""Patterns whose matches are kept; more would be a client that makes them up."""


def check_pattern(pattern: str) -> None:
    """Raise Refused unless the pattern can be compiled."""
    try:
        compiled(pattern)
    except Refused as refused:
        raise Refused(refused.code, f"SubscribedTopicRegex {refused.message}") from refused


class Subscriptions:
    """See the module."""

    def __init__(self, image: Callable[[], Image]) -> None:
        self._image = image
        self._matches: dict[str, tuple[int, tuple[str, ...]]] = {}

    def topics(self, member: Subscription) -> tuple[str, ...]:
        """Return the ids of the topics that a member subscribes to and that there are."""
        image = self._image()
        names = [*member.topics, *(self._matching(image, member.regex) if member.regex else ())]
        return tuple(dict.fromkeys(image.topic_ids[name] for name in names if name in image.topic_ids))

    def _matching(self, image: Image, pattern: str) -> tuple[str, ...]:
        shape, names = self._matches.get(pattern, (-1, ()))
        if shape != image.shape:
            try:
                expression = compiled(pattern)
            except Refused:  # one that an earlier version of this broker took: it has matched its last topic
                names = ()
            else:
                names = tuple(name for name in image.topic_ids if expression.fullmatch(name))
            if len(self._matches) >= MAX_KEPT:
                self._matches.clear()
            self._matches[pattern] = (image.shape, names)
        return names

    def counts(self, members: Mapping[str, Subscription]) -> dict[str, int]:
        """Return topic id -> partition count, of all topics that anybody subscribes to."""
        image = self._image()
        ids = dict.fromkeys(topic for member in members.values() for topic in self.topics(member))
        return {topic: len(image.topics[topic].partitions) for topic in ids}


def topics_hash(counts: Mapping[str, int]) -> int:
    """Return a number that changes when the subscribed topics do; 0 for none."""
    if not counts:
        return 0
    text = ",".join(f"{topic}:{count}" for topic, count in sorted(counts.items()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
