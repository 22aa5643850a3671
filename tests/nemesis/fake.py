"""A cluster in memory on a virtual clock, just Kafka enough for faults: sessions, leaders, ISRs, logs, packets.

Time moves in ticks of 0.1 s, only when somebody waits. Every node is broker and controller. A node is up if its process
runs, has booted and is not stopped; it is heard if it is up and linked both ways to enough up nodes to make a majority.
While some node is heard there is a quorum: nodes not heard for SESSION_S are fenced (they leave every ISR but keep
being the last member, and lose their leaderships to the first ISR member that is heard), and heard replicas come back
to the ISR after CATCH_UP_S. Without a quorum no metadata change. Each tick every leader that is up appends one record
to each partition that it leads and acknowledges it (`acks` 1: at once; all: if every ISR member took it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

from harness.cluster.api import CLIENTS, ClusterError, Interception, Key, Node, Observer, PartitionState, Setting
from harness.cluster.observer import answer, is_assigned, is_configured, setting_of
from harness.cluster.questions import (
    AssignedTo,
    ClockWithin,
    Condition,
    Configured,
    ControllerElected,
    Coordinated,
    Coordinator,
    FullIsr,
    IsrShrunk,
    LeaderElected,
    NodeAnswers,
    PacketsDropped,
    PiecesShaped,
    RequestsIntercepted,
    Stable,
)
from harness.store import JOURNAL
from nemesis.client import NemesisClient
from nemesis.journal import Journal
from tests.nemesis.fake_clocks import FakeClocks
from tests.nemesis.fake_disks import FakeDisks
from tests.nemesis.fake_program import Beside, FakeProgram

DEFAULTS = {"cleanup.policy": "delete", "flush.messages": "9223372036854775807", "min.insync.replicas": "1"}
DEFAULTS |= {"min.cleanable.dirty.ratio": "0.5", "segment.ms": "604800000"}
TICK_S = 0.1
SESSION_S = 3.0
BOOT_S = 8.0
CATCH_UP_S = 1.0
KEEPERS = {"group": "__consumer_offsets/0", "transaction": "__transaction_state/0", "share": "__share_group_state/0"}
COORDINATED = (Coordinator("group", "g"), Coordinator("transaction", "x"), Coordinator("transaction", "y"))


@dataclass
class _Machine:
    pid: int | None
    booted_at_s: float = 0.0
    stopped: bool = False
    heard_for_s: float = SESSION_S
    unheard_for_s: float = 0.0
    fenced: bool = False


@dataclass
class _Partition:
    replicas: tuple[str, ...]
    leader: str | None
    isr: list[str]
    logs: dict[str, list[int]]
    acked: list[int] = field(default_factory=list)
    target: tuple[str, ...] = ()
    """Where it is to lie when these are in sync, as long as it is moved."""
    placed: tuple[str, ...] = ()
    """Where it lay first."""

    def __post_init__(self) -> None:
        self.placed = self.replicas


class _FakeNodes(FakeClocks, FakeDisks):
    """Implements Cluster, its powers, Observer and Clock."""

    name = "fake"

    def __init__(
        self,
        *,
        nodes: int = 3,
        keys: Sequence[Key] = ("t0/0",),
        replication: int = 3,
        acks: str = "all",
        unclean: bool = False,
        min_isr: int = 1,
        settings: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        super().__init__()
        self.time_s = 0.0
        self.acks, self.unclean, self.min_isr = acks, unclean, min_isr
        names = [f"n{i + 1}" for i in range(nodes)]
        self._nodes = [Node(name, i + 1, f"127.0.0.1:{19092 + i}") for i, name in enumerate(names)]
        self.machines = {name: _Machine(pid=1000 + i) for i, name in enumerate(names)}
        self._next_pid = 5000
        self.cuts: dict[tuple[str, str], int] = {}
        self.shapes: dict[tuple[str, str], int] = {}
        self.interceptions: dict[str, int] = {}
        self.settings: dict[tuple[str, str], str] = dict(settings or {})
        self._settled = dict(self.settings)
        self._value = 0
        self.partitions_by_key: dict[Key, _Partition] = {}
        for i, key in enumerate((*keys, *KEEPERS.values())):
            replicas = tuple(names[(i + j) % nodes] for j in range(replication))
            self.partitions_by_key[key] = _Partition(
                replicas, replicas[0], sorted(replicas), {name: [] for name in replicas}
            )
        self.broken: set[str] = set()
        """Methods that raise ClusterError."""
        self.ignored: set[str] = set()
        """Methods that silently do nothing."""
        self.has_versions: tuple[str, ...] = ("3.7.1", "4.1.1")
        self.installed = dict.fromkeys(names, self.has_versions[0])
        self.said: dict[str, str | None] = dict(self.installed)
        """What each node says it runs, since its last start."""
        self._begin_disks()
        self.program = FakeProgram(self, "app-1", "app-2")
        self.uncoordinated = False
        """Nobody can say who coordinates."""
        self.calls: list[tuple[str, ...]] = []

    # Cluster

    def up(self) -> None:
        self.calls.append(("up",))

    def down(self) -> None:
        self.calls.append(("down",))

    def nodes(self) -> Sequence[Node]:
        return self._nodes

    def bootstrap(self) -> str:
        return ",".join(node.address for node in self._nodes)

    def describe(self) -> dict[str, Any]:
        return {"provider": "fake"}

    def collect(self, folder: Path) -> None:
        raise AssertionError(f"a fault asked for {folder}")

    # Powers

    def _does(self, what: str, *nodes: str) -> bool:
        if what in self.broken:
            raise ClusterError(f"fake: {what} {' '.join(nodes)} failed")
        self.calls.append((what, *nodes))
        return what not in self.ignored

    def _ended_by(self, what: str, node: str, *more: str) -> bool:
        does = self._does(what, node, *more)
        if does:
            self.machines[node] = _Machine(None, heard_for_s=0.0, fenced=self.machines[node].fenced)
        return does

    def kill(self, node: str) -> None:
        self._ended_by("kill", node)

    def stop(self, node: str) -> None:
        self._ended_by("stop", node)

    def start(self, node: str) -> None:
        if self.machines[node].pid is not None:
            raise ClusterError(f"fake: {node} runs already")
        if self._does("start", node):
            self.said[node] = self.installed[node]
            self._next_pid += 1
            self.machines[node].pid, self.machines[node].booted_at_s = self._next_pid, self.time_s + BOOT_S

    def pid(self, node: str) -> int | None:
        return self.machines[node].pid

    def versions(self) -> tuple[str, ...]:
        return self.has_versions

    def install(self, node: str, version: str) -> None:
        if self.machines[node].pid is not None:
            raise ClusterError(f"fake: {node} runs, and can't be another version")
        if self._does("install", node, version):
            self.installed[node] = version

    def running_version(self, node: str) -> str | None:
        return self.said.get(node)

    def pause(self, node: str) -> None:
        if self._does("pause", node):
            self.machines[node].stopped = self.machines[node].pid is not None

    def resume(self, node: str) -> None:
        if self.machines[node].pid is None:
            raise ClusterError(f"fake: {node} has no process to resume")
        if self._does("resume", node):
            self.machines[node].stopped = False

    def paused(self, node: str) -> bool:
        return self.machines[node].stopped

    def cut(self, source: str, target: str) -> None:
        if self._does("cut", source, target):
            self.cuts.setdefault((source, target), 0)

    def join(self, source: str, target: str) -> None:
        if self._does("join", source, target):
            self.cuts.pop((source, target), None)

    def dropped(self, source: str, target: str) -> int:
        return self.cuts.get((source, target), 0)

    def shape(self, source: str, target: str, delay_s: float, loss: float) -> None:
        assert bool(delay_s) != bool(loss)
        if self._does("shape", source, target):
            self.shapes.setdefault((source, target), 0)

    def smooth(self, source: str, target: str) -> None:
        if self._does("smooth", source, target):
            self.shapes.pop((source, target), None)

    def shaped(self, source: str, target: str) -> int:
        return self.shapes.get((source, target), 0)

    def intercept(self, node: str, what: Interception) -> None:
        assert what.apis
        assert 0 < what.chance_ppm < 1e6
        assert what.late_ms is None or what.late_ms >= 1000
        if self._does("intercept", node):
            self.interceptions.setdefault(node, 0)

    def release(self, node: str) -> None:
        if self._does("release", node):
            self.interceptions.pop(node, None)

    def intercepted(self, node: str) -> dict[str, int]:
        count = self.interceptions.get(node, 0)
        return {"EndTxn": count} if count else {}

    def reassign(self, key: Key, replicas: Sequence[str]) -> None:
        if self._does("reassign", key, *replicas) and self._heard():
            p = self.partitions_by_key[key]
            p.target = tuple(replicas)
            p.replicas = (*replicas, *(name for name in p.replicas if name not in replicas))
            for name in replicas:
                p.logs.setdefault(name, [])
            self._move(p)

    def configure(self, topic: str, name: str, value: str | None) -> None:
        if self._does("configure", topic, name, str(value)) and self._heard():
            self.settings.pop((topic, name), None)
            if value is not None:
                self.settings[topic, name] = value

    def setting(self, node: str, topic: str, name: str) -> Setting | None:
        if not self._is_up(node):
            return None
        own = self.settings.get((topic, name))
        return Setting(DEFAULTS.get(name) if own is None else own, own)

    def add_partitions(self, topic: str, count: int) -> None:
        if self._does("add-partitions", topic, str(count)) and self._heard():
            like = self.partitions_by_key[f"{topic}/0"]
            for index in range(count):
                logs: dict[str, list[int]] = {name: [] for name in like.placed}
                fresh = _Partition(like.placed, None, sorted(like.placed), logs)
                self.partitions_by_key.setdefault(f"{topic}/{index}", fresh)

    # Observer

    def partitions(self, keys: Sequence[Key]) -> Sequence[PartitionState]:
        if self.mute or not any(self._is_up(name) for name in self.machines):
            return []
        found = []
        for key in keys or (key for key in self.partitions_by_key if key not in KEEPERS.values()):
            p = self.partitions_by_key[key]
            found.append(PartitionState(key, p.leader, tuple(p.isr), p.replicas))
        return found

    def controller(self) -> str | None:
        heard = self._heard()
        return min(heard) if heard else None

    def quorum(self) -> tuple[str, int] | None:
        controller = self.controller()
        return None if controller is None else (controller, 7)

    def coordinator(self, kind: str, name: str) -> PartitionState | None:
        assert name
        state = next(iter(self.partitions([KEEPERS[kind]])), None)
        return None if self.uncoordinated or state is None or state.leader is None else state

    def end_offsets(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        ends: dict[Key, tuple[int, int]] = {}
        for key in keys:
            p = self.partitions_by_key[key]
            if p.leader is not None and self._is_up(p.leader):
                ends[key] = (len(p.logs[p.leader]), len(p.logs[p.leader]))
        return ends

    def elect_preferred(self, topic: str) -> str | None:
        self.calls.append(("elect", topic))
        if not self._heard():
            return None
        for key, p in self.partitions_by_key.items():
            if key.startswith(f"{topic}/"):
                if p.replicas[0] not in p.isr or not self._is_up(p.replicas[0]):
                    return "PREFERRED_LEADER_NOT_AVAILABLE"
                p.leader = p.replicas[0]
        return ""

    # Clock

    def now_s(self) -> float:
        return self.time_s

    def wait(self, seconds: float) -> bool:
        for _ in range(max(1, round(seconds / TICK_S))):
            self._tick()
        return True

    # Physics

    def whole(self) -> bool:
        """Nothing is broken: all run, none is stopped, no link is disturbed, all lies and is set as it was."""
        running = all(m.pid is not None and not m.stopped for m in self.machines.values())
        moved = any((p.target or p.replicas) != p.placed for p in self.partitions_by_key.values())
        return (
            running
            and self.program.whole()
            and self.settings == self._settled
            and not (self.cuts or self.shapes or self.interceptions or self.skews or moved)
        )

    def answers(self, name: str) -> bool:
        """Whether a quorum lists the node as unfenced."""
        return bool(self._heard()) and self._is_up(name) and not self.machines[name].fenced

    def lost(self, key: Key) -> list[int]:
        """Acknowledged values that the leader's log does not hold."""
        p = self.partitions_by_key[key]
        assert p.leader is not None
        held = set(p.logs[p.leader])
        return [value for value in p.acked if value not in held]

    def _is_up(self, name: str) -> bool:
        machine = self.machines[name]
        return machine.pid is not None and not machine.stopped and self.time_s >= machine.booted_at_s

    def _linked(self, one: str, other: str) -> bool:
        return (one, other) not in self.cuts and (other, one) not in self.cuts

    def _heard(self) -> list[str]:
        up = [name for name in self.machines if self._is_up(name)]
        majority = len(self.machines) // 2 + 1
        if not self.cuts:
            return up if len(up) >= majority else []
        return [n for n in up if 1 + sum(self._linked(n, other) for other in up if other != n) >= majority]

    def _tick(self) -> None:
        self.time_s += TICK_S
        for links in (self.cuts, self.shapes):
            for source, target in links:
                if source == CLIENTS or self._is_up(source):
                    links[source, target] += 1
        for node in self.interceptions:
            self.interceptions[node] += self._is_up(node)
        heard = self._heard()
        for name, machine in self.machines.items():
            if name in heard:
                machine.heard_for_s, machine.unheard_for_s = machine.heard_for_s + TICK_S, 0.0
            elif heard:  # without a quorum nobody counts
                machine.unheard_for_s, machine.heard_for_s = machine.unheard_for_s + TICK_S, 0.0
            if heard:
                machine.fenced = machine.unheard_for_s >= SESSION_S or (machine.fenced and name not in heard)
        for partition in self.partitions_by_key.values():
            if heard:
                self._move(partition)
                self._elect(partition)
            self._append(partition)

    def _move(self, p: _Partition) -> None:
        """Let those go that the target does not name, when all that it names are in sync: their logs are deleted."""
        if not p.target or not set(p.target) <= set(p.isr):
            return
        p.replicas, p.target = p.target, ()
        p.isr = [name for name in p.isr if name in p.replicas]
        p.logs = {name: log for name, log in p.logs.items() if name in p.replicas}
        if p.leader not in p.replicas:
            p.leader = None

    def _elect(self, p: _Partition) -> None:
        ready = [name for name in p.replicas if not self.machines[name].fenced and self.machines[name].pid is not None]
        if p.leader is not None and self.machines[p.leader].fenced:
            p.leader = None
        stay = [name for name in p.isr if not self.machines[name].fenced]
        p.isr = stay or p.isr
        if p.leader is None:
            able = [name for name in ready if name in p.isr and self._is_up(name)]
            if not able and self.unclean:
                able = [name for name in ready if self._is_up(name)]
                p.isr = able[:1] or p.isr
            p.leader = able[0] if able else None
        if p.leader is None or not self._is_up(p.leader):
            return
        for name in ready:
            caught_up = self.machines[name].heard_for_s >= CATCH_UP_S and self._linked(name, p.leader)
            if name not in p.isr and caught_up:
                p.logs[name] = list(p.logs[p.leader])
                p.isr = sorted([*p.isr, name])

    def _append(self, p: _Partition) -> None:
        leader = p.leader
        if leader is None or not self._is_up(leader):
            return
        self._value += 1
        before, log = p.logs[leader][-1:], p.logs[leader]
        log.append(self._value)
        took = [leader]
        for name in p.isr:
            if name != leader and self._is_up(name) and self._linked(name, leader):
                copy = p.logs[name]
                if len(copy) == len(log) - 1 and copy[-1:] == before:  # no value comes twice: the logs match
                    copy.append(self._value)
                else:
                    p.logs[name] = list(log)
                took.append(name)
        if self.acks == "1" or (set(took) >= set(p.isr) and len(took) >= self.min_isr):
            p.acked.append(self._value)


def holds(condition: Condition, observer: Observer, cluster: FakeCluster) -> bool:
    """Whether the condition holds now."""
    match condition:
        case LeaderElected(key, other_than):
            state = next(iter(observer.partitions([key])), None)
            return state is not None and state.leader is not None and state.leader not in other_than
        case ControllerElected(other_than):
            controller = cluster.controller()
            return controller is not None and controller not in other_than
        case Coordinated(Coordinator(kind, name), other_than):
            kept = observer.coordinator(kind, name)
            return kept is not None and kept.leader not in other_than
        case NodeAnswers(node):
            return cluster.answers(node)
        case FullIsr():
            states = observer.partitions(list(cluster.partitions_by_key))
            return bool(states) and all(set(state.isr) == set(state.replicas) for state in states)
        case IsrShrunk(key, nodes):
            state = next(iter(observer.partitions([key])), None)
            return state is not None and not nodes & set(state.isr)
        case AssignedTo():
            return is_assigned(next(iter(observer.partitions([condition.key])), None), condition)
        case Configured(of, value):
            return is_configured(setting_of(of, observer, cluster), value)
        case ClockWithin():
            return cluster.is_within(condition)
        case PacketsDropped(source, target):
            return cluster.dropped(source, target) > 0
        case PiecesShaped(source, target):
            return cluster.shaped(source, target) > 0
        case RequestsIntercepted(node):
            return bool(cluster.intercepted(node))
        case Stable(keys):
            ends = observer.end_offsets(keys)
            return all(key in ends and ends[key][0] == ends[key][1] for key in keys)
        case _:
            assert_never(condition)


class FakeCluster(Beside, _FakeNodes):
    """With a program of the user's beside it, for whom it takes what is done to an instance."""


def nemesis(
    cluster: FakeCluster,
    folder: Path,
    keys: Sequence[Key] = ("t0/0",),
    *,
    coordinated: tuple[Coordinator, ...] = COORDINATED,
    spare_replicas: bool = True,
) -> NemesisClient:
    """A client on the cluster's virtual clock; its journal is in the folder."""
    return NemesisClient(
        cluster,
        cluster,
        Journal(folder / JOURNAL),
        keys,
        answer=answer,
        holds=holds,
        clock=cluster,
        coordinated=lambda: coordinated,
        spare_replicas=spare_replicas,
        instances=cluster.program.instances(),
    )
