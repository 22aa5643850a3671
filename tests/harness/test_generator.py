"""Generators: the algebra, on the virtual clock."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.combinators import Delay, Mix, PerThread, Phases, Stagger, TimeLimit, Together, While, reserve
from harness.generator import (
    INTERRUPT,
    NOTHING,
    SECOND_NS,
    Context,
    Generator,
    Log,
    Once,
    Pending,
    Repeat,
    clients,
    invoke,
    process,
)
from harness.history import HARNESS, INFO, INVOKE, NEMESIS, OK, Op
from harness.random import Rng
from harness.scheduler import Dispatch, Done, Point, Scheduler, Wait
from harness.simulate import simulate

MS = 1_000_000


def stream(f: str, limit: int | None = None) -> Generator:
    return Repeat(lambda i, rng, ctx: (invoke(ctx, f, i), rng), Rng(0), limit=limit)


def run(generator: Generator, *, concurrency: int = 3, latency_ms: int = 10, others=(NEMESIS,), outcome=OK) -> list[Op]:
    ops: list[Op] = []

    def perform(op: Op, now_ns: int) -> tuple[Op, int]:
        return op.completed(outcome(op) if callable(outcome) else outcome), now_ns + latency_ms * MS

    simulate(generator, concurrency, perform, ops.append, others)
    return ops


def invocations(ops: list[Op]) -> list[Op]:
    return [op for op in ops if op.type == INVOKE]


def test_repeat_keeps_every_client_busy_and_numbers_its_ops():
    ops = invocations(run(clients(stream("send", 9))))
    assert [op.value for op in ops] == list(range(9))
    assert {op.process for op in ops[:3]} == {0, 1, 2}


def test_a_process_that_ended_info_gets_a_new_number_and_the_old_one_never_returns():
    ops = run(clients(stream("send", 30)), outcome=lambda op: INFO if op.value % 4 == 0 else OK)
    gone: set = set()
    for op in ops:
        assert op.process not in gone
        if op.type == INFO:
            gone.add(op.process)
    assert {p % 3 for p in gone} <= {0, 1, 2}
    assert len(gone) == 8


def test_phases_begin_when_every_process_is_home():
    ops = run(clients(Phases((stream("a", 7), Log("phase", "next"), stream("b", 4)))))
    at = next(op.index for op in ops if op.process == HARNESS)
    assert all(op.f == "a" for op in ops[:at])
    assert all(op.f == "b" for op in ops[at + 1 :])
    assert sum(op.type == OK for op in ops[:at]) == 7


def test_phases_do_not_wait_for_a_process_that_never_comes_home():
    ops: list[Op] = []

    def perform(op: Op, now_ns: int) -> tuple[Op, int]:
        return op.completed(OK), now_ns + (10**6 * SECOND_NS if op.value == 0 and op.f == "a" else MS)

    simulate(clients(Phases((stream("a", 3), stream("b", 2)), patience_ns=5 * SECOND_NS)), 3, perform, ops.append)
    first_b = next(op for op in ops if op.f == "b")
    assert 5 * SECOND_NS <= first_b.time < 6 * SECOND_NS


def test_time_limit_ends_an_endless_stream():
    ops = run(clients(TimeLimit(SECOND_NS, stream("send"))))
    assert max(op.time for op in invocations(ops)) < SECOND_NS
    assert len(invocations(ops)) == 300


def test_time_limit_ends_at_an_interrupt():
    scheduler = Scheduler(clients(TimeLimit(SECOND_NS, stream("send"), interruptible=True)), 1)
    scheduler.next(0)
    scheduler.point(1, Op(process=HARNESS, type=INFO, f=INTERRUPT))
    assert scheduler.next(2) == type(scheduler.next(2))((0,))


@pytest.mark.parametrize("seed", range(5))
def test_stagger_paces_all_processes_together(seed):
    ops = invocations(run(clients(TimeLimit(100 * SECOND_NS, Stagger(SECOND_NS // 20, stream("s"), Rng(seed))))))
    assert 1_800 < len(ops) < 2_200  # 20/s over 100 s: 2,000 +- 4.5 sigma


def test_delay_holds_the_next_phase_back():
    ops = run(clients(Phases((Delay(3 * SECOND_NS), Once("send")))))
    assert ops[0].time == 3 * SECOND_NS


def test_delay_wakes_the_scheduler_by_itself():
    scheduler = Scheduler(Phases((Delay(SECOND_NS), Log("x"))), 1)
    assert scheduler.next(0) == Wait(SECOND_NS, still=True)
    assert isinstance(scheduler.next(SECOND_NS), Point)


def test_mix_follows_its_weights():
    ops = invocations(run(clients(Mix(((3.0, stream("a", 3000)), (1.0, stream("b", 1000))), Rng(7)))))
    share = sum(op.f == "a" for op in ops[:2000]) / 2000
    assert 0.70 < share < 0.80


def test_mix_goes_on_with_what_is_left():
    ops = invocations(run(clients(Mix(((1.0, stream("a", 2)), (1.0, stream("b", 5))), Rng(1)))))
    assert sorted(op.f for op in ops) == ["a"] * 2 + ["b"] * 5


def test_together_runs_the_nemesis_beside_the_clients():
    ops = run(Together((clients(stream("send", 5)), process(NEMESIS, Once("kill-leader")))))
    assert {(op.process == NEMESIS, op.f) for op in ops} == {(True, "kill-leader"), (False, "send")}


def test_while_ends_with_its_main_part():
    ops = run(While(main=process(NEMESIS, Phases((Delay(SECOND_NS), Once("x")))), side=clients(stream("send"))))
    last = [op for op in ops if op.type == INVOKE][-1]
    assert last.time <= SECOND_NS + 10 * MS
    assert len(ops) > 500


def test_reserve_gives_threads_their_own_work_also_after_renumbering():
    outcome = lambda op: INFO if op.value % 3 == 0 else OK  # noqa: E731
    ops = invocations(run(reserve(((2, stream("a", 40)),), stream("b", 40)), concurrency=5, outcome=outcome))
    assert all((op.process % 5 < 2) == (op.f == "a") for op in ops)
    assert {op.f for op in ops} == {"a", "b"}


def test_per_thread_runs_one_generator_for_each_thread():
    ops = invocations(run(clients(PerThread.of(lambda thread: stream(f"t{thread}", 4)))))
    assert sorted(op.f for op in ops) == [f"t{t}" for t in range(3) for _ in range(4)]
    assert all(op.f == f"t{op.process % 3}" for op in ops)


def test_a_generator_that_waits_for_ever_is_found():
    class Stuck:
        def op(self, ctx):
            return Pending(None, self)

        def update(self, ctx, event):
            return self

    with pytest.raises(RuntimeError, match="wait for ever"):
        run(Stuck())


class Sleeper:
    """Waits until a time, and counts how often it is asked."""

    def __init__(self, until_ns: int | None) -> None:
        self.until_ns, self.asked = until_ns, 0

    def op(self, ctx):
        self.asked += 1
        return Pending(self.until_ns, self)

    def update(self, ctx, event):
        return self


@pytest.mark.parametrize(("event", "asked"), [("probe", 1), (0, 2), (HARNESS, 2), (NEMESIS, 1)])
def test_a_restricted_generator_that_waits_is_asked_again_only_after_an_event_that_it_sees(event, asked):
    inner = Sleeper(None)
    everybody = (0, 1, NEMESIS, "probe")
    answer = clients(inner).op(Context(0, everybody, everybody, 2))
    assert isinstance(answer, Pending)
    later = Context(5, everybody, everybody, 2)
    answer.successor.update(later, Op(process=event, type=INFO, f="x")).op(later)
    assert inner.asked == asked


def test_a_restricted_generator_that_waits_is_asked_again_when_its_time_has_come():
    inner = Sleeper(7)
    first = clients(inner).op(Context(0, (0,), (0,), 1))
    second = first.successor.op(Context(6, (0,), (0,), 1))
    assert (first.until_ns, second.until_ns, inner.asked) == (7, 7, 1)
    second.successor.op(Context(7, (0,), (0,), 1))
    assert inner.asked == 2


def test_nothing_is_never_an_op():
    assert run(NOTHING) == []


@given(st.integers(0, 2**64 - 1), st.integers(1, 6), st.integers(0, 40))
def test_the_same_seed_gives_the_same_history(seed, concurrency, latency_ms):
    def whole() -> Generator:
        mixed = Mix(((1.0, stream("a", 20)), (2.0, stream("b"))), Rng.seeded(seed, "mix"))
        return clients(TimeLimit(SECOND_NS // 4, Stagger(5 * MS, mixed, Rng.seeded(seed, "rate"))))

    one = run(whole(), concurrency=concurrency, latency_ms=latency_ms)
    assert one == run(whole(), concurrency=concurrency, latency_ms=latency_ms)
    assert [op.index for op in one] == list(range(len(one)))
    assert all(a.time <= b.time for a, b in itertools.pairwise(one))


@given(st.integers(0, 2**64 - 1))
def test_asking_a_generator_again_gives_the_same_answer(seed):

    generator = clients(Stagger(5 * MS, Mix(((1.0, stream("a")), (2.0, stream("b"))), Rng(seed)), Rng(seed)))
    ctx = Context(0, (0, 1, NEMESIS), (0, 1, NEMESIS), 2)
    assert generator.op(ctx).op == generator.op(ctx).op


def trees() -> st.SearchStrategy[Generator]:
    """Generators of any shape, all of them restricted to processes somewhere."""
    seeds = st.integers(0, 2**16).map(Rng)
    limits = st.integers(1, 12)
    leaves = st.one_of(
        st.builds(Delay, st.integers(0, 60).map(lambda ms: ms * MS)),
        st.builds(lambda limit: stream("a", limit), limits),
        st.just(Once("b")),
        st.just(Log("c")),
    )
    inner = st.recursive(
        leaves,
        lambda parts: st.one_of(
            st.builds(lambda ms, part, rng: Stagger(ms * MS, part, rng), st.integers(1, 30), parts, seeds),
            st.builds(lambda ms, part: TimeLimit(ms * MS, part, interruptible=True), st.integers(1, 90), parts),
            st.builds(lambda some: Phases(tuple(some), patience_ns=20 * MS), st.lists(parts, min_size=1, max_size=3)),
            st.builds(lambda some: Together(tuple(some)), st.lists(parts, min_size=1, max_size=3)),
            st.builds(While, parts, parts),
        ),
        max_leaves=6,
    )
    return st.recursive(
        st.one_of(inner.map(clients), inner.map(lambda part: process(NEMESIS, part))),
        lambda parts: st.one_of(
            st.builds(lambda some: Phases(tuple(some), patience_ns=20 * MS), st.lists(parts, min_size=1, max_size=3)),
            st.builds(lambda some: Together(tuple(some)), st.lists(parts, min_size=1, max_size=3)),
            st.builds(While, parts, parts),
            st.builds(lambda ms, part: TimeLimit(ms * MS, part, interruptible=True), st.integers(1, 90), parts),
        ),
        max_leaves=4,
    )


@given(trees(), st.randoms(use_true_random=False), st.integers(0, 8))
def test_who_stands_still_has_nothing_to_do_whatever_its_processes_do(generator, random, interrupted_after):
    """Whoever was told to wait and that no completion changes it would be told the same if it asked again."""
    scheduler, busy, now_ns = Scheduler(generator, 3, (NEMESIS,)), [], 0
    for step in range(60):
        due = scheduler.next(now_ns)
        if isinstance(due, Done):
            return
        if isinstance(due, Dispatch):
            busy.append(due.op)
        elif isinstance(due, Wait):
            if step == interrupted_after:
                scheduler.point(now_ns, Op(process=HARNESS, type=INFO, f=INTERRUPT))
                continue
            limit_ns = now_ns + 50 * MS if due.until_ns is None else due.until_ns
            if busy and random.random() < 0.7:
                now_ns = random.randint(now_ns, max(now_ns, limit_ns - 1))
                op = busy.pop(random.randrange(len(busy)))
                scheduler.complete(now_ns, op.completed(random.choice((OK, INFO))))
                if due.still and now_ns < due.until_ns:
                    assert scheduler.next(now_ns) == due
            elif due.until_ns is None and not busy:
                return
            else:
                now_ns = limit_ns
