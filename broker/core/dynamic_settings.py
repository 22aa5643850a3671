"""Settings of brokers alone that may change while they run; the defaults of topic settings may, too.

`ACTING` act. The others are Kafka's numbers of threads, sizes of buffers and the like, which mean nothing here: a value
is checked, kept and told, so that tools that set them go on. So is a name that nobody knows, as in Kafka, where it may
be a plug-in's.
"""

from __future__ import annotations

from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.node_settings import CHOICES, SIZES, SWITCHES, TIMES
from broker.core.topic_settings import MAX_DIGITS

_LONG_MAX = (1 << 63) - 1
_INT_MAX = (1 << 31) - 1
CLEANER_BACKOFF = "log.cleaner.backoff.ms"
PRODUCER_EXPIRATION = "producer.id.expiration.ms"
LEADER_RATE = "leader.replication.throttled.rate"
FOLLOWER_RATE = "follower.replication.throttled.rate"

ACTING: dict[str, tuple[int, int]] = {  # name -> lowest, highest
    CLEANER_BACKOFF: (0, _LONG_MAX),
    FOLLOWER_RATE: (0, _LONG_MAX),
    LEADER_RATE: (0, _LONG_MAX),
    PRODUCER_EXPIRATION: (1, _INT_MAX),
}
WITHOUT_EFFECT: dict[str, tuple[int, int, int]] = {  # name -> Kafka's default, lowest, highest
    "background.threads": (10, 1, _INT_MAX),
    "log.cleaner.dedupe.buffer.size": (128 << 20, 0, _LONG_MAX),
    "log.cleaner.io.buffer.size": (512 << 10, 0, _INT_MAX),
    "log.cleaner.threads": (1, 0, _INT_MAX),
    "num.io.threads": (8, 1, _INT_MAX),
    "num.network.threads": (3, 1, _INT_MAX),
    "num.recovery.threads.per.data.dir": (2, 1, _INT_MAX),
    "num.replica.fetchers": (1, 1, _INT_MAX),
    "replica.alter.log.dirs.io.max.bytes.per.second": (_LONG_MAX, 0, _LONG_MAX),
    "sasl.kerberos.min.time.before.relogin": (60_000, 0, _LONG_MAX),
}
WITHOUT_DEFAULT = frozenset({"replica.alter.log.dirs.io.max.bytes.per.second"})
"""Settings that are told only where they are given."""
NAMES = ACTING.keys() | WITHOUT_EFFECT.keys()
_FIXED = frozenset({*TIMES, *SIZES, *SWITCHES, *CHOICES}) - NAMES | {
    "advertised.listeners",
    "authorizer.class.name",
    "broker.id",
    "broker.rack",
    "connections.max.idle.ms",
    "inter.broker.listener.name",
    "listeners",
    "log.dir",
    "log.dirs",
    "max.connections",
    "metadata.log.dir",
    "node.id",
    "process.roles",
    "queued.max.request.bytes",
    "replica.selector.class",
    "socket.request.max.bytes",
    "super.users",
}
_FIXED_FAMILIES = ("controller.", "harness.", "listener.", "sasl.", "ssl.")


def is_fixed(name: str) -> bool:
    """Return whether a node reads this setting at its start only."""
    return name not in NAMES and (name in _FIXED or name.startswith(_FIXED_FAMILIES))


def check(name: str, value: str) -> None:
    """Raise Refused(INVALID_CONFIG) unless the value is one of this setting's; one that nobody knows takes any."""
    if name not in NAMES:
        return
    low, high = ACTING[name] if name in ACTING else WITHOUT_EFFECT[name][1:]
    digits = value.removeprefix("-")
    is_number = len(digits) <= MAX_DIGITS and digits.isascii() and digits.isdigit()
    if not (is_number and low <= int(value) <= high):
        why = f"Value must be a number from {low} to {high}"
        raise Refused(Code.INVALID_CONFIG, f"Invalid value {value} for configuration {name}: {why}")


def number(image: Image, node_id: int, name: str, otherwise: int) -> int:
    """Return what this node was told while it ran, else what all were told, else `otherwise`."""
    for of in (str(node_id), ""):
        value = image.config("broker", of).get(name)
        if value is not None:
            return int(value)
    return otherwise
