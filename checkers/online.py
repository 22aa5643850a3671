"""What can be decided while a run goes: the first violation that no later operation can explain away.

Fed with every op in the order of the file, it raises an alarm only for what the checkers will report of the history so
far, and of whatever follows: two values at one offset, one value at two offsets, a polled value that nobody had tried
to send, reads of what failed or never tried to commit, steps backwards of one process. Loss, skips and cycles need the
end. Isolation is taken to be constant per process, as in every run of ours.

Memory is bounded: of values and offsets the latest HELD to twice HELD are kept. What was forgotten can only hide an
alarm; for values that nobody sent, the highest forgotten one per key is kept, and only values above it can raise one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from checkers.catalog import EXCUSED, allowed, place
from checkers.options import KAFKA, CheckOptions
from harness.history import DELETE_RECORDS, FAIL, INFO, INVOKE, OK, Op

HELD = 50_000
"""Values, and offsets, that are kept at least: some minutes of a fast run, below 100 MB in all."""
DATA = frozenset({"send", "poll", "txn"})
ASSIGNS = frozenset({"assign", "subscribe"})
READ_COMMITTED = "read_committed"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A violation: the class that the verdict will hold, the operations (indexes) and a sentence."""

    name: str
    ops: tuple[int, ...]
    why: str


@dataclass(slots=True)
class _Fact:
    """What is known of one value of one key; ops are indexes, -1 for none."""

    sent: bool = False
    """Somebody tried to send it."""
    offset: int | None = None
    shown: int = -1
    """Who showed it at that offset."""
    gone: int = -1
    """Whose transaction, that certainly is not committed, sent it."""
    why: str = ""
    read: int = -1
    """An ok op that polled it."""
    read_committed: int = -1
    """An op of a read_committed process, not its writer, that polled it."""


_Named = tuple[Any, Any]


class Online:
    """See the module. Not for several threads at once."""

    def __init__(self, options: CheckOptions, *, logs_are_trimmed: bool = False) -> None:
        """Begin with an empty history; `options` as for the judgement.

        logs_are_trimmed: log starts may move while the run goes. The verdict judges no order below them, so none is
        judged here: where they will end is not known yet.
        """
        self._options = options
        self._ignored = frozenset(name.removesuffix(EXCUSED) for name in allowed(options))
        self._orders = not (options.compacted or logs_are_trimmed)
        self._facts: dict[_Named, _Fact] = {}
        self._old_facts: dict[_Named, _Fact] = {}
        """By (key, value), in two generations; so the offsets."""
        self._values: dict[_Named, tuple[Any, int]] = {}
        self._old_values: dict[_Named, tuple[Any, int]] = {}
        """By (key, offset): the value there and who showed it."""
        self._above: dict[Any, int | None] = {}
        """Per key, the highest value forgotten; None: not only integers."""
        self._pending: dict[int, Op] = {}
        self._isolation: dict[int, str] = {}
        self._positions: dict[tuple[int, str], dict[Any, tuple[int | None, int]]] = {}
        """Per process and kind: for each key the last offset polled or sent by an ok op, and that op."""
        self._trimmed: set[Any] = set()
        """Keys whose log start has moved."""
        self._alarms: list[Alarm] = []

    def feed(self, op: Op) -> Alarm | None:  # noqa: C901  one op, its kinds
        """Take the next op (stamped); return an alarm if it proves a violation: the cause, if it proves more."""
        process = op.process
        if type(process) is not int:
            if op.f == "probe" and isinstance(op.value, dict) and (op.value.get("log-start") or 0) > 0:
                self._trimmed.add(op.value.get("key"))
            return None
        if self._options.workload != KAFKA:
            return None
        if op.type == INVOKE:
            self._pending[process] = op
            if op.f in DATA:
                self._intended(op.value or ())
            elif op.f == DELETE_RECORDS:
                self._trimmed.add(op.value[0])
            return None
        invocation = self._pending.pop(process, None)
        if op.isolation is not None:
            self._isolation[process] = op.isolation
        value = op.value if op.value is not None or invocation is None else invocation.value
        if op.f in DATA:
            self._completed(op, process, value or ())
        elif op.f in ASSIGNS and op.type != FAIL:
            self._assigned(process, set(value or ()))
        if op.type == INFO:  # its number is never used again
            self._isolation.pop(process, None)
            self._positions.pop((process, "poll"), None)
            self._positions.pop((process, "send"), None)
        if not self._alarms:
            return None
        found = min(self._alarms, key=lambda alarm: place(alarm.name))
        self._alarms.clear()
        return found

    def _raise(self, name: str, ops: tuple[int, ...], why: str) -> None:
        wanted = self._options.anomalies
        if name not in self._ignored and (not wanted or name in wanted):
            self._alarms.append(Alarm(name, ops, why))

    def _intended(self, micro_ops: Iterable[Any]) -> None:
        for micro in micro_ops:
            if micro[0] == "send" and _plain(micro[2]):
                self._fact((micro[1], micro[2])).sent = True

    def _completed(self, op: Op, process: int, micro_ops: Any) -> None:
        sends: list[tuple[Any, Any, Any]] = []
        for micro in micro_ops:
            if micro[0] == "send":
                offset, value = micro[2][:2] if isinstance(micro[2], list) else (None, micro[2])
                sends.append((micro[1], offset, value))
        own = {(key, value) for key, _, value in sends if _plain(value)}
        for name in own:
            self._fact(name).sent = True
        if op.type == OK:
            self._sends(op, process, sends)
        elif op.type == FAIL or op.commit_time is None:
            self._aborted(op, own)
        self._polls(op, process, micro_ops, own)

    def _polls(self, op: Op, process: int, micro_ops: Any, own: set[_Named]) -> None:  # noqa: C901, PLR0912  hot
        ok, index = op.type == OK, op.index
        isolation = self._isolation.get(process, self._options.isolation)
        committed, usual = isolation == READ_COMMITTED, isolation == self._options.isolation
        exempt = {key for change in op.rebalance_log or () for key in change["keys"]}
        known = self._positions.setdefault((process, "poll"), {})
        now: dict[Any, tuple[int | None, int]] = {}
        for micro in micro_ops:
            if micro[0] != "poll" or len(micro) < 2:
                continue
            for key, records in micro[1]:
                before, by = now.get(key) or known.get(key) or (None, -1)
                for record in records:
                    offset, value = record[0], record[1]
                    if before is not None and offset is not None and offset <= before:
                        self._back(op, "poll", key, (before, by), offset, exempt)
                    before, by = offset, index
                    if len(record) > 2 and isinstance(record[2], dict) and "altered" in record[2]:
                        self._raise("record-altered", (index,), f"op {index} polled an altered record from {key}.")
                    if not _plain(value) or (len(record) > 2 and isinstance(record[2], dict) and "origin" in record[2]):
                        continue  # a copy by a program of the user's is sent by no op
                    name = (key, value)
                    fact = self._facts.get(name) or self._fact(name)
                    if offset != fact.offset and offset is not None:
                        self._placed(fact, key, offset, value, index)
                    if ok and fact.read < 0 and (committed or usual):
                        fact.read = index
                    if committed and fact.read_committed < 0 and name not in own:
                        fact.read_committed = index
                    if not fact.sent and self._would_be_known(key, value):
                        why = (
                            f"op {index} polled {value!r} at offset {offset} of {key}, which nobody had tried to send."
                        )
                        self._raise("phantom-read", (index,), why)
                    if fact.gone >= 0:
                        self._uncommitted(key, value, fact)
                if records:
                    now[key] = (before, index)
        if ok:
            known.update(now)

    def _sends(self, op: Op, process: int, sends: list[tuple[Any, Any, Any]]) -> None:
        known = self._positions.setdefault((process, "send"), {})
        now: dict[Any, tuple[int | None, int]] = {}
        for key, offset, value in sends:
            before = now.get(key) or known.get(key) or (None, -1)
            if before[0] is not None and offset is not None and offset <= before[0]:
                self._back(op, "send", key, before, offset, set())
            now[key] = (offset, op.index)
            if offset is not None and _plain(value):
                fact = self._fact((key, value))
                if fact.offset != offset:
                    self._placed(fact, key, offset, value, op.index)
        known.update(now)

    def _placed(self, fact: _Fact, key: Any, offset: int, value: Any, index: int) -> None:
        """One offset, one value; one value, one offset."""
        there = self._values.get((key, offset)) or self._old_values.get((key, offset))
        if there is not None and there[0] != value:
            self._raise(
                "inconsistent-offsets",
                (there[1], index),
                f"Offset {offset} of {key} holds {there[0]!r} by op {there[1]} and {value!r} by op {index}.",
            )
        if fact.offset is not None:
            self._raise(
                "duplicate",
                (fact.shown, index),
                f"{value!r} lies in {key} at offset {fact.offset} by op {fact.shown} and at {offset} by op {index}.",
            )
        fact.offset, fact.shown = offset, index
        self._values[key, offset] = (value, index)
        if len(self._values) >= HELD:
            self._old_values, self._values = self._values, {}

    def _aborted(self, op: Op, values: set[_Named]) -> None:
        """A transaction that failed, or never tried to commit; others may have read of it before."""
        for key, value in values:
            fact = self._fact((key, value))
            fact.gone, fact.why = op.index, "failed" if op.type == FAIL else "never tried to commit"
            self._uncommitted(key, value, fact)

    def _uncommitted(self, key: Any, value: Any, fact: _Fact) -> None:
        failed = fact.why == "failed"
        reader = fact.read if failed and fact.read >= 0 else fact.read_committed
        if reader >= 0:
            self._raise(
                "G1a" if reader == fact.read and failed else "aborted-read",
                (fact.gone, reader),
                f"op {reader} polled {value!r} on {key}, which op {fact.gone} sent, and that {fact.why}.",
            )

    def _back(self, op: Op, kind: str, key: Any, before: tuple[Any, int], offset: int, exempt: set[Any]) -> None:  # noqa: PLR0917
        """A step backwards, within an op or from one op of a process to the next."""
        inside = before[1] == op.index
        if self._orders and key not in self._trimmed and not (inside and key in exempt):
            self._raise(
                f"int-nonmonotonic-{kind}" if inside else f"nonmonotonic-{kind}",
                (op.index,) if inside else (before[1], op.index),
                f"op {op.index} was at offset {offset} of {key} after op {before[1]} had been at {before[0]}.",
            )

    def _assigned(self, process: int, kept: set[Any]) -> None:
        for kind in ("poll", "send"):
            known = self._positions.get((process, kind), {})
            self._positions[process, kind] = {key: last for key, last in known.items() if key in kept}

    def _fact(self, name: _Named) -> _Fact:
        fact = self._facts.get(name)
        if fact is not None:
            return fact
        fact = self._old_facts.get(name) or _Fact()
        if len(self._facts) >= HELD:
            self._forget(self._old_facts)
            self._old_facts, self._facts = self._facts, {}
        self._facts[name] = fact
        return fact

    def _would_be_known(self, key: Any, value: Any) -> bool:
        """Return whether the value would be known if anybody had tried to send it."""
        if self._options.topics_existed:
            return False
        if key not in self._above:
            return True
        top = self._above[key]
        return top is not None and type(value) is int and value > top

    def _forget(self, facts: dict[_Named, _Fact]) -> None:
        for key, value in facts:
            top = self._above.get(key, -1)
            self._above[key] = max(top, value) if top is not None and type(value) is int else None


def _plain(value: Any) -> bool:
    """Return whether a value is told apart from all others by ==: 1, 1.0 and true are not."""
    return type(value) is int or type(value) is str
