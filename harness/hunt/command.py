"""`harness bugs`: what can be planted in our own broker, and the score of hunting each."""

from __future__ import annotations

import sys
from pathlib import Path

from harness import catalog
from harness import run as runs
from harness.cluster.api import UsageError
from harness.hunt import hunted, hunting, mix
from harness.hunt.book import Book
from harness.hunt.permitted import PERMITS
from harness.options import finite
from harness.process.commit import commit
from harness.process.exits import VALID


def show(only: str = "", workload: str = "") -> int:
    """List bugs, four lines each: all, those named with commas, or those of a workload that is not in the mix."""
    _demand_apart(workload)
    named = [catalog.bug(name) for name in only.split(",")] if only else catalog.BUGS.values()
    for bug in named:
        if not workload or bug.workload == workload:
            proof = ", ".join(bug.proof)
            sys.stdout.write(f"{bug.name}\n  {bug.summary}\n  source: {bug.source}\n  proof: {proof}\n")
    return VALID


def _demand_apart(workload: str) -> None:
    if workload and catalog.workload(workload).name in mix.WORKLOADS:
        raise UsageError(f"--workload {workload}: it is in the mix; leave it out")


def score(
    *,
    only: str,
    first_seed: int,
    seeds: int,
    clean: int,
    jobs: int,
    minutes: float,
    write: Path | None,
    book: Path | None,
    results: Path,
    workload: str = "",
) -> int:
    """Hunt bugs (all, or those named with commas; `none`), run clean seeds, print the table; return the exit status.

    workload: one that is not in the mix; all then means its bugs, and the clean seeds are its own.
    """
    _demand_apart(workload)
    mine = [bug.name for bug in catalog.BUGS.values() if bug.workload == workload]
    names = [] if only == "none" else [catalog.bug(name).name for name in only.split(",")] if only else mine
    finite("--minutes", minutes)
    if write is not None:
        hunted.parts(write)  # refused now, not after hours
    folder = runs.new_folder(results, "bugs").resolve()
    pages = Book((book or folder / "attempts.jsonl").resolve())  # runs are made in processes with other folders
    pages.begin(commit() or "unknown")
    sys.stdout.write(f"hunting in {folder}, attempts in {pages.path}\n")
    done = hunting.score(
        names,
        [*PERMITS] if only in {"", "none"} and not workload else [],
        first_seed=first_seed,
        seeds=seeds,
        clean_seeds=clean,
        jobs=jobs,
        minutes=minutes,
        results=folder,
        book=pages,
        tell=lambda line: print(line, flush=True),  # noqa: T201
        workload=workload,
    )
    chosen = [f"--only {only}"] if only else []
    chosen += [f"--workload {workload}"] if workload else []
    limit = [f"--minutes {minutes:g}"] if minutes else []
    first = [f"--first-seed {first_seed}"] if first_seed != 1 else []
    command = " ".join(
        ["harness bugs --score", *chosen, *first, f"--seeds {seeds}", f"--clean {clean}", f"--jobs {jobs}", *limit]
    )
    text = hunted.table(done, catalog.BUGS, command)
    sys.stdout.write(text)
    if write is not None:
        hunted.put(write, text)
    return hunting.status(done)
