"""What a record's value says about itself, so that an altered or misplaced record is seen.

A value is one line of ASCII, readable in any dump of a topic:

    h1 t0/3 17 5 1234 9a3f01bc
    |  |    |  | |    CRC-32 of all before the last space (and of the padding), eight hex digits
    |  |    |  | the op's value, unique in the run
    |  |    |  sequence: how many records this process sent before
    |  |    process that sent it
    |  key: topic/partition that it was sent to
    format

A value may be padded up to a size: then a newline and the padding follow the line, and the checksum is that of all
before it and of all behind it, so that a change of any byte is seen.

A record with a key carries the same line as its header `h1` too, so that a tombstone, which has no value, says who
sent it. A copy names the record that it was made from in its header `source`, e.g. `t0/3 17`.

`outgoing` says what a send of the history sends; `Outgoing.sent` what the history then says of it:

    ["send", key, v]                                                     a value
    ["send", key, [null, v, {"record-key": k, "tombstone": true}]]       with a key; a deletion
    ["send", key, [null, v, {"copy": true}]]                             a copy of a record that the same op has polled

`written` says what a reader puts into the history for a record: `[offset, v]`, or a third element that says what is
wrong or what else was seen. A stamp that does not fit the place where it was read names the place where it belongs; a
value that nobody can decode, or whose checksum is wrong, is `"?"` and the first bytes in hex, since a damaged number
must never pass for another send's value.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

FORMAT = b"h1"
HEADER = "h1"
"""Name of the header that holds the line of a record with a key."""
SOURCE = "source"
"""Name of the header of a copy: key and offset of what was copied."""
HEX_PREFIX_BYTES = 16
"""So many bytes of a value that can't be decoded go into the history."""
_FIELDS = 6
_CHECKSUM_BYTES = 9
"""With the space before it."""
_LINE = re.compile(rb"h1 [A-Za-z0-9._-]+/\d+ \d+ \d+ \d+ [0-9a-f]{8}")
NOBODY: frozenset[str] = frozenset()
_END = b"\n"
"""Between the line and the padding."""
REMEMBERED = 4096
"""So many values are decoded once however many readers see them: all read the same records at about the same time."""
REMEMBERED_BYTES = 512
"""Bigger ones are decoded each time: they would take too much memory."""


class Stamp(NamedTuple):
    """Who sent a record, to where, and as what."""

    key: str
    process: int
    sequence: int
    v: int


Pad = Callable[[int, int], bytes]
"""(the op's value, bytes that there are already) -> the padding that makes the record's value as big as it shall be."""


class Damage(NamedTuple):
    """Why a value is not a stamp: "undecodable" or "checksum"."""

    what: str


def encode(stamp: Stamp, pad: Pad | None = None) -> bytes:
    """Return the record's value. The key must hold no space (topic names can't)."""
    assert " " not in stamp.key, f"a key holds no space: {stamp.key!r}"
    body = f"h1 {stamp.key} {stamp.process} {stamp.sequence} {stamp.v}".encode("ascii")
    padding = pad(stamp.v, len(body) + _CHECKSUM_BYTES + len(_END)) if pad is not None else b""
    behind = _END + padding if padding else b""
    return b"%b %08x%b" % (body, zlib.crc32(behind, zlib.crc32(body)), behind)


def decode(value: bytes | None) -> Stamp | Damage:
    """Return the stamp, or what is wrong with the value."""
    return _decode(value) if value is not None and len(value) > REMEMBERED_BYTES else _remembered(value)


def _decode(value: bytes | None) -> Stamp | Damage:
    line, end, padding = (value or b"").partition(_END)
    fields = line.split(b" ")
    if len(fields) != _FIELDS or fields[0] != FORMAT:
        return Damage("undecodable")
    body = line[: -1 - len(fields[-1])]
    if fields[-1] != b"%08x" % zlib.crc32(end + padding, zlib.crc32(body)):
        return Damage("checksum")
    try:
        return Stamp(fields[1].decode("ascii"), int(fields[2]), int(fields[3]), int(fields[4]))
    except ValueError:
        return Damage("undecodable")


_remembered = functools.lru_cache(REMEMBERED)(_decode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A record that is to be sent, and what the history says of it beside its value."""

    key: str
    v: int
    value: bytes | None
    record_key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    seen: Mapping[str, Any] = field(default_factory=dict)

    def sent(self, offset: int | None) -> list[Any]:
        """Return the micro-op of the completion."""
        if self.seen:
            return ["send", self.key, [offset, self.v, self.seen]]
        return ["send", self.key, self.v if offset is None else [offset, self.v]]


def is_copy(micro_op: list[Any]) -> bool:
    """Return whether the micro-op sends a copy of what its op polled."""
    match micro_op:
        case ["send", _, [None, _, {"copy": True}]]:
            return True
    return False


def outgoing(
    micro_op: list[Any], process: int, sequence: int, source: list[Any] | None = None, pad: Pad | None = None
) -> Outgoing:
    """Return what a send sends. source: [key, offset] of the record that a copy is made from."""
    match micro_op:
        case ["send", str(key), int(v)]:
            return Outgoing(key=key, v=v, value=encode(Stamp(key, process, sequence, v), pad))
        case ["send", str(key), [None, int(v), {"record-key": str(record_key)} as seen]]:
            stamp = Stamp(key, process, sequence, v)
            value = None if seen.get("tombstone") else encode(stamp, pad)
            named, headers = record_key.encode(), ((HEADER, encode(stamp)),)
            return Outgoing(key=key, v=v, value=value, record_key=named, headers=headers, seen=seen)
        case ["send", str(key), [None, int(v), {"copy": True}]] if source is not None:
            value = encode(Stamp(key, process, sequence, v), pad)
            headers = ((SOURCE, f"{source[0]} {source[1]}".encode()),)
            return Outgoing(key=key, v=v, value=value, headers=headers, seen={"source": source})
    raise ValueError(f'a micro-op is ["send", key, value] or ["poll"], not {micro_op!r}')


def unreadable(offset: int, why: str) -> list[Any]:
    """Return the history's entry for a record that is there, and that nobody can take out of its batch."""
    return [offset, f"?@{offset}", {"altered": why}]


def _source(header: bytes) -> list[Any] | None:
    key, _, offset = header.decode("utf-8", "replace").rpartition(" ")
    return [key, int(offset)] if key and offset.isdecimal() else None


def _within(value: bytes, damage: Damage) -> Stamp | Damage:
    """Return the stamp of the one line that stands somewhere in the value, else the damage."""
    found = {stamp for line in _LINE.findall(value) if isinstance(stamp := _decode(line), Stamp)}
    return found.pop() if len(found) == 1 else damage


def written(  # noqa: PLR0917 - a record's parts
    key: str,
    offset: int,
    value: bytes | None,
    epoch: int | None,
    record_key: bytes | None = None,
    headers: Any = (),
    origins: frozenset[str] = NOBODY,
) -> list[Any]:
    """Return the history's entry for a record read at (key, offset), in a batch of that leader epoch (None: unknown).

    `[offset, v]`, or `[offset, v, {"epoch": e, "record-key": k, "tombstone": true, "source": [key, offset], "altered":
    what}]` with those that apply. headers: (name, value) pairs; a tombstone's line is one of them.

    origins: keys whose records a program of the user's copies to others. There they say `"origin": [key, v]`, and v has
    the offset behind it, since a program may write one record twice; the line may stand in the midst of the value.
    """
    named: dict[str, Any] = dict(headers or ())
    stamp = decode(named.get(HEADER) if value is None and record_key is not None else value)
    is_output = bool(origins) and key not in origins
    if is_output and isinstance(stamp, Damage):
        stamp = _within(value or b"", stamp)
    seen: dict[str, Any] = {} if epoch is None else {"epoch": epoch}
    if record_key is not None:
        seen["record-key"] = record_key.decode("utf-8", "replace")
        if value is None:
            seen["tombstone"] = True
    if SOURCE in named and not origins:  # a header of a program's own is its own affair
        seen["source"] = _source(named[SOURCE])
    if isinstance(stamp, Damage):
        shown = "?" + (value or b"")[:HEX_PREFIX_BYTES].hex()
        return [offset, f"{shown}@{offset}" if is_output else shown, {**seen, "altered": stamp.what}]
    if is_output and stamp.key in origins:
        return [offset, f"{stamp.v}@{offset}", {**seen, "origin": [stamp.key, stamp.v]}]
    if stamp.key != key:
        seen["altered"] = f"sent to {stamp.key}"
    return [offset, stamp.v, seen] if seen else [offset, stamp.v]
