"""What the quorum tells the state machine above its log."""

from __future__ import annotations

from typing import Protocol

from broker.core.quorum.metadata_log import Entry, Snapshot


class Listener(Protocol):
    """The state machine above the log."""

    def committed(self, entry: Entry, now_ms: int) -> None:
        """Apply one committed batch."""
        ...

    def restored(self, snapshot: Snapshot, now_ms: int) -> None:
        """Replace the whole state."""
        ...

    def dump(self) -> bytes:
        """Return the state as a snapshot."""
        ...

    def leads(self, epoch: int, now_ms: int) -> None:
        """This node leads and may append in `epoch`."""
        ...

    def follows(self, leader_id: int, epoch: int, now_ms: int) -> None:
        """This node does not lead (any more); `leader_id` is -1 while nobody is known."""
        ...
