"""A topic that grows in a run: its new keys are written, read, probed and drained as the old ones are."""

from __future__ import annotations

import json

import pytest

from harness.catalog import WORKLOADS
from harness.combinators import Delay, Phases
from harness.generator import SECOND_NS, Context, Emit, Log
from harness.history import HARNESS, INFO, INVOKE, OK, PARTITIONS, Op
from harness.scenario import Scenario
from tests.workloads.fake_log import FakeLog
from workloads.phases import whole_run
from workloads.queue import SEND_POLL, TXN

KEYS = ("t0/0", "t1/0")
NEW = ("t0/1", "t1/1")
GROWN = Op(process=HARNESS, type=INFO, f=PARTITIONS, value=list(NEW))
STEP_NS = SECOND_NS // 20


def asked(generator, count, begin_ns=0):
    """Ask for so many ops, complete each at once, and return (all values as text, the generator then)."""
    texts = []
    for number in range(count):
        ctx = Context(begin_ns + number * STEP_NS, (number % 4, (number + 1) % 4), (0, 1, 2, 3), 4)
        answer = generator.op(ctx)
        generator = answer.successor
        if isinstance(answer, Emit):
            texts.append(json.dumps(answer.op.value))
            generator = generator.update(ctx, answer.op).update(ctx, answer.op.completed(OK, value=answer.op.value))
    return " ".join(texts), generator


@pytest.mark.parametrize("workload", list(WORKLOADS.values()), ids=list(WORKLOADS))
def test_every_workload_uses_new_keys_from_the_event_on(workload):
    shape = {**workload.shape, "topics": 2, "partitions": 1, "crash_interval_s": 5.0}
    generator = workload.generator(Scenario(seed=5, workload=workload.name, **shape), KEYS)
    before, generator = asked(generator, 400)
    assert all(f'"{key}"' in before for key in KEYS)
    assert not any(key in before for key in NEW)
    generator = generator.update(Context(400 * STEP_NS, (), (0, 1, 2, 3), 4), GROWN)
    after, _ = asked(generator, 400, 400 * STEP_NS)
    assert all(f'"{key}"' in after for key in (*KEYS, *NEW))


@pytest.mark.parametrize("workload", [TXN, SEND_POLL])
def test_a_run_that_grows_probes_and_drains_its_new_keys(workload):
    log = FakeLog((*KEYS, *NEW))
    growth = Phases((Delay(5 * SECOND_NS), Log(PARTITIONS, list(NEW))))
    scenario = Scenario(seed=3, time_limit_s=60, rate=20, recovery_bound_s=10, partitions=1)
    ops = log.run(whole_run(scenario, workload, KEYS, growth, ("n1",)), 4, ("n1",))
    at = next(op.index for op in ops if op.f == PARTITIONS)
    assert not any(key in json.dumps(op.value) for op in ops[:at] for key in NEW)
    assert all(log.logs[key] for key in NEW)
    drained = {op.value["key"]: op.value for op in ops if op.f == "drain"}
    assert set(drained) == {*KEYS, *NEW}
    assert all(told["complete"] and told["end"] == len(log.logs[key]) for key, told in drained.items())
    probes = [op.value for op in ops if op.f == "probe" and op.type == INVOKE]
    apis = {"Metadata", "ListOffsets", "OffsetForLeaderEpoch", "Fetch", "ReplicaLog", "TimeIndex"}
    assert {(one["api"], one["key"]) for one in probes if one.get("key") in NEW} == {(a, k) for a in apis for k in NEW}
