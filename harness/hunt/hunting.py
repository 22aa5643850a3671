"""How many runs it takes to find each planted bug, and that clean runs raise nothing.

A hunt runs the scenarios of `harness.hunt.mix` in seed order, on the simulated cluster with the bug planted, until the
checkers call one invalid. It is told neither workload nor fault, and what the simulator itself sees broken (an
invariant, a core that failed) is noted apart: only the client's history and the probes count. Clean seeds, the same
scenarios without a bug, must raise nothing. Hunts run side by side on processes; each run's folder is removed unless it
tells something. Every attempt is in a book (`harness.hunt.book`) as soon as it is made.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import msgspec

from harness import launch
from harness.catalog import BUGS
from harness.history import HARNESS, Op
from harness.hunt import mix, permitted
from harness.hunt.book import BUG, CLEAN, PERMIT, Attempt, Book
from harness.process.apart import Apart
from harness.process.exits import BROKEN, INVALID, VALID
from harness.scenario import Scenario

INVARIANT = "invariant"
SIMULATORS = "broken-invariant"
"""The class of what only the simulator can see."""
FOREVER_S = float("inf")
CHUNK = 5
"""Clean seeds that one task runs: a task must not last so long that the end waits for one process."""


class Hunt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one bug. `found`: the attempt that the checkers called invalid; `seen`: the first invariant's."""

    bug: str
    found: Attempt | None
    seen: Attempt | None
    tried: int
    broken: int
    virtual_s: float
    cpu_s: float


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A whole score: the hunts in the registry's order, the clean attempts in seed order."""

    hunts: tuple[Hunt, ...]
    permits: tuple[Hunt, ...]
    """What permitting settings did to the clean broker."""
    clean: tuple[Attempt, ...]
    first_seed: int
    seeds: int
    jobs: int


class _Onlooker:
    """A view that keeps the time and what the simulator saw broken."""

    def __init__(self) -> None:
        self.time_ns = 0
        self.invariants: dict[str, None] = {}

    def phase(self, name: str) -> None:
        """Ignore it."""

    def event(self, op: Op) -> None:
        """Note the time, and an invariant that does not hold."""
        self.time_ns = max(self.time_ns, op.time or 0)
        if op.process == HARNESS and op.f == INVARIANT:
            self.invariants[op.value["name"]] = None


def attempt(scenario: Scenario, results: Path) -> Attempt:
    """Run one scenario; keep its folder only if it was not valid."""
    view, began_s = _Onlooker(), time.process_time()
    results.mkdir(parents=True, exist_ok=True)
    try:
        done = launch.perform(scenario, results, name=None, view=view, report=False)
    except Exception as error:  # noqa: BLE001 - a door: a run that breaks must not end the score, and is told
        cpu_s = time.process_time() - began_s
        why = f"{type(error).__name__}: {error}"
        return Attempt(seed=scenario.seed, valid=None, why=why, cpu_s=cpu_s, virtual_s=view.time_ns / 1e9)
    verdict = done.judgement.verdict_json()
    anomalies = {name: found for name, found in verdict["anomalies"].items() if name != SIMULATORS}
    keep = verdict["valid"] is False or bool(view.invariants)
    if not keep:
        shutil.rmtree(done.folder)
    return Attempt(
        seed=scenario.seed,
        valid=verdict["valid"],
        anomalies=tuple(anomalies),
        permitted=tuple(name for name, found in anomalies.items() if "permitted-by" in found),
        invariants=tuple(view.invariants),
        virtual_s=view.time_ns / 1e9,
        cpu_s=time.process_time() - began_s,
        folder=str(done.folder) if keep else "",
        why=" ".join(verdict["reasons"]),
    )


def hunt(bug: str, seeds: Iterable[int], results: Path, until_s: float = FOREVER_S, book: Book | None = None) -> Hunt:
    """Try seeds until the checkers find the bug, or the wall clock says `until_s`."""
    return told(bug, _tries((BUG, bug), (_scenario(seed, bug) for seed in seeds), results, until_s, book))


def _scenario(seed: int, bug: str) -> Scenario:
    return mix.scenario(seed, bug, BUGS[bug].workload)


def permit(
    name: str, seeds: Iterable[int], results: Path, until_s: float = FOREVER_S, book: Book | None = None
) -> Hunt:
    """Try seeds on the clean broker until a setting shows what it permits."""
    return told(
        name, _tries((PERMIT, name), (permitted.scenario(seed, name) for seed in seeds), results, until_s, book)
    )


def clean(
    seeds: Sequence[int], results: Path, until_s: float = FOREVER_S, book: Book | None = None, workload: str = ""
) -> list[Attempt]:
    """Run seeds without a bug, as many as the time allows. workload: one that is not in the mix."""
    scenarios = (mix.scenario(seed, workload=workload) for seed in seeds)
    return [*_tries((CLEAN, workload), scenarios, results, until_s, book)]


def _tries(
    what: tuple[str, str], scenarios: Iterable[Scenario], results: Path, until_s: float, book: Book | None
) -> Iterator[Attempt]:
    """Make attempts, or take them from the book, until the time is over; who has enough stops asking."""
    known = {} if book is None else book.attempts(*what)
    for scenario in scenarios:
        one = known.get(scenario.seed)
        if one is None:
            if time.time() >= until_s:
                return
            one = attempt(scenario, results)
            if book is not None:
                book.add(*what, one)
        yield one


def told(name: str, attempts: Iterable[Attempt]) -> Hunt:
    """Return what became of a hunt whose attempts are these, up to the first that found."""
    seen: Attempt | None = None
    found: Attempt | None = None
    tried = broken = 0
    virtual_s = cpu_s = 0.0
    for one in attempts:
        tried += 1
        broken += one.valid is None
        virtual_s += one.virtual_s
        cpu_s += one.cpu_s
        if seen is None and one.invariants:
            seen = one
        if one.is_found:
            found = one
            break
    return Hunt(bug=name, found=found, seen=seen, tried=tried, broken=broken, virtual_s=virtual_s, cpu_s=cpu_s)


def score(
    bugs: Sequence[str],
    permits: Sequence[str],
    *,
    first_seed: int,
    seeds: int,
    clean_seeds: int,
    jobs: int,
    minutes: float,
    results: Path,
    book: Book,
    tell: Callable[[str], None],
    workload: str = "",
) -> Score:
    """Hunt every bug, and run the clean seeds; each hunt and each few clean seeds are one task.

    What is not done after `minutes` (0: no limit), or at Ctrl-C, is left, and what is in the book by then is told.
    """
    until_s = time.time() + minutes * 60 if minutes else FOREVER_S
    every = range(first_seed, first_seed + seeds)
    pool, apart = ThreadPoolExecutor(jobs), Apart(heals=False)
    work: list[Any] = [(hunt, bug, every, results / bug, until_s, book) for bug in bugs]
    work += [(permit, name, every, results / "permitted", until_s, book) for name in permits]
    work += [(clean, some, results / "clean", until_s, book, workload) for some in _chunks(first_seed, clean_seeds)]

    def done_apart(one: Sequence[Any]) -> Any:
        return apart.call(*one)

    try:
        for done in as_completed([pool.submit(done_apart, one) for one in work]):
            for line in _lines(done.result()):
                tell(line)
    except KeyboardInterrupt:
        tell("interrupted: what was done so far is told; with the same --book it goes on from there")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        apart.close()  # what is under way ends: it may last for a minute, and nobody wants it any more
    return scored(
        book, bugs, permits, first_seed=first_seed, seeds=seeds, clean_seeds=clean_seeds, jobs=jobs, workload=workload
    )


def scored(
    book: Book,
    bugs: Sequence[str],
    permits: Sequence[str],
    *,
    first_seed: int,
    seeds: int,
    clean_seeds: int,
    jobs: int,
    workload: str = "",
) -> Score:
    """Return what the book tells of these seeds."""
    every = range(first_seed, first_seed + seeds)

    def made(of: str, name: str, wanted: range) -> list[Attempt]:
        known = book.attempts(of, name)
        return [known[seed] for seed in wanted if seed in known]

    return Score(
        hunts=tuple(told(bug, made(BUG, bug, every)) for bug in bugs),
        permits=tuple(told(name, made(PERMIT, name, every)) for name in permits),
        clean=tuple(made(CLEAN, workload, range(first_seed, first_seed + clean_seeds))),
        first_seed=first_seed,
        seeds=seeds,
        jobs=jobs,
    )


def _chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


def _lines(done: Hunt | list[Attempt]) -> list[str]:
    if isinstance(done, Hunt):
        return [_line(done)]
    return [f"clean seed {one.seed}: {_verdict(one)}" for one in done if one.valid is not True]


def _line(done: Hunt) -> str:
    if done.found is None:
        what = f"NOT FOUND in {done.tried} seeds"
    else:
        what = f"found by seed {done.found.seed} ({done.tried} tried): {', '.join(done.found.anomalies)}"
    seen = "" if done.seen is None else f"; invariant {', '.join(done.seen.invariants)} by seed {done.seen.seed}"
    broken = f"; {done.broken} runs broke" if done.broken else ""
    return f"{done.bug}: {what}{seen}{broken}; {done.virtual_s:.0f} s simulated in {done.cpu_s:.1f} s"


def _verdict(one: Attempt) -> str:
    if one.valid is None:
        return f"the harness broke: {one.why}"
    return f"valid={one.valid} {', '.join((*one.anomalies, *one.invariants)) or one.why} {one.folder}"


def status(done: Score) -> int:
    """Return the exit status: VALID if every bug was found and nothing was raised that is not permitted."""
    if any(one.valid is None for one in done.clean) or any(one.broken for one in (*done.hunts, *done.permits)):
        return BROKEN
    alarms = any(one.valid is False or one.invariants for one in done.clean)
    alarms |= any(one.found is not None and set(one.found.anomalies) - {*one.found.permitted} for one in done.permits)
    return INVALID if alarms or any(hunted.found is None for hunted in done.hunts) else VALID
