"""Metadata records: the changes that the metadata log carries, one JSON value each.

A partition's record holds its whole state, not a delta: replay needs no earlier record of it, and a change says all
that it means. Only our own nodes read these.
"""

from __future__ import annotations

import msgspec

from broker.core.security.acl import Rule
from broker.core.security.scram import Credential

NO_LEADER = -1


class Endpoint(msgspec.Struct, frozen=True, array_like=True):
    """Where a node listens."""

    name: str
    host: str
    port: int


class BrokerRegistered(msgspec.Struct, frozen=True, tag="broker"):
    """A node registered; it starts fenced. Its epoch is the offset of this record's batch."""

    broker_id: int
    epoch: int
    incarnation: str
    endpoints: tuple[Endpoint, ...] = ()
    rack: str | None = None


class BrokerChanged(msgspec.Struct, frozen=True, tag="broker-state"):
    """A node was fenced or unfenced, or has begun to stop."""

    broker_id: int
    epoch: int
    fenced: bool
    stopping: bool = False


class BrokerForgotten(msgspec.Struct, frozen=True, tag="no-broker"):
    """A node is not registered any more."""

    broker_id: int


class TopicCreated(msgspec.Struct, frozen=True, tag="topic"):
    """A topic with its id; its partitions follow."""

    topic_id: str
    name: str


class TopicDeleted(msgspec.Struct, frozen=True, tag="no-topic"):
    """The topic is gone, with its partitions and settings."""

    topic_id: str


class PartitionState(msgspec.Struct, frozen=True, tag="partition", kw_only=True):
    """The whole state of one partition (Kafka: PartitionRegistration; ELR, last leader, last known ELR: KIP-966)."""

    topic_id: str
    index: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int = 0
    partition_epoch: int = 0
    elr: tuple[int, ...] = ()
    last_leader: int = NO_LEADER
    last_known_elr: tuple[int, ...] = ()
    """Who was in sync or eligible when the ISR fell below min.insync.replicas, and is neither any more."""
    adding: tuple[int, ...] = ()
    removing: tuple[int, ...] = ()


class ConfigSet(msgspec.Struct, frozen=True, tag="config"):
    """A dynamic setting of a topic or broker ("" for all brokers); None takes it away."""

    kind: str
    name: str
    key: str
    value: str | None


class FeatureSet(msgspec.Struct, frozen=True, tag="feature"):
    """A feature's level for the whole cluster."""

    name: str
    level: int


class ProducerIdsReserved(msgspec.Struct, frozen=True, tag="producer-ids"):
    """Producer ids below `next_id` have been handed to brokers."""

    next_id: int


class AclSet(msgspec.Struct, frozen=True, tag="acl"):
    """An access rule is there, or is not any more."""

    rule: Rule
    present: bool


class ScramSet(msgspec.Struct, frozen=True, tag="scram"):
    """A user's credential for a mechanism; None takes it away."""

    user: str
    mechanism: int
    credential: Credential | None


class QuotaSet(msgspec.Struct, frozen=True, tag="quota"):
    """A limit of an entity (see `quota.limits`), bytes per second; None takes it away."""

    entity: str
    kind: str
    value: float | None


Record = (
    BrokerRegistered
    | BrokerChanged
    | BrokerForgotten
    | TopicCreated
    | TopicDeleted
    | PartitionState
    | ConfigSet
    | FeatureSet
    | ProducerIdsReserved
    | AclSet
    | ScramSet
    | QuotaSet
)


def encode(record: Record) -> bytes:
    """Return the record's bytes."""
    return msgspec.json.encode(record)


def decode(data: bytes) -> Record:
    """Return the record; raises msgspec.MsgspecError on what is none."""
    record: Record = msgspec.json.decode(data, type=Record)
    return record
