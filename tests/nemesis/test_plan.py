"""What `--nemesis` may say, and the plan that a seed draws from it."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.catalog import WORKLOADS
from harness.cluster.api import UsageError
from harness.lifetime import spec_of
from harness.options import BY_CLUSTER
from harness.scenario import CLOCK_FAULTS, Scenario
from nemesis.fault import Power
from nemesis.faults import APART, COORDINATORS, FAULTS, summaries
from nemesis.plan import (
    AT_ONCE_S,
    GAP_S,
    JITTER,
    LEAST_S,
    MAX_ENTRIES,
    PAUSED_GAP_S,
    FaultPlan,
    asked_for,
    draw,
    parse,
    supported,
)
from nemesis.power import WRITTEN_S

EVERY = frozenset(get_args(Power))
KEYS = ("t0/0", "t0/1", "t1/0")


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("none", ()),
        ("kill-leader", (("kill-leader",),)),
        ("kill-leader, pause-leader", (("kill-leader",), ("pause-leader",))),
        ("pause-followers+kill-leader", (("pause-followers", "kill-leader"),)),
        ("kill-all,kill-follower + kill-leader", (("kill-all",), ("kill-follower", "kill-leader"))),
    ],
)
def test_commas_choose_and_plus_overlaps(text, choices):
    assert parse(text, EVERY, "compose") == choices


def test_all_takes_every_single_fault_that_the_cluster_supports():
    assert parse("all", EVERY, "compose") == tuple((name,) for name in FAULTS if name not in APART)
    assert parse("late-requests", EVERY, "embedded") == (("late-requests",),), "it has to be asked for"
    without = parse("all", frozenset({"kill", "pause"}), "jvm")
    assert ("partition-leader",) not in without
    assert not {"slow-links", "cut-clients"} & {name for (name,) in without}
    assert len(without) == sum(fault.needs <= {"kill", "pause"} for fault in FAULTS.values())


@pytest.mark.parametrize(
    ("text", "powers", "message"),
    [
        (
            "kill-leadr",
            EVERY,
            r"no fault is named 'kill-leadr' \(did you mean kill-leader\?\).*supports: kill-leader, ",
        ),
        ("", EVERY, "no fault is named ''"),
        ("kill-leader,", EVERY, "no fault is named ''"),
        ("none,kill-leader", EVERY, "--nemesis none stands alone"),
        ("kill-leader+all", EVERY, "--nemesis all stands alone"),
        (
            "partition-leader",
            {"kill"},
            "needs the power to partition, not on cluster compose; it supports: kill-leader",
        ),
        ("kill-leader", set(), "needs the power to kill, not on cluster compose; it supports: none"),
        ("all", set(), "supports no fault; use --nemesis none"),
        ("kill-leader+kill-follower+kill-all", EVERY, "at most two faults overlap"),
        ("kill-all+kill-leader", EVERY, "kill-all leaves no node for kill-leader to aim at"),
        ("pause-followers+kill-follower", EVERY, "pause-followers leaves no node for kill-follower"),
        ("last-replica+kill-leader", EVERY, "last-replica leaves no room for another fault"),
        ("kill-leader+last-replica", EVERY, "last-replica leaves no room for another fault"),
        ("bump-clock+strobe-clock", EVERY, "a clock is wrong in one way at a time"),
        ("bump-clock", {"kill"}, "needs the power to clock, not on cluster compose"),
    ],
)
def test_what_can_not_be_done_is_one_line_that_names_what_exists(text, powers, message):
    with pytest.raises(UsageError, match=message) as raised:
        parse(text, frozenset(powers), "compose")
    assert "\n" not in str(raised.value)


def test_every_name_has_a_line():
    assert list(summaries()) == [*FAULTS, "none", "all"]
    assert all(line and "\n" not in line for line in summaries().values())


COORDINATED = [
    Scenario(workload="txn"),
    Scenario(workload="compaction"),
    Scenario(workload="share"),
    Scenario(workload="send-poll", sub_via=("subscribe",)),
    Scenario(workload="groups", sub_via=("assign", "subscribe")),
]
UNCOORDINATED = [Scenario(workload="send-poll"), Scenario(workload="retention", sub_via=("subscribe",))]


def with_nemesis(scenario, nemesis):
    return msgspec.structs.replace(scenario, nemesis=nemesis)


@pytest.mark.parametrize("scenario", COORDINATED, ids=lambda s: s.workload)
def test_a_run_with_a_group_or_a_transactional_id_has_coordinators_to_aim_at(scenario):
    assert asked_for(with_nemesis(scenario, "kill-coordinator"), EVERY) == (("kill-coordinator",),)
    synced = {"log.flush.interval.messages": "1"}
    simulated = msgspec.structs.replace(scenario, cluster="simulated", nemesis="all", broker_config=synced)
    assert asked_for(simulated, EVERY) == parse("all", EVERY, "simulated")


@pytest.mark.parametrize("scenario", UNCOORDINATED, ids=lambda s: s.workload)
def test_a_run_without_is_refused_a_fault_that_would_aim_at_nobody_and_all_goes_without(scenario):
    for name in ("kill-coordinator", "kill-leader,move-coordinator", "kill-leader+pause-coordinator"):
        with pytest.raises(UsageError, match="-coordinator needs a group or a transactional id") as raised:
            asked_for(with_nemesis(scenario, name), EVERY)
        assert "\n" not in str(raised.value)
    left = asked_for(with_nemesis(scenario, "all"), EVERY)
    without = {*APART, "lose-power-all"}
    assert left == tuple((name,) for name in FAULTS if FAULTS[name] not in COORDINATORS and name not in without)
    assert asked_for(with_nemesis(scenario, "none"), EVERY) == ()


SYNCED = {"log.flush.interval.messages": "1"}


@pytest.mark.parametrize(
    ("settings", "without"),
    [
        ({"broker_config": SYNCED}, set()),
        ({"broker_config": SYNCED, "min_isr": 1}, set()),
        ({}, {"lose-power-all"}),
        ({"topic_config": {"flush.messages": "1"}}, {"lose-power-all"}),  # coordinators' state is not synced
        ({"min_isr": 1}, {"lose-power-all", "lose-power"}),
    ],
)
def test_all_takes_no_power_that_may_lawfully_take_what_was_acknowledged(settings, without):
    found = {name for (name,) in asked_for(Scenario(workload="txn", nemesis="all", **settings), EVERY)}
    assert {"lose-power", "lose-power-all"} - found == without
    named = asked_for(Scenario(workload="txn", nemesis="lose-power-all", **settings), EVERY)
    assert named == (("lose-power-all",),), "by its name it is there"


@pytest.mark.parametrize(
    ("nodes", "controllers", "replication", "outlives"),
    [(3, 0, 3, False), (4, 0, 3, False), (5, 0, 3, True), (3, 0, 2, True), (3, 1, 3, True), (3, 3, 3, True)],
)
def test_the_quorum_must_outlive_that_all_followers_stop(nodes, controllers, replication, outlives):
    scenario = Scenario(nemesis="last-replica", nodes=nodes, controllers=controllers, replication=replication)
    if outlives:
        assert asked_for(scenario, EVERY) == (("last-replica",),)
        return
    with pytest.raises(UsageError, match=f"ends {replication - 1} of {nodes} nodes.*--controllers 3"):
        asked_for(scenario, EVERY)


def test_something_is_written_before_the_last_replica_loses_power():
    plan = draw(Scenario(seed=5, nodes=5, fault_interval_s=3.0), parse("last-replica", EVERY, "c"), KEYS)
    assert plan.entries[0].at_s >= WRITTEN_S
    assert all(entry.length_s >= WRITTEN_S for entry in plan.entries)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_clocks_are_left_right_where_records_go_by_the_date(workload):
    for nemesis in ("bump-clock", "kill-leader,strobe-clock", "bump-clock+kill-leader"):
        scenario = Scenario(workload=workload, nemesis=nemesis)
        if workload not in {"compaction", "retention"}:
            assert asked_for(scenario, EVERY) == parse(nemesis, EVERY, "embedded")
            continue
        with pytest.raises(UsageError, match=f"-clock proves nothing with --workload {workload}") as raised:
            asked_for(scenario, EVERY)
        assert "\n" not in str(raised.value)
    assert not CLOCK_FAULTS & {name for choice in asked_for(Scenario(nemesis="all"), EVERY) for name in choice}


@pytest.mark.parametrize(
    ("nemesis", "wants"),
    [
        ("all", False),
        ("none", False),
        ("bump-clock", True),
        ("kill-leader, strobe-clock", True),
        ("a+bump-clock", True),
    ],
)
def test_nodes_are_started_for_wrong_clocks_only_where_they_are_asked_for(nemesis, wants, tmp_path):
    assert spec_of(Scenario(nemesis=nemesis), tmp_path / "run").clocks is wants


@pytest.mark.parametrize("name", ["kill-coordinator+kill-coordinator", "reassign-coordinator+kill-leader"])
def test_who_has_only_begun_is_hit_at_once(name):
    plan = draw(Scenario(seed=5), parse(name, EVERY, "c"), KEYS)
    assert plan.entries
    assert all(AT_ONCE_S[0] <= entry.gap_s <= AT_ONCE_S[1] for entry in plan.entries)


names = st.lists(
    st.sampled_from([*FAULTS, "pause-followers+kill-leader", "kill-follower+kill-leader", "pause-leader+kill-leader"]),
    min_size=1,
    max_size=4,
)
scenarios = st.builds(
    Scenario,
    seed=st.integers(0, 2**63 - 1),
    time_limit_s=st.floats(1.0, 300.0),
    fault_length_s=st.floats(0.0, 60.0),
    fault_interval_s=st.floats(0.0, 120.0),
)


@given(names, scenarios)
@example(["kill-leader"], Scenario(seed=0, time_limit_s=76.99999999999994, fault_length_s=0.0, fault_interval_s=0.0))
def test_plan_keeps_its_promises_for_every_seed(chosen, scenario):
    choices = parse(",".join(chosen), EVERY, "c")
    plan = draw(scenario, choices, KEYS)
    assert plan == draw(scenario, choices, KEYS)
    assert len(plan.entries) <= MAX_ENTRIES
    times = [entry.at_s for entry in plan.entries]
    assert times == sorted(times)
    assert all(0 <= at_s <= scenario.time_limit_s for at_s in times)
    for entry in plan.entries:
        assert entry.faults in choices
        assert entry.keys[0] in KEYS
        assert len(entry.draws) == len(entry.faults)
        assert all(0 <= number < 1 for number in entry.draws)
        low, high = (part * scenario.fault_length_s for part in JITTER)
        least = max(LEAST_S.get(name, 0.0) for name in entry.faults)
        assert max(low, least) - 0.001 <= entry.length_s <= max(high, least) + 0.001
        if len(entry.faults) == 1:
            assert entry.gap_s == entry.both_s == 0
        else:
            low, high = PAUSED_GAP_S if entry.faults[0] == "pause-followers" else GAP_S
            assert 1.0 <= low <= entry.gap_s <= high
            assert 0 <= entry.both_s <= entry.length_s / 2 + 0.001
            assert entry.both_s == 0 or entry.faults[0] == "pause-leader"


@pytest.mark.parametrize(
    ("fields", "has"),
    [
        ({"workload": "groups", "sub_via": ("subscribe",)}, False),
        ({"workload": "groups", "sub_via": ("subscribe",), "group_protocol": "consumer"}, True),
        ({"workload": "groups", "sub_via": ("subscribe",), "client": "native"}, True),
        ({"workload": "groups", "sub_via": ("subscribe",), "cluster": "simulated"}, True),
        ({"workload": "copy", "sub_via": ("subscribe",), "cluster": "jvm"}, False),
        ({"workload": "txn"}, True),
        ({"workload": "share"}, True),
    ],
)
def test_all_has_no_growth_where_members_of_librdkafka_do_not_stand_it(fields, has):
    scenario = Scenario(nemesis="all", **fields)
    assert (("add-partitions",) in asked_for(scenario, EVERY)) == has
    named = msgspec.structs.replace(scenario, nemesis="add-partitions")
    assert asked_for(named, EVERY) == (("add-partitions",),)


@given(names, st.integers(0, 2**63 - 1))
def test_every_choice_comes_once_before_any_comes_again(chosen, seed):
    choices = parse(",".join(chosen), EVERY, "c")
    entries = draw(Scenario(seed=seed, time_limit_s=3600.0), choices, KEYS).entries
    for begin in range(0, len(entries) - len(choices) + 1, len(choices)):
        hand = [entry.faults for entry in entries[begin : begin + len(choices)]]
        assert sorted(hand) == sorted(choices)


def test_another_seed_draws_another_plan():
    choices = parse("kill-leader,pause-leader", EVERY, "c")
    plans = [draw(Scenario(seed=seed, time_limit_s=600.0), choices, KEYS) for seed in range(20)]
    assert len({msgspec.json.encode(plan) for plan in plans}) == 20


def test_first_fault_comes_early_so_that_three_minutes_fit_five_kills():
    choices = parse("kill-leader", EVERY, "c")
    for seed in range(50):
        scenario = Scenario(cluster="jvm", time_limit_s=180.0, seed=seed, **BY_CLUSTER["kafka"])
        entries = draw(scenario, choices, KEYS).entries
        assert 3.0 <= entries[0].at_s <= 6.0
        assert len(entries) >= 5
        assert entries[4].at_s <= 160.0


def test_plan_is_bounded_whatever_is_asked_for():
    scenario = Scenario(time_limit_s=1e9, fault_length_s=0.0, fault_interval_s=0.0)
    assert len(draw(scenario, parse("kill-leader", EVERY, "c"), KEYS).entries) == MAX_ENTRIES


def test_plan_is_data_that_survives_json():
    plan = draw(Scenario(seed=7), parse("all", EVERY, "c"), KEYS)
    assert plan.entries
    assert msgspec.json.decode(msgspec.json.encode(plan), type=FaultPlan) == plan


def test_no_choice_is_no_plan():
    assert draw(Scenario(), (), KEYS) == FaultPlan()
    assert supported(frozenset()) == ()
