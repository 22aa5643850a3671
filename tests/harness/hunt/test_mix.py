"""The default mix: lawful scenarios, the same for the same seed, whatever is hunted with them."""

from __future__ import annotations

import re

import msgspec
import pytest

from checkers.catalog import permitted as allowing
from checkers.options import options_of_scenario
from harness import launch
from harness.catalog import BUGS
from harness.clients.settings import refuse_impossible
from harness.hunt import hunting, mix, permitted
from harness.hunt.permitted import PERMITS
from harness.scenario import TRANSACTIONAL, is_coordinated
from harness.swarm import NO_FAULTS

SEEDS = range(150)
SEED_OF_A_LOG_START = 247


def test_every_seed_gives_a_scenario_that_can_run():
    for seed in SEEDS:
        made = mix.scenario(seed)
        refuse_impossible(made)
        assert launch.refuse_unknown(made) or made.nemesis == NO_FAULTS, made.nemesis


def test_a_seed_gives_one_scenario_and_the_bug_has_no_say_in_it():
    for seed in (1, 2, 3):
        assert mix.scenario(seed) == mix.scenario(seed)
        for bug in BUGS:
            assert msgspec.structs.replace(mix.scenario(seed, bug), bug="") == mix.scenario(seed)


def test_a_workload_that_is_not_in_the_mix_is_had_by_its_name():
    for seed in range(30):
        made = mix.scenario(seed, workload="share")
        refuse_impossible(made)
        assert made.workload == "share"
        assert made.isolation == "read_committed"
    assert "share" not in mix.WORKLOADS


def test_nothing_in_the_mix_permits_an_anomaly():
    for made in map(mix.scenario, SEEDS):
        assert (made.acks, made.idempotence) == ("all", True)
        assert 1 <= made.min_isr <= made.replication <= made.nodes
        assert made.workload not in TRANSACTIONAL or made.isolation == "read_committed"
        assert "lose-power" not in made.nemesis or made.broker_config["log.flush.interval.messages"] == "1"
        settings = {**made.topic_config, **made.broker_config}
        assert "unclean.leader.election.enable" not in settings
        lawful = allowing(options_of_scenario(msgspec.to_builtins(made)), reads_disagree=False)
        assert set(lawful.values()) <= {made.isolation, "clocks that differ"}, (
            "both of workloads where that shows nothing"
        )


def test_requests_between_nodes_come_late_only_with_protocol_v2():
    late = [made for made in map(mix.scenario, SEEDS) if "request.timeout.ms" in made.broker_config]
    assert late
    assert {made.transaction_protocol for made in late} == {2}


def test_what_a_cut_holds_ends_no_other_transaction():
    cut = [made for made in map(mix.scenario, [*SEEDS, 30417]) if "cut-clients" in made.nemesis]
    assert len(cut) > 1
    assert {made.transaction_protocol for made in cut} == {2}


def test_no_append_waits_for_a_slow_disk():
    slow = [
        made for made in map(mix.scenario, range(794, 1200)) if made.broker_config.get(mix.SYNC) == mix.SLOW_DISKS[1]
    ]
    assert slow
    for made in slow:
        assert "flush.messages" not in made.topic_config
        assert "change-config" not in made.nemesis
        assert "log.flush.interval.messages" not in made.broker_config
    assert all(made.topic_config.get("segment.bytes") != mix.TIGHT for made in slow)
    for seed in (794, 883):
        assert mix.scenario(seed).broker_config[mix.SYNC] == mix.SLOW_DISKS[0]


def test_the_mix_covers_what_there_is():
    made = [mix.scenario(seed) for seed in range(400)]
    for field in (
        "workload",
        "isolation",
        "sub_via",
        "nodes",
        "concurrency",
        "abort_rate",
        "transaction_protocol",
        "group_protocol",
    ):
        assert len({getattr(one, field) for one in made}) > 1, field
    faults = {fault for one in made for choice in one.nemesis.split(",") for fault in choice.split("+")}
    drawn = {
        name
        for every in (mix.FAULTS, mix.DISKS, mix.MOVES, mix.PARTED, mix.CONFIGURED, mix.LONG)
        for one in every
        for name in re.split("[+,]", one)
    }
    assert {name for name in faults if not name.endswith("-coordinator")} == drawn | {mix.AWAY, NO_FAULTS}
    assert {(one.replication, one.min_isr) for one in made} == set(mix.REPLICATION)


def test_moves_are_of_what_keeps_groups_and_transactional_ids_too_where_a_run_has_them():
    aimed = [made for made in map(mix.scenario, range(600)) if "-coordinator" in made.nemesis]
    assert all(is_coordinated(made) for made in aimed)
    assert {made.nemesis for made in aimed} <= set(mix.COORDINATED)
    assert len({made.nemesis for made in aimed}) > len(mix.COORDINATED) / 2


def test_a_log_start_that_goes_back_is_found(tmp_path):
    """A seed of the mix in which the retention of a leader moves the start."""
    assert (
        "log-start-regression"
        in hunting.attempt(mix.scenario(SEED_OF_A_LOG_START, "log-start-goes-back"), tmp_path).anomalies
    )


@pytest.mark.parametrize("seed", [22, 59, 690, 728, 864, 527, 614, 631, 8054, 10308])
def test_clean_seeds_that_raised_an_anomaly_or_an_invariant_are_silent(seed, tmp_path, monkeypatch):
    for share in ("MOVES_SHARE", "LONG_SHARE"):  # as the seeds were then
        monkeypatch.setattr(mix, share, 0.0)
    done = hunting.attempt(mix.scenario(seed), tmp_path)
    assert (done.valid, done.anomalies, done.invariants) == (True, (), ())


@pytest.mark.parametrize("name", PERMITS)
def test_a_permitting_setting_is_the_mix_with_one_change(name):
    for seed in (1, 2, 3):
        made = permitted.scenario(seed, name)
        refuse_impossible(made)
        assert launch.refuse_unknown(made) is not None
        assert made != mix.scenario(seed)
        lawful = options_of_scenario(msgspec.to_builtins(made))
        assert name in allowing(lawful, reads_disagree=False).values()


def test_what_a_second_copy_does_to_the_order_is_permitted_with_it():
    lawful = allowing(
        options_of_scenario(msgspec.to_builtins(permitted.scenario(2, "idempotence=false"))), reads_disagree=False
    )
    assert {"duplicate", "int-poll-skip", "int-nonmonotonic-poll"} <= set(lawful)
    assert "lost-write" not in lawful
