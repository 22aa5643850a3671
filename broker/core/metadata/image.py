"""The image: what all records up to some offset add up to. Each node has one of what is committed.

`apply` changes it by one record and is total: a record that refers to what is gone changes nothing. `dump` and `load`
are the snapshot's content; two images of the same records dump to the same bytes (all iteration is sorted or in the
order of creation).
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from broker.core.metadata.records import (
    AclSet,
    BrokerChanged,
    BrokerForgotten,
    BrokerRegistered,
    ConfigSet,
    Endpoint,
    FeatureSet,
    PartitionState,
    ProducerIdsReserved,
    QuotaSet,
    Record,
    ScramSet,
    TopicCreated,
    TopicDeleted,
)
from broker.core.security.acl import Rule
from broker.core.security.scram import Credential

ELR_FEATURE = "eligible.leader.replicas.version"
SHARE_FEATURE = "share.version"
"""1: share groups (KIP-932)."""


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """A registered node."""

    id: int
    epoch: int
    incarnation: str
    endpoints: tuple[Endpoint, ...] = ()
    rack: str | None = None
    fenced: bool = True
    stopping: bool = False

    @property
    def is_active(self) -> bool:
        """Whether it may lead and join ISRs."""
        return not self.fenced and not self.stopping


class Topic(msgspec.Struct):
    """A topic and its partitions by index."""

    id: str
    name: str
    partitions: dict[int, PartitionState] = {}


class Image(msgspec.Struct):
    """See the module. Topics are keyed by id (hexadecimal); `topic_ids` finds it by name."""

    brokers: dict[int, Broker] = {}
    topics: dict[str, Topic] = {}
    topic_ids: dict[str, str] = {}
    configs: dict[str, dict[str, str]] = {}
    features: dict[str, int] = {}
    next_producer_id: int = 0
    shape: int = 0
    """Rises whenever a topic or a partition comes or goes."""
    acls: dict[str, Rule] = {}
    """Access rules by their keys."""
    acls_version: int = 0
    """Rises whenever a rule comes or goes."""
    scram: dict[str, Credential] = {}
    """Credentials by mechanism and user: see `scram_key`."""
    quotas: dict[str, dict[str, float]] = {}
    """Limits by entity and kind: see `quota.limits`."""

    @property
    def has_elr(self) -> bool:
        """Whether eligible leader replicas are on (KIP-966)."""
        return self.features.get(ELR_FEATURE, 0) >= 1

    @property
    def has_shares(self) -> bool:
        """Whether share groups are on."""
        return self.features.get(SHARE_FEATURE, 0) >= 1

    def topic(self, name: str) -> Topic | None:
        """Return the topic of this name."""
        topic_id = self.topic_ids.get(name)
        return None if topic_id is None else self.topics[topic_id]

    def partition(self, topic_id: str, index: int) -> PartitionState | None:
        """Return a partition."""
        topic = self.topics.get(topic_id)
        return None if topic is None else topic.partitions.get(index)

    def partitions(self) -> list[PartitionState]:
        """Return all partitions, in the order of creation."""
        return [partition for topic in self.topics.values() for partition in topic.partitions.values()]

    def is_active(self, broker_id: int) -> bool:
        """Return whether the node is registered, unfenced and not stopping."""
        broker = self.brokers.get(broker_id)
        return broker is not None and broker.is_active

    def config(self, kind: str, name: str) -> dict[str, str]:
        """Return the dynamic settings of a topic or broker."""
        return self.configs.get(f"{kind}:{name}", {})

    def apply(self, record: Record) -> None:  # noqa: C901, PLR0912 - one flat case per kind of record
        """Change the image by one record."""
        match record:
            case BrokerRegistered(broker_id, epoch, incarnation, endpoints, rack):
                self.brokers[broker_id] = Broker(
                    id=broker_id, epoch=epoch, incarnation=incarnation, endpoints=endpoints, rack=rack
                )
            case BrokerChanged(broker_id, epoch, fenced, stopping):
                broker = self.brokers.get(broker_id)
                if broker is not None and broker.epoch == epoch:
                    self.brokers[broker_id] = msgspec.structs.replace(broker, fenced=fenced, stopping=stopping)
            case BrokerForgotten(broker_id):
                self.brokers.pop(broker_id, None)
            case TopicCreated(topic_id, name):
                self.topics[topic_id] = Topic(topic_id, name)
                self.topic_ids[name] = topic_id
                self.shape += 1
            case TopicDeleted(topic_id):
                topic = self.topics.pop(topic_id, None)
                if topic is not None:
                    self.topic_ids.pop(topic.name, None)
                    self.configs.pop(f"topic:{topic.name}", None)
                    self.shape += 1
            case PartitionState():
                topic = self.topics.get(record.topic_id)
                if topic is not None:
                    self.shape += record.index not in topic.partitions
                    topic.partitions[record.index] = record
            case ConfigSet(kind, name, key, value):
                self._apply_config(f"{kind}:{name}", key, value)
            case FeatureSet(name, level):
                self.features[name] = level
            case ProducerIdsReserved(next_id):
                self.next_producer_id = next_id
            case AclSet(rule, present):
                self.acls_version += 1
                if present:
                    self.acls[rule.key] = rule
                else:
                    self.acls.pop(rule.key, None)
            case ScramSet(user, mechanism, credential):
                if credential is None:
                    self.scram.pop(scram_key(mechanism, user), None)
                else:
                    self.scram[scram_key(mechanism, user)] = credential
            case QuotaSet(entity, kind, value):
                self._apply_quota(entity, kind, value)
            case _:
                assert_never(record)

    def _apply_config(self, resource: str, key: str, value: str | None) -> None:
        settings = self.configs.setdefault(resource, {})
        if value is None:
            settings.pop(key, None)
        else:
            settings[key] = value

    def _apply_quota(self, entity: str, kind: str, value: float | None) -> None:
        limits = self.quotas.setdefault(entity, {})
        if value is None:
            limits.pop(kind, None)
        else:
            limits[kind] = value
        if not limits:
            del self.quotas[entity]

    def dump(self) -> bytes:
        """Return the snapshot."""
        return msgspec.json.encode(self)


def scram_key(mechanism: int, user: str) -> str:
    """Return where a credential stands in `Image.scram`."""
    return f"{mechanism}:{user}"


def load(data: bytes) -> Image:
    """Return the image of a snapshot."""
    return msgspec.json.decode(data, type=Image)
