"""A run from scenario to verdict, on a cluster that is a dictionary: what is written, and that all is taken down."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import nullcontext

import pytest

from checkers.options import CheckOptions
from checkers.verdict import Validity
from harness import run as runs
from harness import store
from harness.cluster.api import ClusterError, Node
from harness.generator import Once
from harness.history import INVOKE, OK, read_lines
from harness.interpreter import Interpreter
from harness.scenario import Scenario
from tests.workloads.fake_log import FakeLog
from workloads.queue import TXN

KEYS = ("t0/0", "t0/1")


class FakeCluster:
    name = "fake"

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.calls: list[str] = []

    def up(self) -> None:
        self.calls.append("up")
        if self.broken:
            raise ClusterError("n2 never answered")

    def down(self) -> None:
        self.calls.append("down")

    def nodes(self):
        return (Node("n1", 1, "127.0.0.1:1"),)

    def bootstrap(self) -> str:
        return "127.0.0.1:1"

    def describe(self):
        return {"provider": "fake"}

    def collect(self, folder) -> None:
        self.calls.append("collect")
        folder.mkdir()


class FakeEquipment:
    """Clients over one log behind a lock."""

    repeats = False

    def __init__(self) -> None:
        self.log = FakeLog(KEYS)
        self.lock = threading.Lock()

    def open(self, process, now):
        return self

    def invoke(self, op):
        with self.lock:
            return self.log.perform(op, 0)[0]

    def close(self) -> None:
        pass

    def stop(self) -> None:
        self.stopped = True

    def prepare(self, scenario, cluster):
        return KEYS

    def clients(self, scenario, cluster, post):
        return self

    def observer(self, cluster, keys):
        return None

    def nemesis(self, scenario, cluster, observer, keys, folder):
        return Once("kill-leader"), self

    def beside(self, post):
        return nullcontext()

    def probes(self, cluster, nodes):
        return {f"probe/{node.name}": self for node in nodes}

    def driver(self, generator, concurrency, clients, others, record):
        return Interpreter(generator, concurrency, clients, others, record)


class Watch:
    def __init__(self, on_phase=lambda _: None) -> None:
        self.phases: list[str] = []
        self.ops = 0
        self.on_phase = on_phase

    def phase(self, name) -> None:
        self.phases.append(name)
        self.on_phase(name)

    def event(self, op) -> None:
        self.ops += 1


def execute(folder, cluster, watch, **fields):
    scenario = Scenario(seed=1, time_limit_s=1, concurrency=4, rate=300, recovery_bound_s=5, **fields)
    return runs.execute(scenario, TXN, cluster, FakeEquipment(), folder=folder, view=watch, options=CheckOptions())


def test_a_run_leaves_its_plan_history_and_verdict_and_takes_its_cluster_down(tmp_path):
    cluster, watch = FakeCluster(), Watch()
    run = execute(tmp_path, cluster, watch)
    assert run.judgement.validity is Validity.VALID, run.judgement
    assert watch.phases == ["setup", "main", "heal", "drain", "teardown", "check"]
    assert cluster.calls == ["up", "collect", "down"]
    assert store.read_scenario(tmp_path) == run.scenario
    assert store.read_json(tmp_path / store.VERDICT)["valid"] is True
    with (tmp_path / store.HISTORY).open("rb") as lines:
        ops = list(read_lines(lines, name="h"))
    assert len(ops) == watch.ops
    assert sum(op.type == OK and op.f == "txn" for op in ops) > 50
    assert not store.is_abandoned(tmp_path)


def test_a_cluster_that_never_comes_up_is_taken_down_and_told(tmp_path):
    cluster = FakeCluster(broken=True)
    with pytest.raises(ClusterError, match="n2 never answered"):
        execute(tmp_path, cluster, Watch())
    assert cluster.calls[-1] == "down"
    assert not (tmp_path / store.VERDICT).exists()


class Uncarried(FakeCluster):
    def check_carried(self) -> None:
        raise ClusterError("the links are gone")


def test_a_run_whose_cluster_lost_what_carries_it_is_told_and_not_judged(tmp_path):
    cluster = Uncarried()
    with pytest.raises(ClusterError, match="the links are gone"):
        execute(tmp_path, cluster, Watch())
    assert cluster.calls[-1] == "down"
    assert (tmp_path / store.HISTORY).stat().st_size
    assert not (tmp_path / store.VERDICT).exists()


def test_ctrl_c_once_ends_the_main_phase_and_still_judges(tmp_path):
    watch = Watch(lambda name: os.kill(os.getpid(), signal.SIGINT) if name == "main" else None)
    run = execute(tmp_path, FakeCluster(), watch)
    assert watch.phases == ["setup", "main", "heal", "drain", "teardown", "check"]
    assert run.judgement.validity is not Validity.INVALID
    with (tmp_path / store.HISTORY).open("rb") as lines:
        ops = list(read_lines(lines, name="h"))
    heal = next(op.time for op in ops if op.value == "heal")
    assert heal < 500_000_000
    assert any(op.f == "interrupt" for op in ops)
    assert any(op.f == "drain" and op.type != INVOKE for op in ops)


def test_ctrl_c_twice_stops_after_taking_the_cluster_down(tmp_path):
    def twice(name):
        if name in {"main", "heal"}:
            os.kill(os.getpid(), signal.SIGINT)

    cluster = FakeCluster()
    with pytest.raises(runs.Interrupted):
        execute(tmp_path, cluster, Watch(twice))
    assert cluster.calls[-1] == "down"
    assert (tmp_path / store.HISTORY).stat().st_size > 0


def test_one_ctrl_c_in_the_teardown_leaves_nothing_behind_and_still_judges(tmp_path):
    class Slow(FakeCluster):
        def collect(self, folder) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            super().collect(folder)

    cluster = Slow()
    watch = Watch(lambda name: os.kill(os.getpid(), signal.SIGINT) if name == "check" else None)
    run = execute(tmp_path, cluster, watch)
    assert cluster.calls[-2:] == ["collect", "down"]
    assert run.judgement.validity is not Validity.INVALID
    assert (tmp_path / store.VERDICT).exists()
    assert not store.is_abandoned(tmp_path)


def test_a_second_ctrl_c_in_the_teardown_stops_it(tmp_path):
    class Stuck(FakeCluster):
        def collect(self, folder) -> None:
            super().collect(folder)
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        execute(tmp_path, Stuck(), Watch())
    assert not (tmp_path / store.VERDICT).exists()
