"""Work in processes of its own: results and failures come back, and what ends one process ends nothing else."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from harness import store
from harness.process.apart import ROOT, Apart, Lost

WITHIN_S = 60
FOREVER_S = 600


@pytest.fixture
def apart():
    with closing(Apart()) as made:
        yield made


def told_when_interrupted(where: Path) -> None:
    """Work of an orphan: it says how often it was interrupted, and when it begins."""
    begun = where.with_suffix(".begun.tmp")
    begun.write_text(str(os.getpid()))
    begun.rename(where.with_suffix(".begun"))
    try:
        threading.Event().wait(FOREVER_S)
    except KeyboardInterrupt:
        where.touch()


def forever() -> None:
    """Work that only an interrupt ends."""
    threading.Event().wait(FOREVER_S)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


def wait_for(path: Path) -> None:
    wait_until(path.exists)


def test_work_is_done_in_one_process_after_the_other_and_its_failure_is_raised_here(apart):
    first = apart.call(os.getpid)
    with pytest.raises(ZeroDivisionError):
        apart.call(operator.truediv, 1, 0)
    assert apart.call(os.getpid) == first != os.getpid()


def test_process_that_is_killed_loses_its_own_call_alone(apart):
    first = apart.call(os.getpid)
    with pytest.raises(Lost, match=f"process {first} of this run was ended by SIGKILL"):
        apart.call(signal.raise_signal, signal.SIGKILL)
    with pytest.raises(Lost, match="ended with status 3"):
        apart.call(os._exit, 3)
    assert apart.call(operator.add, 1, 2) == 3


def test_idle_process_that_has_ended_is_replaced(apart):
    first = apart.call(os.getpid)
    os.kill(first, signal.SIGKILL)
    assert apart.call(os.getpid) != first


def test_interrupt_ends_the_calls_of_its_tag_and_those_that_begin_later(apart, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        mine = pool.submit(apart.call, told_when_interrupted, tmp_path / "mine", tag="mine")
        other = pool.submit(apart.call, told_when_interrupted, tmp_path / "other", tag="other")
        wait_for(tmp_path / "mine.begun")
        wait_for(tmp_path / "other.begun")
        apart.interrupt("mine")
        mine.result(timeout=WITHIN_S)
        assert not other.done()
        assert not (tmp_path / "other").exists()
        with pytest.raises(KeyboardInterrupt):
            apart.call(forever, tag="mine")
        apart.interrupt("other")


def test_work_that_nobody_wants_any_more_is_interrupted(apart):
    with pytest.raises(KeyboardInterrupt):
        apart.call(forever, wanted=lambda: False)


def test_who_is_let_go_while_it_works_is_lost_and_nothing_begins_any_more(tmp_path):
    apart = Apart(heals=False)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(apart.call, told_when_interrupted, tmp_path / "work")
        wait_for(tmp_path / "work.begun")
        apart.close()
        with pytest.raises(Lost, match="ended with status 1"):
            call.result(timeout=WITHIN_S)
    with pytest.raises(Lost, match="no work is begun"):
        apart.call(os.getpid)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("heals", [True, False])
def test_work_of_a_parent_that_was_killed_is_interrupted_if_it_heals_and_ends_if_not(tmp_path, heals):
    text = (
        "import sys; from pathlib import Path; from harness.process.apart import Apart\n"
        "from tests.harness.process.test_apart import told_when_interrupted\n"
        f"Apart(heals={heals}).call(told_when_interrupted, Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", text, str(tmp_path / "orphan")], cwd=ROOT) as parent:
        wait_for(tmp_path / "orphan.begun")
        worker = int((tmp_path / "orphan.begun").read_text())
        parent.kill()
    if heals:
        wait_for(tmp_path / "orphan")
    wait_until(lambda: store.process_started(worker) is None)
    assert (tmp_path / "orphan").exists() == heals
