"""What each class needs to be judged, in words: told of those that a history gives no evidence for.

`not-checked` of a verdict holds their names, `not-checked-because` these words beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_SERVICE = "judged by no checker: what it is about is no part of Kafka itself"
_SCANS = "needs whole reads (`scan`) of a topic with cleanup.policy"
_GROUP_COPIES = "needs copies that name their `source` and whose transactions carry the group's offsets"
_PROGRAM = "needs a program of the user's between topics (`--app`)"
_OFFSETS = "needs offsets of what was sent or polled"
_RECORD_KEYS = f"{_OFFSETS}; of a topic that drops records by itself it needs record keys"
NEEDS: Mapping[str, str] = {
    "broken-invariant": "needs a simulated cluster, where the inside of the broker is looked at",
    "hung-transaction": "needs `drain` events: where a final read came to, and the last stable offset",
    "unavailable": "needs the phases of a run, and faults that were healed",
    "record-altered": "needs records that say on send and on poll what they are (`ts`, `headers`, `record-key`)",
    "phantom-read": "what was sent before the history began is unknown",
    "poll-skip": _RECORD_KEYS,
    "int-poll-skip": _RECORD_KEYS,
    "nonmonotonic-poll": _RECORD_KEYS,
    "int-nonmonotonic-poll": _OFFSETS,
    "lost-write": _RECORD_KEYS,
    "unseen": "of a topic that drops records by itself it needs record keys",
    **dict.fromkeys(
        ("inconsistent-offsets", "duplicate", "rolled-back-offset", "nonmonotonic-send", "int-nonmonotonic-send"),
        _OFFSETS,
    ),
    "torn-transaction": f"{_RECORD_KEYS}; the history's own readers have to be read_committed",
    "dirty-read": "needs the `commit-time` of transactions whose values polls show",
    "wrong-partition": "needs records with `record-key`, `partitioner` and `partitions`",
    "zombie-commit": "needs transactions with `txn-id` and `init-time`",
    "cross-transaction": "needs two transactions of one `txn-id`",
    "isolation-mismatch": "needs a read from the beginning and readers of the other isolation level",
    "stale-poll": "needs --fresh, acknowledgements whose epoch is known, and ends asked for or read afterwards",
    "deposed-leader-ack": "needs acks=all and the leader epochs of records",
    "min-isr-violation": "needs acks=all, min.insync.replicas and probes with `isr` and `partition-epoch`, which no "
    "client API of Kafka tells",
    "replica-divergence": "needs `ReplicaLog` probes of two replicas that name nodes as `isr`, of a topic that is not "
    "compacted",
    "metadata-divergence": "needs `DescribeQuorum` probes, or `Metadata` ones with topic ids",
    "time-index-wrong": "needs `TimeIndex` probes, or `ListOffsets` ones by timestamp and records with `ts`",
    "hw-regression": "needs `ListOffsets` probes that name their leader epoch",
    "lso-regression": "needs `ListOffsets` probes that name their leader epoch",
    "impossible-watermark": "needs a run of ours, and `ListOffsets` or `Fetch` probes",
    "log-start-regression": "needs `ListOffsets` probes that name their leader epoch",
    "read-past-hw": "needs `Fetch` probes",
    "two-leaders": "needs `Metadata` or `ListOffsets` probes that name a leader epoch",
    "epoch-regression": "needs `Metadata` or `ListOffsets` probes that name a leader epoch",
    "committed-offset-regression": "needs `commit`s or `offsets`, and `committed` reads",
    "fenced-commit-applied": "needs `commit`s or `offsets`, and `committed` reads",
    "nonlinearizable": "needs --fresh and `committed` reads",
    "double-ownership": "needs the consumers' `rebalance` events",
    "resume-gap": "needs the consumers' `rebalance` events, and `commit`s or `offsets`",
    "stuck-consumer": "needs invocations, consumers that assigned their partitions themselves, topics that drop "
    "nothing by themselves, and faults that say what they are",
    "eos-duplicate": _GROUP_COPIES,
    "eos-loss": _GROUP_COPIES,
    "eos-reorder": _GROUP_COPIES,
    "eos-phantom": _PROGRAM,
    "eos-stalled": _PROGRAM,
    "compaction-lost-latest": f"{_SCANS}=compact",
    "compaction-reordered": f"{_SCANS}=compact",
    "compaction-too-early": f"{_SCANS}=compact and min.compaction.lag.ms",
    "tombstone-resurrected": f"{_SCANS}=compact and delete.retention.ms",
    "premature-deletion": f"{_SCANS}=delete and retention.ms",
    "offset-reset-silent": "needs reads at offsets that are gone (`read-at`)",
    **dict.fromkeys(
        (
            "share-phantom",
            "share-uncommitted-read",
            "share-redelivery",
            "share-double-acquisition",
            "share-delivery-count",
        ),
        "needs members of a share group (`share-fetch`, `share-acknowledge`)",
    ),
    "share-lost": "needs members of a share group that ask until nothing comes, after `drain` events, and "
    "group.share.delivery.count.limit",
    "incompatible-schema": _SERVICE,
    "state-divergence": _SERVICE,
    "dlq-loss": _SERVICE,
}


def because(names: Iterable[str]) -> dict[str, str]:
    """Return name -> what it needs, of the classes that were not checked."""
    return {name: NEEDS[name] for name in names if name in NEEDS}
