"""The settings that a topic can have: Kafka's names, defaults, and what a value must look like.

All of Kafka 4.1's topic settings are known, so that a client's `retention.ms` is accepted and shown, and one of KIP-966
that it has not yet, `unclean.recovery.strategy`; which of them act is said by `broker.core.config.TopicConfig`. A value
is checked before it becomes a record: everything behind that may rely on it.
"""

from __future__ import annotations

from broker.core import throttled
from broker.core.errors import Code, Refused

WITHOUT_LIMIT = _LONG_MAX = (1 << 63) - 1
MAX_DIGITS = 30
"""Of what is read as a number: one that is longer is none. Python itself refuses more than 4,300 with an error."""
_INT_MAX = (1 << 31) - 1
_WEEK_MS = 7 * 24 * 3600 * 1000

_NUMBERS: dict[str, tuple[int, int, int]] = {  # name -> default, lowest, highest
    "delete.retention.ms": (24 * 3600 * 1000, 0, _LONG_MAX),
    "file.delete.delay.ms": (60_000, 0, _LONG_MAX),
    "flush.messages": (_LONG_MAX, 1, _LONG_MAX),
    "flush.ms": (_LONG_MAX, 0, _LONG_MAX),
    "index.interval.bytes": (4096, 0, _INT_MAX),
    "local.retention.bytes": (-2, -2, _LONG_MAX),
    "local.retention.ms": (-2, -2, _LONG_MAX),
    "max.compaction.lag.ms": (_LONG_MAX, 1, _LONG_MAX),
    "max.message.bytes": (1_048_588, 0, _INT_MAX),
    "message.timestamp.after.max.ms": (3600 * 1000, 0, _LONG_MAX),
    "message.timestamp.before.max.ms": (_LONG_MAX, 0, _LONG_MAX),
    "min.compaction.lag.ms": (0, 0, _LONG_MAX),
    "min.insync.replicas": (1, 1, _INT_MAX),
    "retention.bytes": (-1, -1, _LONG_MAX),
    "retention.ms": (_WEEK_MS, -1, _LONG_MAX),
    "segment.bytes": (1 << 30, 1, _INT_MAX),
    "segment.index.bytes": (10 << 20, 4, _INT_MAX),
    "segment.jitter.ms": (0, 0, _LONG_MAX),
    "segment.ms": (_WEEK_MS, 1, _LONG_MAX),
}
_SWITCHES = {
    "preallocate": "false",
    "remote.log.copy.disable": "false",
    "remote.log.delete.on.disable": "false",
    "remote.storage.enable": "false",
    "unclean.leader.election.enable": "false",
}
NO_TIERS = "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
CODECS: dict[str, int | None] = {"producer": None, "uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""What `compression.type` may be, with the codec's number in a batch; None: as the producer packed it."""
RECOVERY = "unclean.recovery.strategy"
BALANCED, AGGRESSIVE, NO_RECOVERY = "Balanced", "Aggressive", "None"
"""How a leader is found where nobody is eligible (KIP-966): see `controller.recovery`."""
_CHOICES: dict[str, tuple[str, ...]] = {  # the first is the default
    "cleanup.policy": ("delete", "compact"),
    "compression.type": tuple(CODECS),
    "message.timestamp.type": ("CreateTime", "LogAppendTime"),
    RECOVERY: (BALANCED, AGGRESSIVE, NO_RECOVERY),
}
_LEVELS = {
    "compression.gzip.level": (*range(1, 10), -1),
    "compression.lz4.level": range(1, 18),
    "compression.zstd.level": range(-131_072, 23),
}
"""What the levels of codecs may be."""
_LISTS = frozenset({"cleanup.policy"})
"""Settings whose value is a list of choices."""
_FREE = {
    "compression.gzip.level": "-1",
    "compression.lz4.level": "9",
    "compression.zstd.level": "3",
    "follower.replication.throttled.replicas": "",
    "leader.replication.throttled.replicas": "",
    "min.cleanable.dirty.ratio": "0.5",
}

DEFAULTS: dict[str, str] = {
    **{name: str(default) for name, (default, _, _) in _NUMBERS.items()},
    **_SWITCHES,
    **{name: choices[0] for name, choices in _CHOICES.items()},
    **_FREE,
}
"""Every topic setting with Kafka's default."""

BROKER_NAMES = {
    "cleanup.policy": "log.cleanup.policy",
    "delete.retention.ms": "log.cleaner.delete.retention.ms",
    "file.delete.delay.ms": "log.segment.delete.delay.ms",
    "flush.messages": "log.flush.interval.messages",
    "flush.ms": "log.flush.interval.ms",
    "index.interval.bytes": "log.index.interval.bytes",
    "local.retention.bytes": "log.local.retention.bytes",
    "local.retention.ms": "log.local.retention.ms",
    "max.compaction.lag.ms": "log.cleaner.max.compaction.lag.ms",
    "max.message.bytes": "message.max.bytes",
    "message.timestamp.after.max.ms": "log.message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms": "log.message.timestamp.before.max.ms",
    "message.timestamp.type": "log.message.timestamp.type",
    "min.cleanable.dirty.ratio": "log.cleaner.min.cleanable.ratio",
    "min.compaction.lag.ms": "log.cleaner.min.compaction.lag.ms",
    "preallocate": "log.preallocate",
    "retention.bytes": "log.retention.bytes",
    "retention.ms": "log.retention.ms",
    "segment.bytes": "log.segment.bytes",
    "segment.index.bytes": "log.index.size.max.bytes",
    "segment.ms": "log.roll.ms",
}
"""Topic settings whose default has another name among a broker's properties; the others have the same."""

_BOOLEAN, _STRING, _INT, _LONG, _DOUBLE, LIST = 1, 2, 3, 5, 6, 7
"""Types of settings, as DescribeConfigs tells them."""


def kind(name: str) -> int:
    """Return the type of a setting."""
    if name in _NUMBERS:
        return _INT if _NUMBERS[name][2] == _INT_MAX else _LONG
    if name in _SWITCHES:
        return _BOOLEAN
    if name in _LISTS or name.endswith(".throttled.replicas"):
        return LIST
    if name == "min.cleanable.dirty.ratio":
        return _DOUBLE
    return _INT if name.endswith(".level") else _STRING


def plain(name: str, value: str) -> str:
    """Return a value as it is kept, without what Kafka overlooks: blanks around it, a plus, how a switch is written."""
    if kind(name) == _STRING:
        return value
    text = value.strip()
    if kind(name) == _BOOLEAN:
        return text.lower()
    return text[1:] if text[:1] == "+" and text[1:2].isdigit() else text


def check(name: str, value: str) -> None:
    """Raise Refused(INVALID_CONFIG) unless this is a setting and the value, in its `plain` form, one of its values."""
    if name not in DEFAULTS:
        raise Refused(Code.INVALID_CONFIG, f"Unknown topic config name: {name}")
    if name in _NUMBERS:
        _check_number(name, value)
    elif name in _SWITCHES and value not in {"true", "false"}:
        why = "Expected value to be either true or false"
        raise Refused(Code.INVALID_CONFIG, f"Invalid value {value} for configuration {name}: {why}")
    elif name in _LEVELS:
        _check_level(name, value)
    elif (name, value) == ("remote.storage.enable", "true"):
        raise Refused(Code.INVALID_CONFIG, NO_TIERS)
    elif name == "min.cleanable.dirty.ratio" and not _is_share(value):
        raise Refused(Code.INVALID_CONFIG, f"Invalid value {value} for {name}: a number from 0 to 1")
    elif name in {throttled.LEADERS, throttled.FOLLOWERS}:
        throttled.throttled(value)
    elif name in _CHOICES and not all(item in _CHOICES[name] for item in _given(name, value)):
        why = f"String must be one of: {', '.join(_CHOICES[name])}"
        raise Refused(Code.INVALID_CONFIG, f"Invalid value {value} for configuration {name}: {why}")


def _check_number(name: str, value: str) -> None:
    _, low, high = _NUMBERS[name]
    if not (_is_number(value) and low <= int(value) <= high):
        raise Refused(
            Code.INVALID_CONFIG, f"Invalid value {value} for configuration {name}: {_wrong(value, low, high)}"
        )


def _check_level(name: str, value: str) -> None:
    if not (_is_number(value) and int(value) in _LEVELS[name]):
        raise Refused(Code.INVALID_CONFIG, f"Invalid value {value} for configuration {name}: there is no such level")


def _is_number(value: str) -> bool:
    digits = value.removeprefix("-")
    return len(digits) <= MAX_DIGITS and digits.isascii() and digits.isdigit()


def _wrong(value: str, low: int, high: int) -> str:
    """Say what is wrong with a number, in Kafka's words."""
    widest = _INT_MAX if high == _INT_MAX else _LONG_MAX
    if not _is_number(value) or not -widest - 1 <= int(value) <= widest:
        return f"Not a number of type {'INT' if high == _INT_MAX else 'LONG'}"
    return f"Value must be at least {low}" if int(value) < low else f"Value must be no more than {high}"


def _given(name: str, value: str) -> list[str]:
    """Return the choices that a value names; an empty list means that nothing is done."""
    if name not in _LISTS:
        return [value]
    return [item.strip() for item in value.split(",")] if value else []


def _is_share(value: str) -> bool:
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False
