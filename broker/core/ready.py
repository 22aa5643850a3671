"""What the core wants done: `Ready`, and the `Outbox` in which one step collects it.

Order contract (the driver keeps it, the core relies on it):
 1. `writes`, in list order, before the next step starts; a later read sees them;
 2. `sync`: these logs are made durable; a `Save` with `sync` is durable when it returns;
 3. only then `replies` and `requests` go out;
 4. a `Tick` no later than `wake_at_ms`.
Several Readys may share one sync and one send. After a crash everything synced is there, and of what was not synced any
prefix per file (a torn tail too); a `Save` is all or nothing, and so is a `Swap`, which is durable when it returns.

Names: a log is a folder name ("t0-3"), a segment its base offset, a small file "folder/file" or "file".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from broker.wire.batch import Buffer


class Append(msgspec.Struct, frozen=True, gc=False):
    """Write `data` at `position`, the end of the segment (a new file when position is 0)."""

    log: str
    base: int
    position: int
    data: Buffer


class Truncate(msgspec.Struct, frozen=True, gc=False):
    """Cut the segment to `size` bytes."""

    log: str
    base: int
    size: int


class DropSegment(msgspec.Struct, frozen=True, gc=False):
    """Delete the segment and the small files of the same base offset; regions of it are readable until `Release`."""

    log: str
    base: int


class Draft(msgspec.Struct, frozen=True, gc=False):
    """Write `data` at `position`, the end of the draft that is to replace the segment `base` (0 begins it anew)."""

    log: str
    base: int
    position: int
    data: Buffer


class DropDraft(msgspec.Struct, frozen=True, gc=False):
    """Delete a draft; it may be missing. None survives a restart."""

    log: str
    base: int


class Swap(msgspec.Struct, frozen=True, gc=False):
    """Put the draft of `base` in the place of the segments from `base` to `last`, at once and durably, or not at all.

    The small files of these base offsets go. The new segment is `generation`; regions of the older ones can still be
    read until `Release`.
    """

    log: str
    base: int
    last: int
    generation: int


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give up what a dropped or replaced segment still holds."""

    log: str
    base: int
    generation: int


class DropLog(msgspec.Struct, frozen=True, gc=False):
    """Delete the log's folder."""

    log: str


class Save(msgspec.Struct, frozen=True, gc=False):
    """Replace a small file atomically; `sync` makes it durable before anything later."""

    name: str
    data: bytes
    sync: bool = False


class Remove(msgspec.Struct, frozen=True, gc=False):
    """Delete a small file; it may be missing."""

    name: str


class SyncAll(msgspec.Struct, frozen=True, gc=False):
    """Make all logs durable, with all that was written to them before, before anything later."""


Write = Append | Truncate | DropSegment | Draft | DropDraft | Swap | Release | DropLog | Save | Remove | SyncAll


class Reply(msgspec.Struct, frozen=True):
    """The answer to request `id`. To a Produce with acks=0 it is none: the driver closes the connection.

    The garbage collector sees it, and `Request`: an `id` may lead back to the broker.
    """

    id: Any
    message: Any


class PeerRequest(msgspec.Struct, frozen=True, gc=False):
    """A request to another node. Per (peer, channel) requests go out and are answered in order.

    The driver answers each token once: with a `PeerReply`, or a `PeerFailed` when the connection broke or `timeout_ms`
    passed.
    """

    token: int
    peer: int
    channel: int
    message: Any
    timeout_ms: int


class Ready(msgspec.Struct, frozen=True):
    """Everything that one step asks for; see the module for the order."""

    writes: list[Write]
    sync: list[str]
    replies: list[Reply]
    requests: list[PeerRequest]
    warnings: list[str]
    wake_at_ms: int | None


class Request(msgspec.Struct, frozen=True):
    """Event: a request arrived. `id` is the driver's; `client_id` and `host` name the sender to people.

    `version` of the API: in a few places it says which protocol the client speaks. `internal`: it came from another
    node, on a connection where only nodes are let in. `may_describe`: whether the sender may see the topic of that
    name; None where everybody may. Buffers in the message are the driver's again after the step.
    """

    id: Any
    message: Any
    client_id: str = ""
    host: str = ""
    internal: bool = False
    version: int = 0
    may_describe: Callable[[str], bool] | None = None


class PeerReply(msgspec.Struct, frozen=True, gc=False):
    """Event: a peer answered."""

    token: int
    message: Any


class PeerFailed(msgspec.Struct, frozen=True, gc=False):
    """Event: no answer will come. The request may have been executed.

    `gone`: the peer, if nobody listens at its door any more. A node that is slow, stopped or cut off still listens: its
    kernel does.
    """

    token: int
    gone: int = -1


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Event: time passed."""


Event = Request | PeerReply | PeerFailed | Tick


class Outbox:
    """Collects one step's effects; `take` hands them over and starts afresh.

    `early`: called within a step when the last of `replies` is for a client that need not wait for what is still to be
    done. A driver may perform the writes and send that reply before the rest, in the order above, and take them out.
    """

    def __init__(self, early: Callable[[Outbox], None] | None = None) -> None:
        self.early = early
        self.writes: list[Write] = []
        self.sync: dict[str, None] = {}
        self.replies: list[Reply] = []
        self.requests: list[PeerRequest] = []
        self.warnings: list[str] = []
        self._next_token = 1

    def request(self, peer: int, channel: int, message: Any, timeout_ms: int) -> int:
        """Queue a request to a peer and return its token."""
        token = self._next_token
        self._next_token += 1
        self.requests.append(PeerRequest(token, peer, channel, message, timeout_ms))
        return token

    def take(self, wake_at_ms: int | None) -> Ready:
        """Return what was collected."""
        ready = Ready(self.writes, list(self.sync), self.replies, self.requests, self.warnings, wake_at_ms)
        self.writes, self.sync, self.replies, self.requests, self.warnings = [], {}, [], [], []
        return ready
