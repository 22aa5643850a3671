"""The settings that a group can have of its own (KIP-848): Kafka's names, and what holds where there is none."""

from __future__ import annotations

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image

FIELDS = {
    "consumer.heartbeat.interval.ms": "consumer_heartbeat_interval_ms",
    "consumer.session.timeout.ms": "consumer_session_timeout_ms",
}
"""The name of a group's setting, and the field of `BrokerConfig` with its default."""
MAX_MS = (1 << 31) - 1


def default(config: BrokerConfig, name: str) -> int:
    """Return what holds for a group without a value of its own."""
    return int(getattr(config, FIELDS[name]))


def value(config: BrokerConfig, image: Image, group: str, name: str) -> int:
    """Return what holds for a group."""
    own = image.config("group", group).get(name)
    return default(config, name) if own is None else int(own)


def check(name: str, text: str) -> None:
    """Raise Refused(INVALID_CONFIG) unless this is a setting of groups and the text is one of its values."""
    if name not in FIELDS:
        raise Refused(Code.INVALID_CONFIG, f"Unknown group config name: {name}")
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MAX_MS):
        raise Refused(Code.INVALID_CONFIG, f"Invalid value {text} for {name}: a number from 1 to {MAX_MS}")
