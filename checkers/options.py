"""What a judgement is told beside the history: the flags of `harness check` and what the configuration permits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

KAFKA = "kafka"
"""The default workload: the queue checkers (send, poll, txn)."""


class CheckOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to judge. The defaults are those of a safe Apache Kafka: acks=all, idempotent, read_committed."""

    workload: str = KAFKA
    """`kafka`, `list-append`, or a model: `register`, `cas-register`, `mutex`, `queue`, `set`, `log`, ..."""
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    """Only the default: a process's own `isolation` wins."""
    sub_via: tuple[Literal["assign", "subscribe"], ...] = ("assign",)
    ww_deps: bool = False
    consistency_model: str | None = None
    anomalies: tuple[str, ...] = ()
    """Judge only these classes; empty: all."""
    fresh: bool = False
    budget: int = 5_000_000
    """Steps of a search before its verdict is `unknown`."""
    acks: Literal["all", "1", "0"] = "all"
    idempotence: bool = True
    unclean_election: bool = False
    keep_producers: bool = False
    """Producers went on after an abort that purged unreported records: librdkafka then loses a later one."""
    min_isr: int | None = None
    """min.insync.replicas, where it is known."""
    txn_protocol: Literal[1, 2] | None = None
    logs_keep_their_start: bool = False
    """Nothing may move a log's start by itself: what lies below one that moved all the same is lost, not expired."""
    topics_existed: bool = False
    """The topics held records before the run (`existing` clusters): a value that nobody sent is no phantom then."""
    compacted: bool = False
    """cleanup.policy holds `compact`: without record keys, lost-write, unseen and skips can't be judged."""
    delete_retention_ms: int = 86_400_000
    """How long a tombstone stays on a compacted topic."""
    min_compaction_lag_ms: int = 0
    producers_expire_ms: int = 86_400_000
    """A silent producer is forgotten after so long: a retry that comes later is appended again."""
    clocks_differ: bool = False
    """The nodes' clocks were made to be wrong, all of them: they say when records may go, and how long locks hold."""
    clocks_jump_s: float = 0.0
    """The clocks on the nodes' walls jumped by up to so much, as the history tells: they say when records may go."""
    late_ends: bool = False
    """An EndTxn of transactions protocol v1 may arrive after its retry, and end the next transaction (KAFKA-17754)."""
    unsynced_loss: bool = False
    """Nodes may lose power, and what they acknowledged need not be on any disk: it counts where one did."""
    rotten_loss: bool = False
    """A disk may rot while min.insync.replicas is 1: its replica may be the only one that may lead by then."""
    unsynced_state: bool = False
    """The same of what coordinators acknowledged, where the topics' own records are on disks: transactions, offsets."""
    retention_ms: int | None = None
    """Records expire after so long; None: not while anybody looks."""
    share_delivery_limit: int | None = 5
    """How often share groups are given a record at most (group.share.delivery.count.limit); None: not known."""
    faults: tuple[str, ...] = ()
    """The fault kinds that the run was asked for; one that never bit makes the run vacuous. `all`: whichever came."""
    looks_once: bool = False
    """The brokers look at a watermark and read below it in one step: an answer never holds more than it names."""
    recovery_bound_s: float = 60.0
    transaction_timeout_s: float = 10.0

    @property
    def recovers_within_s(self) -> float:
        """How long a cluster has for its recovery: what waits for a date waits longer where clocks have jumped."""
        return self.recovery_bound_s + self.clocks_jump_s

    @property
    def forgets(self) -> bool:
        """Whether the topics drop records by themselves: then what is missing is not lost."""
        return self.compacted or self.retention_ms is not None


_TRUE = "true"
_QUEUES = frozenset({"txn", "send-poll", "copy", "compaction", "retention", "groups", "share", "app"})
"""The workloads whose runs the queue checkers judge."""
_POWER = ("lose-power", "last-replica", "all")
"""What they may have taken is looked at when the history is judged (`checkers.permissions`)."""
_LATE = "late-requests"
"""Of clients on real clusters, which is librdkafka: it speaks version 1 of the protocol of transactions."""
_ROT = ("rot", "all")
_CLOCKS = "harness.sim.clock."
LONG_MS = 24 * 3600 * 1000
"""Records that stay a day do not expire during a run."""
PATIENCE_MS = 3000
"""A client gives a request up after so long, and sends it again on another connection."""
_NO_FAULT = frozenset({"none", ""})
ALL_FAULTS = "all"
_OF_ALL_TOPICS: Mapping[str, str] = {
    "log.cleanup.policy": "cleanup.policy",
    "log.retention.ms": "retention.ms",
    "log.retention.bytes": "retention.bytes",
    "log.cleaner.delete.retention.ms": "delete.retention.ms",
    "log.cleaner.min.compaction.lag.ms": "min.compaction.lag.ms",
}
"""Brokers' settings that hold for every topic that does not say otherwise."""
_COARSER = {"log.retention.minutes": 60_000, "log.retention.hours": 3_600_000}
"""The same of retention.ms, the finer one first, in milliseconds."""
_OURS = frozenset({"embedded", "simulated"})
"""Clusters of our own broker."""
_FOREIGN = "existing"
"""A cluster whose own settings nobody knows."""


def options_of_scenario(scenario: Mapping[str, Any]) -> CheckOptions:
    """Return the options that a run's scenario.json implies (see harness.scenario.Scenario for its fields).

    Raises ValueError for a setting that has to be a number and is none.

    Fault names are taken from `nemesis` ("a,b" and "a+b"); `all` stands for whichever are injected.
    """
    of_brokers, of_topics = scenario.get("broker_config", {}), scenario.get("topic_config", {})
    config = {**of_brokers, **_of_all_topics(of_brokers), **of_topics}
    named = str(scenario.get("nemesis", "")).replace("+", ",").split(",")
    faults = tuple(dict.fromkeys(name.strip() for name in named if name.strip() not in _NO_FAULT))
    defaults = CheckOptions()
    workload = str(scenario.get("workload", KAFKA))
    alone = scenario.get("min_isr") == 1
    loses_power = any(name.strip().startswith(_POWER) for name in named)
    is_synced, has_synced_state = _is_synced(of_brokers, of_topics), _is_synced(of_brokers, {})
    compacted, retention_ms = "compact" in str(config.get("cleanup.policy", "")), _retention_ms(config)
    return CheckOptions(
        workload=KAFKA if workload in _QUEUES else workload,
        isolation=scenario.get("isolation", defaults.isolation),
        sub_via=tuple(scenario.get("sub_via", defaults.sub_via)),
        acks=scenario.get("acks", defaults.acks),
        idempotence=scenario.get("idempotence", defaults.idempotence),
        keep_producers=scenario.get("keep_producers", defaults.keep_producers),
        unclean_election=str(config.get("unclean.leader.election.enable", "")).lower() == _TRUE
        or config.get("unclean.recovery.strategy") == "Aggressive",
        compacted=compacted,
        delete_retention_ms=_whole(config, "delete.retention.ms", defaults.delete_retention_ms),
        min_compaction_lag_ms=_whole(config, "min.compaction.lag.ms", defaults.min_compaction_lag_ms),
        producers_expire_ms=_whole(config, "producer.id.expiration.ms", defaults.producers_expire_ms),
        clocks_differ=any(name.startswith(_CLOCKS) for name in config),
        late_ends=(scenario.get("transaction_protocol") == 1 and _latest_ms(config) > PATIENCE_MS)
        or (_LATE in faults and not _speaks_second_protocol(scenario)),
        unsynced_loss=loses_power and not is_synced,
        unsynced_state=loses_power and is_synced and not has_synced_state,
        rotten_loss=alone and any(name.strip().startswith(_ROT) for name in named),
        retention_ms=retention_ms,
        share_delivery_limit=_share_limit(scenario, of_brokers),
        logs_keep_their_start=not compacted and retention_ms is None and scenario.get("cluster") != _FOREIGN,
        looks_once=scenario.get("cluster") in _OURS,
        min_isr=scenario.get("min_isr"),
        faults=faults,
        recovery_bound_s=scenario.get("recovery_bound_s", defaults.recovery_bound_s),
        transaction_timeout_s=scenario.get("transaction_timeout_s", defaults.transaction_timeout_s),
    )


def _speaks_second_protocol(scenario: Mapping[str, Any]) -> bool:
    """Return whether clients end transactions by protocol v2 (KIP-890), which librdkafka does not."""
    return scenario.get("client") == "native" and scenario.get("transaction_protocol") == 2


def _of_all_topics(of_brokers: Mapping[str, str]) -> dict[str, str]:
    """Return what brokers' settings say of topics, by the topics' own names."""
    said = {_OF_ALL_TOPICS[name]: value for name, value in of_brokers.items() if name in _OF_ALL_TOPICS}
    for name, unit_ms in _COARSER.items():
        if name in of_brokers and "retention.ms" not in said:
            said["retention.ms"] = str(_whole(of_brokers, name, 0) * unit_ms)
    return said


def _whole(config: Mapping[str, str], name: str, default: int) -> int:
    value = config.get(name, default)
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"{name}={value}: it must be a whole number") from None


def _latest_ms(config: Mapping[str, str]) -> float:
    """Return how late a message on the simulated network may come."""
    if float(config.get("harness.sim.stall.chance", 0)) <= 0:
        return 0
    return float(str(config.get("harness.sim.stall.ms", "0")).rpartition("-")[2])


def _is_synced(of_brokers: Mapping[str, str], of_topics: Mapping[str, str]) -> bool:
    """Whether every batch is on a disk before it is acknowledged, by a topic's own settings or those of its brokers."""
    return str(of_topics.get("flush.messages", of_brokers.get("log.flush.interval.messages"))) == "1"


def _share_limit(scenario: Mapping[str, Any], of_brokers: Mapping[str, str]) -> int | None:
    if scenario.get("cluster") == _FOREIGN:
        return None
    return _whole(of_brokers, "group.share.delivery.count.limit", 5)


def _retention_ms(config: Mapping[str, str]) -> int | None:
    """Return retention.ms where records may expire during a run; retention.bytes counts as no time at all."""
    if "delete" not in str(config.get("cleanup.policy", "delete")):
        return None
    if str(config.get("retention.bytes", "-1")) != "-1":
        return 0
    limit = _whole(config, "retention.ms", -1)
    return limit if 0 <= limit < LONG_MS else None
