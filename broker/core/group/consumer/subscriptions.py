"""From what members subscribe to, to the topics that there are: by name, or by regular expression (KIP-848).

A pattern is RE2's, as in Kafka, and must match a whole topic name: matching takes time linear in the name whatever a
client has written, and a pattern that would need more memory than RE2 allows is refused. What a pattern matches is kept
until topics come or go.

Where an authorizer decides, a group's patterns mean the topics that one of its members may describe: the one that comes
first after a pattern, a topic or a rule has changed, as in Kafka (GroupMetadataManager.refreshRegularExpressions).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from broker.core.errors import Refused
from broker.core.group.consumer.records import Subscription
from broker.core.group.members import MayDescribe
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


class Resolved(msgspec.Struct):
    """What the patterns of a group's members mean to it: topics by pattern, as of that state of topics and rules."""

    names: dict[str, tuple[str, ...]] = {}
    at: tuple[int, int] = (-1, -1)


class Subscriptions:
    """See the module."""

    def __init__(self, image: Callable[[], Image]) -> None:
        self._image = image
        self._matches: dict[str, tuple[int, tuple[str, ...]]] = {}

    def resolve(self, known: Resolved, members: Mapping[str, Subscription], may_describe: MayDescribe) -> None:
        """Find what is new: all patterns when topics or rules have changed, else those that nobody had before."""
        image = self._image()
        now = image.shape, image.acls_version
        kept = known.names if known.at == now else {}
        known.at, known.names = now, {}
        for member in members.values():
            if member.regex and member.regex not in known.names:
                names = kept.get(member.regex)
                if names is None:
                    names = self._matching(image, member.regex)
                    names = names if may_describe is None else tuple(filter(may_describe, names))
                known.names[member.regex] = names

    def topics(self, member: Subscription, known: Resolved) -> tuple[str, ...]:
        """Return the ids of the topics that a member subscribes to and that there are."""
        image = self._image()
        names = list(member.topics)
        if member.regex:
            found = known.names.get(member.regex)
            names += self._matching(image, member.regex) if found is None else found
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

    def counts(self, members: Mapping[str, Subscription], known: Resolved) -> dict[str, int]:
        """Return topic id -> partition count, of all topics that anybody subscribes to."""
        image = self._image()
        ids = dict.fromkeys(topic for member in members.values() for topic in self.topics(member, known))
        return {topic: len(image.topics[topic].partitions) for topic in ids}


def topics_hash(counts: Mapping[str, int]) -> int:
    """Return a number that changes when the subscribed topics do; 0 for none."""
    if not counts:
        return 0
    text = ",".join(f"{topic}:{count}" for topic, count in sorted(counts.items()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
