"""What a member has: places, as a sorted tuple of (topic id, partition index)."""

from __future__ import annotations

from collections.abc import Iterable

Place = tuple[str, int]
"""Topic id (hexadecimal) and partition index."""
Places = tuple[Place, ...]


def sort(places: Iterable[Place]) -> Places:
    """Return the places, each once, in order."""
    return tuple(sorted(set(places)))


def by_topic(places: Places) -> list[tuple[str, tuple[int, ...]]]:
    """Return (topic id, partition indexes) pairs."""
    found: dict[str, list[int]] = {}
    for topic_id, index in places:
        found.setdefault(topic_id, []).append(index)
    return [(topic_id, tuple(indexes)) for topic_id, indexes in found.items()]
