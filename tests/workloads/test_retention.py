"""Deletions are asked for below offsets that were acknowledged lately, and of the key that they are of."""

from __future__ import annotations

from harness.generator import Context, Emit
from harness.history import DELETE_RECORDS
from harness.scenario import Scenario
from workloads.retention import RETENTION, YOUNG

KEYS = ("t0/0", "t0/1")
EVERYONE = (0, 1)


def test_deleted_is_what_is_below_a_young_offset_of_the_key():
    generator = RETENTION.generator(Scenario(workload="retention", seed=3), KEYS)
    ends, deleted = dict.fromkeys(KEYS, 0), []
    for number in range(3000):
        context = Context(number, EVERYONE, EVERYONE, 2)
        answer = generator.op(context)
        assert isinstance(answer, Emit)
        op, generator = answer.op, answer.successor
        if op.f == DELETE_RECORDS:
            key, offset = op.value
            assert max(0, ends[key] - YOUNG) <= offset < ends[key]
            deleted.append(key)
        elif op.f == "send":
            ((_, key, value),) = op.value
            done = op.completed("ok", value=[["send", key, [ends[key], value]]])
            ends[key] += 1
            generator = generator.update(context, done)
    assert set(deleted) == set(KEYS)
    assert 30 < len(deleted) < 200
