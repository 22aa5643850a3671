"""Who makes the runs of a soak: processes of this machine, or of the workers of a Dask cluster.

Either way each run is made by a process of its own (`harness.process.apart`): the worker's threads only wait for it. So
a run has a main thread for its signals, two of them share nothing, and one that takes its process along is one broken
run; what it left is healed.

Where a worker sees the soak's folder, it makes the run there. Where it doesn't (it looks for the token that stands in
it), the run is made in a temporary folder of the worker's machine, and its folder travels back unless it is of a valid
run that nobody keeps.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from checkers.verdict import Validity
from harness import launch, store
from harness import run as runs
from harness.cluster.api import ClusterError, UsageError
from harness.process.apart import Apart, Lost
from harness.process.commit import commit
from harness.process.exits import BROKEN, STOPPED, VALID, of_verdict
from harness.report.advice import advice
from harness.report.terminal import LiveView
from harness.scenario import Scenario
from harness.soak import travel
from harness.soak.soak import Made, Row, row_of

MARK: Final = ".token"
CHECK_S: Final = 5.0
"""Between two looks at the scheduler."""
ALONE_S: Final = 60.0
"""How long a cluster may be without workers: they may be started again."""

STOPPED_EARLY: Final = "stopped before it could be judged (Ctrl-C in its set-up, or twice)"

_of_this_worker = Apart()
"""The processes of a worker, whichever soak they work for."""


@dataclass(frozen=True, slots=True)
class Job:
    """A run to make."""

    scenario: Scenario
    folder: Path
    """The soak's."""
    token: str
    keeps: bool
    """Whether valid runs are kept."""

    @property
    def name(self) -> str:
        """The run's: no other of its soak has it, wherever it is made."""
        one = self.scenario
        return f"{one.workload}-{one.nemesis}-{one.cluster}-{one.seed}"


def make(scenario: Scenario, results: Path, name: str) -> Row:
    """Make a run, here and now; whatever becomes of it is its row."""
    began_s = time.monotonic()
    rest: dict[str, Any] = {}
    try:
        done = launch.perform(scenario, results, name=name, view=LiveView(scenario, quiet=True))
        judgement, verdict = done.judgement, done.judgement.verdict_json()
        rest["valid"], status = verdict["valid"], of_verdict(verdict["valid"])
        why = ", ".join(verdict["anomalies"]) or " ".join(verdict["reasons"])
        permits = [found.get("permitted-by") for found in verdict["anomalies"].values()]
        rest["permitted_by"] = ", ".join(sorted(set(permits))) if all(permits) else ""
        if judgement.validity is Validity.VACUOUS:
            rest["advice"] = advice(judgement.reasons, judgement.faults, done.scenario)
    except (runs.Interrupted, KeyboardInterrupt):
        status, why = STOPPED, STOPPED_EARLY
    except (ClusterError, UsageError, store.StoreError) as error:
        status, why = BROKEN, str(error)
    except Exception as error:  # noqa: BLE001 - a door: a run that breaks must not end the soak, and is told
        status, why = BROKEN, " ".join(f"{type(error).__name__}: {error}".split())
    seconds = time.monotonic() - began_s
    return row_of(scenario, status=status, seconds=seconds, why=why, folder=_folder_of(results, name), **rest)


def _folder_of(results: Path, name: str) -> str | None:
    """Return where a run was made, relative to the results: the last of its name, if a worker that died began it."""
    parent = results / store.slug(name)
    made = [one for one in parent.glob("*") if one.is_dir() and not one.is_symlink()]
    return max(made).relative_to(results).as_posix() if made else None


def supervised(apart: Apart, job: Job, results: Path, wanted: Callable[[], bool] = lambda: True) -> Row:
    """Have a process make the run; where that ends in the midst of it, heal what it left."""
    began_s = time.monotonic()
    try:
        return apart.call(make, job.scenario, results, job.name, tag=job.token, wanted=wanted)
    except KeyboardInterrupt:  # it came before the run began; here it would end the worker
        return row_of(job.scenario, status=STOPPED, seconds=time.monotonic() - began_s, why=STOPPED_EARLY)
    except Lost as error:
        where = _folder_of(results, job.name)
        healed = launch.heal_run(results / where) if where is not None and store.is_abandoned(results / where) else []
        why = "; ".join([str(error), *(line for line, _ in healed)])
        seconds = time.monotonic() - began_s
        return row_of(job.scenario, status=BROKEN, seconds=seconds, why=why, folder=where)


class Local:
    """Makes runs on this machine."""

    def __init__(self, folder: Path, jobs: int) -> None:
        """folder: the soak's; jobs: how many side by side."""
        self.width = jobs
        self._folder, self._token = folder, token(folder)
        self._pool: Executor = ThreadPoolExecutor(jobs)
        self._apart = Apart()

    def begin(self, scenario: Scenario) -> Future[Made]:
        """Begin a run."""
        return self._pool.submit(self._made, Job(scenario, self._folder, self._token, keeps=True))

    def _made(self, job: Job) -> Made:
        return Made(supervised(self._apart, job, self._folder))

    def interrupt(self) -> None:
        """Interrupt the runs under way."""
        self._apart.interrupt(self._token)

    def trouble(self) -> str | None:
        """Return None: a machine is there as long as the soak is."""
        return None

    def close(self) -> None:
        """Let go of all processes: those that still work are interrupted, heal, and end."""
        self._apart.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def token(folder: Path) -> str:
    """Put a token into the soak's folder, by which a worker knows that it sees it."""
    text = os.urandom(16).hex()
    (folder / MARK).write_text(text)
    return text


class Remote:
    """Makes runs on the workers of a Dask cluster; `client` is a distributed.Client."""

    def __init__(self, client: Any, address: str, folder: Path, *, jobs: int | None, keeps: bool) -> None:
        """jobs: so many runs side by side at most; None: as many as the workers have threads."""
        self._client, self._address, self._jobs, self._keeps = client, address, jobs, keeps
        self._folder, self._token = folder, token(folder)
        self._executor: Executor = client.get_executor(pure=False)
        self._threads: int = sum(client.nthreads().values())
        self._seen_s = self._checked_s = time.monotonic()

    @staticmethod
    def refuse_strangers(client: Any, address: str) -> None:
        """Raise UsageError where a worker has another harness than the caller, or none."""
        mine = commit()
        try:
            theirs: dict[str, str | None] = client.run(commit)
        except Exception as error:  # a door: the worker can't import it, or it fails there in its own way
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise UsageError(
                f"--dask {address}: a worker can't run this harness ({why}): install the same one there"
            ) from error
        for worker, made_with in theirs.items():
            if made_with != mine:
                raise UsageError(
                    f"--dask {address}: worker {worker} has the harness of commit {made_with}, the caller that of "
                    f"{mine}: install the same one there, and start the worker again"
                )

    @property
    def width(self) -> int:
        """How many runs are made side by side now."""
        return min(self._jobs or self._threads, self._threads)

    def begin(self, scenario: Scenario) -> Future[Made]:
        """Begin a run."""
        return self._executor.submit(on_worker, Job(scenario, self._folder, self._token, self._keeps))

    def interrupt(self) -> None:
        """Interrupt the runs under way."""
        with contextlib.suppress(Exception):  # a door: where nobody answers, `trouble` says so
            self._client.run(interrupt, self._token)

    def trouble(self) -> str | None:
        """Look at the cluster now and then; return why it can make no run any more."""
        now_s = time.monotonic()
        if self._client.status != "running":  # it tries to come back, but the runs under way are lost by then
            return f"the connection to the Dask scheduler at {self._address} is lost"
        if now_s - self._checked_s < CHECK_S:
            return None
        self._checked_s = now_s
        try:
            self._threads = sum(self._client.nthreads().values())
        except Exception:  # noqa: BLE001 - a door: what is no answer has many names; the client ends, or goes on
            return None
        if self._threads:
            self._seen_s = now_s
        elif now_s - self._seen_s > ALONE_S:
            return f"the Dask scheduler at {self._address} has had no workers for {ALONE_S:.0f} s"
        return None

    def close(self) -> None:
        """Leave nothing on the workers."""
        with contextlib.suppress(Exception):  # a door: where nobody answers, workers see for themselves
            self._executor.shutdown(wait=False)


def interrupt(tag: str) -> None:
    """Interrupt the runs of a soak in this worker."""
    _of_this_worker.interrupt(tag)


def on_worker(job: Job) -> Made:
    """Make a run on a worker: in the soak's folder if it is seen here, else in one that travels."""
    from distributed import get_worker  # noqa: PLC0415  optional; whoever runs this has it

    name, wanted = str(get_worker().name), _still_wanted()
    if _sees(job):
        return Made(_by(supervised(_of_this_worker, job, job.folder, wanted), name))
    results = Path(tempfile.mkdtemp(prefix="harness-soak-"))
    row = _by(supervised(_of_this_worker, job, results, wanted), name)
    packed = None
    if row.folder is not None and (row.status != VALID or job.keeps):
        packed = travel.pack(results / row.folder)
        if packed is None:
            why = f"{row.why} (its folder is too large to travel: it stays in {results / row.folder} there)".strip()
            return Made(msgspec.structs.replace(row, folder=None, why=why))
    shutil.rmtree(results, ignore_errors=True)
    return Made(row if packed is not None else msgspec.structs.replace(row, folder=None), packed)


def _still_wanted() -> Callable[[], bool]:
    """Return what says whether the caller of this thread's task is still there, and the worker stays."""
    from distributed import Status, get_worker, worker  # noqa: PLC0415

    here, key = get_worker(), worker.thread_state.key  # type: ignore[attr-defined]  # optional, and without __all__

    def wanted() -> bool:
        task = here.state.tasks.get(key)
        leaves = here.status in {Status.closing, Status.closed, Status.failed}
        return task is not None and task.state != "cancelled" and not leaves

    return wanted


def _by(row: Row, worker: str) -> Row:
    return msgspec.structs.replace(row, worker=worker)


def _sees(job: Job) -> bool:
    try:
        return (job.folder / MARK).read_text() == job.token
    except OSError:
        return False
