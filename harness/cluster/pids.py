"""Processes of this machine: which are ours, and in what state. Linux reads /proc, other systems ask ps.

A process of ours carries a *mark*, a word of its command line that nothing else has (the cluster's random id and the
node's name). A pid is never trusted alone: with its start time it names one process for ever, since the kernel may give
the number to somebody else. A zombie counts as gone: it runs nothing, it only waits for its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.cluster.api import ClusterError

GONE_TIMEOUT_S: Final = 10.0
"""A SIGKILL takes milliseconds; a process in an uninterruptible write may need seconds."""
_EXEC_S: Final = 0.25
"""How long a process without a command line is waited for: between its exec and its words lie microseconds."""
_POLL_S: Final = 0.005
_PF_KTHREAD: Final = 0x00200000  # Linux's include/linux/sched.h: a thread of the kernel, which has no command line
_PROC: Final = Path("/proc")
_LINUX: Final = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Running:
    """One process: its pid and when it started (ticks since boot, or ps's words)."""

    pid: int
    started: str


def identify(pid: int) -> Running | None:
    """Return the process that has this pid now; None when there is none, or only a zombie."""
    found = _state_and_start(pid)
    return None if found is None or found[0] in "ZX" else Running(pid, found[1])


def is_alive(process: Running) -> bool:
    """Return whether that very process still runs."""
    return identify(process.pid) == process


def is_stopped(process: Running) -> bool:
    """Return whether that very process is stopped by a signal."""
    found = _state_and_start(process.pid)
    return found is not None and found[1] == process.started and found[0] in "Tt"


def marked(prefix: str) -> list[tuple[str, Running]]:
    """Return the processes whose command line holds a word with that prefix, each with the whole word."""
    found = []
    for pid, words in _command_lines():
        mark = next((word for word in words if word.startswith(prefix)), None)
        process = identify(pid) if mark else None
        if mark and process:
            found.append((mark, process))
    return found


def send(process: Running, number: signal.Signals) -> None:
    """Send the signal, if that very process is still there."""
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def stop(process: Running) -> None:
    """Stop the process; returns when every thread of it has stopped, as far as the operating system shows."""
    send(process, signal.SIGSTOP)
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while is_alive(process) and not is_stopped(process):
        if time.monotonic() > deadline:
            raise ClusterError(f"process {process.pid} still runs {GONE_TIMEOUT_S:g} s after SIGSTOP")
        time.sleep(_POLL_S)


def wait_gone(process: Running) -> None:
    """Return when the process is gone; ClusterError when it outlives the bound."""
    deadline = time.monotonic() + GONE_TIMEOUT_S
    while is_alive(process):
        if time.monotonic() > deadline:
            raise ClusterError(f"process {process.pid} is still there {GONE_TIMEOUT_S:g} s after SIGKILL")
        time.sleep(_POLL_S)


def _state_and_start(pid: int) -> tuple[str, str] | None:
    if not _LINUX:
        words = _ps("-o", "state=,lstart=", "-p", str(pid)).split(maxsplit=1)
        return (words[0][0], words[1].strip()) if len(words) == 2 else None
    fields = _stat(pid)
    return None if fields is None else (fields[0], fields[19])


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None when there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()  # the command in parentheses may hold anything


def _command_lines() -> list[tuple[int, list[str]]]:
    if not _LINUX:
        lines = [line.split() for line in _ps("-axww", "-o", "pid=,command=").splitlines()]
        return [(int(words[0]), words[1:]) for words in lines if words]
    found = {int(entry.name): _words(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()}
    starting = [pid for pid, words in found.items() if not words and _is_program(pid)]
    deadline = time.monotonic() + _EXEC_S
    while starting and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        found |= {pid: _words(str(pid)) for pid in starting}
        starting = [pid for pid in starting if not found[pid] and _is_program(pid)]
    return list(found.items())


def _is_program(pid: int) -> bool:
    """Return whether the process has, or is about to have, a command line: no zombie and no thread of the kernel."""
    fields = _stat(pid)
    return fields is not None and fields[0] not in "ZX" and not int(fields[6]) & _PF_KTHREAD


def _words(pid: str) -> list[str]:
    """Return the words of its command line; none when it ended, and none yet in the midst of an exec."""
    try:
        line = (_PROC / pid / "cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return []
    return [os.fsdecode(word) for word in line.split(b"\0") if word]


def _ps(*arguments: str) -> str:
    answer = subprocess.run(  # noqa: S603 - fixed command, our own arguments
        ["/bin/ps", *arguments], capture_output=True, text=True, check=False, timeout=GONE_TIMEOUT_S
    )
    return answer.stdout
