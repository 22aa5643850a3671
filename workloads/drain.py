"""The final reads: after healing, every partition is read from its start to its frozen end, by fresh processes.

The nemesis process is first asked to `await-stable`: until every node is in every ISR and LSO = HW on every partition,
within a bound; its answer holds each key's [LSO, HW], the frozen ends. Then each client thread crashes (a fresh
process), assigns its share of the keys from their beginning and polls until its *position* reaches each end: the last
record may be a control record or compacted away. One `drain` point event per key says how far the reading came:
`complete` only if the position reached the high watermark. A key whose end nobody could tell is reported at once.
Each consumer group is asked once for its `committed` offsets. After transactions everything is read once more, by fresh
read_uncommitted processes: held against the first reading it shows whether that left out aborted data and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.generator import SECOND_NS, Answer, Context, Emit, Generator, Pending, invoke
from harness.history import HARNESS, INFO, NEMESIS, Op, Process
from workloads.api import added_keys

AWAIT_STABLE = "await-stable"
UNCOMMITTED: Literal["read_uncommitted"] = "read_uncommitted"
READ_BOUND_S = 120.0
"""Bound of the reading itself; past it the missing keys are reported incomplete and the verdict says so."""
TXN_SWEEP_S = 10.0
SLACK_S = 30.0


def stable_bound_s(transaction_timeout_s: float, clock_jump_s: float = 0.0) -> float:
    """Return how long open transactions may take to end: their time-out, the coordinator's sweep, and slack.

    One that was begun by a clock that was ahead ends that much later.
    """
    return transaction_timeout_s + clock_jump_s + TXN_SWEEP_S + SLACK_S


@dataclass(frozen=True, slots=True)
class Drain:
    """The final reads as a generator over the client processes and the nemesis."""

    keys: tuple[str, ...]
    bound_s: float
    groups: tuple[str, ...] = ()
    again: bool = False
    """Everything is read once more, read_uncommitted."""
    isolation: Literal["read_uncommitted"] | None = None
    """What the readers ask for; None: the run's."""
    asked: bool = False
    ends: Mapping[str, tuple[int, int] | None] | None = None
    """Per key (LSO, HW); None for a key: nobody could say. None: not known yet."""
    deadline_ns: int | None = None
    reading: Mapping[int, tuple[str, ...]] | None = None
    """Client thread -> its share of the keys."""
    fresh: frozenset[int] = frozenset()
    """Threads that crashed their old client."""
    assigned: frozenset[int] = frozenset()
    position: Mapping[str, int] | None = None
    reported: frozenset[str] = frozenset()

    def op(self, ctx: Context) -> Answer:
        """Emit the next step of the final reads."""
        if not self.asked:
            if NEMESIS not in ctx.free:
                return Pending(None, self)
            value = {"keys": list(self.keys), "bound-s": self.bound_s}
            op = invoke(ctx.of([NEMESIS], [NEMESIS]), AWAIT_STABLE, value)
            return Emit(op, replace(self, asked=True))
        if self.ends is None:
            return Pending(None, self)
        if self.deadline_ns is None or self.reading is None:
            return self._begin(ctx).op(ctx)
        for key in self.keys:
            if key not in self.reported and (self._is_read(key) or ctx.time_ns >= self.deadline_ns):
                return Emit(self._report(ctx, key), replace(self, reported=self.reported | {key}))
        over = ctx.time_ns >= self.deadline_ns
        unread = self.isolation is not None and not over and not all(map(self._is_read, self.keys))
        if len(self.reported) < len(self.keys) or unread:
            return self._read(ctx)
        if self.groups and not over:
            return self._ask_groups(ctx)
        return self._read_again().op(ctx) if self.again else None

    def _read_again(self) -> Drain:
        """Return the second reading; nothing is reported of it, and past its bound it is simply over."""
        nobody = frozenset[int]()
        return replace(self, again=False, isolation=UNCOMMITTED, groups=(), reading=None, fresh=nobody, assigned=nobody)

    def _ask_groups(self, ctx: Context) -> Answer:
        free: list[Process] = [p for p in ctx.free if isinstance(p, int)]
        if not free:
            return Pending(self.deadline_ns, self)
        op = invoke(ctx.of(free, free), "committed", {"group": self.groups[0]})
        return Emit(op, replace(self, groups=self.groups[1:]))

    def _begin(self, ctx: Context) -> Drain:
        """Share the keys out over the client threads that are free (a thread may still hang in a call)."""
        threads = sorted(p % ctx.concurrency for p in ctx.free if isinstance(p, int)) or list(range(ctx.concurrency))
        reading: dict[int, tuple[str, ...]] = {
            thread: self.keys[i :: len(threads)] for i, thread in enumerate(threads) if self.keys[i :: len(threads)]
        }
        return replace(self, reading=reading, deadline_ns=ctx.time_ns + int(READ_BOUND_S * SECOND_NS), position={})

    def _end(self, key: str) -> tuple[int, int] | None:
        assert self.ends is not None
        return self.ends.get(key)

    def _is_read(self, key: str) -> bool:
        end = self._end(key)
        return end is None or (self.position or {}).get(key, 0) >= end[0]

    def _report(self, ctx: Context, key: str) -> Op:
        end, read_to = self._end(key), (self.position or {}).get(key, 0)
        value: dict[str, Any] = {
            "key": key,
            "end": None if end is None else end[1],
            "lso": None if end is None else end[0],
            "read-to": read_to,
            "complete": end is not None and read_to >= end[1],
        }
        return Op(process=HARNESS, type=INFO, f="drain", value=value, time=ctx.time_ns)

    def _read(self, ctx: Context) -> Answer:
        for process in ctx.free:
            if not isinstance(process, int):
                continue
            thread = process % ctx.concurrency
            keys = [k for k in (self.reading or {}).get(thread, ()) if not self._is_read(k)]
            if not keys:
                continue
            alone = ctx.of([process], [process])
            if thread not in self.fresh:
                return Emit(invoke(alone, "crash"), replace(self, fresh=self.fresh | {thread}))
            if thread not in self.assigned:
                op = invoke(alone, "assign", keys, seek_to_beginning=True, isolation=self.isolation)
                return Emit(op, replace(self, assigned=self.assigned | {thread}))
            return Emit(invoke(alone, "poll", [["poll"]]), self)
        return Pending(self.deadline_ns, self)

    def update(self, ctx: Context, event: Op) -> Generator:
        """Learn the ends from `await-stable` and positions from polls; an `info` or failed assign begins anew."""
        if added := added_keys(event):
            return replace(self, keys=(*self.keys, *added))
        if event.process == NEMESIS and event.f == AWAIT_STABLE and event.type == INFO:
            value = event.value if isinstance(event.value, dict) else {}
            ends = value.get("ends") or {}
            return replace(self, ends={k: tuple(ends[k]) if ends.get(k) else None for k in self.keys})
        if not isinstance(event.process, int) or event.type == "invoke" or self.reading is None:
            return self
        thread = event.process % ctx.concurrency
        if event.type != "ok" and event.f in {"assign", "poll"}:
            if event.type == INFO or event.f == "assign":
                return replace(self, assigned=self.assigned - {thread})
            return self
        if event.f == "poll" and event.positions:
            mine = (self.reading or {}).get(thread, ())
            position = dict(self.position or {})
            for key, reached in event.positions:
                if key in mine and reached is not None:
                    position[key] = max(position.get(key, 0), reached)
            return replace(self, position=position)
        return self
