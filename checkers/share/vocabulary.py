"""The operations of a share group's members, as a history tells them.

    share-fetch        one request for records. Completed: {"keys", "refused"?, "node"?, "isolation"?, "lock-ms"?,
                       "records-max"?, "records": [[key, [[offset, value, delivery count], ...]], ...]}. `keys` are all
                       that were asked for, `refused` those of them that the answer reports an error of. `fail`:
                       certainly nothing was acquired; `info`: nobody knows what was.
                       With "acknowledge": [[key, [[offset, kind], ...]], ...] it says what became of other records,
                       too; of an ok one "acknowledged": [[key, "ok" | "fail" | "info", error | null], ...] is what came
                       of that, otherwise it came to what the fetch did.
                       "session": a number for the share session that it was in, which no other of its process has
    share-acknowledge  what became of records of one key: {"key", "records": [[offset, "accept" | "release" | "reject" |
                       "renew"], ...], "node"?, "session"?}. What is renewed is the member's for another lock (KIP-1222)
    share-leave        the member gives back all that it has, and leaves

`group` names the share group. A member lives as long as its process.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from harness.history import SHARE_ACKNOWLEDGE, SHARE_FETCH, SHARE_LEAVE

KINDS = frozenset({SHARE_FETCH, SHARE_ACKNOWLEDGE, SHARE_LEAVE})
Offset = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Key = str | int
Kind = Literal["accept", "release", "reject", "renew"]


class Fetched(msgspec.Struct, frozen=True, rename="kebab"):
    """The value of a share-fetch."""

    keys: list[Key] | None = None
    """None: it may have been any."""
    refused: list[Key] = []
    node: str | None = None
    isolation: Literal["read_committed", "read_uncommitted"] | None = None
    lock_ms: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """How long records are the member's, as the answer says."""
    session: int | None = None
    records_max: int | None = None
    records: list[tuple[Key, list[tuple[Offset, Any, int]]]] = []
    acknowledge: list[tuple[Key, list[tuple[Offset, Kind]]]] = []
    acknowledged: list[tuple[Key, Literal["ok", "fail", "info"], str | None]] = []


class Acknowledged(msgspec.Struct, frozen=True):
    """The value of a share-acknowledge."""

    key: Key
    records: list[tuple[Offset, Kind]]
    node: str | None = None
    session: int | None = None


class Left(msgspec.Struct, frozen=True):
    """The value of a share-leave: nothing."""


SHAPES: dict[str, type[msgspec.Struct]] = {
    SHARE_FETCH: Fetched,
    SHARE_ACKNOWLEDGE: Acknowledged,
    SHARE_LEAVE: Left,
}


def told(f: str, invocation: Any, completion: Any) -> dict[str, Any]:
    """Return what was asked and what the completion says of it, as one value; raises ValueError for a malformed one."""
    value: dict[str, Any] = {}
    for line in (invocation, completion):
        if line is not None and line.value is not None:
            try:
                msgspec.convert(line.value, SHAPES[f])
            except msgspec.ValidationError as error:
                raise ValueError(str(error)) from None
            value |= line.value
    return value
