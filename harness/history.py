"""The history: the only thing that a checker sees.

A history is a JSONL file, one `Op` a line, appended to while the run goes. An invocation is written *before* the call
leaves, in one unbuffered `write(2)` of the whole line, so that a run killed with `kill -9` leaves a history that can
be judged: the page cache survives the process. It does not survive a power cut of the machine that runs the harness
(there is no fsync, on purpose: it would pace the workload). The last line may be torn; readers drop it with a warning.

The shape of an op is Jepsen's. Field names in the file carry dashes (`commit-time`), attributes underscores.
This module imports nothing of ours; the columns that checkers work on are built in `checkers.log_view`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec

INVOKE: Final = "invoke"
OK: Final = "ok"
FAIL: Final = "fail"
INFO: Final = "info"
OpType = Literal["invoke", "ok", "fail", "info"]
Process = int | str
"""A client is an integer >= 0; other event sources are strings: "nemesis", "harness", "probe/NODE", "group"."""

NEMESIS = "nemesis"
HARNESS = "harness"
DELETE_RECORDS: Final = "delete-records"
"""The kind of op that raises a log's start: its value is [key, offset]."""
SHARE_FETCH: Final = "share-fetch"
SHARE_ACKNOWLEDGE: Final = "share-acknowledge"
SHARE_LEAVE: Final = "share-leave"
"""What members of share groups do; `checkers.share.vocabulary` has the shapes of their values."""
PARTITIONS: Final = "partitions"
"""The point event of a topic that has grown: the run has these keys, too, from now on."""
EXITED: Final = "exited"
"""The point event of an instance of the user's program that has ended by itself."""
GIVEN_UP: Final = "given-up"
"""The point event of one that never gets going."""
UNASSIGNED = -1


class HistoryError(Exception):
    """A history that can't be read or is malformed; the message names the file and the line."""


_WIRE_NAMES = {
    "rebalance_log": "rebalance-log",
    "commit_time": "commit-time",
    "txn_id": "txn-id",
    "seek_to_beginning": "seek-to-beginning?",
}


class Op(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=_WIRE_NAMES):
    """One event of a history: an invocation, a completion, or a point event.

    index: position in the file; time: nanoseconds since the run began (monotonic clock).
    value: see HISTORY.md; for send/poll/txn a list of micro-ops.
    """

    index: int = UNASSIGNED
    time: int = UNASSIGNED
    process: Process
    type: OpType
    f: str
    value: Any = None
    error: Mapping[str, Any] | None = None
    times: list[list[int]] | None = None
    """[start, end] in ns, one pair per micro-op."""
    commit_time: int | msgspec.UnsetType | None = msgspec.UNSET
    """ns of the first call of commit; None: certainly never called; UNSET: unknown."""
    isolation: str | None = None
    txn_id: str | None = None
    group: str | None = None
    offsets: list[Any] | None = None
    """[[key, next_offset], ...] committed with the transaction."""
    rebalance_log: list[Any] | None = None
    seek_to_beginning: bool = False
    abort: bool = False
    """On a txn's invocation: the workload wants it aborted on purpose."""
    crash: bool = False
    """On a txn's invocation: drop the client before commit or abort, with the transaction open."""
    positions: list[Any] | None = None
    """On a poll's completion: [[key, position], ...] of the consumer after it."""
    extra: Mapping[str, Any] | None = None
    """Any other field of a foreign history, kept and carried along (flattened again when written)."""

    def completed(self, type: OpType, **changes: Any) -> Op:  # noqa: A002
        """Return this invocation's completion: same process and f, a new type, index and time not yet assigned."""
        return msgspec.structs.replace(self, type=type, index=UNASSIGNED, time=UNASSIGNED, **changes)

    def at(self, index: int, time: int) -> Op:
        """Return the op stamped with its place in the history and its time in ns."""
        return msgspec.structs.replace(self, index=index, time=time)


class Call(msgspec.Struct, frozen=True):
    """An invocation with its completion; None while nobody knows (the run died, or the op never returned)."""

    invocation: Op
    completion: Op | None


BUFFERED_BYTES = 1 << 15
"""What a writer that may collect lines collects: some 200 of them."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Op)
_RAW_DECODER = msgspec.json.Decoder(dict[str, Any])
_KNOWN = frozenset(_WIRE_NAMES.get(name, name) for name in Op.__struct_fields__ if name != "extra")


def encode(op: Op) -> bytes:
    """Return the op as one JSON line, newline included."""
    if op.extra:
        fields = msgspec.to_builtins(msgspec.structs.replace(op, extra=None)) | dict(op.extra)
        return _ENCODER.encode(fields) + b"\n"
    return _ENCODER.encode(op) + b"\n"


def decode(line: bytes, *, where: str) -> Op:
    """Return the op of one JSON line; `where` (file:line) names it in the error.

    Raises HistoryError when the line is not a JSON object with process, type and f of the right kinds.
    """
    try:
        fields = _RAW_DECODER.decode(line)
        unknown = fields.keys() - _KNOWN
        if not unknown:
            return msgspec.convert(fields, Op)
        other = {name: fields.pop(name) for name in unknown}
        return msgspec.structs.replace(msgspec.convert(fields, Op), extra=other)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HistoryError(f"{where}: not an operation: {error}") from error


class HistoryWriter:
    """Appends ops to a JSONL file; usable from one thread at a time.

    One unbuffered write a line, unless `at_once` is false: then BUFFERED_BYTES are collected, since whoever dies with
    them can make them again (a simulated run, a conversion).
    """

    def __init__(self, path: Path, *, at_once: bool = True) -> None:
        """Open `path` for appending; it must not exist yet (a history is never overwritten)."""
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._most = 0 if at_once else BUFFERED_BYTES
        self._waiting: list[bytes] = []
        self._size = 0

    def append(self, op: Op) -> None:
        """Write the op's line; unless lines are collected, it is in the page cache when this returns."""
        line = encode(op)
        if self._most:
            self._waiting.append(line)
            self._size += len(line)
            if self._size >= self._most:
                self._flush()
        else:
            self._write(line)

    def _flush(self) -> None:
        lines, self._waiting, self._size = b"".join(self._waiting), [], 0
        self._write(lines)

    def _write(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        while written < len(data):  # a full pipe or disk can tear a write; the rest still belongs to its line
            written += os.write(self._fd, data[written:])

    def close(self) -> None:
        """Write what was collected, and close the file."""
        try:
            if self._waiting:
                self._flush()
        finally:
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write(path: Path, ops: Iterable[Op]) -> None:
    """Write a whole history, e.g. a converted one."""
    with HistoryWriter(path, at_once=False) as writer:
        for op in ops:
            writer.append(op)


def read_lines(lines: Iterable[bytes], *, name: str) -> Iterator[Op]:
    """Yield the ops of JSONL lines, with indexes assigned where absent.

    A last line without its newline that doesn't decode is torn: it is dropped (a killed run leaves one).
    Raises HistoryError on any other bad line.
    """
    for position, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            op = decode(line, where=f"{name}:{position + 1}")
        except HistoryError:
            if line.endswith(b"\n"):
                raise
            return
        yield op if op.index != UNASSIGNED else msgspec.structs.replace(op, index=position)
