"""The schedule carries a plan out in order: one thing at a time, everything healed, nothing broken before recovery."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from harness.generator import Context, Emit, process
from harness.history import INFO, INVOKE, NEMESIS, Op
from harness.scenario import Scenario
from harness.simulate import simulate
from nemesis.fault import Power
from nemesis.faults import FAULTS
from nemesis.plan import FaultEntry, FaultPlan, draw, parse
from nemesis.schedule import QUIET_S, Schedule, quiet_s

EVERY = frozenset(get_args(Power))
S = 1_000_000_000


def carried_out(plan: FaultPlan, answers=None, takes_s: float = 1.0) -> list[Op]:
    """Run the schedule against completions; `answers(op, number)` gives a completion's value."""
    ops: list[Op] = []
    count = 0

    def perform(op: Op, now_ns: int) -> tuple[Op, int]:
        nonlocal count
        count += 1
        if answers is not None:
            value = answers(op, count)
        elif op.f in FAULTS:
            value = {"fault-id": count, "nodes": ["n1"], "bit": True}
        else:
            value = op.value
        return op.completed(INFO, value=value), now_ns + int(takes_s * S)

    simulate(process(NEMESIS, Schedule(plan, 60.0)), 1, perform, ops.append, [NEMESIS])
    return ops


def single(name: str = "kill-leader", **changes) -> FaultEntry:
    fields = {"at_s": 3.0, "faults": (name,), "keys": ("t0/1",), "draws": (0.25,), "length_s": 10.0}
    return FaultEntry(**fields | changes)


def overlap(first: str = "pause-followers", second: str = "kill-leader") -> FaultEntry:
    return single(faults=(first, second), draws=(0.25, 0.75), gap_s=1.25, both_s=0.5)


def invocations(ops: list[Op]) -> list[tuple[float, str, object]]:
    return [(op.time / S, op.f, op.value) for op in ops if op.type == INVOKE]


def test_single_fault_is_injected_held_healed_and_recovered_from():
    assert invocations(carried_out(FaultPlan(entries=(single(),)))) == [
        (3.0, "kill-leader", {"keys": ["t0/1"], "draw": 0.25}),
        (14.0, "heal", {"fault-id": 1}),
        (15.0, "recover", {"bound-s": 60.0}),
    ]


def test_overlap_heals_the_first_first_and_waits_for_a_leader_before_the_second():
    assert invocations(carried_out(FaultPlan(entries=(overlap(),)))) == [
        (3.0, "pause-followers", {"keys": ["t0/1"], "draw": 0.25}),
        (5.25, "kill-leader", {"keys": ["t0/1"], "draw": 0.75, "during": 1}),
        (6.75, "heal", {"fault-id": 1}),
        (7.75, "await-leader", {"of": 2}),
        (18.75, "heal", {"fault-id": 2}),
        (19.75, "recover", {"bound-s": 60.0}),
    ]


def test_second_fault_that_stalls_the_cluster_is_not_waited_for():
    fs = [f for _, f, _ in invocations(carried_out(FaultPlan(entries=(overlap("kill-leader", "kill-all"),))))]
    assert fs == ["kill-leader", "kill-all", "heal", "heal", "recover"]


def test_missed_injection_is_neither_held_nor_healed():
    ops = carried_out(FaultPlan(entries=(single(),)), lambda op, n: {"fault-id": n, "nodes": [], "bit": False})
    assert [(at, f) for at, f, _ in invocations(ops)] == [(3.0, "kill-leader"), (4.0, "recover")]


def test_overlap_whose_first_missed_injects_the_second_alone():
    def answers(op, number):
        return (
            {"fault-id": number, "nodes": [] if op.f == "pause-followers" else ["n1"]} if op.f in FAULTS else op.value
        )

    found = invocations(carried_out(FaultPlan(entries=(overlap(),)), answers))
    assert found[1] == (4.0, "kill-leader", {"keys": ["t0/1"], "draw": 0.75})
    assert [f for _, f, _ in found] == ["pause-followers", "kill-leader", "heal", "recover"]


def test_injection_that_broke_off_unreadably_is_healed_with_everything():
    ops = carried_out(FaultPlan(entries=(single(),)), lambda op, n: op.value)
    assert invocations(ops)[1] == (14.0, "heal", None)


def test_next_fault_waits_for_the_recovery_and_a_moment_of_health():
    plan = FaultPlan(entries=(single(), single(at_s=5.0), single(at_s=500.0)))
    found = [at for at, f, _ in invocations(carried_out(plan)) if f == "kill-leader"]
    assert found == [3.0, 16.0 + QUIET_S, 500.0]


def test_a_short_interval_leaves_half_of_itself_quiet():
    assert quiet_s(30.0) == QUIET_S
    assert quiet_s(1.0) == 0.5


def test_asking_again_gives_the_same_answer():
    schedule = Schedule(FaultPlan(entries=(single(at_s=0.0),)), 60.0)
    ctx = Context(5, (NEMESIS,), (NEMESIS,), 1)
    first = schedule.op(ctx)
    assert isinstance(first, Emit)
    assert first == schedule.op(ctx)


def test_events_of_others_change_nothing():
    schedule = Schedule(FaultPlan(entries=(single(at_s=0.0),)), 60.0)
    ctx = Context(5, (NEMESIS,), (NEMESIS,), 1)
    out = schedule.op(ctx).successor
    for event in (
        Op(process=3, type=INFO, f="kill-leader"),
        Op(process="harness", type=INFO, f="interrupt"),
        Op(process=NEMESIS, type=INVOKE, f="kill-leader"),
    ):
        assert out.update(ctx, event) is out


def test_empty_plan_ends_at_once():
    assert Schedule(FaultPlan(), 60.0).op(Context(0, (NEMESIS,), (NEMESIS,), 1)) is None


texts = st.lists(
    st.sampled_from([*FAULTS, "pause-followers+kill-leader", "kill-follower+kill-leader", "pause-leader+kill-all"]),
    min_size=1,
    max_size=3,
)


@given(
    texts,
    st.integers(0, 2**32),
    st.lists(st.sampled_from(["bit", "missed", "unreadable"]), min_size=1, max_size=20),
    st.floats(0.0, 20.0),
)
def test_whatever_injections_answer_everything_is_healed_before_the_next_one(chosen, seed, fates, takes_s):
    scenario = Scenario(seed=seed, time_limit_s=300.0)
    plan = draw(scenario, parse(",".join(chosen), EVERY, "c"), ["t0/0", "t0/1"])

    def answers(op, number):
        if op.f not in FAULTS:
            return op.value
        return {
            "bit": {"fault-id": number, "nodes": ["n1"], "bit": True},
            "missed": {"fault-id": number, "nodes": [], "bit": False},
            "unreadable": op.value,
        }[fates[number % len(fates)]]

    ops = carried_out(plan, answers, takes_s)
    holding: list[int | None] = []
    recovered = True
    for op in ops:
        if op.f in FAULTS and op.type == INVOKE:
            assert recovered or "during" in op.value or len(holding) <= 1
            if recovered:
                assert holding == []
            assert holding == [] or op.value.get("during") in {*holding, None}
            recovered = False
        elif op.f in FAULTS and (not isinstance(op.value, dict) or op.value.get("nodes") != []):
            holding.append(op.value.get("fault-id"))
        elif op.f == "heal" and op.type == INVOKE:
            holding = [] if op.value is None else [held for held in holding if held != op.value["fault-id"]]
        elif op.f == "recover" and op.type == INFO:
            assert holding == []
            recovered = True
        assert len(holding) <= 2
    assert holding == []
    injected = [op.f for op in ops if op.f in FAULTS and op.type == INVOKE]
    assert injected == [name for entry in plan.entries for name in entry.faults]
