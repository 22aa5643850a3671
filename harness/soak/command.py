"""`harness soak`: from its options to runs side by side, and to what is told of them."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

import msgspec
from rich.console import Console
from rich.text import Text

from harness import launch, parallel
from harness import run as runs
from harness.cluster.api import UsageError
from harness.options import duration_s, finite
from harness.process.exits import STOPPED
from harness.report.soaked import soak_table
from harness.report.summary import INDEX
from harness.report.terminal import Patient, plain
from harness.scenario import Scenario
from harness.soak import soak as soaks
from harness.soak.crew import Local, Remote

Make = Callable[..., Scenario]
"""Makes a scenario of what the command line says and of these fields."""
MOST_SHOWN: Final = 3
"""Runs that are named while they are under way."""
PATIENCE: Final = 2
"""So often the user may ask for the end before the soak just ends; its processes then heal by themselves."""


def soak(
    make: Make,
    *,
    duration: str,
    clusters: Sequence[str],
    versions: Sequence[str],
    images: Sequence[str],
    workloads: Sequence[str],
    nemeses: Sequence[str],
    seed: int,
    jobs: int | None,
    dask: str | None,
    keep: int,
    max_disk_gb: float,
    results: Path,
) -> int:
    """Run seeded scenarios; print a line for each, then what came of all; return the worst run's exit status."""
    finite("--max-disk-gb", max_disk_gb)
    limits = soaks.Limits(seconds=duration_s("--duration", duration), keep=keep, max_bytes=int(max_disk_gb * 1e9))
    axes: list[Sequence[dict[str, Any]]] = [
        [{"nemesis": nemesis} for nemesis in nemeses],
        [{"workload": workload} for workload in workloads],
        bases(clusters, versions, images),
    ]

    def plan() -> Iterator[Scenario]:
        for number, choice in soaks.in_turn(seed, axes):
            yield make(seed=number, **{name: value for fields in choice for name, value in fields.items()})

    for _, scenario in zip(range(len(axes[0]) * len(axes[1]) * len(axes[2])), plan(), strict=False):
        launch.refuse_unknown(scenario)
        launch.refuse_unmade(scenario)
    console = Patient(highlight=False)
    with _crew(results, jobs, dask, keep) as (crew, folder), _presses() as presses, _Screen(console) as screen:
        screen.tell(f"soak for {duration} in {folder}, {crew.width} at a time")
        rows, status = soaks.soak(
            plan(),
            crew,
            folder=folder,
            limits=limits,
            now_s=time.monotonic,
            tell=screen.tell,
            presses=presses,
            show=screen.show,
        )
    soak_table([msgspec.to_builtins(row) for row in rows], console=console)
    screen.tell(f"\nindex      {folder / INDEX}\nrows       {folder / soaks.SOAK}")
    if rows:
        screen.tell(f"go on      with --seed {max(row.seed for row in rows) + 1}")
    return status if rows else STOPPED


class _Screen:
    """Lines, and below them on a terminal what is under way. Who reads may go away; the soak goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("", refresh_per_second=2) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def tell(self, line: str) -> None:
        """Print a line, at once and whole."""
        self._console.print(Text("\n".join(plain(one) for one in line.split("\n"))), soft_wrap=True)

    def show(self, under_way: Sequence[Scenario], ended: int) -> None:
        """Say what is under way."""
        if self._status is not None:
            named = [f"{one.cluster} {one.workload} seed {one.seed}" for one in under_way[:MOST_SHOWN]]
            more = [f"and {len(under_way) - MOST_SHOWN} more"] if len(under_way) > MOST_SHOWN else []
            self._status.update(Text(f"{ended} ended, under way: {', '.join([*named, *more]) or 'none'}"))


def bases(clusters: Sequence[str], versions: Sequence[str], images: Sequence[str]) -> list[dict[str, Any]]:
    """Return the fields of each cluster: Apache Kafka in each version, on Compose in each image.

    Raises UsageError where it can't be told which version an image has, or no cluster has any.
    """
    if images and len(versions) not in {1, len(images)}:
        raise UsageError(
            f"--image names {len(images)}, --kafka-version {len(versions)}: name one for all, or one for each"
        )
    default = Scenario()
    for option, asked, takers in (
        ("--kafka-version", [*versions] != [default.kafka_version], {"jvm", "compose"}),
        ("--image", bool(images), {"compose"}),
    ):
        if asked and not takers & {*clusters}:
            raise UsageError(f"{option} has no effect on --cluster {','.join(clusters)}")
    found: list[dict[str, Any]] = []
    for cluster in clusters:
        if cluster == "compose" and images:
            told = versions if len(versions) > 1 else [*versions] * len(images)
            pairs = zip(images, told, strict=True)
            found += [{"cluster": cluster, "image": image, "kafka_version": version} for image, version in pairs]
        elif cluster in {"jvm", "compose"}:
            found += [{"cluster": cluster, "image": None, "kafka_version": version} for version in versions]
        else:
            found.append({"cluster": cluster, "image": None, "kafka_version": default.kafka_version})
    return found


@contextmanager
def _crew(results: Path, jobs: int | None, dask: str | None, keep: int) -> Iterator[tuple[Local | Remote, Path]]:
    """Yield who makes the runs, and the soak's folder, which is made once it is known that they can be made."""
    if dask is None:
        folder = runs.new_folder(results, "soak").resolve()
        with closing(Local(folder, jobs or 1)) as crew:
            yield crew, folder
        return
    with parallel.client(dask) as client:
        for name in ("distributed", "distributed.client"):  # what goes wrong there is told in one line, here
            logging.getLogger(name).setLevel(logging.CRITICAL)
        Remote.refuse_strangers(client, dask)
        folder = runs.new_folder(results, "soak").resolve()
        with closing(Remote(client, dask, folder, jobs=jobs, keeps=keep > 0)) as remote:
            yield remote, folder


@contextmanager
def _presses() -> Iterator[Callable[[], int]]:
    """Count Ctrl-C; give what says how often it came."""
    pressed = 0

    def handle(_signal: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > PATIENCE:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
