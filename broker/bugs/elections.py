"""Bugs of the metadata quorum."""

from __future__ import annotations

from broker.bugs.planting import Replacement
from broker.core.quorum.quorum import Quorum


def vote_forgotten_after_restart() -> tuple[Replacement, ...]:
    """Epoch and vote are in memory only: a voter that restarts may vote again in the same epoch."""
    return (Replacement(Quorum, "_save_vote", lambda _self: None),)
