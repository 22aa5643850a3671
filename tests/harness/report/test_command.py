"""The printed command really repeats the run: the command line reads it back as the same scenario."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import cli, launch
from harness.clients.packing import BY_DEFAULT
from harness.options import ONLY_ON
from harness.report.command import repeat_command, settings
from harness.scenario import Scenario
from workloads.groups import QUICK_MEMBERS


def read_back(command: str) -> Scenario:
    """The scenario that the command line makes of a command."""
    seen: list[Scenario] = []

    def take(scenario: Scenario, *_: Any, **__: Any) -> int:
        seen.append(scenario)
        return 0

    program, *arguments = shlex.split(command)
    assert program == "harness"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "run", take)
        assert cli.guarded(arguments) == 0
    (scenario,) = seen
    return scenario


names = st.text("abcdefgh.-", min_size=1, max_size=12)
config = st.dictionaries(names, st.text("abc 0123'\"$;", max_size=8).map(str.strip), max_size=3)


def effective(scenario: Scenario) -> Scenario:
    """Leave out what the scenario's cluster refuses, since it would have no effect there."""
    defaults = Scenario()
    idle = {name: getattr(defaults, name) for name, _, clusters in ONLY_ON if scenario.cluster not in clusters}
    return msgspec.structs.replace(scenario, **idle)


scenarios = st.builds(
    Scenario,
    cluster=st.sampled_from(["embedded", "jvm", "compose"]),
    workload=st.just("send-poll"),
    nemesis=st.sampled_from(["none", "kill-leader", "a,b", "pause-followers+kill-leader", "all"]),
    seed=st.integers(0, 2**31),
    time_limit_s=st.sampled_from([1.0, 60.0, 180.5]),
    concurrency=st.integers(1, 1000),
    rate=st.sampled_from([0.0, 100.0, 12.25]),
    isolation=st.sampled_from(["read_committed", "read_uncommitted"]),
    acks=st.just("all"),
    idempotence=st.booleans(),
    compression=st.sampled_from(["none", "gzip", "snappy", "lz4", "zstd", "mixed"]),
    value_size=st.sampled_from(["0", "500", "0-100", BY_DEFAULT["value_size"]]),
    sub_via=st.sampled_from([("assign",), ("subscribe",), ("assign", "subscribe")]),
    topics=st.integers(1, 100),
    partitions=st.integers(1, 1000),
    replication=st.integers(2, 3),
    min_isr=st.integers(1, 2),
    topic_config=config,
    broker_config=config,
    abort_rate=st.sampled_from([0.0, 0.05, 1.0]),
    crash_interval_s=st.sampled_from([0.0, 30.0, 7.5]),
    transaction_timeout_s=st.sampled_from([10.0, 25.0]),
    transaction_protocol=st.sampled_from([1, 2]),
    client=st.sampled_from(["librdkafka", "native"]),
    fault_length_s=st.sampled_from([10.0, 2.5]),
    fault_interval_s=st.sampled_from([30.0, 1.0]),
    recovery_bound_s=st.sampled_from([60.0, 15.0]),
    nodes=st.integers(3, 20),
    controllers=st.integers(0, 3),
    kafka_version=st.sampled_from(["4.1.1", "3.7.1"]),
    image=st.sampled_from([None, "apache/kafka:4.1.1"]),
    links=st.booleans(),
).map(effective)


@given(scenarios)
def test_the_command_line_reads_the_command_back(scenario: Scenario) -> None:
    assert read_back(repeat_command(scenario)) == scenario


def test_weak_acks_are_repeated() -> None:
    scenario = Scenario(workload="send-poll", acks="1", idempotence=False, seed=7)
    assert read_back(repeat_command(scenario)) == scenario


def test_the_protocol_of_groups_is_repeated_with_what_it_asks_of_the_brokers() -> None:
    scenario = Scenario(workload="send-poll", group_protocol="consumer", broker_config=dict(QUICK_MEMBERS))
    assert read_back(repeat_command(scenario)) == scenario


def test_an_existing_cluster_is_repeated_by_its_address() -> None:
    scenario = Scenario(cluster="existing", bootstrap="127.0.0.1:9092", seed=3)
    assert read_back(repeat_command(scenario)) == scenario


def test_a_programs_topics_are_repeated_by_their_names() -> None:
    named = {"app_input": ("a", "b"), "app_output": ("c.a",), "topics": 3}
    scenario = Scenario(workload="app", app="copy {input}", seed=3, abort_rate=0.1, rate=300.0, **named)
    said = repeat_command(scenario)
    assert "--app-input a,b --app-output c.a" in said
    assert msgspec.structs.replace(read_back(said), compression="none") == scenario


def test_defaults_are_left_out() -> None:
    assert repeat_command(Scenario(seed=5, **BY_DEFAULT)) == "harness run --cluster embedded --nemesis none --seed 5"


def test_a_run_that_packed_nothing_is_repeated_as_that() -> None:
    said = repeat_command(Scenario(seed=5))
    assert said == "harness run --cluster embedded --nemesis none --compression none --value-size 0 --seed 5"
    assert read_back(said) == Scenario(seed=5)


def test_every_field_of_the_scenario_is_among_the_settings() -> None:
    assert [name for name, _ in settings(Scenario())] == [field.name for field in msgspec.structs.fields(Scenario)]


def test_a_scripted_run_is_repeated_from_its_folder() -> None:
    scripted = Scenario(cluster="simulated", scripted=True)
    assert repeat_command(scripted, Path("results/a run/1")) == "harness replay 'results/a run/1'"
