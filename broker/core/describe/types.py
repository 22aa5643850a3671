"""The types of settings, as DescribeConfigs tells them: a tool that edits settings goes by them. Kafka: ConfigDef.Type.

A topic setting's default among a broker's settings has the topic setting's type. Other numbers of a node are INT, but
for a few that Kafka keeps in a LONG or a SHORT.
"""

from __future__ import annotations

from broker.core import client_metrics, dynamic_settings, group_settings, topic_settings
from broker.core.node_settings import SIZES, TIMES

BOOLEAN, STRING, INT, SHORT, LONG, LIST, PASSWORD = 1, 2, 3, 4, 5, 7, 9
_TOPIC_NAMES = {broker: topic for topic, broker in topic_settings.BROKER_NAMES.items()}
_LISTS = frozenset({"controller.listener.names", "controller.quorum.voters", "log.dirs", "process.roles"})
_SHORTS = frozenset({"offsets.topic.replication.factor", "transaction.state.log.replication.factor"})
_LONGS = frozenset(
    {
        "leader.imbalance.check.interval.seconds",
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
        "log.cleaner.backoff.ms",
        "log.cleaner.dedupe.buffer.size",
        "log.retention.check.interval.ms",
        "metadata.log.max.record.bytes.between.snapshots",
        "offsets.retention.check.interval.ms",
        "replica.alter.log.dirs.io.max.bytes.per.second",
        "replica.high.watermark.checkpoint.interval.ms",
        "replica.lag.time.max.ms",
        "sasl.kerberos.min.time.before.relogin",
    }
)
_INTS = (frozenset({*TIMES, *SIZES, *dynamic_settings.NAMES}) - _LONGS - _SHORTS) | {"broker.id", "node.id"}


def kind(name: str, value: str | None) -> int:
    """Return the type of a setting that is no secret; of one that nobody knows, what its value looks like."""
    topic = name if name in topic_settings.DEFAULTS else _TOPIC_NAMES.get(name)
    if topic is not None:
        return topic_settings.kind(topic)
    if name in client_metrics.LISTS or name in _LISTS:
        return LIST
    if name in group_settings.NAMES or name == client_metrics.INTERVAL:
        return STRING if name in group_settings.TEXTS else INT
    for found, names in ((INT, _INTS), (SHORT, _SHORTS), (LONG, _LONGS)):
        if name in names:
            return found
    text = value or ""
    if text in {"true", "false"}:
        return BOOLEAN
    return LONG if text.removeprefix("-").isdigit() else STRING
