"""Processes: found by their mark, told apart by their start, stopped and gone when we say so."""

import os
import signal
import subprocess
import sys
import uuid

import pytest

from harness.cluster import pids

SLEEPS = "import signal; signal.pause()"


@pytest.fixture
def marked():
    """A process with a mark: (its prefix, the process)."""
    prefix = f"-Dharness.node={uuid.uuid4()}/"
    child = subprocess.Popen([sys.executable, "-c", SLEEPS, f"{prefix}n1"])
    pids.marked(prefix)  # `ps` does not wait for the command line of a process that has just been started
    yield prefix, child
    child.kill()
    child.wait()


def test_a_process_is_found_by_its_mark_and_no_other(marked):
    prefix, child = marked
    assert [(word, process.pid) for word, process in pids.marked(prefix)] == [(f"{prefix}n1", child.pid)]
    assert pids.marked(f"-Dharness.node={uuid.uuid4()}/") == []


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_process_in_the_midst_of_its_exec_is_found(marked, monkeypatch):
    """Between exec and its words the kernel shows an empty command line; who removes a cluster then must not miss it."""
    prefix, child = marked
    assert pids.marked(prefix)
    looks, words = [], pids._words

    def late(pid):
        looks.append(pid)
        return words(pid) if pid != str(child.pid) or looks.count(pid) > 2 else []

    monkeypatch.setattr(pids, "_words", late)
    assert [process.pid for _, process in pids.marked(prefix)] == [child.pid]


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_zombie_is_not_waited_for(marked):
    _, child = marked
    process = pids.identify(child.pid)
    assert pids._is_program(child.pid)
    pids.send(process, signal.SIGKILL)
    pids.wait_gone(process)
    assert pids._words(str(child.pid)) == []
    assert not pids._is_program(child.pid)


def test_a_stopped_process_is_alive_and_stopped_until_it_continues(marked):
    _, child = marked
    process = pids.identify(child.pid)
    assert not pids.is_stopped(process)
    pids.stop(process)
    assert pids.is_stopped(process)
    assert pids.is_alive(process)
    pids.send(process, signal.SIGCONT)
    assert not pids.is_stopped(process)


def test_a_killed_process_is_gone_even_as_a_zombie(marked):
    _, child = marked
    process = pids.identify(child.pid)
    pids.send(process, signal.SIGKILL)
    pids.wait_gone(process)
    assert child.returncode is None, "nobody has waited for it: it is a zombie"
    assert not pids.is_alive(process)
    assert pids.identify(child.pid) is None


def test_a_recycled_pid_is_neither_alive_nor_signalled(marked):
    _, child = marked
    impostor = pids.Running(child.pid, "another start")
    assert not pids.is_alive(impostor)
    assert not pids.is_stopped(impostor)
    pids.send(impostor, signal.SIGKILL)
    assert pids.is_alive(pids.identify(child.pid))


def test_a_process_that_never_was_is_none():
    assert pids.identify(2**22 + 1) is None


@pytest.mark.skipif(not os.access("/bin/ps", os.X_OK), reason="no ps")
def test_ps_tells_the_same_as_proc(marked, monkeypatch):
    prefix, child = marked
    monkeypatch.setattr(pids, "_LINUX", False)
    ((word, process),) = pids.marked(prefix)
    assert (word, process.pid) == (f"{prefix}n1", child.pid)
    assert pids.identify(child.pid) == process
    pids.stop(process)
    assert pids.is_stopped(process)
