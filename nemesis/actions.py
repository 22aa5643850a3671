"""What is done to nodes: performing an action on a cluster, its inverse, and its form in JSON.

Injuries (`Kill`, `Stop`, `Pause`, `Cut`, `Skew`, ...) have an inverse; the inverses (`Start`, `Resume`, `Join`,
`Smooth`, `Release`, `Unskew`, `Restore`, `Reset`) have none: a cluster that is whole needs no undoing, and it is whole
with any version (`Install`) and any number of partitions (`AddPartitions`). `undo` performs an inverse only where it is
still needed, so that it may be done twice, or for an injury that was written down and never done.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import msgspec

from harness.cluster.actions import (
    Action,
    AddPartitions,
    Blackout,
    Configure,
    Cut,
    Fill,
    Install,
    Intercept,
    Join,
    Kill,
    Pause,
    Reassign,
    Release,
    Reset,
    Restore,
    Resume,
    Rot,
    Shape,
    Skew,
    Smooth,
    Start,
    Stop,
    Unskew,
)
from harness.cluster.api import (
    CLIENTS,
    Clocked,
    Cluster,
    ClusterError,
    Configurable,
    Disked,
    Interceptable,
    Interception,
    Killable,
    Partitionable,
    Pausable,
    Powered,
    Reassignable,
    Shapeable,
    Stoppable,
    Upgradable,
)
from nemesis.fault import Power

_NAMES: dict[str, type[Action]] = {
    "kill": Kill,
    "stop": Stop,
    "blackout": Blackout,
    "fill": Fill,
    "rot": Rot,
    "start": Start,
    "pause": Pause,
    "resume": Resume,
    "cut": Cut,
    "join": Join,
    "shape": Shape,
    "smooth": Smooth,
    "release": Release,
    "unskew": Unskew,
}


def powers(kind: type[Cluster]) -> frozenset[Power]:
    """Return what can be done to the nodes of a provider's clusters."""
    needed: dict[Power, type] = {
        "kill": Killable,
        "stop": Stoppable,
        "upgrade": Upgradable,
        "pause": Pausable,
        "partition": Partitionable,
        "shape": Shapeable,
        "intercept": Interceptable,
        "power": Powered,
        "disk": Disked,
        "clock": Clocked,
        "reassign": Reassignable,
        "configure": Configurable,
    }
    return frozenset(power for power, protocol in needed.items() if issubclass(kind, protocol))


def inverse(action: Action) -> Action | None:  # noqa: C901, PLR0911 - one flat case per kind of action
    """Return what undoes the action; None where there is nothing to undo."""
    match action:
        case Kill(node) | Stop(node) | Blackout(node) | Fill(node) | Rot(node):
            return Start(node)
        case Pause(node):
            return Resume(node)
        case Cut(source, target):
            return Join(source, target)
        case Shape(source, target):
            return Smooth(source, target)
        case Intercept(node):
            return Release(node)
        case Skew(node):
            return Unskew(node)
        case Reassign(key, _, before):
            return Restore(key, before)
        case Configure(_, topic, name, _, before):
            return Reset(topic, name, before)
        case Start() | Install() | Resume() | Join() | Smooth() | Release() | Restore() | Reset() | AddPartitions():
            return None
        case Unskew():
            return None
        case _:
            assert_never(action)


def inverses(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Return what undoes the actions, the last one first."""
    return tuple(undo for action in reversed(tuple(actions)) if (undo := inverse(action)) is not None)


def nodes_of(actions: Iterable[Action]) -> tuple[str, ...]:
    """Return the nodes that the actions touch, once each, in order; what is done to a link touches both ends."""
    found: dict[str, None] = {}
    for action in actions:
        match action:
            case Cut(source, target) | Join(source, target) | Shape(source, target) | Smooth(source, target):
                found |= {end: None for end in (source, target) if end != CLIENTS}
            case Kill(node) | Stop(node) | Blackout(node) | Fill(node) | Rot(node):
                found[node] = None
            case Start(node) | Install(node) | Pause(node) | Resume(node) | Intercept(node) | Release(node):
                found[node] = None
            case Configure(node) | AddPartitions(node) | Skew(node) | Unskew(node):
                found[node] = None
            case Reassign(_, replicas, before):
                found |= dict.fromkeys((*before, *replicas))
            case Restore(_, replicas):
                found |= dict.fromkeys(replicas)
            case Reset():
                pass  # whoever leads by then
            case _:
                assert_never(action)
    return tuple(found)


def perform(action: Action, cluster: Cluster) -> None:  # noqa: C901, PLR0912 - one flat case per kind of action
    """Do it now. Raises ClusterError when the provider can't."""
    match action:
        case Kill(node):
            _killable(cluster).kill(node)
        case Stop(node):
            _stoppable(cluster).stop(node)
        case Blackout(node):
            _powered(cluster).blackout(node)
        case Fill(node):
            _disked(cluster).fill(node)
        case Rot(node, key):
            _disked(cluster).rot(node, key)
        case Start(node):
            _killable(cluster).start(node)
        case Install(node, version):
            _upgradable(cluster).install(node, version)
        case Pause(node):
            _pausable(cluster).pause(node)
        case Resume(node):
            _pausable(cluster).resume(node)
        case Cut(source, target):
            _partitionable(cluster).cut(source, target)
        case Join(source, target):
            _partitionable(cluster).join(source, target)
        case Shape(source, target, delay_ms, loss_ppm):
            _shapeable(cluster).shape(source, target, delay_ms / 1000, loss_ppm / 1e6)
        case Smooth(source, target):
            _shapeable(cluster).smooth(source, target)
        case Intercept(node, what):
            _interceptable(cluster).intercept(node, what)
        case Release(node):
            _interceptable(cluster).release(node)
        case Skew(node, offset_ms, every_ms):
            _clocked(cluster).skew(node, offset_ms, every_ms)
        case Unskew(node):
            _clocked(cluster).unskew(node)
        case Reassign(key, replicas) | Restore(key, replicas):
            _reassignable(cluster).reassign(key, replicas)
        case Configure(_, topic, name, value) | Reset(topic, name, value):
            _configurable(cluster).configure(topic, name, value)
        case AddPartitions(_, topic, count):
            _configurable(cluster).add_partitions(topic, count)
        case _:
            assert_never(action)


def undo(action: Action, cluster: Cluster) -> bool:
    """Do an inverse action if it is still needed; return whether it was. Safe to repeat."""
    match action:
        case Start(node):
            needed = _killable(cluster).pid(node) is None or (isinstance(cluster, Disked) and cluster.full(node))
        case Resume(node):
            needed = _pausable(cluster).paused(node)
        case Join() | Smooth() | Release() | Restore() | Reset() | Unskew():
            needed = True  # all are safe when not needed, and a cut that has dropped nothing looks like none
        case (
            Kill()
            | Stop()
            | Blackout()
            | Fill()
            | Rot()
            | Install()
            | Pause()
            | Cut()
            | Shape()
            | Intercept()
            | Skew()
            | Reassign()
            | Configure()
            | AddPartitions()
        ):
            raise ValueError(f"{action} undoes nothing")
        case _:
            assert_never(action)
    if needed:
        perform(action, cluster)
    return needed


def _killable(cluster: Cluster) -> Killable:
    if not isinstance(cluster, Killable):
        raise ClusterError(f"cluster {cluster.name}: its nodes can't be killed or started")
    return cluster


def _stoppable(cluster: Cluster) -> Stoppable:
    if not isinstance(cluster, Stoppable):
        raise ClusterError(f"cluster {cluster.name}: its nodes can't be stopped in order")
    return cluster


def _upgradable(cluster: Cluster) -> Upgradable:
    if not isinstance(cluster, Upgradable):
        raise ClusterError(f"cluster {cluster.name}: its nodes can't run another version")
    return cluster


def _powered(cluster: Cluster) -> Powered:
    if not isinstance(cluster, Powered):
        raise ClusterError(f"cluster {cluster.name}: its nodes can't lose power")
    return cluster


def _disked(cluster: Cluster) -> Disked:
    if not isinstance(cluster, Disked):
        raise ClusterError(f"cluster {cluster.name}: its nodes' disks can't be broken")
    return cluster


def _pausable(cluster: Cluster) -> Pausable:
    if not isinstance(cluster, Pausable):
        raise ClusterError(f"cluster {cluster.name}: its nodes can't be paused or resumed")
    return cluster


def _partitionable(cluster: Cluster) -> Partitionable:
    if not isinstance(cluster, Partitionable):
        raise ClusterError(f"cluster {cluster.name}: its links can't be cut or joined")
    return cluster


def _shapeable(cluster: Cluster) -> Shapeable:
    if not isinstance(cluster, Shapeable):
        raise ClusterError(f"cluster {cluster.name}: its links can't be made slow or lossy")
    return cluster


def _interceptable(cluster: Cluster) -> Interceptable:
    if not isinstance(cluster, Interceptable):
        raise ClusterError(f"cluster {cluster.name}: requests to its nodes can't be intercepted")
    return cluster


def _clocked(cluster: Cluster) -> Clocked:
    if not isinstance(cluster, Clocked):
        raise ClusterError(f"cluster {cluster.name}: its nodes' clocks can't be set")
    return cluster


def _reassignable(cluster: Cluster) -> Reassignable:
    if not isinstance(cluster, Reassignable):
        raise ClusterError(f"cluster {cluster.name}: its partitions can't be moved")
    return cluster


def _configurable(cluster: Cluster) -> Configurable:
    if not isinstance(cluster, Configurable):
        raise ClusterError(f"cluster {cluster.name}: its settings can't be changed")
    return cluster


def to_json(action: Action) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912 - one flat case per form
    """Return the action as a JSON object of one member: {"kill": "n1"}, {"cut": ["n1", "n2"]}."""
    match action:
        case Shape(source, target, delay_ms, loss_ppm):
            return {"shape": [source, target, delay_ms, loss_ppm]}
        case Cut(source, target) | Join(source, target) | Smooth(source, target):
            return {type(action).__name__.lower(): [source, target]}
        case Intercept(node, what):
            return {"intercept": [node, msgspec.to_builtins(what)]}
        case Rot(node, key):
            return {"rot": [node, key]}
        case Skew(node, offset_ms, every_ms):
            return {"skew": [node, offset_ms, every_ms]}
        case Install(node, version):
            return {"install": [node, version]}
        case Reassign(key, replicas, before):
            return {"reassign": [key, list(replicas), list(before)]}
        case Restore(key, replicas):
            return {"restore": [key, list(replicas)]}
        case Configure(node, topic, name, value, before):
            return {"configure": [node, topic, name, value, before]}
        case Reset(topic, name, value):
            return {"reset": [topic, name, value]}
        case AddPartitions(node, topic, count):
            return {"add-partitions": [node, topic, count]}
        case (
            Kill(node)
            | Stop(node)
            | Blackout(node)
            | Fill(node)
            | Start(node)
            | Pause(node)
            | Resume(node)
            | Release(node)
            | Unskew(node)
        ):
            return {type(action).__name__.lower(): node}
        case _:
            assert_never(action)


def from_json(document: dict[str, Any]) -> Action:  # noqa: C901, PLR0911, PLR0912 - one flat case per form
    """Return the action of a JSON object. Raises ValueError when it is none."""
    match tuple(document.items()):
        case (("shape", [str() as source, str() as target, int() as delay_ms, int() as loss_ppm]),):
            return Shape(source, target, delay_ms, loss_ppm)
        case (("cut" | "join" | "smooth" as name, [str() as source, str() as target]),):
            return _NAMES[name](source, target)  # type: ignore[call-arg,arg-type]
        case (("intercept", [str() as node, dict() as what]),):
            return Intercept(node, _interception(what))
        case (("rot", [str() as node, str() as key]),):
            return Rot(node, key)
        case (("skew", [str() as node, int() as offset_ms, int() as every_ms]),):
            return Skew(node, offset_ms, every_ms)
        case (("install", [str() as node, str() as version]),):
            return Install(node, version)
        case (("reassign", [str() as key, list() as replicas, list() as before]),):
            return Reassign(key, _names(replicas), _names(before))
        case (("restore", [str() as key, list() as replicas]),):
            return Restore(key, _names(replicas))
        case (("configure", [str() as node, str() as topic, str() as name, str() as value, before]),):
            return Configure(node, topic, name, value, _value(before))
        case (("reset", [str() as topic, str() as name, value]),):
            return Reset(topic, name, _value(value))
        case (("add-partitions", [str() as node, str() as topic, int() as count]),):
            return AddPartitions(node, topic, count)
        case (
            (
                "kill" | "stop" | "blackout" | "fill" | "start" | "pause" | "resume" | "release" | "unskew" as name,
                str() as node,
            ),
        ):
            return _NAMES[name](node)  # type: ignore[call-arg]
        case _:
            raise ValueError(f"not an action: {document!r}")


def _interception(what: dict[str, Any]) -> Interception:
    try:
        return msgspec.convert(what, Interception)
    except msgspec.ValidationError as error:
        raise ValueError(f"not an action: {what!r} ({error})") from None


def _names(nodes: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(node, str) for node in nodes):
        raise ValueError(f"not names of nodes: {nodes!r}")
    return tuple(nodes)


def _value(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise ValueError(f"not a setting's value: {value!r}")  # noqa: TRY004 - as any other damage
    return value


def in_words(action: Action) -> str:
    """Return the action as a person says it: `start n1`, `restore t0/0 n1,n2,n3`, `reset segment.ms of t0 to 500`."""
    if isinstance(action, Intercept):
        return f"intercept {action.node} {_of_requests(action.what)}"
    if isinstance(action, Skew):
        every = f", to and fro every {action.every_ms / 1000:g} s" if action.every_ms else ""
        return f"skew {action.node} by {action.offset_ms / 1000:g} s{every}"
    if isinstance(action, Configure | Reset):
        value = "its default" if action.value is None else action.value
        return f"{type(action).__name__.lower()} {action.name} of {action.topic or 'all brokers'} to {value}"
    ((name, about),) = to_json(action).items()
    parts = [about] if isinstance(about, str) else about
    return " ".join([name, *(",".join(part) if isinstance(part, list) else str(part) for part in parts)])


def _of_requests(what: Interception) -> str:
    which = "all requests" if what.most is None else "1 request" if what.most == 1 else f"{what.most} requests"
    if what.chance_ppm < 1_000_000:
        which = f"{what.chance_ppm / 10_000:g} % of {which}"
    done = f"the answers to {which}" if what.late_ms is None else f"{which}, {what.late_ms / 1000:g} s late"
    return f"{done}: {', '.join(what.apis)}"
