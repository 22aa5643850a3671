"""Bugs of elections: of the metadata quorum, and of partitions where nobody is eligible."""

from __future__ import annotations

from broker.bugs.planting import Replacement
from broker.core.controller.recovery import LogInfo, Recovery
from broker.core.quorum.quorum import Quorum


def vote_forgotten_after_restart() -> tuple[Replacement, ...]:
    """Epoch and vote are in memory only: a voter that restarts may vote again in the same epoch."""
    return (Replacement(Quorum, "_save_vote", lambda _self: None),)


def recovery_takes_the_first() -> tuple[Replacement, ...]:
    """The first replica of those that were asked leads, however far its log reaches."""

    def first(_self: Recovery, logs: dict[int, LogInfo]) -> int:
        return next(iter(logs))

    return (Replacement(Recovery, "most_complete", first),)
