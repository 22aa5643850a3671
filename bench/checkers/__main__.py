"""Measure the checkers: each work in a fresh process, with Porcupine beside it where that can judge the same.

    python -m bench.checkers [--work NAME,...] [--large] [--folder DIR]

Histories are made once in DIR (default: a temporary folder). Times are CPU seconds of the whole process (user and
system) and its peak memory: on a shared machine the wall clock measures the neighbours. `published` is what was
measured elsewhere with Jepsen, Elle or Porcupine on two cores; `porcupine` is what this run measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.checkers import make_append, make_columns, make_kafka, make_models, rival
from checkers.convert import convert
from checkers.options import CheckOptions
from tests.checkers.linear import published

LIMIT_S = 1200
"""A work that takes longer has failed."""


@dataclass(frozen=True, slots=True)
class Work:
    """One line of the table."""

    name: str
    peer: str
    aim: str
    make: Callable[[Path], None] | None
    command: tuple[str, ...]
    """Arguments of bench.checkers.one; FILE is replaced."""
    large: bool = False
    rival: Callable[[Path], list[Path]] | None = None
    """Returns the files (in a folder) that hold the same histories in the published form."""


COLUMNS = ".parquet"


def _rivals(model: str, operations: int, processes: int) -> Callable[[Path], list[Path]]:
    def made(folder: Path) -> list[Path]:
        path = folder / f"{model}-{operations}-{processes}.rival.jsonl"
        if not path.exists():
            make_models.write_operations(path, model, operations, processes, 1)
        return [path]

    return made


def _published(pattern: str) -> Callable[[Path], list[Path]]:
    return lambda _: sorted(published.FOLDER.glob(f"{pattern}.jsonl"))


def _columns(path: Path, times: int) -> None:
    """Make columns beside `path`: those of a history of a million operations, repeated."""
    lines, whole = path.with_name("queue-1m.jsonl"), path.with_name("queue-1m" + COLUMNS)
    if not lines.exists():
        make_kafka.write(lines, 1_000_000, 1)
    if not whole.exists():
        convert(lines, whole, CheckOptions(), print)
    make_columns.write(whole, times, Path(f"{path}{COLUMNS}"))


WORKS = (
    Work("import", "-", "<= 0.3 s", None, ("import",)),
    Work("queue-1k", "-", "<= 0.8 s", lambda path: make_kafka.write(path, 1_000, 1), ("kafka", "FILE")),
    Work(
        "queue-100k",
        "Jepsen 35 s, 48 CPU s, 3-5 GB",
        "<= 2.5 s, 400 MB",
        lambda path: make_kafka.write(path, 100_000, 1),
        ("kafka", "FILE"),
    ),
    Work(
        "queue-100k-analysis",
        "Jepsen 15-24 s",
        "<= 0.4 s (analysis_cpu_s)",
        lambda path: make_kafka.write(path, 100_000, 1),
        ("analysis", "FILE"),
    ),
    Work(
        "queue-1m",
        "Jepsen did not finish in 8 GB",
        "<= 22 s, 2.5 GB",
        lambda path: make_kafka.write(path, 1_000_000, 1),
        ("kafka", "FILE"),
        large=True,
    ),
    Work(
        "queue-1m-columns",
        "-",
        "flat time per operation",
        lambda path: _columns(path, 1),
        ("kafka", "FILE.parquet"),
        large=True,
    ),
    Work(
        "queue-10m-columns",
        "-",
        "<= 12 GB, time per operation within 1.5x of queue-1m-columns",
        lambda path: _columns(path, 9),
        ("kafka", "FILE.parquet"),
        large=True,
    ),
    Work(
        "append-100k",
        "Elle 16 s, 2-3 GB",
        "<= 2.5 s",
        lambda path: make_append.write(path, 100_000, 1),
        ("list-append", "FILE"),
    ),
    Work(
        "append-100k-check",
        "Elle 5.5-9.9 s warm",
        "<= 1 s (check_cpu_s)",
        lambda path: make_append.write(path, 100_000, 1),
        ("appends", "FILE"),
    ),
    Work(
        "append-1m",
        "-",
        "<= 25 s",
        lambda path: make_append.write(path, 1_000_000, 1),
        ("list-append", "FILE"),
        large=True,
    ),
    *(
        Work(
            f"{model}-1m-monitor",
            "Porcupine: register 100k/5 6.6 s; > 8 s at 1k/20",
            "<= 1.5 s (the check alone)",
            None,
            ("monitor", model, "1000000", "20"),
            large=True,
        )
        for model in make_models.KINDS
    ),
    Work(
        "register-100k-5",
        "Porcupine 6.6 s",
        "<= 1x (the check alone)",
        None,
        ("monitor", "register", "100000", "5"),
        rival=_rivals("register", 100_000, 5),
    ),
    *(
        Work(
            f"{model}-1k-20",
            "Porcupine > 8 s",
            "a verdict, or a budgeted unknown in <= 5 s",
            lambda path, model=model: make_models.write(path, model, 1_000, 20, 1),  # type: ignore[misc]
            (model, "FILE"),
            rival=_rivals(model, 1_000, 20),
        )
        for model in ("register", "cas-register", "queue")
    ),
    *(
        Work(name, peer, aim, None, ("published", pattern), rival=_published(pattern))
        for name, peer, aim, pattern in (
            ("published-etcd", "Porcupine 1-1.8 s", "<= 0.15 s after warm-up", "porcupine/etcd_*"),
            ("published-kv", "Porcupine 0.38-0.5 s for the worst", "<= 1x", "porcupine/kv_*"),
            ("published-knossos", "Porcupine 25 ms", "<= 1x", "knossos/*"),
        )
    ),
)


def measure(work: Work, folder: Path) -> dict[str, object]:
    """Run one work in a fresh process; return its figures."""
    path = folder / f"{work.name}.jsonl"
    arguments = [argument.replace("FILE", str(path)) for argument in work.command]
    if work.make is not None and not any(Path(argument).exists() for argument in arguments[1:2]):
        work.make(path)
    before = os.times()
    started = time.monotonic()
    command = [sys.executable, "-m", "bench.checkers.one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    after = os.times()
    if done.returncode:
        return {"work": work.name, "error": done.stderr.strip().splitlines()[-1:]}
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {
        "work": work.name,
        "cpu_s": round(cpu, 2),
        "wall_s": round(time.monotonic() - started, 2),
        **json.loads(done.stdout),
        "aim": work.aim,
        "published": work.peer,
        **({"porcupine": _rival(work, folder)} if work.rival is not None else {}),
        **({"size_mb": round(path.stat().st_size / 1e6, 1)} if path.exists() else {}),
    }


def _rival(work: Work, folder: Path) -> object:
    assert work.rival is not None
    try:
        return rival.judged(work.rival(folder))
    except rival.MissingError as missing:
        return f"not run: {missing}"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", default="", help="names, separated by commas")
    parser.add_argument("--large", action="store_true", help="also the works of a million operations")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    wanted = set(filter(None, options.work.split(",")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for work in WORKS:
            if work.name in wanted or (not wanted and (options.large or not work.large)):
                print(json.dumps(measure(work, folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
