"""Operations by the book: the ones of a recorded run, at their times, on their threads, instead of a workload's own.

`of_history` reads the book from a history; `Script` plays it. Played whole, on a simulated cluster of the same seed, it
is the same run again; with lines taken out it is what `harness shrink` tries. An op whose thread is still busy at its
time is invoked as soon as it is free; what is left when the final reads begin is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from harness.generator import Answer, Context, Emit, Generator, Pending
from harness.history import HARNESS, INVOKE, Op
from workloads.api import Workload


class ScriptedOp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One invocation: when (ns since the run began), on which thread, and what."""

    at_ns: int
    thread: int
    f: str
    value: Any = None
    isolation: str | None = None
    abort: bool = False
    crash: bool = False
    seek_to_beginning: bool = False

    def op(self, process: int, time_ns: int) -> Op:
        """Return the invocation by a process."""
        return Op(
            process=process,
            type=INVOKE,
            f=self.f,
            value=self.value,
            time=time_ns,
            isolation=self.isolation,
            abort=self.abort,
            crash=self.crash,
            seek_to_beginning=self.seek_to_beginning,
        )


def of_history(ops: Iterable[Op], concurrency: int) -> tuple[ScriptedOp, ...]:
    """Return the clients' invocations before the final reads, in the order in which they were made."""
    book: list[ScriptedOp] = []
    for op in ops:
        if op.process == HARNESS and op.f == "phase" and op.value == "drain":
            break
        if isinstance(op.process, int) and op.type == INVOKE:
            book.append(
                ScriptedOp(
                    at_ns=op.time,
                    thread=op.process % concurrency,
                    f=op.f,
                    value=op.value,
                    isolation=op.isolation,
                    abort=op.abort,
                    crash=op.crash,
                    seek_to_beginning=op.seek_to_beginning,
                )
            )
    return tuple(book)


@dataclass(frozen=True, slots=True)
class Script:
    """The generator: what is left of each thread's lines, and their places in the whole book."""

    lines: tuple[tuple[tuple[int, ScriptedOp], ...], ...]

    @classmethod
    def of(cls, book: Iterable[ScriptedOp]) -> Script:
        """Return the script from its beginning."""
        threads: dict[int, list[tuple[int, ScriptedOp]]] = {}
        for place, line in enumerate(sorted(book, key=lambda line: line.at_ns)):
            threads.setdefault(line.thread, []).append((place, line))
        return cls(tuple(tuple(threads[thread]) for thread in sorted(threads)))

    def op(self, ctx: Context) -> Answer:
        """Emit the soonest line of the threads that are free; of those whose time has come, the first in the book."""
        free = {p % ctx.concurrency: p for p in ctx.free if isinstance(p, int)}
        due = [(lines[0], index) for index, lines in enumerate(self.lines) if lines and lines[0][1].thread in free]
        if not due:
            return Pending(None, self)
        (_, line), index = min(due, key=lambda entry: (max(entry[0][1].at_ns, ctx.time_ns), entry[0][0]))
        if line.at_ns > ctx.time_ns:
            return Pending(line.at_ns, self)
        rest = (*self.lines[:index], self.lines[index][1:], *self.lines[index + 1 :])
        return Emit(line.op(free[line.thread], ctx.time_ns), replace(self, lines=rest))

    def update(self, ctx: Context, event: Op) -> Generator:  # noqa: ARG002  what every generator takes
        """Return itself: the book does not listen."""
        return self


def scripted(workload: Workload, book: Iterable[ScriptedOp], *, waits: bool) -> Workload:
    """Return the workload with the book's operations; `waits`: after healing for progress of every kind, as it does."""
    lines = tuple(book)
    return replace(
        workload,
        kinds=workload.kinds if waits else lambda _: frozenset(),
        generator=lambda _scenario, _keys: Script.of(lines),
    )
