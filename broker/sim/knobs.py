"""How good a simulated world is, as properties beside Kafka's own: `harness.sim.*`.

    harness.sim.latency.ms=0.1-2        one way, drawn per message
    harness.sim.stall.chance=0.01       of a message that comes late: a lost packet that was sent again
    harness.sim.stall.ms=20-1000
    harness.sim.loss.chance=0.0001      of a message after which its connection delivers nothing, and is reset later
    harness.sim.patience.ms=1000-20000  until a stalled connection is reset
    harness.sim.far.nodes=1             so many nodes, drawn, are far from everybody
    harness.sim.far.ms=50-150           one way, to and from a far node, beside the latency
    harness.sim.sync.ms=0.05-2          a sync of a disk
    harness.sim.clock.drift=0.001       each node's clock runs fast or slow by up to this part
    harness.sim.clock.offset.ms=200     and is off by up to so much

They stand with the node's properties so that a stored run holds them, and a shrunk one may have fewer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from broker.core import node_settings
from broker.sim.network import Weather
from broker.sim.node import Speed

PREFIX: Final = "harness.sim."
_DEFAULT_WEATHER: Final = Weather()
_DEFAULT_SPEED: Final = Speed()
NAMES: Final = frozenset(
    PREFIX + name
    for name in (
        "latency.ms",
        "stall.chance",
        "stall.ms",
        "loss.chance",
        "patience.ms",
        "far.nodes",
        "far.ms",
        "sync.ms",
        "clock.drift",
        "clock.offset.ms",
    )
)


def refuse_unknown(properties: Mapping[str, str]) -> None:
    """Raise ValueError for a knob that does not exist."""
    for name in properties:
        if name.startswith(PREFIX) and name not in NAMES:
            raise ValueError(f"{name}: there is no such knob; there are {', '.join(sorted(NAMES))}")


def ineffective(properties: Mapping[str, str]) -> list[str]:
    """Return the properties, other than knobs, that a node does not know."""
    return [name for name in properties if not name.startswith(PREFIX) and name not in node_settings.KNOWN]


def fields(properties: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of BrokerConfig that Kafka's properties set. Raises ValueError naming a value that is none."""
    found: dict[str, Any] = {}
    for name, field in {**node_settings.TIMES, **node_settings.SIZES}.items():
        if name in properties:
            if not properties[name].isdecimal():
                raise ValueError(f"{name}={properties[name]}: it must be a whole number")
            found[field] = int(properties[name])
    for name, field in node_settings.SWITCHES.items():
        if name in properties:
            found[field] = properties[name] == "true"
    return found


def weather(properties: Mapping[str, str]) -> Weather:
    """Return the network's weather. Raises ValueError naming a value that is none."""
    default = _DEFAULT_WEATHER
    return Weather(
        latency_ms=_span(properties, "latency.ms", default.latency_ms),
        stall_chance=_number(properties, "stall.chance", default.stall_chance),
        stall_ms=_span(properties, "stall.ms", default.stall_ms),
        loss_chance=_number(properties, "loss.chance", default.loss_chance),
        patience_ms=_span(properties, "patience.ms", default.patience_ms),
        far_ms=_span(properties, "far.ms", default.far_ms),
    )


def far(properties: Mapping[str, str], nodes: Sequence[str], rng: random.Random) -> frozenset[str]:
    """Draw the nodes that are far. Raises ValueError naming a value that is none."""
    count = int(_number(properties, "far.nodes", 0.0))
    if count > len(nodes):
        raise ValueError(f"{PREFIX}far.nodes={count}: there are {len(nodes)} nodes")
    return frozenset(rng.sample(list(nodes), count))


def speeds(properties: Mapping[str, str], nodes: int, rng: random.Random) -> tuple[Speed, ...]:
    """Draw each node's clock; return the nodes' speeds. Raises ValueError naming a value that is none."""
    sync_ms = _span(properties, "sync.ms", _DEFAULT_SPEED.sync_ms)
    drift = _number(properties, "clock.drift", 0.0)
    offset_ms = int(_number(properties, "clock.offset.ms", 0.0))
    return tuple(
        Speed(
            clock_rate=1 + rng.uniform(-drift, drift),
            clock_offset_ms=rng.randint(-offset_ms, offset_ms),
            sync_ms=sync_ms,
        )
        for _ in range(nodes)
    )


def _number(properties: Mapping[str, str], name: str, default: float) -> float:
    text = properties.get(PREFIX + name)
    return default if text is None else _parsed(name, text, text)


def _span(properties: Mapping[str, str], name: str, default: tuple[float, float]) -> tuple[float, float]:
    text = properties.get(PREFIX + name)
    if text is None:
        return default
    low, dash, high = text.partition("-")
    span = _parsed(name, low, text), _parsed(name, high if dash else low, text)
    if span[0] > span[1]:
        raise ValueError(f"{PREFIX}{name}={text}: it must be LOW-HIGH")
    return span


def _parsed(name: str, part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{PREFIX}{name}={text}: it must be a number, or two with a dash, 0 or more")
    return value
