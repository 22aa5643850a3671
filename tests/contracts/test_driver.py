"""The contract of the scheduler's drivers: threads and the real clock, and the virtual clock."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from broker.sim.loop import Loop
from harness.client import AsyncClient, Client, Now
from harness.combinators import Delay, Phases, Together
from harness.generator import Generator, Log, Once, Repeat, clients, invoke, process
from harness.history import HARNESS, INFO, INVOKE, NEMESIS, OK, Op, Process
from harness.interpreter import Interpreter
from harness.random import Rng
from harness.simulate import simulate
from harness.virtual import Synchronous, VirtualInterpreter

MS = 1_000_000
Answer = Callable[[Op], Op]


class _Clients:
    """Opens clients that answer at once and remembers who was opened, and on which thread each op ran."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.opened: list[Process] = []
        self.threads: dict[Process, set[int]] = {}

    def open(self, process: Process, now: Now) -> Client:
        self.opened.append(process)
        outer = self

        class One:
            def invoke(self, op: Op) -> Op:
                assert op.process == process
                outer.threads.setdefault(process, set()).add(threading.get_ident())
                return outer.answer(op)

            def close(self) -> None:
                pass

        return One()


def on_threads(generator: Generator, concurrency: int, answer: Answer) -> list[Op]:
    ops: list[Op] = []
    both = _Clients(answer)
    Interpreter(generator, concurrency, both, {NEMESIS: both}, ops.append).run()
    assert all(len(threads) == 1 for threads in both.threads.values())
    assert len(set(both.opened)) == len(both.opened)
    return ops


def on_virtual_clock(generator: Generator, concurrency: int, answer: Answer) -> list[Op]:
    ops: list[Op] = []
    simulate(generator, concurrency, lambda op, now: (answer(op), now + MS), ops.append, (NEMESIS,))
    return ops


class _AsyncClients:
    """The same on a loop: each answer takes a millisecond of virtual time."""

    def __init__(self, loop: Loop, answer: Answer) -> None:
        self.loop, self.answer = loop, answer

    def open(self, process: Process, now: Now) -> AsyncClient:
        outer = self

        class One:
            async def invoke(self, op: Op) -> Op:
                assert op.process == process
                await outer.loop.sleep(1)
                return outer.answer(op)

            async def close(self) -> None:
                await outer.loop.sleep(1)

        return One()


def on_a_loop(generator: Generator, concurrency: int, answer: Answer) -> list[Op]:
    ops: list[Op] = []
    loop = Loop(1)
    both = _AsyncClients(loop, answer)
    VirtualInterpreter(loop, generator, concurrency, both, {NEMESIS: both}, ops.append).run()
    loop.check()
    return ops


Drive = Callable[[Generator, int, Answer], list[Op]]
drivers = pytest.mark.parametrize("drive", [on_threads, on_virtual_clock, on_a_loop])


def stream(f: str, limit: int) -> Generator:
    return Repeat(lambda i, rng, ctx: (invoke(ctx, f, i), rng), Rng(0), limit=limit)


def ok(op: Op) -> Op:
    return op.completed(OK)


@drivers
def test_every_invocation_is_recorded_before_its_completion_and_completed_once(drive: Drive):
    ops = drive(clients(stream("send", 500)), 4, ok)
    out: dict[Process, Op] = {}
    for op in ops:
        if op.type == INVOKE:
            assert op.process not in out
            out[op.process] = op
        else:
            assert out.pop(op.process).value == op.value
    assert not out
    assert sum(op.type == INVOKE for op in ops) == 500


@drivers
def test_indexes_count_and_time_never_runs_backwards(drive: Drive):
    ops = drive(Together((clients(stream("send", 200)), process(NEMESIS, stream("kill", 20)))), 3, ok)
    assert [op.index for op in ops] == list(range(len(ops)))
    assert all(a.time <= b.time for a, b in itertools.pairwise(ops))


@drivers
def test_info_renews_the_process_and_its_client(drive: Drive):
    ops = drive(clients(stream("send", 60)), 3, lambda op: op.completed(INFO if op.value % 5 == 0 else OK))
    infos = {op.process for op in ops if op.type == INFO}
    assert len(infos) == 12
    for process_ in infos:
        last = max(op.index for op in ops if op.process == process_)
        assert ops[last].type == INFO


@drivers
def test_point_events_are_recorded_in_place(drive: Drive):
    ops = drive(clients(Phases((stream("a", 10), Log("phase", "heal"), stream("b", 10)))), 2, ok)
    at = next(op.index for op in ops if op.process == HARNESS)
    assert {op.f for op in ops[:at]} == {"a"}
    assert {op.f for op in ops[at + 1 :]} == {"b"}


@drivers
def test_a_delay_passes(drive: Drive):
    ops = drive(clients(Phases((Delay(30 * MS), Once("send")))), 1, ok)
    assert ops[0].time >= 30 * MS


@pytest.mark.parametrize("drive", [on_threads, on_a_loop])
def test_a_client_that_crashes_is_info_and_the_run_goes_on(drive: Drive):
    def answer(op: Op) -> Op:
        if op.value == 3:
            raise ValueError("a bug in a client")
        return op.completed(OK)

    ops = drive(clients(stream("send", 20)), 2, answer)
    crashed = [op for op in ops if op.type == INFO]
    assert [op.value for op in crashed] == [3]
    assert crashed[0].error is not None
    assert "a bug in a client" in crashed[0].error["message"]
    assert sum(op.type == OK for op in ops) == 19


def test_an_event_from_outside_reaches_the_generator_and_the_history():
    ops: list[Op] = []
    both = _Clients(ok)
    interpreter = Interpreter(clients(stream("send", 50)), 2, both, {}, ops.append)
    interpreter.post(Op(process=HARNESS, type=INFO, f="interrupt"))
    interpreter.run()
    assert [op.f for op in ops if op.process == HARNESS] == ["interrupt"]


def test_on_a_loop_an_event_from_outside_is_recorded_and_a_generator_that_waits_for_ever_is_told():
    ops: list[Op] = []
    loop = Loop(1)
    both = _AsyncClients(loop, ok)
    interpreter = VirtualInterpreter(loop, clients(stream("send", 50)), 2, both, {}, ops.append)
    interpreter.post(Op(process=HARNESS, type=INFO, f="interrupt"))
    interpreter.run()
    assert [op.f for op in ops if op.process == HARNESS] == ["interrupt"]
    stuck = VirtualInterpreter(loop, clients(Once("send")), 0, both, {}, ops.append)
    with pytest.raises(RuntimeError, match="for ever"):
        stuck.run()


def test_on_a_loop_the_nemesis_waits_while_clients_go_on():
    ops: list[Op] = []
    loop = Loop(1)

    class Waiting:
        def open(self, process: Process, now: Now) -> Client:
            return self

        def invoke(self, op: Op) -> Op:
            loop.run_until(loop.now_ns + 50 * MS)
            return op.completed(INFO)

        def close(self) -> None:
            pass

    generator = Together((clients(stream("send", 20)), process(NEMESIS, stream("kill", 2))))
    VirtualInterpreter(loop, generator, 1, _AsyncClients(loop, ok), {NEMESIS: Synchronous(Waiting())}, ops.append).run()
    first = next(op.index for op in ops if op.process == NEMESIS and op.type == INFO)
    assert sum(op.type == OK for op in ops[:first]) == 20
    assert ops[-1].time == 100 * MS
