"""A node's own settings: Kafka's property names, and the field of `BrokerConfig` that each one sets.

`broker.io.settings` reads them from the properties, DescribeConfigs tells what holds.
"""

from __future__ import annotations

from broker.core import topic_settings

TIMES = {
    "broker.session.timeout.ms": "session_timeout_ms",
    "broker.heartbeat.interval.ms": "heartbeat_interval_ms",
    "controller.quorum.election.timeout.ms": "election_timeout_ms",
    "controller.quorum.fetch.timeout.ms": "fetch_timeout_ms",
    "group.consumer.heartbeat.interval.ms": "consumer_heartbeat_interval_ms",
    "group.consumer.session.timeout.ms": "consumer_session_timeout_ms",
    "group.initial.rebalance.delay.ms": "group_initial_delay_ms",
    "group.max.session.timeout.ms": "group_max_session_timeout_ms",
    "group.min.session.timeout.ms": "group_min_session_timeout_ms",
    "group.share.heartbeat.interval.ms": "share_heartbeat_interval_ms",
    "group.share.record.lock.duration.ms": "share_record_lock_ms",
    "group.share.session.timeout.ms": "share_session_timeout_ms",
    "log.cleaner.backoff.ms": "cleaner_backoff_ms",
    "log.retention.check.interval.ms": "retention_check_ms",
    "offsets.retention.check.interval.ms": "offsets_check_interval_ms",
    "producer.id.expiration.ms": "producer_id_expiration_ms",
    "replica.fetch.backoff.ms": "replica_fetch_backoff_ms",
    "replica.fetch.wait.max.ms": "replica_fetch_wait_ms",
    "replica.high.watermark.checkpoint.interval.ms": "checkpoint_interval_ms",
    "replica.lag.time.max.ms": "replica_lag_ms",
    "request.timeout.ms": "request_timeout_ms",
    "share.coordinator.state.topic.prune.interval.ms": "share_prune_interval_ms",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "transaction_sweep_ms",
    "transaction.max.timeout.ms": "transaction_max_timeout_ms",
    "transactional.id.expiration.ms": "transactional_id_expiration_ms",
}
SIZES = {
    "default.replication.factor": "default_replication_factor",
    "group.consumer.max.size": "consumer_max_size",
    "group.share.delivery.count.limit": "share_max_deliveries",
    "group.share.max.share.sessions": "share_max_sessions",
    "group.share.max.size": "share_max_size",
    "group.share.partition.max.record.locks": "share_max_locks",
    "max.incremental.fetch.session.cache.slots": "fetch_session_slots",
    "leader.imbalance.check.interval.seconds": "imbalance_check_s",
    "metadata.log.max.record.bytes.between.snapshots": "metadata_snapshot_bytes",
    "num.partitions": "default_partitions",
    "offset.metadata.max.bytes": "offset_metadata_max_bytes",
    "offsets.retention.minutes": "offsets_retention_minutes",
    "offsets.topic.num.partitions": "offsets_partitions",
    "offsets.topic.replication.factor": "offsets_replication_factor",
    "replica.fetch.max.bytes": "replica_fetch_max_bytes",
    "replica.fetch.response.max.bytes": "replica_fetch_response_max_bytes",
    "share.coordinator.snapshot.update.records.per.snapshot": "share_updates_per_snapshot",
    "share.coordinator.state.topic.min.isr": "share_min_isr",
    "share.coordinator.state.topic.num.partitions": "share_partitions",
    "share.coordinator.state.topic.replication.factor": "share_replication_factor",
    "share.coordinator.state.topic.segment.bytes": "share_segment_bytes",
    "transaction.state.log.min.isr": "transaction_min_isr",
    "transaction.state.log.num.partitions": "transaction_partitions",
    "transaction.state.log.replication.factor": "transaction_replication_factor",
}
CHOICES = {
    "group.consumer.migration.policy": (
        "consumer_migration_policy",
        ("bidirectional", "upgrade", "downgrade", "disabled"),
    ),
}
SWITCHES = {
    "auto.create.topics.enable": "auto_create_topics",
    "auto.leader.rebalance.enable": "auto_leader_rebalance",
    "group.share.enable": "share_enable",
}
WITHOUT_EFFECT = frozenset(
    {
        "background.threads",
        "log.cleaner.dedupe.buffer.size",
        "log.cleaner.threads",
        "num.io.threads",
        "num.network.threads",
        "num.recovery.threads.per.data.dir",
        "num.replica.fetchers",
        "socket.receive.buffer.bytes",
        "socket.send.buffer.bytes",
        "transaction.remove.expired.transaction.cleanup.interval.ms",
    }
)
"""Whole numbers that Kafka knows and that mean nothing here; a value that is none is refused all the same."""
_OF_TOPICS = frozenset(topic_settings.BROKER_NAMES.get(name, name) for name in topic_settings.DEFAULTS)
KNOWN = frozenset({*TIMES, *SIZES, *CHOICES, *SWITCHES}) | WITHOUT_EFFECT | _OF_TOPICS
"""Properties that a node knows, whatever drives it; one with another name would have no effect."""
