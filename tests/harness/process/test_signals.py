"""A run that is stopped by `kill` ends like one that is stopped by Ctrl-C; children end when their parent says so."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading

import pytest

from harness import store
from harness.process.signals import STOPS, as_a_child, bearing_one_interrupt, count_as_interrupts, raising_interrupts


@pytest.fixture(params=STOPS, ids=lambda number: number.name)
def counted(request):
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOPS}
    count_as_interrupts()
    yield request.param
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_stop_is_an_interrupt(counted):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(counted)


def test_what_ignores_ctrl_c_is_stopped_all_the_same(counted):
    """A shell script starts what it puts into the background so."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(counted)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stop_that_is_ignored_stays_so(counted):
    signal.signal(counted, signal.SIG_IGN)
    count_as_interrupts()
    signal.raise_signal(counted)
    assert signal.getsignal(counted) == signal.SIG_IGN


def waits(ready):
    as_a_child()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ready.send(True)
    threading.Event().wait(60)


def test_a_forked_child_ends_when_its_parent_says_so(counted):
    told, ready = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=waits, args=(ready,))
    child.start()
    assert told.recv()
    child.terminate()
    child.join(30)
    assert child.exitcode == -signal.SIGTERM


def test_a_run_that_is_killed_in_good_manners_is_judged_and_leaves_nothing(tmp_path):
    call = [sys.executable, "-u", "-m", "harness", "run", "--nemesis", "kill-leader", "--results", str(tmp_path)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as harness:
        for line in harness.stdout:
            if "fault kill-leader" in line or "phase heal" in line:
                break
        harness.terminate()
        told = harness.stdout.read()
    assert harness.returncode in {0, 2}, told
    assert "phase drain" in told
    folder = (tmp_path / store.LATEST).resolve()
    assert not store.is_abandoned(folder)
    assert (folder / store.VERDICT).exists()


EARLY = """
class Interrupting:
    def find_spec(name, path, target=None):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting)
"""
LATE = "atexit.register(signal.raise_signal, signal.SIGINT)"


def command(before: str) -> tuple[int, str, str]:
    """Run `harness --version` after these statements; return its exit status and what it said."""
    program = (
        f"import atexit, signal, sys\n{before}\nfrom harness.__main__ import main\nsys.argv[1:] = ['--version']\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout[:7], done.stderr


@pytest.mark.parametrize(("before", "said"), [(EARLY, ""), (LATE, "harness")], ids=["early", "late"])
def test_an_interrupt_before_a_command_or_after_it_ends_it_without_a_word(before, said):
    assert command(before) == (130, said, "")


def test_an_interrupt_that_is_ignored_stays_so():
    assert command("signal.signal(signal.SIGINT, signal.SIG_IGN)" + EARLY) == (0, "harness", "")


def test_an_interrupt_of_a_command_raises_whatever_it_does_outside():
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt), raising_interrupts():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_one_interrupt_is_borne_and_a_second_one_stops():
    with bearing_one_interrupt() as came:
        assert not came()
        signal.raise_signal(signal.SIGINT)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_that_no_interrupt_reaches_goes_on_without_a_handler():
    came = []

    def works():
        with bearing_one_interrupt() as interrupted:
            came.append(interrupted())

    thread = threading.Thread(target=works)
    thread.start()
    thread.join(30)
    assert came == [False]
