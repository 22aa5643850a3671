"""One partition as one share group has it: which records are free, whose they are, and what is done (KIP-932).

    AVAILABLE ---- acquired, delivery count + 1 ----> ACQUIRED, until its lock runs out
    ACQUIRED ----- accepted ------------------------> ACKNOWLEDGED
    ACQUIRED ----- rejected, or no record there ----> ARCHIVED
    ACQUIRED ----- released, or the lock ran out ---> AVAILABLE, or ARCHIVED after `max_deliveries`
    ACQUIRED ----- its session was closed ----------> AVAILABLE, delivery count - 1

Records stand in runs of equal state, without holes, from `start` to `end`; below are those that are done with, from
`end` on those that nobody had yet. A change away from ACQUIRED must be written before it counts: until then its run is
`Mark.CHANGED` or `Mark.WRITING`, nobody gets it, and `start` does not pass it. One write is under way at a time and
takes all changes that are there; what a write says of `start` is true when it is written. If a write fails or its
outcome is not known, the whole state is given up and read again: what is written is the truth. So nothing here is ever
undone. Kafka: SharePartition (which rolls back instead).
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from broker.core.errors import Code, Refused


class State(enum.IntEnum):
    """See the module; the numbers are those of Kafka's records."""

    AVAILABLE = 0
    ACQUIRED = 1
    ACKNOWLEDGED = 2
    ARCHIVED = 4


class Mark(enum.IntEnum):
    """Whether a change has to be written, is under way, or there is none."""

    NONE = 0
    CHANGED = 1
    WRITING = 2


GAP, ACCEPT, RELEASE, REJECT, RENEW = range(5)
"""Types of acknowledgements."""
_DONE = frozenset({State.ACKNOWLEDGED, State.ARCHIVED})
NEVER_MS = 1 << 62


class Run(msgspec.Struct):
    """Offsets `first` to `last` in one state; `member` and `until_ms` where they are acquired."""

    first: int
    last: int
    state: State
    count: int = 0
    member: str = ""
    until_ms: int = 0
    mark: Mark = Mark.NONE

    @property
    def is_free(self) -> bool:
        """Whether a member may have it now."""
        return self.state is State.AVAILABLE and self.mark is Mark.NONE

    @property
    def is_done(self) -> bool:
        """Whether nobody will have it any more."""
        return self.state in _DONE

    def is_like(self, other: Run) -> bool:
        """Return whether both differ by their offsets only."""
        mine = (self.state, self.count, self.member, self.until_ms, self.mark)
        return mine == (other.state, other.count, other.member, other.until_ms, other.mark)


class Acquired(msgspec.Struct, frozen=True):
    """Records that a member has got, for the `count`th time."""

    first: int
    last: int
    count: int


class Acknowledgement(msgspec.Struct, frozen=True):
    """What became of `first` to `last`: one type for all, or one for each."""

    first: int
    last: int
    types: tuple[int, ...]


class Batch(msgspec.Struct, frozen=True):
    """A state as it is written."""

    first: int
    last: int
    state: int
    count: int


class Written(msgspec.Struct, frozen=True):
    """What one write says: the new start, what has changed from there on, and how many from there on are done."""

    start: int
    done: int
    batches: tuple[Batch, ...]


class Want(msgspec.Struct, frozen=True):
    """How much a member wants: records, whether no more than that, and how many in one batch of its answer."""

    records: int
    exact: bool = False
    batch_size: int = 1 << 31


class SharePartition:
    """See the module. `state_epoch` is the group's: a state that an administrator has set anew has a later one."""

    def __init__(self, start: int, state_epoch: int, batches: Iterable[Batch] = (), *, max_deliveries: int) -> None:
        self.start = self.end = start
        self.state_epoch = state_epoch
        self.deadline_ms = NEVER_MS
        """When the next lock may have run out."""
        self._max_deliveries = max_deliveries
        self._runs: list[Run] = []
        for batch in sorted(batches, key=lambda one: one.first):
            if batch.last < self.end:
                continue
            if batch.first > self.end:  # acquired when the last leader went: nobody has it now
                self._append(batch.first - 1, State.AVAILABLE, 0)
            self._append(batch.last, State(batch.state), batch.count)
        self._advance()

    @property
    def runs(self) -> Sequence[Run]:
        """All runs, in order."""
        return self._runs

    @property
    def next_offset(self) -> int:
        """From where to read: the first free record, else those that nobody had yet."""
        return next((run.first for run in self._runs if run.is_free), self.end)

    @property
    def is_idle(self) -> bool:
        """Whether nobody has anything, and nothing is to be written."""
        return not any(run.state is State.ACQUIRED or run.mark is not Mark.NONE for run in self._runs)

    def may_acquire(self, max_locks: int) -> bool:
        """Return whether there may be something to get: something free, or room for more."""
        return self.next_offset < self.end or self.end - self.start < max_locks

    # What members do.

    def acquire(  # noqa: PLR0917 - what is there, who wants it, how much, and the bounds
        self, batches: Sequence[tuple[int, int]], at: int, member: str, want: Want, max_locks: int, until_ms: int
    ) -> list[Acquired]:
        """Give the member what is free in the batches (first and last offset each) that were read from `at`.

        What lies between the batches holds no records: it is done with. Whole batches count, unless the member wants no
        more than it says; `max_locks` bounds what lies between `start` and `end`, up to a whole batch.
        """
        found: list[Acquired] = []
        left = want.records
        for first, last in batches:
            self._skip(at, first - 1)
            at = max(at, first)
            while at <= last and (left > 0 or not want.exact):
                if at >= self.end:
                    room = max_locks - (self.end - self.start)
                    if room <= 0:
                        break
                    upper = min(last, self.end + min(left, room) - 1) if want.exact else last
                    self._append(upper, State.AVAILABLE, 0)
                run = self._runs[self._split(at)]
                if not run.is_free:
                    at = run.last + 1
                    continue
                upper = min(run.last, last, at + left - 1) if want.exact else min(run.last, last)
                self._split(upper + 1)
                run.state, run.count, run.member, run.until_ms = State.ACQUIRED, run.count + 1, member, until_ms
                _note(found, Acquired(at, upper, run.count), want.batch_size)
                left -= upper - at + 1
                at = upper + 1
            if at <= last or left <= 0:
                break
        if found:
            self.deadline_ms = min(self.deadline_ms, until_ms)
        self._advance()
        return found

    def archive(self, first: int, last: int, member: str) -> None:
        """Records that a member has just got are no use to it (an aborted transaction's): they are done with."""
        for run in self._within(first, last):
            if run.state is State.ACQUIRED and run.member == member:
                self._change(run, State.ARCHIVED, run.count)

    def acknowledge(self, member: str, acks: Sequence[Acknowledgement], now_ms: int, until_ms: int) -> bool:
        """Take what became of records, all or nothing; return whether something is to be written. Raise Refused.

        What lies below `start` is done with anyway. `until_ms`: the end of a lock that is renewed.
        """
        changes: list[tuple[int, int, int]] = []
        behind = -1
        for ack in acks:
            if ack.first <= behind:
                raise Refused(Code.INVALID_REQUEST, f"{ack.first} to {ack.last} come behind {behind}")
            behind = ack.last
            changes += _by_type(ack, self.start)
        for first, last, _ in changes:
            self._check(member, first, last, now_ms)
        is_changed = False
        for first, last, kind in changes:
            for run in self._within(first, last):
                if kind == RENEW:
                    run.until_ms = until_ms
                else:
                    self._acknowledge(run, kind)
                    is_changed = True
        self._tidy()
        return is_changed

    def _check(self, member: str, first: int, last: int, now_ms: int) -> None:
        if last >= self.end:
            raise Refused(Code.INVALID_RECORD_STATE, f"{last} is past what was acquired: the end is {self.end}")
        for run in self._between(first, last):
            if run.state is not State.ACQUIRED or run.mark is not Mark.NONE or run.until_ms <= now_ms:
                raise Refused(Code.INVALID_RECORD_STATE, f"{run.first} to {run.last} are not acquired")
            if run.member != member:
                raise Refused(Code.INVALID_RECORD_STATE, f"{run.first} to {run.last} are another member's")

    def _acknowledge(self, run: Run, kind: int) -> None:
        if kind == ACCEPT:
            self._change(run, State.ACKNOWLEDGED, run.count)
        elif kind == RELEASE:
            self._release(run)
        else:
            self._change(run, State.ARCHIVED, run.count)

    def _release(self, run: Run) -> None:
        state = State.ARCHIVED if run.count >= self._max_deliveries else State.AVAILABLE
        self._change(run, state, run.count)

    def close(self, member: str) -> bool:
        """A member's session is closed: what it has was not delivered. Return whether something is to be written."""
        mine = [run for run in self._runs if run.state is State.ACQUIRED and run.member == member]
        for run in mine:
            self._change(run, State.AVAILABLE, run.count - 1)
        self._tidy()
        return bool(mine)

    def expire(self, now_ms: int) -> bool:
        """Release what has been locked for too long; return whether something is to be written."""
        late = [run for run in self._runs if run.state is State.ACQUIRED and run.until_ms <= now_ms]
        for run in late:
            self._release(run)
        held = (run.until_ms for run in self._runs if run.state is State.ACQUIRED)
        self.deadline_ms = min(held, default=NEVER_MS)
        self._tidy()
        return bool(late)

    def deleted(self, log_start: int) -> None:
        """The log begins there now: all below is done with, whoever has it."""
        if log_start <= self.start:
            return
        if log_start < self.end:
            del self._runs[: self._split(log_start)]
        else:
            self._runs.clear()
        self.start, self.end = log_start, max(self.end, log_start)
        self._advance()

    # Writing.

    def write(self) -> Written | None:
        """Begin a write of all that has changed, None where nothing has. None may be under way."""
        changed = [run for run in self._runs if run.mark is Mark.CHANGED]
        if not changed:
            return None
        for run in changed:
            run.mark = Mark.WRITING
        start = next((run.first for run in self._runs if not run.is_done), self.end)
        done = sum(run.last - run.first + 1 for run in self._runs if run.is_done and run.first >= start)
        batches = tuple(Batch(run.first, run.last, int(run.state), run.count) for run in changed if run.first >= start)
        return Written(start, done, batches)

    def written(self) -> None:
        """The write that was under way counts."""
        for run in self._runs:
            if run.mark is Mark.WRITING:
                run.mark = Mark.NONE
        self._advance()

    # Runs.

    def _change(self, run: Run, state: State, count: int) -> None:
        run.state, run.count, run.member, run.until_ms, run.mark = state, count, "", 0, Mark.CHANGED

    def _append(self, last: int, state: State, count: int) -> None:
        """Let the runs reach to `last`."""
        self._runs.append(Run(self.end, last, state, count))
        self.end = last + 1

    def _index(self, offset: int) -> int:
        """Return the index of the run that holds the offset."""
        return bisect_right(self._runs, offset, key=lambda run: run.first) - 1

    def _split(self, offset: int) -> int:
        """Let a run begin at the offset; return its index, that behind the last one at the end."""
        if offset >= self.end:
            return len(self._runs)
        index = self._index(offset)
        run = self._runs[index]
        if run.first == offset:
            return index
        self._runs.insert(index + 1, msgspec.structs.replace(run, first=offset))
        run.last = offset - 1
        return index + 1

    def _between(self, first: int, last: int) -> list[Run]:
        """Return the runs that hold something of first to last, both within start and end."""
        return self._runs[self._index(first) : self._index(last) + 1]

    def _within(self, first: int, last: int) -> list[Run]:
        """Return the runs of exactly first to last."""
        lower = self._split(first)
        return self._runs[lower : self._split(last + 1)]

    def _skip(self, first: int, last: int) -> None:
        """There are no records from first to last: what is free of it is done with; nothing of that is written."""
        if first > last:
            return
        if last >= self.end:
            if first <= self.end:
                self._append(last, State.ARCHIVED, 0)
            last = self.end - 1
        for run in self._within(first, last) if first <= last else ():
            if run.is_free:
                run.state = State.ARCHIVED

    def _advance(self) -> None:
        """Let the start pass what is done with, and written."""
        count = 0
        for run in self._runs:
            if not run.is_done or run.mark is not Mark.NONE:
                break
            self.start = run.last + 1
            count += 1
        del self._runs[:count]
        self._tidy()

    def _tidy(self) -> None:
        """Make one run of neighbours that are alike."""
        runs, kept = self._runs, list[Run]()
        for run in runs:
            if kept and kept[-1].is_like(run):
                kept[-1].last = run.last
            else:
                kept.append(run)
        if len(kept) < len(runs):
            self._runs = kept


def _note(found: list[Acquired], more: Acquired, batch_size: int) -> None:
    """Add to what a member has got, in batches as large as it wants them."""
    last = found[-1] if found else None
    follows = last is not None and last.last + 1 == more.first and last.count == more.count
    if last is not None and follows and more.last - last.first < batch_size:
        found[-1] = Acquired(last.first, more.last, more.count)
    else:
        found.append(more)


def _by_type(ack: Acknowledgement, start: int) -> list[tuple[int, int, int]]:
    """Return (first, last, type) of each stretch of one type from `start` on. Raise Refused."""
    size = ack.last - ack.first + 1
    if size <= 0 or ack.first < 0 or len(ack.types) not in {1, size}:
        raise Refused(Code.INVALID_REQUEST, f"{len(ack.types)} types for {ack.first} to {ack.last}")
    if any(not GAP <= kind <= RENEW for kind in ack.types):
        raise Refused(Code.INVALID_REQUEST, f"acknowledgement types {sorted(set(ack.types))}: 0 to 4")
    if len(ack.types) == 1:
        first = max(ack.first, start)
        return [(first, ack.last, ack.types[0])] if first <= ack.last else []
    found: list[tuple[int, int, int]] = []
    for offset, kind in enumerate(ack.types, ack.first):
        if offset < start:
            continue
        if found and found[-1][2] == kind:
            found[-1] = (found[-1][0], offset, kind)
        else:
            found.append((offset, offset, kind))
    return found
