"""How many runs it takes to find each planted bug, and that clean runs raise nothing.

A hunt runs the scenarios of `harness.mix` in seed order, on the simulated cluster with the bug planted, until the
checkers call one invalid. It is told neither workload nor fault, and what the simulator itself sees broken (an
invariant, a core that failed) is noted apart: only the client's history and the probes count. Clean seeds, the same
scenarios without a bug, must raise nothing. Hunts run side by side on processes; each run's folder is removed unless it
tells something.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import msgspec

from harness import launch, mix, permitted
from harness.exits import BROKEN, INVALID, VALID
from harness.history import HARNESS, Op
from harness.scenario import Scenario

INVARIANT = "invariant"
SIMULATORS = "broken-invariant"
"""The class of what only the simulator can see."""
FOREVER_S = float("inf")
CHUNK = 5
"""Clean seeds that one task runs: a task must not last so long that the end waits for one process."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a hunt. `valid` is None where the harness broke; `why` says how then."""

    seed: int
    valid: bool | str | None
    anomalies: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    """Those of the anomalies that the scenario's settings make legal."""
    invariants: tuple[str, ...] = ()
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    """Of one core that has nothing else to do: what else runs on the machine does not count."""
    folder: str = ""
    why: str = ""

    @property
    def is_found(self) -> bool:
        """Whether what clients and probes saw is wrong, whatever the simulator knows."""
        return self.valid is False and bool(self.anomalies)


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
        why="; ".join(verdict["reasons"]),
    )


def hunt(bug: str, seeds: Iterable[int], results: Path, until_s: float = FOREVER_S) -> Hunt:
    """Try seeds until the checkers find the bug, or the wall clock says `until_s`."""
    return _hunt(bug, (mix.scenario(seed, bug) for seed in seeds), results, until_s)


def permit(name: str, seeds: Iterable[int], results: Path, until_s: float = FOREVER_S) -> Hunt:
    """Try seeds on the clean broker until a setting shows what it permits."""
    return _hunt(name, (permitted.scenario(seed, name) for seed in seeds), results, until_s)


def _hunt(name: str, scenarios: Iterable[Scenario], results: Path, until_s: float) -> Hunt:
    seen: Attempt | None = None
    found: Attempt | None = None
    tried = broken = 0
    virtual_s = cpu_s = 0.0
    for scenario in scenarios:
        if time.time() >= until_s:
            break
        one = attempt(scenario, results)
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


def clean(seeds: Sequence[int], results: Path, until_s: float = FOREVER_S) -> list[Attempt]:
    """Run seeds without a bug, as many as the time allows."""
    return [attempt(mix.scenario(seed), results) for seed in seeds if time.time() < until_s]


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
    tell: Callable[[str], None],
) -> Score:
    """Hunt every bug, and run the clean seeds; each hunt and each few clean seeds are one task.

    What is not done after `minutes` (0: no limit) is left, and what was tried until then is told.
    """
    until_s = time.time() + minutes * 60 if minutes else FOREVER_S
    hunts: dict[str, Hunt] = {}
    shown: dict[str, Hunt] = {}
    attempts: list[Attempt] = []
    with ProcessPoolExecutor(jobs) as pool:
        every = range(first_seed, first_seed + seeds)
        hunting = [pool.submit(hunt, bug, every, results / bug, until_s) for bug in bugs]
        showing = [pool.submit(permit, name, every, results / "permitted", until_s) for name in permits]
        running = [pool.submit(clean, chunk, results / "clean", until_s) for chunk in _chunks(first_seed, clean_seeds)]
        for done in as_completed(hunting):
            hunts[done.result().bug] = done.result()
            tell(_line(done.result()))
        for done in as_completed(showing):
            shown[done.result().bug] = done.result()
            tell(_line(done.result()))
        for chunk in as_completed(running):
            attempts += chunk.result()
            for one in chunk.result():
                if one.valid is not True:
                    tell(f"clean seed {one.seed}: {_verdict(one)}")
    return Score(
        hunts=tuple(hunts[bug] for bug in bugs),
        permits=tuple(shown[name] for name in permits),
        clean=tuple(sorted(attempts, key=lambda one: one.seed)),
        first_seed=first_seed,
        seeds=seeds,
        jobs=jobs,
    )


def _chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


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
