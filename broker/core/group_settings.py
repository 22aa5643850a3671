"""The settings that a group can have of its own (KIP-848, KIP-932): Kafka's names, and what holds where there is none.

Those of streams groups (KIP-1071) are kept and told; there are no such groups. Bounds are the node's
`group.consumer.min.session.timeout.ms` and the like, as it was given them, else Kafka's. Kafka: GroupConfig.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image

FIELDS = {
    "consumer.heartbeat.interval.ms": "consumer_heartbeat_interval_ms",
    "consumer.session.timeout.ms": "consumer_session_timeout_ms",
    "share.heartbeat.interval.ms": "share_heartbeat_interval_ms",
    "share.record.lock.duration.ms": "share_record_lock_ms",
    "share.session.timeout.ms": "share_session_timeout_ms",
}
"""The name of a group's setting, and the field of `BrokerConfig` with its default."""
_BOUNDS = {
    "consumer.heartbeat.interval.ms": (5000, 15_000),
    "consumer.session.timeout.ms": (45_000, 60_000),
    "share.heartbeat.interval.ms": (5000, 15_000),
    "share.record.lock.duration.ms": (15_000, 60_000),
    "share.session.timeout.ms": (45_000, 60_000),
    "streams.heartbeat.interval.ms": (5000, 15_000),
    "streams.session.timeout.ms": (45_000, 60_000),
}
TEXTS = {"share.auto.offset.reset": "latest", "share.isolation.level": "read_uncommitted"}
"""Settings that are words, with Kafka's defaults."""
WITHOUT_EFFECT = {
    "streams.heartbeat.interval.ms": "5000",
    "streams.num.standby.replicas": "0",
    "streams.session.timeout.ms": "45000",
}
"""Name -> Kafka's default."""
NAMES = sorted([*FIELDS, *TEXTS, *WITHOUT_EFFECT])
_ISOLATION = ("read_committed", "read_uncommitted")
MAX_STANDBYS = 2
BY_DURATION = "by_duration:"
_PERIOD = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d{1,9})?)S)?)?")
"""As in ISO 8601 and Java's Duration, without signs."""
MAX_PERIOD_MS = (1 << 63) - 1


def default(config: BrokerConfig, name: str) -> str:
    """Return what holds for a group without a value of its own."""
    return str(getattr(config, FIELDS[name])) if name in FIELDS else {**TEXTS, **WITHOUT_EFFECT}[name]


def value(config: BrokerConfig, image: Image, group: str, name: str) -> int:
    """Return what holds for a group."""
    own = image.config("group", group).get(name)
    return int(default(config, name) if own is None else own)


def text(config: BrokerConfig, image: Image, group: str, name: str) -> str:
    """Return the word that holds for a group."""
    own = image.config("group", group).get(name)
    return default(config, name) if own is None else own


def duration_ms(reset: str) -> int:
    """Return how long ago `by_duration:PERIOD` means, in ms; raises Refused(INVALID_CONFIG) for what is no period."""
    found = _PERIOD.fullmatch(reset.removeprefix(BY_DURATION).upper())
    if found is None or not any(found.groups()):
        raise Refused(Code.INVALID_CONFIG, f"{reset!r} is no period such as {BY_DURATION}PT12H")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    period_ms = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000
    if period_ms > MAX_PERIOD_MS:
        raise Refused(Code.INVALID_CONFIG, f"{reset[:100]!r} is too long a period")
    return round(period_ms)


def check(config: BrokerConfig, name: str, given: str) -> None:
    """Raise Refused(INVALID_CONFIG) unless this is a setting of groups and what is given is one of its values."""
    if name not in FIELDS and name not in TEXTS and name not in WITHOUT_EFFECT:
        raise Refused(Code.INVALID_CONFIG, f"Unknown group config name: {name}")
    if name in TEXTS:
        _check_text(name, given)
        return
    if not (given.isascii() and given.isdigit() and len(given) <= 10):
        raise Refused(Code.INVALID_CONFIG, f"Invalid value {given} for configuration {name}: Not a number of type INT")
    for bound, value_, is_wrong in _bounds(config, name):
        if is_wrong(int(given), value_):
            kind = "greater" if ".min." in bound else "less"
            raise Refused(Code.INVALID_CONFIG, f"{name} must be {kind} than or equal to {bound}")


def _bounds(config: BrokerConfig, name: str) -> Iterator[tuple[str, int, Callable[[int, int], bool]]]:
    """Yield the names of the node's bounds, their values, and what breaks them."""
    if name == "streams.num.standby.replicas":
        yield "group.streams.max.standby.replicas", MAX_STANDBYS, operator.gt
        return
    low, high = _BOUNDS[name]
    kind, _, rest = name.partition(".")
    for word, otherwise, is_wrong in (("min", low, operator.lt), ("max", high, operator.gt)):
        bound = f"group.{kind}.{word}.{rest}"
        given = config.properties.get(bound, "")
        yield bound, int(given) if given.isdigit() else otherwise, is_wrong


def _check_text(name: str, given: str) -> None:
    if name == "share.isolation.level":
        if given.lower() not in _ISOLATION:
            raise Refused(
                Code.INVALID_CONFIG, f"Invalid value {given} for configuration {name}: {', '.join(_ISOLATION)}"
            )
    elif given.startswith(BY_DURATION):
        duration_ms(given)
    elif given not in {"earliest", "latest"}:
        raise Refused(
            Code.INVALID_CONFIG, f"Invalid value {given} for configuration {name}: earliest, latest, by_duration:PERIOD"
        )
