"""Measure the simulator: simulated seconds a second, short runs a minute, and where the time goes.

    python -m bench.sim [--seconds 60] [--runs 10]

CPU seconds of this process, set-up, drain and judgement included: on a shared machine the wall clock measures the
neighbours. `minute`: 3 nodes, 5 clients, 20 send-poll operations a second in all, no faults, the middle of five runs.
`idle`: 3 nodes that nobody asks. `short`: runs of about 100 operations from different seeds, each with its own
configuration and a kill. Shares are of another, profiled run.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from broker.sim.world import World
from harness import launch, swarm
from harness.cluster.processes import LEVEL
from harness.cluster.properties import cluster_properties
from harness.cluster.simulated import TIMINGS
from harness.history import Op
from harness.options import BY_CLUSTER
from harness.scenario import Scenario

PARTS = {
    "broker core and wire": ("/broker/core/", "/broker/wire/"),
    "simulator": (
        "/broker/sim/loop",
        "/broker/sim/network",
        "/broker/sim/node",
        "/broker/sim/peers",
        "/broker/sim/disk",
    ),
    "invariants and trace": ("/broker/sim/invariants", "/broker/sim/ghost", "/broker/sim/world"),
    "clients": ("/broker/sim/client/", "/harness/clients/"),
    "generators, driver, history": ("/harness/", "/workloads/", "/nemesis/"),
    "checkers": ("/checkers/",),
}
MINUTES = 5
"""So many runs of the first row; the middle one counts."""
SHORT_S = 5.0
"""At 20 operations a second: a hundred."""


class Quiet:
    """A view that shows nothing."""

    def phase(self, name: str) -> None:
        """Ignore it."""
        del name

    def event(self, op: Op) -> None:
        """Ignore it."""
        del op


def minute(seconds: float) -> Scenario:
    base = Scenario(cluster="simulated", time_limit_s=seconds, seed=1, **BY_CLUSTER["simulated"])
    return msgspec.structs.replace(base, workload="send-poll", concurrency=5, rate=20.0)


def short(seed: int) -> Scenario:
    base = Scenario(cluster="simulated", time_limit_s=SHORT_S, seed=seed, **BY_CLUSTER["simulated"])
    base = msgspec.structs.replace(base, workload="send-poll", nemesis="kill-leader", fault_length_s=2.0, rate=20.0)
    return msgspec.structs.replace(base, **swarm.applied(base, frozenset({"rate"})))


def run(scenario: Scenario, folder: Path) -> dict[str, Any]:
    began = time.process_time()
    done = launch.perform(scenario, folder, name=None, view=Quiet(), report=False)
    cpu_s = time.process_time() - began
    ops = done.judgement.ops
    last = json.loads((done.folder / "history.jsonl").read_text().splitlines()[-1])["time"] / 1e9
    return {
        "cpu_s": round(cpu_s, 3),
        "simulated_s": round(last, 1),
        "ops": ops,
        "verdict": done.judgement.validity.name,
    }


def idle(seconds: float) -> dict[str, float]:
    """Run a cluster of three that has nothing to do but to stay one."""
    world = World(1, 3, {**cluster_properties(3, LEVEL), **TIMINGS})
    world.cluster.start()
    assert world.cluster.until(world.cluster.is_ready)
    began, steps = time.process_time(), world.steps
    world.loop.run_until(world.loop.now_ns + int(seconds * 1e9))
    cpu_s = time.process_time() - began
    return {"steps_a_second": round((world.steps - steps) / seconds, 1), "rate": round(seconds / cpu_s)}


def shares(scenario: Scenario, folder: Path) -> dict[str, float]:
    profile = cProfile.Profile()
    profile.runcall(run, scenario, folder)
    own = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    found = dict.fromkeys([*PARTS, "rest"], 0.0)
    for (file, _, _), (_, _, seconds, _, _) in own.items():
        part = next((name for name, paths in PARTS.items() if any(path in file for path in paths)), "rest")
        found[part] += seconds
    total = sum(found.values())
    return {name: round(seconds / total, 3) for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-sim-") as name:
        folder = Path(name)
        run(short(0), folder)  # imports
        runs = sorted((run(minute(arguments.seconds), folder) for _ in range(MINUTES)), key=lambda row: row["cpu_s"])
        one, all_s = runs[MINUTES // 2], [row["cpu_s"] for row in runs]
        rate = round(one["simulated_s"] / one["cpu_s"], 1)
        print(json.dumps({"work": "minute", **one, "all_cpu_s": all_s, "rate": rate}))
        print(json.dumps({"work": "idle", **idle(arguments.seconds)}))
        many = [run(short(seed), folder) for seed in range(1, arguments.runs + 1)]
        cpu_s = sum(row["cpu_s"] for row in many) / len(many)
        worst = sorted({row["verdict"] for row in many})
        per_minute = round(2 * 60 / cpu_s)
        print(
            json.dumps({"work": "short", "cpu_s": round(cpu_s, 3), "two_cores_a_minute": per_minute, "verdicts": worst})
        )
        print(json.dumps({"work": "shares", **shares(minute(arguments.seconds), folder)}))


if __name__ == "__main__":
    main()
