"""Swarm: the seed draws what the caller has not fixed, always something that can run and permits no anomaly."""

from __future__ import annotations

import msgspec

from harness import options, swarm
from harness.report.command import repeat_command
from harness.scenario import Scenario
from tests.harness.test_options import GIVEN


def made(seed, *, fixed=(), **given):
    return options.scenario(fixed=frozenset(fixed), **GIVEN | {"cluster": "simulated", "seed": seed} | given)


def test_seeds_draw_different_configurations_and_each_its_own_again():
    scenarios = [made(seed) for seed in range(200)]
    assert [made(seed) for seed in range(200)] == scenarios
    fields = ("nodes", "topics", "partitions", "concurrency", "rate", "sub_via", "transaction_timeout_s")
    for name in (*fields, "compression", "value_size"):
        assert len({getattr(one, name) for one in scenarios}) > 1
    drawn = {name for one in scenarios for name in (*one.broker_config, *one.topic_config)}
    assert {
        "segment.bytes",
        "flush.messages",
        "compression.type",
        "message.timestamp.type",
        "harness.sim.latency.ms",
        "broker.session.timeout.ms",
    } <= drawn


def test_what_is_packed_is_drawn_beside_all_else():
    """By a stream of its own: what a seed drew before clients packed anything, it draws still."""
    one = swarm.draw(7, "kill-leader")
    assert (one["nodes"], one["topics"], one["partitions"], one["concurrency"], one["rate"]) == (3, 2, 2, 8, 40.0)
    assert one["broker_config"]["broker.session.timeout.ms"] == "600"


def test_what_is_drawn_can_run_and_makes_no_anomaly_legal():
    for seed in range(200):
        one = made(seed, nemesis="kill-leader")
        assert one.min_isr <= one.replication <= one.nodes
        assert one.nodes >= 3
        assert (one.acks, one.idempotence) == ("all", True)
        assert "unclean.leader.election.enable" not in {**one.topic_config, **one.broker_config}


def test_what_the_caller_gives_stays():
    for seed in range(50):
        one = made(seed, fixed={"nodes", "partitions"}, nodes=3, partitions=7, topic_config=["segment.bytes=5000"])
        assert (one.nodes, one.partitions) == (3, 7)
        assert one.topic_config["segment.bytes"] == "5000"
        assert made(seed, fixed={"replication"}, replication=3).nodes >= 3
        assert made(seed, fixed={"min_isr"}, min_isr=3).replication == 3


def test_a_fault_that_takes_what_is_not_synced_is_drawn_no_topics_that_sync_everything():
    plain = [swarm.draw(seed, "lose-power-all")["topic_config"] for seed in range(50)]
    last = [swarm.draw(seed, "last-replica-unclean")["topic_config"] for seed in range(50)]
    assert any("flush.messages" in topic for topic in plain)
    without = [{name: value for name, value in topic.items() if name != "flush.messages"} for topic in plain]
    assert last == without, "nothing else changes"


def test_other_clusters_and_no_swarm_draw_nothing():
    plain = options.scenario(**GIVEN | {"cluster": "simulated", "seed": 1})
    assert plain.broker_config == {}
    assert options.scenario(fixed=frozenset(), **GIVEN | {"seed": 1}).broker_config == {}


def test_the_repeating_command_is_short_for_what_is_drawn_and_whole_for_what_is_not():
    drawn = made(5, nemesis="kill-leader")
    assert "--no-swarm" not in repeat_command(drawn)
    assert "broker-config" not in repeat_command(drawn)
    changed = msgspec.structs.replace(drawn, partitions=9)
    assert "--no-swarm" in repeat_command(changed)
    assert "--partitions 9" in repeat_command(changed)
    assert swarm.is_drawn(drawn)
    assert not swarm.is_drawn(Scenario(cluster="simulated", seed=5))
