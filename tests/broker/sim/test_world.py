"""The world: knobs from properties, a trace that repeats, cores that fail are told and do not end the run."""

from __future__ import annotations

import pytest

from broker.core.ready import Tick
from broker.sim.world import World

FAST = {
    "controller.quorum.election.timeout.ms": "200",
    "controller.quorum.fetch.timeout.ms": "400",
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "200",
}
ROUGH = {
    "harness.sim.latency.ms": "0-30",
    "harness.sim.stall.chance": "0.05",
    "harness.sim.loss.chance": "0.005",
    "harness.sim.clock.drift": "0.01",
    "harness.sim.clock.offset.ms": "500",
    "harness.sim.sync.ms": "1-40",
}


def started(seed, **properties):
    world = World(seed, 3, {**FAST, **properties})
    world.cluster.start()
    assert world.cluster.until(world.cluster.is_ready, 60_000)
    return world


def test_the_trace_of_a_seed_repeats_and_that_of_another_differs():
    def trace(seed):
        world = started(seed, **ROUGH)
        world.nodes["n2"].kill(power=True)
        world.loop.run_until(world.loop.now_ns + 3_000_000_000)
        world.nodes["n2"].start()
        world.loop.run_until(world.loop.now_ns + 3_000_000_000)
        assert not world.violations
        return world.trace.digest()

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


def test_clocks_drift_apart_by_the_knob():
    world = World(1, 3, {"harness.sim.clock.drift": "0.1", "harness.sim.clock.offset.ms": "1000"})
    world.loop.run_until(100_000_000_000)
    clocks = [node.now_ms() for node in world.nodes.values()]
    assert len(set(clocks)) == 3
    assert max(clocks) - min(clocks) < 22_000


@pytest.mark.parametrize(
    "knob",
    [
        {"harness.sim.latenzy.ms": "1"},
        {"harness.sim.latency.ms": "2-1"},
        {"harness.sim.stall.chance": "often"},
        {"harness.sim.sync.ms": "-1"},
        {"broker.session.timeout.ms": "soon"},
    ],
)
def test_a_wrong_property_is_refused_by_its_name(knob):
    with pytest.raises(ValueError, match=next(iter(knob)).replace(".", r"\.")):
        World(1, 3, knob)


def test_a_core_that_fails_ends_its_node_and_is_a_violation():
    world = started(1)
    seen = []
    world.on_violation = seen.append
    broker = world.nodes["n1"].broker

    def broken(event, now_ms):
        raise AssertionError("planted")

    broker.step = broken
    world.nodes["n1"].process._step(Tick())
    world.loop.run_until(world.loop.now_ns + 1_000_000_000)
    assert world.nodes["n1"].process is None
    assert [(one.name, one.node) for one in seen] == [("CoreCrash", "n1")]
    assert "planted" in "".join(world.logs["n1"])
