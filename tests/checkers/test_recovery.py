"""`unavailable` after a heal: nothing succeeds within the bound, and clients did not hinder one another."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers.story import Story, send

BOUND_S = 10.0


def recovering(rivals):
    """Transactions that fail for longer than the bound; with `rivals` two sessions take one id from each other."""
    story = Story()
    story.phase("main")
    story.ok(0, "txn", [send("x", 1, 0)], txn_id="a", extra={"init-time": story.now})
    story.fault(1, "kill-leader")
    story.heal(1)
    for number in range(12):
        process = number % 2 if rivals else 0
        story.begin(process, "txn", [send("x", 10 + number)])
        init_time = story.now
        story.wait(1)
        if rivals:  # the other one has begun before this one is over
            story.begin(1 - process, "txn", [send("x", 100 + number)])
            story.wait(0.1)
        value = [["send", "x", 10 + number]]
        story.event(process, "fail", "txn", value, txn_id="a", extra={"init-time": init_time})
        if rivals:
            value = [["send", "x", 100 + number]]
            story.event(1 - process, "fail", "txn", value, txn_id="a", extra={"init-time": init_time + 1_000_000_000})
    story.wait(1)
    story.phase("drain")
    story.drain("x", 1)
    return judge(story.ops, CheckOptions(recovery_bound_s=BOUND_S))


@pytest.mark.parametrize("rivals", [False, True])
def test_clients_that_fence_one_another_do_not_accuse_the_cluster(rivals):
    judgement = recovering(rivals)
    names = [anomaly.name for anomaly in judgement.anomalies]
    assert ("unavailable" in names) is not rivals
    told = [reason for reason in judgement.reasons if "lost their transactional.id to another client" in reason]
    assert bool(told) is rivals


@pytest.mark.parametrize(("offset_ms", "is_found"), [(0, True), (500, True), (-5_000, False)])
def test_who_waits_for_a_date_has_as_much_longer_as_clocks_have_jumped(offset_ms, is_found):
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.event("nemesis", "invoke", "bump-clock")
    told = {"fault-id": 1, "nodes": ["n1"], "keys": ["x"], "evidence": {"offset_ms": offset_ms}, "bit": True}
    story.event("nemesis", "info", "bump-clock", told)
    story.heal(1)
    for number in range(12):
        story.begin(0, "send", [send("x", 10 + number)])
        story.wait(1)
        story.event(0, "fail", "send", [["send", "x", 10 + number]])
    story.ok(0, "send", [send("x", 2, 1)])
    story.wait(10)
    story.phase("drain")
    story.drain("x", 2)
    names = [anomaly.name for anomaly in judge(story.ops, CheckOptions(recovery_bound_s=BOUND_S)).anomalies]
    assert ("unavailable" in names) is is_found


@pytest.mark.parametrize("meant", [{"abort": True}, {"crash": True}, {}])
def test_transactions_that_are_to_come_to_nothing_do_not_accuse_the_cluster(meant):
    story = Story()
    story.phase("main")
    story.ok(0, "txn", [send("x", 1, 0)])
    story.fault(1, "kill-leader", expects="stall")
    story.heal(1)
    for number in range(3):
        story.begin(1 + number, "txn", [send("x", 10 + number)], **meant)
        outcome = "info" if "crash" in meant else "fail"
        story.event(1 + number, outcome, "txn", [send("x", 10 + number, 2 + number)], commit_time=None)
        story.wait(4)
    story.phase("drain")
    story.ok(9, "poll", [["poll", [["x", [[0, 1]]]]]])
    story.drain("x", 9)
    judgement = judge(story.ops, CheckOptions(recovery_bound_s=BOUND_S))
    assert [anomaly.name for anomaly in judgement.anomalies] == ([] if meant else ["unavailable"])


TRIES = {
    "in the last moment": ([(9.9, 0.2, "ok")], False),
    "in the first moments": ([(0.1, 0.5, "fail"), (12, 0.1, "ok")], False),
    "again and again": ([(0.1, 3, "fail"), (4, 3, "fail")], True),
    "once, and it hung": ([(0.1, 12, "ok")], True),
    "in time": ([(0.1, 3, "fail"), (4, 3, "ok")], False),
}
"""When transactions are tried after the heal, each: after how many seconds, for how long, and what came of it."""


@pytest.mark.parametrize("name", TRIES)
def test_attempts_have_to_fill_the_bound(name):
    tries, is_unavailable = TRIES[name]
    story = Story()
    story.phase("main")
    story.ok(0, "txn", [send("x", 1, 0)])
    story.fault(1, "kill-leader", expects="stall")
    story.heal(1)
    healed = story.now
    for number, (after, lasts, outcome) in enumerate(tries):
        story.wait(after - (story.now - healed) / 1e9)
        story.begin(1 + number, "txn", [send("x", 10 + number)])
        story.wait(lasts)
        story.event(1 + number, outcome, "txn", [send("x", 10 + number, 2 + number if outcome == "ok" else None)])
    story.wait(10)
    story.phase("drain")
    assert (
        "unavailable" in {one.name for one in judge(story.ops, CheckOptions(recovery_bound_s=BOUND_S)).anomalies}
    ) is (is_unavailable)
