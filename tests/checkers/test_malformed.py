"""Whatever a file holds: a verdict, or one clear line; never a traceback, never a silent valid."""

from __future__ import annotations

import random

import msgspec
import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import HistoryError, encode
from tests.checkers.kafka_model import run

ROUNDS = 60
STRANGE = [None, True, -1, 1.5, 10**30, "", "x", [], [[]], {}, {"a": 1}, [["send"]], [["poll", 1]], [[1, 2]], "poll"]


def strange_fields(line, rng):
    """Put something strange at a random place of a line's JSON."""
    value = msgspec.json.decode(line)
    at = value
    for _ in range(rng.randrange(1, 7)):
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
        else:
            at[key] = rng.choice(STRANGE)
            break
    return msgspec.json.encode(value) + b"\n"


def strange_bytes(line, rng):
    place = rng.randrange(len(line))
    return line[:place] + bytes([rng.randrange(256)]) + line[place + 1 :]


def refusal(path, workload, seed):
    """Return the line that refuses a history; None where there is a verdict."""
    try:
        judgement = judge(path, CheckOptions(workload=workload))
    except HistoryError as error:
        return str(error)
    assert not [reason for reason in judgement.reasons if "crashed" in reason], f"{seed}: {judgement.reasons}"
    assert msgspec.json.encode(judgement.verdict_json())
    return None


@pytest.mark.parametrize("workload", ["kafka", "list-append", "register", "queue", "log", "set", "cas-register"])
@pytest.mark.parametrize("harm", [strange_fields, strange_bytes])
def test_harmed_history_gives_a_verdict_or_one_line(tmp_path, harm, workload):
    path = tmp_path / "history.jsonl"
    refused = 0
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        lines = [encode(op) for op in run(seed % 12).ops]
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(lines))
            lines[place] = harm(lines[place], rng)
        path.write_bytes(b"".join(lines))
        error = refusal(path, workload, f"seed {seed}")
        if error is not None:
            refused += 1
            assert "\n" not in error
            assert "history.jsonl" in error
    assert refused
