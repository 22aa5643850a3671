"""The same seed gives the same bytes in any process, under any hash seed; another seed gives others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import store

pytestmark = pytest.mark.timeout(300)


def run(folder: Path, seed: int, hash_seed: str, *more: str) -> tuple[bytes, bytes]:
    """Run in a process of its own; return the bytes of history and trace."""
    folder.mkdir()
    call = [sys.executable, "-m", "harness.cli", "run", "--cluster", "simulated", "--seed", str(seed), "--json"]
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


@pytest.mark.parametrize("workload", ["txn", "send-poll"])
def test_a_seed_repeats_byte_by_byte_in_another_process_with_another_hash_seed(tmp_path: Path, workload: str):
    one = run(tmp_path / "one", 11, "1", "--workload", workload, "--sub-via", "assign,subscribe")
    other = run(tmp_path / "other", 11, "4242", "--workload", workload, "--sub-via", "assign,subscribe")
    assert len(one[0]) > 10_000
    assert one[0] == other[0]
    assert one[1] == other[1]


def test_another_seed_is_another_run(tmp_path: Path):
    assert run(tmp_path / "one", 1, "1")[0] != run(tmp_path / "other", 2, "1")[0]
