"""A soak: seeded runs for hours, over workloads, faults, clusters and versions of Kafka; every failure is kept.

Who makes the runs, and how many side by side, is the crew's (`harness.soak.crew`); here is what is run next, when it
ends, what is kept, and what is told. Each run is a whole run in a folder of its own under the soak's folder, named by
its seed. As soon as a run has ended its row is a line of soak.jsonl, so that a soak that is killed has told everything;
index.html and junit.xml follow, more and more seldom the longer they are to write, and at the end.

Disk is bounded: of the valid runs only the newest `keep` stay, and past `max_bytes` the soak ends early and says so. A
harness that broke (exit 255) is counted apart from a system that failed; after BROKEN_IN_A_ROW the soak gives up.

Ctrl-C, SIGTERM and SIGHUP: the first one begins no run any more, and ends the main phase of those under way, which are
healed, drained, judged and counted; the second one stops them after healing, and they have no verdict.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from harness.process.exits import BROKEN, STOPPED, UNDECIDED, VALID, worst
from harness.report.junit import write_junit
from harness.report.summary import write_index
from harness.report.words import verdict_word
from harness.scenario import Scenario
from harness.soak import travel

T = TypeVar("T")

BROKEN_IN_A_ROW: Final = 3
"""A machine without an engine or memory breaks every run: hours of it tell nothing more."""
SOAK: Final = "soak.jsonl"
BEAT_S: Final = 0.5
"""How soon Ctrl-C, or a crew in trouble, is noticed."""
PAGES_EVERY_S: Final = 5.0
PAGES_SHARE: Final = 20
"""Pages are written again after so many times as long as it took: a soak of 50,000 runs is not to write pages."""
ENDED_EARLY: Final = "it was ended early, by Ctrl-C"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a soak."""

    seed: int
    workload: str
    cluster: str
    nemesis: str
    version: str = ""
    """Of Apache Kafka, or its image; empty for other clusters."""
    status: int
    """Its exit status."""
    valid: bool | str | None
    """As in verdict.json; None: the harness broke, or the run was stopped."""
    seconds: float
    folder: str | None
    """Relative to the soak's folder; None once it was removed to bound the disk, or was never made."""
    why: str = ""
    permitted_by: str = ""
    """What permits all that was found, where something does."""
    advice: str = ""
    """What to do about a run that is vacuous."""
    worker: str = ""
    """Where it was made, if not on this machine."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a run: its row, and its folder if that has to travel."""

    row: Row
    archive: bytes | None = None


class Crew(Protocol):
    """Makes runs."""

    @property
    def width(self) -> int:
        """How many it makes side by side."""
        ...

    def begin(self, scenario: Scenario) -> Future[Made]:
        """Begin a run, in a folder under the soak's."""
        ...

    def interrupt(self) -> None:
        """Interrupt the runs under way, as Ctrl-C does."""
        ...

    def trouble(self) -> str | None:
        """Return why no run can be made any more; None: all is well."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a soak ends and what it keeps."""

    seconds: float
    keep: int
    max_bytes: int


def in_turn(seed: int, axes: Sequence[Sequence[T]]) -> Iterator[tuple[int, tuple[T, ...]]]:
    """Yield combinations of the axes' values for ever, each with the next seed; the last axis turns fastest."""
    return zip(itertools.count(seed), itertools.cycle(itertools.product(*axes)), strict=False)


def version_of(scenario: Scenario) -> str:
    """Return what is told as the version of a scenario's cluster."""
    match scenario.cluster:
        case "jvm":
            return scenario.kafka_version
        case "compose":
            return scenario.image or scenario.kafka_version
        case _:
            return ""


def row_of(scenario: Scenario, *, status: int, seconds: float, why: str, **rest: object) -> Row:
    """Return the row of a scenario's run."""
    return Row(
        seed=scenario.seed,
        workload=scenario.workload,
        cluster=scenario.cluster,
        nemesis=scenario.nemesis,
        version=version_of(scenario),
        status=status,
        seconds=round(seconds, 1),
        why=why,
        **{"valid": None, "folder": None, **rest},  # type: ignore[arg-type]  # names and types are msgspec's to check
    )


def soak(
    plan: Iterator[Scenario],
    crew: Crew,
    *,
    folder: Path,
    limits: Limits,
    now_s: Callable[[], float],
    tell: Callable[[str], None],
    presses: Callable[[], int] = lambda: 0,
    show: Callable[[Sequence[Scenario], int], None] = lambda _under_way, _ended: None,
) -> tuple[list[Row], int]:
    """Have scenarios run until the time is up; return their rows, in the order in which they ended, and the status.

    presses: how often the user has asked for the end. show: is told now and then what is under way, and how many runs
    have ended.
    """
    book = _Book(folder, limits.keep, now_s)
    began_s, pressed, why_not, trouble = now_s(), 0, "", None
    under_way: dict[Future[Made], tuple[Scenario, float]] = {}
    while not trouble:
        why_not = why_not or ("its time is up" if now_s() - began_s >= limits.seconds else "")
        while not why_not and len(under_way) < crew.width:
            scenario = next(plan)
            under_way[crew.begin(scenario)] = (scenario, now_s())
        if why_not and not under_way:
            break
        show([scenario for scenario, _ in under_way.values()], len(book.rows))
        done = wait(under_way, timeout=BEAT_S, return_when=FIRST_COMPLETED).done if under_way else _idle()
        trouble = crew.trouble()
        for future in done:
            if trouble and future.cancelled():
                continue
            row = _ended(future, *under_way.pop(future), folder, now_s)
            if pressed and row.status == UNDECIDED:
                row = msgspec.structs.replace(row, advice=ENDED_EARLY)
            book.add(row)
            tell(line(row, len(book.rows)))
            why_not = why_not or _enough(book, folder, limits, tell)
        if (asked := presses()) > pressed:
            why_not, pressed = "the user has had enough", asked
            tell(_ending(pressed, len(under_way)))
            crew.interrupt()
    if trouble:
        tell(f"ended early: {trouble}")
        for scenario, since_s in under_way.values():
            book.add(row_of(scenario, status=BROKEN, seconds=now_s() - since_s, why=trouble))
    book.write()
    return book.rows, worst([*(row.status for row in book.rows), *([BROKEN] if trouble else [])])


def _idle() -> set[Future[Made]]:
    """Wait for somebody who makes runs."""
    time.sleep(BEAT_S)
    return set()


def _ending(pressed: int, count: int) -> str:
    if not count:
        return "ends early: no run is under way"
    runs = "run that is" if count == 1 else f"{count} runs that are"
    if pressed == 1:
        return f"ends early: the {runs} under way will be healed and judged (Ctrl-C again: healed only)"
    return f"stops: the {runs} under way will be healed"


def _enough(book: _Book, folder: Path, limits: Limits, tell: Callable[[str], None]) -> str:
    """Return why the soak ends before its time, and tell it; empty: it goes on."""
    why = ""
    if book.broken == BROKEN_IN_A_ROW:
        why = f"gave up: the harness broke {book.broken} times in a row: {book.rows[-1].why}"
    elif (used := _size(folder)) > limits.max_bytes:
        why = f"ended early: {folder} holds {used / 1e9:.1f} GB, more than {limits.max_bytes / 1e9:.1f} GB"
    if why:
        tell(why)
    return why


def _ended(future: Future[Made], scenario: Scenario, since_s: float, folder: Path, now_s: Callable[[], float]) -> Row:
    try:
        made = future.result()
        if made.archive is not None and made.row.folder is not None:
            travel.unpack(made.archive, folder / made.row.folder)
    except Exception as error:  # noqa: BLE001 - a door: whatever became of who made it, it is a row and the soak goes on
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return row_of(scenario, status=BROKEN, seconds=now_s() - since_s, why=why)
    return made.row


class _Book:
    """The rows, and what is written of them."""

    def __init__(self, folder: Path, keep: int, now_s: Callable[[], float]) -> None:
        self.rows: list[Row] = []
        self.broken = 0
        """In a row, up to now."""
        self._folder, self._keep, self._now_s = folder, keep, now_s
        self._kept: deque[int] = deque()
        self._next_pages_s = now_s()
        self.write()

    def add(self, row: Row) -> None:
        """Take a row: write its line, and remove the folders of all but the newest valid runs."""
        self.broken = self.broken + 1 if row.status == BROKEN else 0
        with (self._folder / SOAK).open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")
        if row.status == VALID and row.folder is not None:
            self._kept.append(len(self.rows))
        self.rows.append(row)
        while len(self._kept) > self._keep:
            i = self._kept.popleft()
            shutil.rmtree((self._folder / str(self.rows[i].folder)).parent, ignore_errors=True)
            self.rows[i] = msgspec.structs.replace(self.rows[i], folder=None)
        if self._now_s() >= self._next_pages_s:
            self.write()

    def write(self) -> None:
        """Write the pages."""
        began_s = self._now_s()
        (self._folder / SOAK).touch()
        rows = [msgspec.to_builtins(row) for row in self.rows]
        write_index(self._folder, rows)
        write_junit(self._folder / "junit.xml", rows)
        ended_s = self._now_s()
        self._next_pages_s = ended_s + max(PAGES_EVERY_S, PAGES_SHARE * (ended_s - began_s))


def word(row: Row) -> str:
    """Return a run's verdict as a word that stands out where it has to."""
    if row.status == STOPPED:
        return "stopped"
    if row.valid is None:
        return "broken"
    return "INVALID" if row.valid is False else verdict_word(row.valid)


def line(row: Row, count: int) -> str:
    """Return a run as a line; count: how many have ended."""
    where = f" {row.folder}" if row.folder and row.status != VALID else ""
    cluster = f"{row.cluster} {row.version}" if row.version else row.cluster
    return (
        f"{count:4} {word(row):8} {row.seconds:6.1f} s  {cluster} {row.workload} {row.nemesis} seed {row.seed}{where}"
        + (f"  {row.why}" if row.why else "")
        + (f" (permitted by {row.permitted_by})" if row.permitted_by else "")
    )


def _size(folder: Path) -> int:
    """Return the bytes of all files below; runs under way make files and remove them meanwhile."""
    size = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                status = (Path(where) / name).lstat()
                size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return size
