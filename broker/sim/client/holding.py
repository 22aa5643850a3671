"""What a member of a group holds, and how that changes: in the application's `poll` alone, which calls `changes`.

Both kinds of membership (`group`, `member`) queue a change and wait until the application has taken it in. One that is
lost, since others may have its partitions already, says so instead of giving them up, and takes no share of which it
has not heard yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from broker.sim.client.contact import Contact
from broker.sim.client.metadata import Partition
from broker.sim.loop import Future

What = Literal["assigned", "revoked", "lost"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a rebalance brings or takes. `keys` are only those that come or go."""

    what: What
    keys: tuple[Partition, ...]
    generation: int
    member_id: str


Rebalance = Callable[[Change], None]
"""Called inside poll, before the change counts."""


class Holding:
    """See the module. `wake` ends the wait of a poll."""

    def __init__(self, contact: Contact, generation: int, wake: Callable[[], None]) -> None:
        """Hold nothing."""
        self.generation = generation
        self.member_id = ""
        self._contact, self._wake = contact, wake
        self._listener: Rebalance = lambda _: None
        self._owned: tuple[Partition, ...] = ()
        self._pending: deque[tuple[What, tuple[Partition, ...], Future[None]]] = deque()
        self._is_lost = False

    def changes(self) -> Iterator[tuple[tuple[Partition, ...], tuple[Partition, ...]]]:
        """Yield (taken, given) of each change that waits for the application, after telling the listener."""
        while self._pending:
            what, keys, done = self._pending.popleft()
            if what == "assigned" and self._is_lost:
                done.set(None)  # it was out of the group before it heard of its share
                continue
            if what == "revoked" and self._is_lost:
                what = "lost"
            self._listener(Change(what, keys, self.generation, self.member_id))
            if what == "assigned":
                self._owned = (*self._owned, *keys)
                yield (), keys
            else:
                self._owned = tuple(key for key in self._owned if key not in keys)
                yield keys, ()
            done.set(None)

    async def _change(self, what: What, keys: tuple[Partition, ...]) -> None:
        """Wait until the application has taken the change in."""
        done: Future[None] = self._contact.loop.future()
        self._pending.append((what, keys, done))
        self._wake()
        await done
