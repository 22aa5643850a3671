"""A judged run as something to assert: `harness run` as a function, and what it came to as a value."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final, Self

from checkers.verdict import Validity
from harness import options, store
from harness import run as runs
from harness.process.guardian import guarded

_WIDTH: Final = 100


class Verdict(str):
    """What came of a run: the text that the terminal shows, with the proof. True if, and only if, the run is valid.

    A string, so that pytest shows it whole: `assert verdict.valid, verdict`.
    """

    __slots__ = ("run",)
    run: runs.Run

    def __new__(cls, run: runs.Run) -> Self:
        """Tell the run's judgement."""
        from rich.console import Console  # noqa: PLC0415  slow to import, and who only wants a cluster needs none

        from harness.report.terminal import verdict_table  # noqa: PLC0415

        text = io.StringIO()
        console = Console(file=text, width=_WIDTH, highlight=False, force_terminal=False, color_system=None)
        verdict_table(run.judgement, folder=run.folder, scenario=run.scenario, console=console)
        verdict = super().__new__(cls, text.getvalue().strip("\n"))
        verdict.run = run
        return verdict

    @property
    def valid(self) -> bool:
        """Whether every guarantee held, while the faults bit and the cluster made progress: vacuous is not valid."""
        return self.run.judgement.validity is Validity.VALID

    @property
    def word(self) -> str:
        """The verdict: valid, vacuous, unknown or invalid."""
        return self.run.judgement.validity.name.lower()

    @property
    def anomalies(self) -> dict[str, int]:
        """How often each anomaly was found, by its name in docs/anomalies.md; what invalidates, root causes first."""
        return {anomaly.name: anomaly.count for anomaly in self.run.judgement.anomalies}

    @property
    def folder(self) -> Path:
        """Where the run is kept: history, verdict, report.html, the nodes' logs."""
        return self.run.folder

    def __bool__(self) -> bool:
        """Return whether the run is valid."""
        return self.valid

    def __repr__(self) -> str:
        """Return the word and where the run is: the text is what an assertion's message is for."""
        return f"<{self.word} run in {self.folder}>"


def run(workload: str = "txn", *, results: Path = Path("results"), **fields: Any) -> Verdict:
    """Do what `harness run` does, on a cluster of the run's own, and return the verdict.

    fields: those of `harness.scenario.Scenario`, named as there: nemesis, seed, time_limit_s, cluster, acks, ...; all
    others are as `harness run` has them. results: where the run is kept, in a folder of its own.
    Raises UsageError for what can't be run, ClusterError when the cluster fails in set-up; Ctrl-C ends it unjudged.
    """
    from harness import launch  # noqa: PLC0415  the reports are slow to import, and who only wants a cluster needs none

    scenario = options.scenario_of(workload=workload, **fields)
    results.mkdir(parents=True, exist_ok=True)
    done: list[runs.Run] = []

    def over() -> bool:
        return bool(done) or all(map(store.is_finished, store.run_folders(results)))

    with guarded(results / store.LOG, "--results", str(results.resolve()), over=over):
        done.append(launch.perform(scenario, results, name=None, view=runs.Unwatched(), interruptible=False))
    return Verdict(done[0])
