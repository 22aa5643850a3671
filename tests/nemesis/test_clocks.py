"""Faults of clocks: how far, to and fro, and only what the node itself shows counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.actions import Unskew
from harness.cluster.clocks import beyond
from harness.scenario import CLOCK_FAULTS, CLOCK_JUMP_S, Scenario, clock_jump_s
from harness.store import JOURNAL
from nemesis import journal
from nemesis.clocks import AMOUNTS_MS, EVERY_MS, STROBES_MS
from nemesis.fault import Act, Aim
from nemesis.faults import FAULTS
from tests.contracts.test_fault import AIM, KEY, invoked, steps_of
from tests.nemesis.fake import FakeCluster, nemesis


def test_what_waits_for_a_date_is_told_of_the_longest_jump():
    assert {name for name, fault in FAULTS.items() if "clock" in fault.needs} == CLOCK_FAULTS
    assert max(AMOUNTS_MS[1], STROBES_MS[1]) == CLOCK_JUMP_S * 1000
    bounds = [clock_jump_s(Scenario(nemesis=asked)) for asked in ("none", "all", "kill-leader", "a, b+bump-clock")]
    assert bounds == [0, 0, 0, CLOCK_JUMP_S]


both = pytest.mark.parametrize("name", ["bump-clock", "strobe-clock"])


def skewed(name, draw):
    names = ("n1", "n2", "n3")
    steps, injection = steps_of(FAULTS[name], FakeCluster(), Aim(keys=(KEY,), draw=draw, nodes=names, every=names))
    (act,) = [step for step in steps if isinstance(step, Act)]
    (action,) = act.actions
    return action, injection


@given(draw=st.floats(0, 1, exclude_max=True))
def test_every_draw_is_a_jump_within_the_bounds_that_bites(draw):
    action, injection = skewed("bump-clock", draw)
    assert AMOUNTS_MS[0] <= abs(action.offset_ms) <= AMOUNTS_MS[1]
    assert action.every_ms == 0
    assert injection.bit
    assert injection.undo == (Unskew(action.node),)


@given(draw=st.floats(0, 1, exclude_max=True))
def test_every_draw_is_a_strobe_within_the_bounds(draw):
    action, _ = skewed("strobe-clock", draw)
    assert STROBES_MS[0] <= abs(action.offset_ms) <= STROBES_MS[1]
    assert EVERY_MS[0] <= action.every_ms <= EVERY_MS[1]


@pytest.mark.parametrize("draw", [0.0, 0.1, 0.3, 0.55, 0.8, 0.99])
def test_a_strobe_has_shown_both_wrong_and_right(draw, tmp_path):
    told = invoked(nemesis(FakeCluster(), tmp_path), "strobe-clock", {"keys": [KEY], "draw": draw}).value
    assert told["bit"] is True
    assert {"shown-after_ms", "back-after_ms", "every_ms"} <= told["evidence"].keys()


def test_draws_reach_both_ways_and_every_order_of_magnitude():
    jumps = [skewed("bump-clock", number / 200)[0].offset_ms for number in range(200)]
    assert {offset > 0 for offset in jumps} == {True, False}
    assert {len(str(abs(offset))) for offset in jumps} == {3, 4, 5, 6}


@both
def test_a_clock_that_was_off_before_is_held_against_what_it_showed(name, tmp_path):
    cluster = FakeCluster()
    cluster.drawn_ms = -7_000
    told = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert told["bit"] is True
    assert told["evidence"]["off-before_ms"] == -7_000


@both
def test_a_node_that_does_not_say_what_time_it_is_is_left_alone(name, tmp_path, monkeypatch):
    cluster = FakeCluster()
    monkeypatch.setattr(cluster, "clock_off_ms", lambda node: None)
    told = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert (told["bit"], told["nodes"], cluster.skews) == (False, [], {})
    assert "did not say" in told["evidence"]["reason"]


def test_a_strobe_that_sticks_is_no_strobe(tmp_path, monkeypatch):
    cluster = FakeCluster()
    skew = cluster.skew
    monkeypatch.setattr(cluster, "skew", lambda node, offset_ms, every_ms=0: skew(node, offset_ms))
    told = invoked(nemesis(cluster, tmp_path), "strobe-clock", AIM).value
    assert told["bit"] is False
    assert "did not go back" in told["evidence"]["reason"]
    assert invoked(nemesis(cluster, tmp_path), "heal").error is None


def test_a_jump_that_the_node_hardly_shows_is_none(tmp_path, monkeypatch):
    cluster = FakeCluster()
    skew = cluster.skew
    monkeypatch.setattr(cluster, "skew", lambda node, offset_ms, every_ms=0: skew(node, offset_ms // 3, every_ms))
    assert invoked(nemesis(cluster, tmp_path), "bump-clock", AIM).value["bit"] is False


@both
def test_the_node_with_the_wrong_clock_may_be_killed_and_is_not_waited_for(name, tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    first = invoked(client, name, AIM).value
    second = invoked(client, "kill-leader", {**AIM, "during": first["fault-id"]}).value
    assert second["nodes"] == first["nodes"]
    before_s = cluster.time_s
    healed = invoked(client, "heal", {"fault-id": first["fault-id"]}).value
    assert healed["evidence"] == {"down": first["nodes"][0]}
    assert cluster.time_s == before_s
    invoked(client, "heal")
    assert cluster.whole()


@both
def test_what_was_skewed_is_in_the_journal_as_it_was_asked_for(name, tmp_path):
    cluster = FakeCluster()
    invoked(nemesis(cluster, tmp_path), name, AIM)
    ((_, undo),) = journal.outstanding(tmp_path / JOURNAL)
    ((node, _),) = cluster.skews.items()
    assert undo == (Unskew(node),)
    assert journal.heal(tmp_path, cluster) == [f"{name} (fault 1): unskew {node}"]
    assert cluster.whole()


@given(
    offset_ms=st.integers(-100_000, 100_000),
    asked_ms=st.integers(0, 1 << 40),
    took_ms=st.integers(0, 5000),
    when=st.floats(0, 1),
)
def test_what_a_node_says_bounds_how_far_its_clock_is_off_from_below(offset_ms, asked_ms, took_ms, when):
    said_ms = asked_ms + int(when * took_ms) + offset_ms
    off_ms = beyond(said_ms, asked_ms, asked_ms + took_ms)
    assert abs(off_ms) <= abs(offset_ms)
    assert off_ms == 0 or (off_ms > 0) == (offset_ms > 0)
    assert abs(offset_ms - off_ms) <= took_ms
