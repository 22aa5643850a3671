"""The same seed gives the same bytes in any process, under any hash seed; another seed gives others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import store

pytestmark = pytest.mark.timeout(300)
SUB_VIA = ("--sub-via", "assign,subscribe")


def run(folder: Path, seed: int, hash_seed: str, *more: str) -> tuple[bytes, bytes]:
    """Run in a process of its own; return the bytes of history and trace."""
    folder.mkdir()
    call = [sys.executable, "-m", "harness", "run", "--cluster", "simulated", "--seed", str(seed), "--json"]
    options = ["--time-limit", "6", "--rate", "30", "--concurrency", "4", "--nemesis", "kill-leader,partition-leader"]
    done = subprocess.run(
        [*call, *options, "--nemesis-interval", "2", "--results", str(folder), "--name", "one", *more],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=240,
    )
    assert done.returncode in {0, 2}, done.stdout.decode()
    latest = folder / "one" / "latest"
    return (latest / store.HISTORY).read_bytes(), (latest / store.NODES / "trace.txt").read_bytes()


@pytest.fixture(scope="module")
def send_poll(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "one", 11, "1", "--workload", "send-poll", *SUB_VIA)


def assert_repeats(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    assert len(one[0]) > 10_000
    assert one[0] == other[0]
    assert one[1] == other[1]


def test_a_seed_repeats_byte_by_byte_in_another_process_with_another_hash_seed(tmp_path: Path, send_poll):
    assert_repeats(send_poll, run(tmp_path / "other", 11, "4242", "--workload", "send-poll", *SUB_VIA))


def test_a_seed_of_transactions_repeats_byte_by_byte(tmp_path: Path):
    one = run(tmp_path / "one", 11, "1", "--workload", "txn", *SUB_VIA)
    assert_repeats(one, run(tmp_path / "other", 11, "4242", "--workload", "txn", *SUB_VIA))


def test_another_seed_is_another_run(tmp_path: Path, send_poll):
    assert run(tmp_path / "other", 12, "1", "--workload", "send-poll", *SUB_VIA)[0] != send_poll[0]
