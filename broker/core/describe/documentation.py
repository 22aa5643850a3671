"""What each setting does, in a line: DescribeConfigs tells it to those who ask (`include_documentation`)."""

from __future__ import annotations

from broker.core.topic_settings import BROKER_NAMES

_OF_TOPICS = {
    "cleanup.policy": "delete: old segments go; compact: the last record of each key stays; or both.",
    "compression.gzip.level": "Level of gzip when batches are packed anew (the default level is used).",
    "compression.lz4.level": "Level of lz4 when batches are packed anew (the default level is used).",
    "compression.type": "The codec that batches are kept in; producer: as they came.",
    "compression.zstd.level": "Level of zstd when batches are packed anew (the default level is used).",
    "delete.retention.ms": "How long a compacted log keeps tombstones after they were cleaned.",
    "file.delete.delay.ms": "How long a segment that went is kept for those who read it.",
    "flush.messages": "Sync after so many records.",
    "flush.ms": "Sync after so many milliseconds (not obeyed: a segment is synced when it is sealed).",
    "follower.replication.throttled.replicas": "partition:node,... fetched at the follower's rate, or *.",
    "index.interval.bytes": "How sparse the offset index may be (not obeyed: the index is exact).",
    "leader.replication.throttled.replicas": "partition:node,... sent at the leader's rate, or *.",
    "local.retention.bytes": "Size of what tiered storage keeps here (there is no tiered storage).",
    "local.retention.ms": "Age of what tiered storage keeps here (there is no tiered storage).",
    "max.compaction.lag.ms": "A record is compacted at the latest when it is so old.",
    "max.message.bytes": "The largest record batch that is taken.",
    "message.timestamp.after.max.ms": "How far a record's time may lie ahead of the broker's clock.",
    "message.timestamp.before.max.ms": "How far a record's time may lie behind the broker's clock.",
    "message.timestamp.type": "CreateTime: a record's time is its producer's; LogAppendTime: the broker's.",
    "min.cleanable.dirty.ratio": "Compaction begins when this share of the log was never compacted.",
    "min.compaction.lag.ms": "A record is left alone by compaction for so long.",
    "min.insync.replicas": "So many replicas must be in sync for acks=all.",
    "preallocate": "Reserve the space of a segment when it is made (not obeyed).",
    "remote.log.copy.disable": "No more segments to tiered storage (there is none).",
    "remote.log.delete.on.disable": "Delete from tiered storage when it is switched off (there is none).",
    "remote.storage.enable": "Tiered storage (there is none).",
    "retention.bytes": "Old segments go when a partition is larger; -1: never.",
    "retention.ms": "Segments go when their newest record is so old; -1: never.",
    "segment.bytes": "A segment is sealed before it grows beyond this.",
    "segment.index.bytes": "A segment is sealed when its index is so large.",
    "segment.jitter.ms": "Spread of segment.ms (not obeyed).",
    "segment.ms": "A segment is sealed when its records span so much time.",
    "unclean.leader.election.enable": "Let a replica lead that was not in sync, when none is left (may lose records).",
    "unclean.recovery.strategy": "Who leads when none is in sync: the best log of all that were, or of all that live.",
}
_OF_BROKERS = {
    "advertised.listeners": "Where clients and other nodes are told to reach this node.",
    "auto.create.topics.enable": "A topic that is asked for comes into being.",
    "auto.leader.rebalance.enable": "Leaderships go back to preferred replicas by themselves.",
    "broker.rack": "Where this node stands.",
    "controller.quorum.voters": "id@host:port of each controller.",
    "default.replication.factor": "Replicas of a topic that names no number.",
    "listeners": "Where this node listens.",
    "log.dirs": "The folder of all logs.",
    "node.id": "The number of this node.",
    "num.partitions": "Partitions of a topic that names no number.",
    "process.roles": "broker, controller, or both.",
    "broker.heartbeat.interval.ms": "How often a broker tells the controller that it lives.",
    "broker.session.timeout.ms": "A broker that was not heard for so long is fenced.",
    "follower.replication.throttled.rate": "Bytes a second that this node fetches of throttled replicas.",
    "leader.replication.throttled.rate": "Bytes a second that this node sends of throttled replicas.",
    "log.cleaner.backoff.ms": "How long compaction rests when nothing is due.",
    "producer.id.expiration.ms": "A producer that was silent for so long is forgotten.",
    "replica.lag.time.max.ms": "A follower that did not catch up for so long leaves the ISR.",
    "transaction.max.timeout.ms": "The longest transaction time-out that a producer may ask for.",
    "transactional.id.expiration.ms": "A transactional id that was not used for so long is forgotten.",
}
_TEXTS = {**_OF_TOPICS, **{BROKER_NAMES.get(key, key): text for key, text in _OF_TOPICS.items()}, **_OF_BROKERS}


def documentation(name: str) -> str | None:
    """Return what a setting does, None where nothing is to be said."""
    return _TEXTS.get(name)
