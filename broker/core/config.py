"""Settings of a node and of a topic, under Kafka's own names where they come from properties.

`BrokerConfig` is fixed for a node's life. `TopicConfig` is what a topic's dynamic settings, the cluster's dynamic
defaults and the node's static defaults add up to, in this order; it is computed when one of them changes, not per
request.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from broker.core import topic_settings
from broker.core.log.partition_log import LogConfig
from broker.core.metadata.image import Image
from broker.core.metadata.records import Endpoint
from broker.core.quorum.state import QuorumConfig
from broker.core.throttled import FOLLOWERS, LEADERS, NOBODY, Throttled, throttled


class BrokerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node. Times are in ms; the defaults are Kafka's."""

    node_id: int
    voters: tuple[int, ...]
    is_broker: bool = True
    """Whether the node holds partitions; one that only votes (process.roles=controller) never registers."""
    cluster_id: str = "cluster"
    endpoints: tuple[Endpoint, ...] = ()
    """The clients' listener, then the nodes'."""
    rack: str | None = None
    rack_aware: bool = False
    """Consumers are sent to a replica in their rack, and followers serve them (KIP-392)."""
    election_timeout_ms: int = 1000
    fetch_timeout_ms: int = 2000
    session_timeout_ms: int = 9000
    heartbeat_interval_ms: int = 2000
    replica_lag_ms: int = 30_000
    replica_fetch_wait_ms: int = 500
    replica_fetch_backoff_ms: int = 100
    replica_fetch_max_bytes: int = 1 << 20
    replica_fetch_response_max_bytes: int = 10 << 20
    checkpoint_interval_ms: int = 5000
    request_timeout_ms: int = 30_000
    retry_backoff_ms: int = 50
    fetch_session_slots: int = 1000
    fetch_session_eviction_ms: int = 120_000
    producer_id_expiration_ms: int = 24 * 3600 * 1000
    default_partitions: int = 1
    default_replication_factor: int = 1
    transaction_max_timeout_ms: int = 15 * 60 * 1000
    transaction_sweep_ms: int = 10_000
    transactional_id_expiration_ms: int = 7 * 24 * 3600 * 1000
    transaction_partitions: int = 50
    transaction_replication_factor: int = 3
    transaction_min_isr: int = 2
    offsets_partitions: int = 50
    offsets_replication_factor: int = 3
    offset_metadata_max_bytes: int = 4096
    group_initial_delay_ms: int = 3000
    group_min_session_timeout_ms: int = 6000
    group_max_session_timeout_ms: int = 30 * 60 * 1000
    consumer_session_timeout_ms: int = 45_000
    consumer_heartbeat_interval_ms: int = 5000
    consumer_max_size: int = (1 << 31) - 1
    consumer_migration_policy: str = "bidirectional"
    share_enable: bool = False
    """Whether a new cluster begins with share groups switched on: `share.version` 1 (KIP-932)."""
    share_session_timeout_ms: int = 45_000
    share_heartbeat_interval_ms: int = 5000
    share_max_size: int = 200
    share_record_lock_ms: int = 30_000
    share_max_deliveries: int = 5
    share_max_locks: int = 2000
    share_max_sessions: int = 2000
    share_partitions: int = 50
    share_replication_factor: int = 3
    share_min_isr: int = 2
    share_segment_bytes: int = 100 << 20
    share_updates_per_snapshot: int = 500
    share_prune_interval_ms: int = 300_000
    offsets_retention_minutes: int = 7 * 24 * 60
    offsets_check_interval_ms: int = 600_000
    auto_create_topics: bool = True
    auto_leader_rebalance: bool = True
    imbalance_check_s: int = 300
    metadata_snapshot_bytes: int = 20 << 20
    retention_check_ms: int = 5 * 60 * 1000
    cleaner_backoff_ms: int = 15_000
    elr: bool = True
    one_min_isr: bool = False
    """Whether `min.insync.replicas` is kept as ELR wants it (see `controller.elr`). Processes do; on simulated nodes it
    is off, so that a seed's history stays what it was."""
    transaction_version: int = 2
    """The level of `transaction.version` in a new cluster (KIP-890); below 2, clients keep to protocol v1."""
    has_authorizer: bool = False
    """Whether access rules are kept and obeyed."""
    properties: Mapping[str, str] = {}
    """All properties as given: defaults of topic settings are looked up here."""

    @property
    def quorum(self) -> QuorumConfig:
        """The part that the metadata quorum goes by."""
        return QuorumConfig(
            node_id=self.node_id,
            voters=self.voters,
            cluster_id=self.cluster_id,
            election_timeout_ms=self.election_timeout_ms,
            fetch_timeout_ms=self.fetch_timeout_ms,
            snapshot_every_bytes=self.metadata_snapshot_bytes,
        )


TOPIC_DEFAULTS = topic_settings.DEFAULTS
BROKER_NAMES = topic_settings.BROKER_NAMES
_ACTING = (
    "min.insync.replicas",
    "unclean.leader.election.enable",
    topic_settings.RECOVERY,
    "segment.bytes",
    "segment.index.bytes",
    "segment.ms",
    "flush.messages",
    "max.message.bytes",
    "message.timestamp.type",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "compression.type",
    "cleanup.policy",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "max.compaction.lag.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    FOLLOWERS,
    LEADERS,
)
"""The topic settings that are in `TopicConfig`."""


class CleanupConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What may go from a log, and when; times in ms, -1 is without limit."""

    delete: bool = True
    compact: bool = False
    retention_ms: int = 7 * 24 * 3600 * 1000
    retention_bytes: int = -1
    delete_retention_ms: int = 24 * 3600 * 1000
    min_lag_ms: int = 0
    max_lag_ms: int = (1 << 63) - 1
    dirty_ratio: float = 0.5
    file_delete_delay_ms: int = 60_000


class IntakeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a producer's records must be like, and what becomes of them; times in ms, from the leader's clock."""

    timestamp_before_ms: int = topic_settings.WITHOUT_LIMIT
    timestamp_after_ms: int = 3600 * 1000
    codec: int | None = None
    """The codec that batches are kept in; None: the producer's."""


class TopicConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one topic that the replicas and the controller act on."""

    min_isr: int = 1
    unclean: bool = False
    recovery: str = topic_settings.BALANCED
    log: LogConfig = LogConfig()
    cleanup: CleanupConfig = CleanupConfig()
    intake: IntakeConfig = IntakeConfig()
    throttled_leaders: Throttled = NOBODY
    throttled_followers: Throttled = NOBODY


def setting(config: BrokerConfig, image: Image, topic: str, key: str) -> str:
    """Return the value that holds for a topic: its own, this node's, the cluster's, the properties', Kafka's."""
    name = BROKER_NAMES.get(key, key)
    levels = (
        image.config("topic", topic).get(key),
        image.config("broker", str(config.node_id)).get(name),
        image.config("broker", "").get(name),
        config.properties.get(name),
    )
    for value in levels:
        if value is not None:
            return value
    return TOPIC_DEFAULTS[key]


def topic_config(config: BrokerConfig, image: Image, topic: str) -> TopicConfig:
    """Return the settings of a topic, parsed."""
    settings = {key: setting(config, image, topic, key) for key in _ACTING}
    policy = [word.strip() for word in settings["cleanup.policy"].split(",")]
    segment_ms = int(settings["segment.ms"])
    if "compact" in policy:
        segment_ms = min(segment_ms, int(settings["max.compaction.lag.ms"]))
    return TopicConfig(
        min_isr=int(settings["min.insync.replicas"]),
        unclean=settings["unclean.leader.election.enable"] == "true",
        recovery=settings[topic_settings.RECOVERY],
        log=LogConfig(
            segment_bytes=int(settings["segment.bytes"]),
            segment_ms=segment_ms,
            index_bytes=int(settings["segment.index.bytes"]),
            flush_messages=int(settings["flush.messages"]),
            max_message_bytes=int(settings["max.message.bytes"]),
            append_time=settings["message.timestamp.type"] == "LogAppendTime",
        ),
        cleanup=CleanupConfig(
            delete="delete" in policy,
            compact="compact" in policy,
            retention_ms=int(settings["retention.ms"]),
            retention_bytes=int(settings["retention.bytes"]),
            delete_retention_ms=int(settings["delete.retention.ms"]),
            min_lag_ms=int(settings["min.compaction.lag.ms"]),
            max_lag_ms=int(settings["max.compaction.lag.ms"]),
            dirty_ratio=float(settings["min.cleanable.dirty.ratio"]),
            file_delete_delay_ms=int(settings["file.delete.delay.ms"]),
        ),
        intake=IntakeConfig(
            timestamp_before_ms=int(settings["message.timestamp.before.max.ms"]),
            timestamp_after_ms=int(settings["message.timestamp.after.max.ms"]),
            codec=topic_settings.CODECS[settings["compression.type"]],
        ),
        throttled_leaders=throttled(settings[LEADERS]),
        throttled_followers=throttled(settings[FOLLOWERS]),
    )
