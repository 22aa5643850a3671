"""The order view: a few offsets of one partition, what each holds, who wrote it and who read it.

A lost record is a row that somebody wrote and nobody read; an aborted read is a row whose writer failed; two rows at
one offset are two observers who saw different records. Values are foreign data: they leave here as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from harness.history import Op
from harness.report.columns import micro_ops

ORDER_REACH = 4
"""Offsets shown on each side of the one that matters."""
MAX_HOT_OFFSETS = 12
"""Places of one example that the order view marks."""
MAX_PLACES = 4
"""Partitions of one example that get an order view."""
MAX_READERS = 5
"""Readers named for a place; the others are counted."""
MAX_TEXT = 100


@dataclass(frozen=True, slots=True)
class Mention:
    """A call that wrote or read a place."""

    index: int
    process: int | str
    outcome: str


@dataclass(slots=True)
class Cell:
    """What one offset was seen to hold: a value, its writers and readers. Two values: two cells."""

    text: str
    writers: list[Mention] = field(default_factory=list)
    readers: list[Mention] = field(default_factory=list)
    read_count: int = 0


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One offset of the order view; no cells: nothing was ever seen there."""

    offset: int
    cells: Sequence[Cell]
    hot: bool


@dataclass(frozen=True, slots=True)
class Place:
    """The offsets of one partition that an example is about."""

    key: str
    offsets: tuple[int, ...]


def shown(value: Any) -> str:
    """Return a value as short text: JSON, cut at MAX_TEXT characters."""
    text = msgspec.json.encode(value).decode("utf-8", "replace")
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def placed(argument: Any) -> tuple[int | None, Any]:
    """Return (offset, value) of a send's argument: [offset, v], or a bare v whose offset is unknown."""
    if isinstance(argument, list) and len(argument) >= 2 and (argument[0] is None or isinstance(argument[0], int)):
        return argument[0], argument[1]
    return None, argument


def polled(micro: Sequence[Any]) -> Iterator[tuple[str, list[tuple[int | None, Any]]]]:
    """Yield (key, [(offset, value), ...]) of a completed poll."""
    for pair in micro[1] if isinstance(micro[1], list) else ():
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], list):
            yield str(pair[0]), [placed(record) for record in pair[1]]


class Orders:
    """Writers and readers of the places that any order view shows."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._cells: dict[str, dict[int, dict[str, Cell]]] = {}
        self._unplaced: dict[tuple[str, str], list[Mention]] = {}
        for place in places:
            offsets = self._cells.setdefault(place.key, {})
            for offset in _window(place):
                offsets.setdefault(offset, {})

    def take(self, op: Op, *, completed: bool) -> None:
        """Take a client's completion, or an invocation that has none."""
        mention = Mention(op.index, op.process, op.type if completed else "pending")
        for micro in micro_ops(op):
            if micro[0] == "send" and len(micro) > 2 and str(micro[1]) in self._cells:
                self._sent(str(micro[1]), micro[2], mention)
            elif micro[0] == "poll" and len(micro) > 1:
                self._read(micro, mention)

    def _sent(self, key: str, argument: Any, mention: Mention) -> None:
        offset, value = placed(argument)
        if offset is None:
            self._unplaced.setdefault((key, shown(value)), []).append(mention)
        elif offset in self._cells[key]:
            self._cell(key, offset, value).writers.append(mention)

    def _read(self, micro: Sequence[Any], mention: Mention) -> None:
        for pair in micro[1] if isinstance(micro[1], list) else ():
            cells = self._cells.get(str(pair[0])) if isinstance(pair, list) and len(pair) == 2 else None
            if cells is None or not isinstance(pair[1], list):
                continue
            for record in pair[1]:
                # Called for every record of a partition of interest: most are elsewhere, so the offset is asked first.
                if isinstance(record, list) and len(record) > 1 and isinstance(record[0], int) and record[0] in cells:
                    cell = self._cell(str(pair[0]), record[0], record[1])
                    cell.read_count += 1
                    if len(cell.readers) < MAX_READERS:
                        cell.readers.append(mention)

    def _cell(self, key: str, offset: int, value: Any) -> Cell:
        text = shown(value)
        return self._cells[key][offset].setdefault(text, Cell(text))

    def rows(self, place: Place) -> list[OrderRow]:
        """Return the rows around a place; offsets at the rim that nobody saw are left out."""
        rows: list[OrderRow] = []
        for offset in _window(place):
            cells = list(self._cells[place.key][offset].values())
            for cell in cells:
                if not cell.writers:
                    cell.writers.extend(self._unplaced.get((place.key, cell.text), ())[:1])
            rows.append(OrderRow(offset, cells, offset in place.offsets))
        while rows and not rows[0].cells and not rows[0].hot:
            rows.pop(0)
        while rows and not rows[-1].cells and not rows[-1].hot:
            rows.pop()
        return rows


def _window(place: Place) -> list[int]:
    around = {
        offset + step
        for offset in place.offsets[:MAX_HOT_OFFSETS]
        for step in range(-ORDER_REACH, ORDER_REACH + 1)
        if offset + step >= 0
    }
    return sorted(around)


class Locator:
    """Remembers what the named operations wrote and read, and where: examples often name a value, not its offset."""

    def __init__(self, named: set[int]) -> None:
        self._named = named
        self._offsets: dict[tuple[str, str], set[int]] = {}
        self._sent: dict[int, set[tuple[str, str]]] = {}
        self._polled: dict[int, set[tuple[str, str]]] = {}

    def take(self, op: Op) -> None:
        """Take an op of the history; only named ones count."""
        if op.index not in self._named:
            return
        for micro in micro_ops(op):
            if micro[0] == "poll" and len(micro) > 1:
                for key, records in polled(micro):
                    for offset, value in records:
                        self._polled.setdefault(op.index, set()).add(self._note(key, offset, value))
            elif micro[0] == "send" and len(micro) > 2:
                self._sent.setdefault(op.index, set()).add(self._note(str(micro[1]), *placed(micro[2])))

    def _note(self, key: str, offset: int | None, value: Any) -> tuple[str, str]:
        record = (key, shown(value))
        if offset is not None:
            self._offsets.setdefault(record, set()).add(offset)
        return record

    def offsets(self, key: str, value: Any) -> set[int]:
        """Return the offsets at which a value was seen."""
        return self._offsets.get((key, shown(value)), set())

    def passed(self, writer: object, reader: object) -> set[tuple[str, int]]:
        """Return the places of the records that one named operation sent and another one polled."""
        if not isinstance(writer, int) or not isinstance(reader, int):
            return set()
        records = self._sent.get(writer, set()) & self._polled.get(reader, set())
        return {(record[0], offset) for record in records for offset in self._offsets.get(record, ())}


def marks_of(example: Mapping[str, Any], locator: Locator) -> set[tuple[str, int]]:
    """Return the places that an example's operations are marked at.

    Its own, what was read at or behind the place of a lost record, and what links the steps of a cycle.
    """
    marks = {(place.key, offset) for place in places_of(example, locator) for offset in place.offsets}
    if "max-read" in example:
        key = str(example.get("key"))
        marks |= {(key, offset) for offset in locator.offsets(key, example["max-read"])}
    for step in _listed(example.get("steps")):
        if isinstance(step, Mapping):
            marks |= locator.passed(step.get("from"), step.get("to"))
    return marks


def places_of(example: Mapping[str, Any], locator: Locator) -> list[Place]:
    """Return the places that an example of verdict.json is about, a partition each.

    Taken from `key` with `offset`, `offsets`, `value` or `values`, and from pairs [key, value] in `visible` and
    `missing`.
    """
    found: dict[str, set[int]] = {}
    key = example.get("key")
    if isinstance(key, str | int):
        told = [*_listed(example.get("offsets")), example.get("offset")]
        offsets = found.setdefault(str(key), set())
        offsets.update(offset for offset in told if isinstance(offset, int) and offset >= 0)
        values = [*_listed(example.get("values")), *([example["value"]] if "value" in example else [])]
        for value in values[:MAX_HOT_OFFSETS]:
            offsets.update(locator.offsets(str(key), value))
    for pair in [*_listed(example.get("visible")), *_listed(example.get("missing"))][:MAX_HOT_OFFSETS]:
        if isinstance(pair, list) and len(pair) == 2:
            found.setdefault(str(pair[0]), set()).update(locator.offsets(str(pair[0]), pair[1]))
    places = [Place(one, tuple(sorted(offsets)[:MAX_HOT_OFFSETS])) for one, offsets in found.items() if offsets]
    return places[:MAX_PLACES]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
