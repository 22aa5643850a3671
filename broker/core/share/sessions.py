"""Share sessions (KIP-932): which partitions a member of a share group reads from this node.

    epoch 0 opens (and replaces the one that was there) -> epoch 1, 2, ... change -> epoch -1 closes

A request names what comes into the session and what goes; all of it is fetched. A request of another epoch than the
session's next one is refused, and so is one without a session: the member opens a new one, and what it has stays its
own meanwhile. Who was silent for `IDLE_MS` is forgotten. Kafka: ShareSession, ShareSessionCache.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.core.errors import Code, Refused
from broker.core.replication.replica import Key

OPEN_EPOCH, CLOSE_EPOCH = 0, -1
MAX_EPOCH = (1 << 31) - 1
"""After it comes 1 again: 0 would open another session."""
IDLE_MS = 300_000
"""Longer than any lock of a record, and than consumers think over what they have got."""
NEVER_MS = 1 << 62


class ShareSession:
    """One member's; see the module."""

    __slots__ = ("epoch", "group", "member", "places", "used_ms")

    def __init__(self, group: str, member: str, now_ms: int) -> None:
        self.group, self.member = group, member
        self.epoch = 1
        self.places: dict[Key, None] = {}
        self.used_ms = now_ms

    def turned(self) -> list[Key]:
        """Return the partitions, beginning with another one in every epoch: each has its turn when there is much."""
        places = list(self.places)
        first = self.epoch % len(places) if places else 0
        return [*places[first:], *places[:first]]


class ShareSessions:
    """All sessions of a node; see the module."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._sessions: dict[tuple[str, str], ShareSession] = {}  # in the order of their last use

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def deadline_ms(self) -> int:
        """When the first session will have been silent for too long."""
        oldest = next(iter(self._sessions.values()), None)
        return NEVER_MS if oldest is None else oldest.used_ms + IDLE_MS

    def is_open(self, session: ShareSession) -> bool:
        """Return whether the session is here still."""
        return self._sessions.get((session.group, session.member)) is session

    def open(self, group: str, member: str, now_ms: int) -> tuple[ShareSession, ShareSession | None]:
        """Return a new session, and the one that it replaces. Raise Refused where there are too many."""
        old = self._sessions.pop((group, member), None)
        if old is None and len(self._sessions) >= self._slots:
            raise Refused(Code.SHARE_SESSION_LIMIT_REACHED, f"there are {self._slots} share sessions")
        session = self._sessions[group, member] = ShareSession(group, member, now_ms)
        return session, old

    def enter(self, group: str, member: str, epoch: int, now_ms: int) -> ShareSession:
        """Return the session of a request whose turn it is; raise Refused where there is none, or it is not."""
        session = self._sessions.get((group, member))
        if session is None:
            raise Refused(Code.SHARE_SESSION_NOT_FOUND, f"there is no share session of {member!r} in {group!r}")
        if epoch != CLOSE_EPOCH:
            if epoch != session.epoch:
                raise Refused(Code.INVALID_SHARE_SESSION_EPOCH, f"the session is at epoch {session.epoch}, not {epoch}")
            session.epoch = 1 if session.epoch == MAX_EPOCH else session.epoch + 1
        session.used_ms = now_ms
        self._sessions[group, member] = self._sessions.pop((group, member))
        return session

    def change(self, session: ShareSession, come: Iterable[Key], gone: Iterable[Key]) -> list[Key]:
        """Note what comes and goes; return what has gone.

        What does both goes: clients name a partition that they give up once more, for its last acknowledgements.
        """
        session.places.update(dict.fromkeys(come))
        left = [place for place in dict.fromkeys(gone) if place in session.places]
        for place in left:
            del session.places[place]
        return left

    def close(self, session: ShareSession) -> None:
        """Forget the session."""
        if self.is_open(session):
            del self._sessions[session.group, session.member]

    def silent(self, now_ms: int) -> list[ShareSession]:
        """Return the sessions that were not used for too long."""
        return [session for session in self._sessions.values() if session.used_ms + IDLE_MS <= now_ms]
