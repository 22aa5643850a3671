"""Lines of a history become calls: an invocation joined with its completion.

States of an integer process: idle -> invoked -> idle. A second invocation while one is pending is malformed; so is a
completion without invocation, unless *no* completion of the whole history has one (such imports have no real-time
bounds). An invocation that never completes becomes an `info` call at the end (`Call.done is None`).
Events of other sources (string processes) are set aside as marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple

import msgspec

from checkers.columns import Column, Ints
from harness.history import INVOKE, UNASSIGNED, HistoryError, OpType

Bounded = Annotated[int, msgspec.Meta(ge=-1, le=(1 << 62))]
"""Numbers that become columns: positions, nanoseconds, process numbers."""


class Line(
    msgspec.Struct,
    gc=False,
    kw_only=True,
    rename={
        "commit_time": "commit-time",
        "txn_id": "txn-id",
        "rebalance_log": "rebalance-log",
        "seek_to_beginning": "seek-to-beginning?",
        "uncertain_offsets": "uncertain-offsets",
        "init_time": "init-time",
        "end_attempts": "end-attempts",
    },
):
    """One line of a history as far as checkers read it; `harness.history.Op` has the same attributes and more."""

    process: Annotated[int, msgspec.Meta(ge=-(1 << 62), le=(1 << 62))] | str
    type: OpType
    f: str | None = None
    index: Bounded = UNASSIGNED
    time: Bounded = UNASSIGNED
    value: Any = None
    times: list[list[Bounded]] | None = None
    commit_time: Bounded | msgspec.UnsetType | None = msgspec.UNSET
    isolation: str | None = None
    txn_id: str | None = None
    group: str | None = None
    offsets: list[Any] | None = None
    uncertain_offsets: list[Any] | None = None
    """Offsets whose commit may or may not have been done."""
    init_time: Bounded | None = None
    end_attempts: Bounded | None = None
    end: Any = None
    """Of a scan: the offset up to which it read."""
    at: Any = None
    """Of a read at an offset: which one was asked for."""
    told: Any = None
    """Of such a read: what the consumer was told instead of a record."""
    rebalance_log: list[Any] | None = None
    seek_to_beginning: bool = False
    abort: bool = False
    crash: bool = False
    """Of a transaction's invocation: the workload wants it aborted, or dropped open."""
    key: Any = None
    """Which register, log or queue a model's operation is about; None where there is one."""


class Paired(NamedTuple):
    """A call as lines, with their rows (positions in the history); a row is -1 where the line is missing."""

    invoke_row: int
    invocation: Any
    done_row: int
    completion: Any
    number: int
    """The line number of the completion (of the invocation where there is none)."""


class Mark(NamedTuple):
    """An event that is not a client's: its row, time in ns and line."""

    row: int
    time: int
    line: Any


class Pairing:
    """Feeds on lines in file order; `index` and `time` are columns over all lines."""

    def __init__(self, name: str, *, overlapping: bool = False) -> None:
        self.name = name
        self.overlapping = overlapping
        """Elle's histories may have several invocations of one process open; they complete in order."""
        self._queued: dict[int, list[tuple[int, Any, int]]] = {}
        self.marks: list[Mark] = []
        self.rows = 0
        self.first_index = UNASSIGNED
        self.backwards: str | None = None
        """Where time or the index first went backwards, if one did."""
        self._index = Column()
        self._time = Column()
        self._pending: dict[int, tuple[int, Any, int]] = {}
        self._latest = self._highest = UNASSIGNED
        self._first_paired: int | None = None
        self._first_orphan: int | None = None

    def feed(self, lines: Sequence[Any], numbers: Sequence[int]) -> list[Paired]:  # noqa: C901, PLR0912, PLR0915  hot
        """Take lines with their line numbers (from 1); return the calls that they complete, in completion order."""
        calls: list[Paired] = []
        pending = self._pending
        row = self.rows
        indexes: list[int] = []
        times: list[int] = []
        latest, highest = self._latest, self._highest
        for line, number in zip(lines, numbers, strict=True):
            time = line.time
            times.append(time)
            index = line.index
            if index == UNASSIGNED:
                index = row
            elif index > highest:
                highest = index
            elif self.backwards is None:
                self.backwards = f"{self.name}:{number}: the index does not rise ({index} after {highest})"
            indexes.append(index)
            if time < latest and self.backwards is None:
                self.backwards = f"{self.name}:{number}: time goes backwards ({time} after {latest})"
            latest = time
            process = line.process
            if type(process) is not int:
                self.marks.append(Mark(row, time, line))
            elif line.type == INVOKE:
                if self.overlapping and process in pending:
                    self._queued.setdefault(process, []).append((row, line, number))
                elif process < 0 or process in pending:
                    raise HistoryError(self._bad_invocation(process, number))
                else:
                    pending[process] = (row, line, number)
            else:
                begun = pending.pop(process, None)
                if self._queued.get(process):
                    pending[process] = self._queued[process].pop(0)
                if begun is None:
                    if self._first_orphan is None:
                        self._first_orphan = number
                    calls.append(Paired(-1, None, row, line, number))
                else:
                    if begun[1].f != line.f:
                        raise HistoryError(
                            f"{self.name}:{number}: process {process} completes {line.f!r} but had invoked "
                            f"{begun[1].f!r} (line {begun[2]})"
                        )
                    if self._first_paired is None:
                        self._first_paired = number
                    calls.append(Paired(begun[0], begun[1], row, line, number))
            row += 1
        self.rows, self._latest, self._highest = row, latest, highest
        if self._first_orphan is not None and self._first_paired is not None:
            raise HistoryError(
                f"{self.name}:{self._first_orphan}: a completion without invocation, beside completions that have one "
                f"(first at line {self._first_paired}); a history has all of them or none"
            )
        if indexes and self.first_index == UNASSIGNED:
            self.first_index = indexes[0]
        self._index.add(indexes)
        self._time.add(times)
        return calls

    def dangling(self) -> list[Paired]:
        """Return the invocations that never completed, in invocation order."""
        return [
            Paired(row, line, -1, None, number)
            for row, line, number in sorted(self._open(), key=lambda begun: begun[0])
        ]

    def _open(self) -> list[tuple[int, Any, int]]:
        return [*self._pending.values(), *chain.from_iterable(self._queued.values())]

    @property
    def has_invocations(self) -> bool:
        """Return whether completions have real-time bounds."""
        return self._first_orphan is None

    def columns(self) -> tuple[Ints, Ints]:
        """Return (index, time) of every row; call once, at the end."""
        return self._index.take(), self._time.take()

    def _bad_invocation(self, process: int, number: int) -> str:
        if process < 0:
            return f"{self.name}:{number}: a client's process is an integer >= 0, not {process}"
        _, line, earlier = self._pending[process]
        return (
            f"{self.name}:{number}: process {process} invokes an operation while its {line.f!r} of line {earlier} "
            "has not completed (a process is single-threaded)"
        )
