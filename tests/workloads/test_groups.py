"""Members that stall: nothing of theirs for a while, then a commit of what they polled last."""

from __future__ import annotations

import msgspec

from harness.generator import Context, Emit, Pending
from harness.scenario import Scenario
from workloads.groups import CALM_PERIOD_S, GROUPS, PERIOD, STALL_S, UNREST

KEYS = ("t0/0",)
SCENARIO = Scenario(workload="groups", topics=1, partitions=1, seed=2, sub_via=("subscribe",), crash_interval_s=0)
EVERYONE = (0, 1, 2)


def run(count, log=None):
    """Each op ends at once; a poll commits its offset."""
    generator, out, free, now = GROUPS.generator(SCENARIO, KEYS), [], list(EVERYONE), 0
    for number in range(count):
        answer = generator.op(Context(now, tuple(free), EVERYONE, 3))
        while isinstance(answer, Pending):
            now = max(now, answer.until_ns)
            answer = answer.successor.op(Context(now, tuple(free), EVERYONE, 3))
        assert isinstance(answer, Emit)
        op = answer.op
        out.append((now, op))
        free.remove(op.process)
        free.append(op.process)
        fields = {"offsets": [["t0/0", number]], "rebalance_log": log} if op.f == "poll" else {}
        done = op.completed("ok", **fields)
        generator = answer.successor.update(Context(now, tuple(free), EVERYONE, 3), op)
        generator = generator.update(Context(now, tuple(free), EVERYONE, 3), done)
        now += 50_000_000
    return out


def test_a_stalled_member_commits_what_it_polled_last_and_did_nothing_before():
    made = run(1500)
    commits = [(at, now, op) for at, (now, op) in enumerate(made) if op.f == "commit"]
    assert len(commits) > 5
    for at, now, op in commits:
        before, last = next((then, old) for then, old in reversed(made[:at]) if old.process == op.process)
        assert now - before >= STALL_S[0] * 10**9
        polls = [n for n, (_, old) in enumerate(made[:at]) if old.process == op.process and old.f == "poll"]
        assert op.value == [["t0/0", polls[-1]]]
        assert last.f != "subscribe"


def test_who_subscribed_anew_has_nothing_to_commit_late():
    made = run(1500)
    for at, (_, op) in enumerate(made):
        if op.f == "commit":
            mine = [old.f for _, old in made[:at] if old.process == op.process and old.f in {"poll", "subscribe"}]
            assert mine[-1] == "poll"


def test_members_come_and_go_only_in_the_unrest_of_each_period():
    made = run(3000)
    begins, ends = (share * CALM_PERIOD_S for share in UNREST)
    taken = [now / 1e9 for now, op in made if op.f == "subscribe"][len(EVERYONE) :]
    assert len(taken) > 20
    assert all(begins <= at_s % CALM_PERIOD_S < ends for at_s in taken), "all others only join at the start"


def test_members_that_are_to_die_in_the_calm_die_in_the_next_unrest():
    scenario = msgspec.structs.replace(SCENARIO, crash_interval_s=4.0)
    generator, crashes = GROUPS.generator(scenario, KEYS), []
    for number in range(2000):
        now, process = number * 50_000_000, number % 3
        answer = generator.op(Context(now, (process,), EVERYONE, 3))
        if isinstance(answer, Pending):
            generator = answer.successor
            continue
        if answer.op.f == "crash":
            crashes.append(now / 1e9)
        generator = answer.successor
    begins, ends = (share * PERIOD * 4.0 for share in UNREST)
    assert len(crashes) > 20
    assert all(begins <= at_s % (PERIOD * 4.0) < ends for at_s in crashes)
