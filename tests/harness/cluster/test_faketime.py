"""Clocks by libfaketime: what a process is started with, what is left of it, and that waiting stays as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import catalog
from harness.cluster import faketime
from harness.cluster.api import ClusterError, ClusterSpec, UsageError
from harness.launch import refuse_unknown
from harness.scenario import Scenario

lacks_library = pytest.mark.skipif(faketime.missing() is not None, reason="needs libfaketime")
LOOKS = """
import sys, threading, time
waiting = threading.Condition()
for line in sys.stdin:
    began = time.monotonic()
    with waiting:
        waiting.wait(0.2)
    print(time.time(), time.monotonic() - began, flush=True)
"""


@pytest.fixture
def clocks(tmp_path):
    (tmp_path / "n1").mkdir()
    return faketime.FakedClocks(tmp_path)


@pytest.fixture
def node(clocks, tmp_path):
    """A process that says what time it is, and how long a wait of 0.2 s took it."""
    env = {**os.environ, **clocks.environment("n1")}
    with subprocess.Popen(
        [sys.executable, "-c", LOOKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=env
    ) as process:
        clocks.started("n1", process.pid)
        yield process
        with faketime.swept(tmp_path):
            process.kill()
            process.wait()


def asked(process):
    began_s = time.time()
    process.stdin.write("\n")
    said_s, waited_s = map(float, process.stdout.readline().split())
    return said_s - began_s, waited_s


def shows(process, low_s, high_s, within_s=20.0):
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        off_s, waited_s = asked(process)
        assert 0.19 < waited_s < 10, "how long a wait takes is not touched"
        if low_s <= off_s <= high_s:
            return True
    return False


@pytest.mark.jvm  # what the library is for: where that is required, a skip is a failure
@lacks_library
@pytest.mark.parametrize("offset_ms", [30_000, -30_000])
def test_a_process_shows_the_jump_waits_as_before_and_is_set_right(clocks, node, offset_ms):
    assert shows(node, -1, 5)
    clocks.skew("n1", offset_ms)
    assert shows(node, offset_ms / 1000 - 1, offset_ms / 1000 + 5)
    clocks.unskew("n1")
    clocks.unskew("n1")
    assert shows(node, -1, 5)


@pytest.mark.jvm  # what the library is for: where that is required, a skip is a failure
@lacks_library
def test_a_strobe_goes_to_and_fro_until_it_is_set_right(clocks, node):
    clocks.skew("n1", 60_000, every_ms=1)
    for _ in range(2):
        assert shows(node, 55, 65)
        assert shows(node, -1, 5)
    clocks.unskew("n1")
    assert (clocks.environment("n1")["FAKETIME_TIMESTAMP_FILE"]).endswith("clock")
    assert shows(node, -1, 5)


@pytest.mark.jvm  # what the library is for: where that is required, a skip is a failure
@lacks_library
def test_what_a_killed_process_leaves_in_shared_memory_is_taken_away(clocks, node, tmp_path):
    asked(node)
    left = [Path("/dev/shm") / name.format(node.pid) for name in ("faketime_shm_{}", "sem.faketime_sem_{}")]
    assert all(file.exists() for file in left)
    with faketime.swept(tmp_path):
        assert all(file.exists() for file in left), "not while it lives"
        node.kill()
        node.wait()
    assert not any(file.exists() for file in left)


@pytest.mark.jvm  # what the library is for: where that is required, a skip is a failure
@lacks_library
def test_what_is_preloaded_anyway_stays(clocks, monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "other.so")
    assert clocks.environment("n1")["LD_PRELOAD"] == f"{faketime.library()}:other.so"


def test_without_the_library_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv(faketime.LIBRARY, str(tmp_path / "nothing.so"))
    scenario = Scenario(cluster="jvm", nemesis="kill-leader,bump-clock")
    with pytest.raises(UsageError, match="install the Debian package libfaketime") as raised:
        refuse_unknown(scenario)
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="libfaketime"):
        faketime.FakedClocks(tmp_path)
    assert refuse_unknown(Scenario(cluster="jvm", nemesis="kill-leader")) == (("kill-leader",),)
    assert refuse_unknown(Scenario(cluster="embedded", nemesis="bump-clock")) == (("bump-clock",),)


def test_a_cluster_that_was_not_started_for_it_says_so(tmp_path):
    cluster = catalog.provider("embedded").create(ClusterSpec(name="c", folder=tmp_path, nodes=1))
    try:
        with pytest.raises(ClusterError, match="clocks that can't be set"):
            cluster.skew("n1", 1000)
    finally:
        cluster.down()
