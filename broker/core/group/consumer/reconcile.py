"""How one member goes from what it has to what it shall have, a step per heartbeat (KIP-848).

    STABLE -------- the target changed ------> UNREVOKED: it must give up `revoking` first, and keeps its epoch
    UNREVOKED ----- it owns none of them ----> UNRELEASED or STABLE, with the target's epoch
    UNRELEASED ---- others let go -----------> STABLE
    any of them with nothing to give up goes straight on

A partition counts as its owner's until the owner has said that it owns it no more: no two members have it at once. A
member that wants what another still has gets the rest at once. Kafka: CurrentAssignmentBuilder.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

import msgspec

from broker.core.group.consumer.places import Place, Places, sort


class MemberState(enum.IntEnum):
    """See the module; the numbers are those of Kafka's records."""

    STABLE = 0
    UNREVOKED = 1
    UNRELEASED = 2


class Current(msgspec.Struct, frozen=True):
    """What a member has, and what it is still giving up."""

    epoch: int = 0
    previous_epoch: int = -1
    state: MemberState = MemberState.STABLE
    assigned: Places = ()
    revoking: Places = ()

    @property
    def held(self) -> Places:
        """All that counts as its own: nobody else may have it."""
        return self.assigned + self.revoking


class Reconciler:
    """Takes members a step further. `taken`: what others hold."""

    def step(
        self, now: Current, target: Places, target_epoch: int, owned: Collection[Place] | None, taken: Collection[Place]
    ) -> Current:
        """Return the member's next state; `owned` is what it says to own, None when it says nothing."""
        if now.state is MemberState.STABLE and now.epoch == target_epoch:
            return now
        if now.state is MemberState.UNREVOKED and not self.has_revoked(now, owned):
            return now
        return self._next(now, target, target_epoch, owned, taken)

    def has_revoked(self, now: Current, owned: Collection[Place] | None) -> bool:
        """Return whether the member has said that it owns nothing of what it must give up."""
        return owned is not None and not any(place in owned for place in now.revoking)

    def is_free(self, place: Place, taken: Collection[Place]) -> bool:
        """Return whether a partition may be handed to a new owner."""
        return place not in taken

    def _next(
        self, now: Current, target: Places, target_epoch: int, owned: Collection[Place] | None, taken: Collection[Place]
    ) -> Current:
        kept = tuple(place for place in now.assigned if place in target)
        surplus = tuple(place for place in now.assigned if place not in target)
        if surplus and owned is not None and not any(place in owned for place in surplus):
            surplus = ()  # it never began with them
        if surplus:
            return Current(now.epoch, now.previous_epoch, MemberState.UNREVOKED, kept, surplus)
        missing = [place for place in target if place not in kept]
        free = [place for place in missing if self.is_free(place, taken)]
        state = MemberState.STABLE if len(free) == len(missing) else MemberState.UNRELEASED
        previous = now.epoch if now.epoch != target_epoch else now.previous_epoch
        return Current(target_epoch, previous, state, sort([*kept, *free]))
