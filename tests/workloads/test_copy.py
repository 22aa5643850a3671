"""Copiers and feeders: who sends what, and that it fits what the clients do."""

from __future__ import annotations

from harness.clients.payload import is_copy
from harness.generator import Context, Emit, Pending
from harness.scenario import Scenario
from workloads.copy import COPIES, COPY

KEYS = ("t0/0", "t0/1", "t1/0", "t1/1")
SCENARIO = Scenario(workload="copy", topics=2, partitions=2, seed=4, abort_rate=0.3, crash_interval_s=2, rate=50)


def ops(count, **changes):
    generator, out = COPY.generator(SCENARIO, KEYS), []
    for number in range(count):
        process = number % 6
        answer = generator.op(Context(number, (process,), tuple(range(6)), 6))
        assert isinstance(answer, Emit)
        out.append(answer.op)
        done = answer.op.completed("info" if answer.op.f == "crash" or answer.op.crash else "ok")
        generator = answer.successor.update(Context(number, (), tuple(range(6)), 6), done)
    return out


def test_feeders_send_to_inputs_and_copiers_copy_to_outputs():
    for op in ops(600):
        feeds = op.process % 3 == 0
        if op.f in {"assign", "subscribe"}:
            assert (op.f, op.value) == (("assign", ["t1/0", "t1/1"]) if feeds else ("subscribe", ["t0/0", "t0/1"]))
        elif op.f in {"send", "txn"}:
            copies = [micro for micro in op.value if is_copy(micro)]
            topic = {micro[1][:2] for micro in op.value if micro[0] == "send"}
            assert topic == {"t0" if feeds else "t1"}
            assert len(copies) == (0 if feeds else COPIES)
            assert (op.value[0] == ["poll"]) is not feeds
        else:
            assert op.f == ("poll" if feeds else "crash")


def test_values_are_unique_and_some_transactions_abort_or_crash():
    made = ops(600)
    values = [micro[2][1] if isinstance(micro[2], list) else micro[2] for op in made for micro in sends(op)]
    assert len(values) == len(set(values)) > 600
    assert any(op.abort for op in made)
    assert any(op.crash for op in made)
    assert any(op.f == "crash" for op in made)


def sends(op):
    return [micro for micro in op.value or () if isinstance(micro, list) and micro[0] == "send"]


def test_a_copier_that_died_subscribes_before_it_copies():
    seen = {}
    for op in ops(600):
        if seen.get(op.process) == "died":
            assert op.f == "subscribe"
        seen[op.process] = "died" if op.f == "crash" or op.crash else op.f


def test_nobody_free_is_waited_for():
    assert isinstance(COPY.generator(SCENARIO, KEYS).op(Context(0, (), (0,), 6)), Pending)
