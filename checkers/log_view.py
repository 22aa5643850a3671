"""The columns that all queue checkers share: one pass over the lines, then only NumPy.

Tables (arrays of equal length; `call` is a row of `Calls`, `key` a code of `names.keys`):

* `Calls`   one row per operation, in order of completion; invocations that never completed come last, as `info`.
* `Sends`   one row per send micro-op. An `info` call is joined with its invocation's values (ANOMALIES.md, part 2).
* `Records` one row per polled record, in the order in which they were polled.
* `Assigns`, `Rebalances`, `MicroTimes`, `GroupOffsets`: small tables beside them.

Offsets are -1 where unknown. Memory: 40 bytes per send or record and about 100 per operation, whatever the JSON was.
Malformed values raise HistoryError with file and line.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from checkers.columns import Bools, Column, Ints, Rows
from checkers.interning import FOREIGN, Keys, Names, Values
from checkers.isolations import isolations
from checkers.micro_ops import (
    RECORD_SIZE,
    are_plain,
    deletion,
    demand_list,
    flatten,
    has_more,
    intended,
    is_copy,
    names_records,
    offset_of,
    said_beside,
    sent,
)
from checkers.pairing import Line, Mark, Paired, Pairing
from checkers.share import vocabulary as share
from checkers.source import Lines
from harness.history import DELETE_RECORDS, FAIL, INFO, OK, HistoryError

TYPE_OK, TYPE_FAIL, TYPE_INFO = 0, 1, 2
TYPE_NAMES = ("ok", "fail", "info")
ISOLATION_DEFAULT, READ_COMMITTED, READ_UNCOMMITTED = -1, 0, 1
COMMIT_UNKNOWN, COMMIT_NEVER = -2, -1
NONE = -1
SCAN, READ_AT = "scan", "read-at"
READS = {SCAN: ("end", "key"), READ_AT: ("at", "told", "key")}
"""Reads that stand for themselves (of a whole partition; at an offset), and what counts of their completions."""
DATA_KINDS = frozenset({"send", "poll", "txn", *READS})
ASSIGN_KINDS = frozenset({"assign", "subscribe"})
COMMITS, ANSWERED, UNCERTAIN = 0, 1, 2
OFFSET_KINDS = frozenset({"commit", "committed"})
OTHER_KINDS = frozenset({"crash", "debug-topic-partitions", "unsubscribe"})  # known, with nothing to judge in them
CALL_WIDTH, SEND_WIDTH, SEGMENT_WIDTH, TIMES_WIDTH = 10, 5, 4, 4
"""Columns of the tables that are filled row by row."""
SESSION_FIELDS = ("init-time", "end-attempts")
"""Of a transaction's completion: when its session's init_transactions had returned (ns), how often EndTxn was sent."""
ON_PURPOSE = "on-purpose"
"""Of a transaction's invocation: the workload wants it to come to nothing."""

_MALFORMED = (TypeError, ValueError, IndexError, AttributeError, KeyError, OverflowError)
_TYPES = {OK: TYPE_OK, FAIL: TYPE_FAIL, INFO: TYPE_INFO}
_ISOLATIONS = {None: ISOLATION_DEFAULT, "read_committed": READ_COMMITTED, "read_uncommitted": READ_UNCOMMITTED}


@dataclass(frozen=True, slots=True)
class Calls:
    """Operations. `invoke_row`/`done_row`: rows of the history, -1 where there is none."""

    process: Ints
    f: Ints
    """Code of `view.kinds`."""
    type: Ints
    invoke_row: Ints
    done_row: Ints
    isolation: Ints
    """READ_COMMITTED or READ_UNCOMMITTED of the process."""
    commit_time: Ints
    """ns of the first call of commit, COMMIT_NEVER or COMMIT_UNKNOWN."""
    txn_id: Ints
    group: Ints
    line: Ints

    @property
    def size(self) -> int:
        """Return the number of calls."""
        return len(self.type)


@dataclass(frozen=True, slots=True)
class Sends:
    """Send micro-ops."""

    call: Ints
    key: Ints
    offset: Ints
    value: Ints
    mop: Ints


@dataclass(frozen=True, slots=True)
class Records:
    """Polled records; `extras` maps a row to the record's third element."""

    call: Ints
    key: Ints
    offset: Ints
    value: Ints
    mop: Ints
    extras: dict[int, Any]


@dataclass(frozen=True, slots=True)
class Assigns:
    """Assign and subscribe calls: `call`, one row each; (`member_call`, `member_key`) one row per key named."""

    call: Ints
    member_call: Ints
    member_key: Ints
    seeks: Bools
    """Per row of `call`: the consumer was sent back to the beginning."""


@dataclass(frozen=True, slots=True)
class MicroTimes:
    """Start and end, in ns, of the micro-ops of calls that recorded them."""

    call: Ints
    mop: Ints
    start: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class GroupOffsets:
    """Offsets committed in a transaction, with a poll or by `commit`, and those answered by `committed`."""

    call: Ints
    group: Ints
    """NONE where the history does not say."""
    key: Ints
    offset: Ints
    """-1: the group has none."""
    role: Ints
    """COMMITS (its outcome is the call's), ANSWERED (read by `committed`) or UNCERTAIN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """A history as columns. Build it with `build`."""

    name: str
    index: Ints
    time: Ints
    calls: Calls
    sends: Sends
    records: Records
    assigns: Assigns
    rebalanced_call: Ints
    rebalanced_key: Ints
    micro_times: MicroTimes
    group_offsets: GroupOffsets
    marks: list[Mark]
    keys: Keys
    kinds: Names
    groups: Names
    txn_ids: Names
    values: Values
    has_invocations: bool
    first_index: int
    backwards: str | None
    unknown_kinds: dict[str, tuple[int, int]]
    """Operation kinds that the queue checkers don't know: how many, and the line of the first."""
    send_extras: dict[int, Any] = field(default_factory=dict)
    """Row of `sends` -> the third element of its completion: epoch, ts, record-key, ..."""
    call_extras: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Call -> what its completion says of its session (`init-time`, `end-attempts`), or of what it read or deleted."""

    def op(self, call: int) -> int:
        """Return the index in the history that stands for a call: its completion, else its invocation."""
        done = int(self.calls.done_row[call])
        return int(self.index[done if done >= 0 else int(self.calls.invoke_row[call])])

    def transactional(self) -> Bools:
        """Return per call whether it is a transaction: `txn`, or anything with a transactional.id or a commit-time."""
        calls, txn = self.calls, self.kinds.get("txn")
        return np.asarray((calls.f == (-1 if txn is None else txn)) | (calls.txn_id != NONE) | (calls.commit_time >= 0))

    def invoke_time(self) -> Ints:
        """Return per call the time of its invocation (of its completion where it has none)."""
        calls = self.calls
        return self.time[np.where(calls.invoke_row >= 0, calls.invoke_row, calls.done_row)]

    def done_time(self) -> Ints:
        """Return per call the time of its completion; the largest int64 where it never completed."""
        done = self.calls.done_row
        times = np.full(len(done), np.iinfo(np.int64).max)
        times[done >= 0] = self.time[done[done >= 0]]
        return times


def build(
    blocks: Iterable[Lines],
    *,
    name: str,
    isolation: str,
    eager: Callable[[ViewBuilder], None] | None = None,
) -> LogView:
    """Return the columns of a history; `isolation` is the default of processes that don't say their own."""
    builder = ViewBuilder(name)
    for lines, numbers in blocks:
        builder.feed(lines, numbers)
        if eager is not None:
            eager(builder)
    return builder.finish(isolation)


class ViewBuilder:
    """Takes lines block by block and fills the columns."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pairing = Pairing(name)
        self.keys, self.kinds, self.groups, self.txn_ids = Keys(), Names(), Names(), Names()
        self.values = Values()
        self.unknown_kinds: dict[str, tuple[int, int]] = {}
        self._calls, self._sends, self._segments = Rows(CALL_WIDTH), Rows(SEND_WIDTH), Rows(SEGMENT_WIDTH)
        self._records = Column()
        self._extras: dict[int, Any] = {}
        self._send_extras: dict[int, Any] = {}
        self._sent = 0
        self._call_extras: dict[int, dict[str, Any]] = {}
        self._assigns, self._seeks = Column(), Column()
        self._members: tuple[Column, ...] = (Column(), Column())
        self._rebalanced: tuple[Column, ...] = (Column(), Column())
        self._times = Rows(TIMES_WIDTH)
        self._offsets: tuple[Column, ...] = tuple(Column() for _ in range(5))
        self._size = 0

    def feed(self, lines: Any, numbers: Any) -> None:
        """Take a block of lines."""
        self._take(self.pairing.feed(lines, numbers))

    def _take(self, paired: list[Paired]) -> None:  # noqa: C901  one branch for each family of kinds
        batch = _Batch()
        for call in paired:
            line = call.completion or call.invocation
            if line.f is None:
                raise HistoryError(f"{self.name}:{call.number}: an operation without its kind (`f`)")
            try:
                self._call(batch, call, line)
                f = line.f
                if f in DATA_KINDS:
                    self._data(batch, call, line)
                elif f in ASSIGN_KINDS:
                    self._assign(call)
                elif f in OFFSET_KINDS:
                    role = ANSWERED if f == "committed" else COMMITS
                    if role == COMMITS or (call.completion is not None and line.type == OK):
                        self._group_offsets(line, line.value, role, call.invocation)
                elif f == DELETE_RECORDS:
                    said = self._call_extras[self._size] = deletion((call.invocation or line).value)
                    self.keys.code(said["key"])
                elif f in share.KINDS:
                    self._call_extras[self._size] = share.told(f, call.invocation, call.completion)
                elif f not in OTHER_KINDS:
                    count, first = self.unknown_kinds.get(f, (0, call.number))
                    self.unknown_kinds[f] = (count + 1, first)
            except _MALFORMED as error:
                what = f"{line.f!r} with a malformed value: {error}; docs/history.md has the shapes"
                raise HistoryError(f"{self.name}:{call.number}: {what}") from error
            self._size += 1
        self._calls.add(batch.calls)
        self._sends.add(batch.sends)
        self._sent += len(batch.sends)
        self._times.add(batch.times)
        self._add_records(batch)

    def _call(self, batch: _Batch, call: Paired, line: Any) -> None:
        finished, begun = call.completion, call.invocation or line
        isolation, group = line.isolation or begun.isolation, line.group or begun.group
        txn_id = line.txn_id or begun.txn_id
        time = COMMIT_UNKNOWN
        if finished is not None and finished.commit_time is not msgspec.UNSET:
            time = COMMIT_NEVER if finished.commit_time is None else finished.commit_time
        batch.calls.append(
            (
                line.process,
                self.kinds.code(line.f),
                TYPE_INFO if finished is None else _TYPES[finished.type],
                call.invoke_row,
                call.done_row,
                _ISOLATIONS[isolation],
                time,
                NONE if txn_id is None else self.txn_ids.code(txn_id),
                NONE if group is None else self.groups.code(group),
                call.number,
            )
        )

    def _data(self, batch: _Batch, call: Paired, line: Any) -> None:  # noqa: C901, PLR0912  the hot loop stays one
        done = call.completion
        value = line.value
        if line.f in READS and not names_records(done):
            value = []
        elif value is None and call.invocation is not None:
            value = call.invocation.value
        if type(value) is not list:
            demand_list("micro-operations", value)
        size, find = self._size, self.keys.find
        invoked = () if call.invocation is None or line.f in READS else call.invocation.value or ()
        demand_list("micro-operations", invoked or None)
        for mop, micro in enumerate(value or ()):
            kind = micro[0]
            if kind == "poll":
                if len(micro) > 1 and micro[1] is not None:
                    for key, records in micro[1]:
                        if records:
                            if type(records) is not list:
                                demand_list("records", records)
                            code = find(key)
                            batch.segments.append(
                                (size, self.keys.code(key) if code is None else code, mop, len(records))
                            )
                            batch.record_lists.append(records)
                            batch.segment_numbers.append(call.number)
            elif kind == "send":
                same = mop < len(invoked) and invoked[mop] == micro and not has_more(micro[2])
                self._send(batch, mop, micro, same)
            else:
                raise ValueError(f"unknown micro-op {kind!r} (another --workload?)")
        if call.invocation is not None and done is not None and done.type == "info":
            self._join_invocation(batch, call.invocation.value, value)
        if line.rebalance_log:
            for change in line.rebalance_log:
                demand_list("keys", change["keys"])
                codes = [self.keys.code(key) for key in change["keys"]]
                self._rebalanced[0].add([self._size] * len(codes))
                self._rebalanced[1].add(codes)
        if line.times:
            batch.times.extend((size, mop, start, end) for mop, (start, end) in enumerate(line.times))
        if line.offsets:
            self._group_offsets(line, line.offsets, COMMITS, call.invocation)
        uncertain = line.uncertain_offsets if type(line) is Line else (line.extra or {}).get("uncertain-offsets")
        if uncertain:
            self._group_offsets(line, uncertain, UNCERTAIN, call.invocation)
        if line.f in READS and done is not None:
            self._call_extras[size] = {name: _other(line, name) for name in READS[line.f]}
        elif line.txn_id is not None:
            said = {name: other for name in SESSION_FIELDS if (other := _other(line, name)) is not None}
            if said:
                self._call_extras[size] = said
        if call.invocation is not None and (call.invocation.abort or call.invocation.crash):
            self._call_extras.setdefault(size, {})[ON_PURPOSE] = True

    def _send(self, batch: _Batch, mop: int, micro: list[Any], as_it_is: bool) -> None:  # noqa: FBT001  hot
        _, key, value = micro
        offset = None
        if type(value) is list and not as_it_is:
            if len(value) != RECORD_SIZE and (said := said_beside(value)) is not None:
                self._send_extras[self._sent + len(batch.sends)] = said
            offset, value = value[0], value[1]
        if type(value) is not int or not -FOREIGN < value < FOREIGN:
            value = self.values.code(value)
        code = self.keys.find(key)
        if code is None:
            code = self.keys.code(key)
        batch.sends.append((self._size, code, offset_of(offset), value, mop))

    def _join_invocation(self, batch: _Batch, invoked: Any, completed: Any) -> None:
        """Add the sends of the invocation that its info completion doesn't show; a copy left over is no send."""
        if invoked == completed or not invoked or type(invoked[0]) is not list:
            return
        shown = {sent(micro) for micro in completed or () if micro[0] == "send"}
        for mop, micro in enumerate(invoked):
            if micro[0] == "send" and intended(micro) not in shown and not is_copy(micro):
                self._send(batch, mop, micro, not has_more(micro[2]))

    def _assign(self, call: Paired) -> None:
        """A completed assign or subscribe that did not fail changes what the process holds."""
        done = call.completion
        if done is None or done.type == FAIL:
            return
        value = done.value if done.value is not None or call.invocation is None else call.invocation.value
        demand_list("keys", value)
        codes = [self.keys.code(key) for key in value or ()]
        self._assigns.add((self._size,))
        self._seeks.add((bool(done.seek_to_beginning or (call.invocation and call.invocation.seek_to_beginning)),))
        self._members[0].add([self._size] * len(codes))
        self._members[1].add(codes)

    def _group_offsets(self, line: Any, pairs: Any, role: int, invocation: Any) -> None:
        if pairs is None and invocation is not None and role == COMMITS:
            pairs = invocation.value
        demand_list("[key, offset] pairs", pairs)
        name = line.group
        if name is None and invocation is not None:
            name = invocation.value.get("group") if isinstance(invocation.value, dict) else invocation.group
        group = NONE if name is None else self.groups.code(name)
        for key, offset in pairs or ():
            row = (self._size, group, self.keys.code(key), offset_of(offset), role)
            for column, number in zip(self._offsets, row, strict=True):
                column.add((number,))

    def _add_records(self, batch: _Batch) -> None:
        """Flatten the block's polled records; plain ones ([offset, int]) without a Python loop."""
        records = list(chain.from_iterable(batch.record_lists))
        start = len(self._records) // RECORD_SIZE
        try:
            plain = not records or set(map(len, records)) == {RECORD_SIZE}
            flat = array("q", chain.from_iterable(records)) if plain else array("q")
        except (TypeError, OverflowError):
            plain = False
        if plain and len(flat) and are_plain(np.frombuffer(flat, np.int64), records):
            self._records.add(flat)
        elif records:
            self._records.add(self._records_slowly(batch, start))
        self._segments.add(batch.segments)

    def _records_slowly(self, batch: _Batch, row: int) -> array[int]:
        flat = array("q")
        for number, records in zip(batch.segment_numbers, batch.record_lists, strict=True):
            before = len(flat)
            try:
                flatten(records, flat, self.values.code, self._extras, row)
            except _MALFORMED as error:
                raise HistoryError(
                    f"{self.name}:{number}: a polled record is [offset, value] or [offset, value, {{...}}], not "
                    f"{records[(len(flat) - before) // RECORD_SIZE]!r}"
                ) from error
            row += len(records)
        return flat

    def finish(self, isolation: str) -> LogView:
        """Return the view; the builder must not be used afterwards. `isolation` as in `build`."""
        self._take(self.pairing.dangling())
        index, time = self.pairing.columns()
        calls = Calls(*self._calls.take())
        segment_call, segment_key, segment_mop, segment_size = self._segments.take()
        flat = self._records.take()
        return LogView(
            name=self.name,
            index=index,
            time=time,
            calls=replace(calls, isolation=isolations(calls.process, calls.isolation, _ISOLATIONS[isolation])),
            sends=Sends(*self._sends.take()),
            records=Records(
                np.repeat(segment_call, segment_size),
                np.repeat(segment_key, segment_size),
                np.ascontiguousarray(flat[0::2]),
                np.ascontiguousarray(flat[1::2]),
                np.repeat(segment_mop, segment_size),
                self._extras,
            ),
            assigns=Assigns(
                self._assigns.take(),
                self._members[0].take(),
                self._members[1].take(),
                self._seeks.take().astype(np.bool_),
            ),
            rebalanced_call=self._rebalanced[0].take(),
            rebalanced_key=self._rebalanced[1].take(),
            micro_times=MicroTimes(*self._times.take()),
            group_offsets=GroupOffsets(*(column.take() for column in self._offsets)),
            marks=self.pairing.marks,
            keys=self.keys,
            kinds=self.kinds,
            groups=self.groups,
            txn_ids=self.txn_ids,
            values=self.values,
            has_invocations=self.pairing.has_invocations,
            first_index=self.pairing.first_index,
            backwards=self.pairing.backwards,
            unknown_kinds=self.unknown_kinds,
            send_extras=self._send_extras,
            call_extras=self._call_extras,
        )


class _Batch:
    """The rows of one block, as Python lists, before they become columns."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.sends: list[tuple[int, ...]] = []
        self.segments: list[tuple[int, ...]] = []
        self.times: list[tuple[int, ...]] = []
        self.record_lists: list[list[Any]] = []
        self.segment_numbers: list[int] = []


def _other(line: Any, name: str) -> Any:
    """Return a field of a completion that `Op` keeps among its extra ones."""
    return getattr(line, name.replace("-", "_")) if type(line) is Line else (line.extra or {}).get(name)
