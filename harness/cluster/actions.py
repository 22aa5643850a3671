"""What is done to a cluster, as data: faults plan it, the fault journal holds it, `nemesis.actions` performs it.

Each action that injures has an inverse, which `harness heal` performs after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.cluster.api import Interception, Key


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the node."""

    node: str


@dataclass(frozen=True, slots=True)
class Stop:
    """SIGTERM the node, and wait until it has gone in order."""

    node: str


@dataclass(frozen=True, slots=True)
class Blackout:
    """Let the node lose power."""

    node: str


@dataclass(frozen=True, slots=True)
class Fill:
    """Let the node's disk be full."""

    node: str


@dataclass(frozen=True, slots=True)
class Rot:
    """Kill the node, and change a byte of its replica of the partition."""

    node: str
    key: Key


@dataclass(frozen=True, slots=True)
class Start:
    """Start the node again."""

    node: str


@dataclass(frozen=True, slots=True)
class Install:
    """Have the node run that version from its next start on."""

    node: str
    version: str


@dataclass(frozen=True, slots=True)
class Pause:
    """SIGSTOP the node."""

    node: str


@dataclass(frozen=True, slots=True)
class Resume:
    """SIGCONT the node."""

    node: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop packets from source to target."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Join:
    """Let packets from source to target pass again."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Shape:
    """Make what goes from source to target late, and lose some of it."""

    source: str
    target: str
    delay_ms: int = 0
    loss_ppm: int = 0
    """Pieces lost of a million."""


@dataclass(frozen=True, slots=True)
class Smooth:
    """Let it go undisturbed again."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Reassign:
    """Move the partition from some nodes, `before`, to others."""

    key: Key
    replicas: tuple[str, ...]
    before: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Restore:
    """Move the partition back to these nodes."""

    key: Key
    replicas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Configure:
    """Change a dynamic setting of a topic, or of all brokers ("")."""

    node: str
    """Who leads the partition that is aimed at, and is asked whether it holds."""
    topic: str
    name: str
    value: str
    before: str | None
    """None: it had no value of its own."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Give a setting this value again, None: none of its own."""

    topic: str
    name: str
    value: str | None


@dataclass(frozen=True, slots=True)
class AddPartitions:
    """Let the topic grow to `count` partitions; nothing undoes that."""

    node: str
    """Who leads the partition that is aimed at."""
    topic: str
    count: int


@dataclass(frozen=True, slots=True)
class Intercept:
    """Lose answers of the node to clients, or have their requests come late."""

    node: str
    what: Interception


@dataclass(frozen=True, slots=True)
class Release:
    """Let clients' requests and their answers pass, those that are held, too."""

    node: str


@dataclass(frozen=True, slots=True)
class Skew:
    """Let the node's clock on the wall be off."""

    node: str
    offset_ms: int
    every_ms: int = 0
    """How often it jumps to and fro; 0: it jumps once, and stays."""


@dataclass(frozen=True, slots=True)
class Unskew:
    """Set the node's clock right."""

    node: str


OfLinks = Cut | Join | Shape | Smooth | Intercept | Release
OfOperators = Reassign | Restore | Configure | Reset | AddPartitions
OfClocks = Skew | Unskew
Action = OfLinks | OfOperators | OfClocks | Kill | Stop | Blackout | Fill | Rot | Start | Install | Pause | Resume
