"""Every bug that can be planted: what it does, on what it is modelled, and which anomaly proves it. Pure data.

`source` names the published bug (a ticket of Apache Kafka as KAFKA-n, a pull request or an issue as project#n, a report
of Jepsen, a design as KIP-n), or says "classic" where the mistake is older than any ticket. `proof` lists the anomalies
by which a checker may show it, the one to expect first; a run that finds any other anomaly has found the bug as well,
and tells of something that we did not foresee.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

REPLICATION = "broker.bugs.replication"
LOGS = "broker.bugs.logs"
ELECTIONS = "broker.bugs.elections"
TRANSACTIONS = "broker.bugs.transactions"
GROUPS = "broker.bugs.groups"
CLEANING = "broker.bugs.cleaning"
PACKING = "broker.bugs.packing"
SHARES = "broker.bugs.shares"
SHARE = "share"
"""The workload that has share groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One bug. `module` holds the function of the same name (with underscores) that returns the replacements.

    `workload`: the only one that can show it, where that is none of the mix that bugs are hunted with; else "".
    """

    name: str
    summary: str
    source: str
    proof: tuple[str, ...]
    module: str
    workload: str = ""


_ALL = (
    Bug(
        name="ack-before-replication",
        summary="acks=all is answered as soon as the leader has the record",
        source="classic; KAFKA-15583 (what acks=all must wait for)",
        proof=("lost-write", "unseen", "rolled-back-offset", "deposed-leader-ack", "impossible-watermark"),
        module=REPLICATION,
    ),
    Bug(
        name="deposed-leader-acks",
        summary="a leader that is deposed answers ok to what still waits for replication",
        source="classic; SEMANTICS E2 (no append acknowledged by a deposed leader may be missing from the new one)",
        proof=("lost-write", "unseen", "rolled-back-offset", "deposed-leader-ack"),
        module=REPLICATION,
    ),
    Bug(
        name="min-isr-ignored",
        summary="acks=all is answered however few replicas are in sync",
        source="KAFKA-18849 and KAFKA-15583 (the strict min.insync.replicas rule)",
        proof=("lost-write", "unseen", "rolled-back-offset"),
        module=REPLICATION,
    ),
    Bug(
        name="read-above-high-watermark",
        summary="consumers are given records that are not replicated yet",
        source="redpanda#3036 (a supremum taken for a maximum); classic",
        proof=("inconsistent-offsets", "dirty-read", "aborted-read", "G1a", "read-past-hw"),
        module=REPLICATION,
    ),
    Bug(
        name="no-truncation-after-epoch-change",
        summary="a follower keeps records that its new leader does not have",
        source="KAFKA-6361 (logs diverge after a fast failover), KIP-279",
        proof=("inconsistent-offsets", "replica-divergence", "lost-write", "aborted-read", "dirty-read"),
        module=REPLICATION,
    ),
    Bug(
        name="truncation-below-high-watermark",
        summary="who begins to follow cuts to its own, older high watermark",
        source="KAFKA-1211, KIP-101 (scenario 1)",
        proof=("lost-write", "unseen", "inconsistent-offsets"),
        module=REPLICATION,
    ),
    Bug(
        name="high-watermark-of-a-deposed-leader",
        summary="a new leader takes all that it got from the deposed one for committed",
        source="classic (Raft, figure 8); KIP-101 (scenario 2)",
        proof=("lost-write", "inconsistent-offsets", "unseen"),
        module=REPLICATION,
    ),
    Bug(
        name="isr-expanded-too-early",
        summary="a follower joins the ISR with its first fetch, however far behind it is",
        source="KAFKA-14139, KIP-903 (a replica that lost its disk rejoins the ISR)",
        proof=("lost-write", "unseen", "inconsistent-offsets"),
        module=REPLICATION,
    ),
    Bug(
        name="unclean-election-always",
        summary="any live replica becomes leader where no member of the ISR is alive",
        source="KAFKA-4623, KIP-106 (unclean election off by default)",
        proof=("lost-write", "unseen", "inconsistent-offsets"),
        module=REPLICATION,
    ),
    Bug(
        name="recovery-takes-the-first",
        summary="where nobody is eligible to lead, the first live replica does, whatever the logs say",
        source="KIP-966 (unclean recovery elects the most complete log)",
        proof=("lost-write", "unseen", "inconsistent-offsets"),
        module=ELECTIONS,
    ),
    Bug(
        name="two-leaders-in-one-epoch",
        summary="the leader epoch does not rise when the leader changes",
        source="camunda#5356, camunda#1068 (two leaders elected in one term)",
        proof=("two-leaders", "inconsistent-offsets", "lost-write", "unseen"),
        module=REPLICATION,
    ),
    Bug(
        name="vote-forgotten-after-restart",
        summary="a voter that restarts may vote again in an epoch",
        source="cornerstone#65, raft-java#57 (term and vote not persisted)",
        proof=("two-leaders", "metadata-divergence", "unavailable", "lost-write"),
        module=ELECTIONS,
    ),
    Bug(
        name="sequence-not-checked",
        summary="an idempotent producer's retry is appended again",
        source="redpanda#3039 (duplicates with idempotence); classic",
        proof=("duplicate", "inconsistent-offsets"),
        module=LOGS,
    ),
    Bug(
        name="dedupe-state-lost-on-leader-change",
        summary="a new leader does not know the batches that the last one took",
        source="automq#437 (duplicates after a reassignment), redpanda#29623 (producer state lost)",
        proof=("duplicate",),
        module=LOGS,
    ),
    Bug(
        name="producer-state-expires-too-early",
        summary="producers are forgotten at the next checkpoint",
        source="KAFKA-9144, KAFKA-7190 (producer state expires early)",
        proof=("duplicate",),
        module=LOGS,
    ),
    Bug(
        name="aborted-index-lost-on-restart",
        summary="a restarted replica does not know which transactions were aborted",
        source="redpanda#5751 (aborted records visible after recovery), automq#754",
        proof=("aborted-read", "G1a", "inconsistent-offsets"),
        module=LOGS,
    ),
    Bug(
        name="recovery-drops-a-good-tail",
        summary="recovery after a crash takes the last batch for torn",
        source="KAFKA-10101 (edge cases of log recovery); classic",
        proof=("lost-write", "unseen", "inconsistent-offsets"),
        module=LOGS,
    ),
    Bug(
        name="fetch-from-the-wrong-segment",
        summary="a fetch at the end of a rolled segment is answered from the next one",
        source="KAFKA-2477 (race of append and fetch), redpanda#2326 (offsets shift after a roll)",
        proof=("poll-skip", "int-poll-skip", "lost-write", "unseen", "inconsistent-offsets"),
        module=LOGS,
    ),
    Bug(
        name="ack-before-sync",
        summary="flush.messages=1 is accepted and not obeyed",
        source="Jepsen on NATS 2.12.1 (acknowledged before flushed)",
        proof=("lost-write", "unseen", "inconsistent-offsets"),
        module=LOGS,
    ),
    Bug(
        name="lso-ignored",
        summary="read_committed consumers read open transactions",
        source="redpanda#10671, redpanda#3036, kop#1856 (reads past the last stable offset)",
        proof=("dirty-read", "aborted-read", "G1a", "read-past-hw"),
        module=REPLICATION,
    ),
    Bug(
        name="no-epoch-bump-at-end",
        summary="with protocol v2 the epoch stays when a transaction ends",
        source="KAFKA-14402, KIP-890; KAFKA-17754 (what it protects from)",
        proof=("aborted-read", "G1a", "lost-write", "torn-transaction", "cross-transaction", "unseen"),
        module=TRANSACTIONS,
    ),
    Bug(
        name="stale-marker-accepted",
        summary="a partition takes a marker of a past epoch or of a deposed coordinator",
        source="KAFKA-19446, KIP-1228 (late markers end a later transaction)",
        proof=("torn-transaction", "aborted-read", "lost-write", "dirty-read", "hung-transaction"),
        module=TRANSACTIONS,
    ),
    Bug(
        name="fencing-ignored",
        summary="requests of a fenced producer are taken",
        source="KAFKA-5231 (the epoch must rise when a new producer aborts the old one's transaction)",
        proof=("zombie-commit", "aborted-read", "G1a", "torn-transaction", "duplicate"),
        module=TRANSACTIONS,
    ),
    Bug(
        name="timeout-that-commits",
        summary="a transaction that was open for too long is committed",
        source="classic; Jepsen on Bufstream 0.1.0 (transactions that end the wrong way)",
        proof=("aborted-read", "G1a"),
        module=TRANSACTIONS,
    ),
    Bug(
        name="open-transactions-forgotten-on-failover",
        summary="a new coordinator forgets the transactions that are open",
        source="redpanda#24468 (not found, assumed to be aborted), KAFKA-14402 (hanging transactions)",
        proof=("hung-transaction", "unavailable", "torn-transaction", "lost-write"),
        module=TRANSACTIONS,
    ),
    Bug(
        name="offsets-outside-the-transaction",
        summary="offsets sent to a transaction count at once, and stay when it aborts",
        source="redpanda#31483 (transactional offsets out of step with the log), KAFKA-9346",
        proof=("eos-loss", "torn-transaction", "resume-gap", "committed-offset-regression"),
        module=TRANSACTIONS,
    ),
    Bug(
        name="two-members-own-one-partition",
        summary="every waiting member of a group is given the same assignment",
        source="KAFKA-12984 (partitions claimed by two members)",
        proof=("double-ownership",),
        module=GROUPS,
    ),
    Bug(
        name="former-members-commit",
        summary="offsets are committed for whoever asks, of whatever generation",
        source="KAFKA-2555 (commits of old generations accepted)",
        proof=("fenced-commit-applied", "committed-offset-regression", "double-ownership"),
        module=GROUPS,
    ),
    Bug(
        name="partition-given-before-revoked",
        summary="a group's coordinator gives a partition to its next owner while the last one still has it",
        source="KIP-848 (a partition is given when its owner has let go)",
        proof=("double-ownership", "committed-offset-regression"),
        module=GROUPS,
    ),
    Bug(
        name="stale-member-epoch-accepted",
        summary="offsets are committed for members of a past epoch, and for those that are out (KIP-848)",
        source="KIP-848 (STALE_MEMBER_EPOCH, UNKNOWN_MEMBER_ID)",
        proof=("double-ownership", "committed-offset-regression", "fenced-commit-applied"),
        module=GROUPS,
    ),
    Bug(
        name="committed-offset-goes-back-on-failover",
        summary="a new group coordinator keeps the first committed offset instead of the last",
        source="kafka#2436 (offsets not properly loaded on coordinator failover)",
        proof=("committed-offset-regression", "resume-gap", "eos-duplicate"),
        module=GROUPS,
    ),
    Bug(
        name="compaction-keeps-older-value",
        summary="compaction keeps the first value of a key and drops the later ones",
        source="classic (a map that does not overwrite)",
        proof=("compaction-lost-latest", "tombstone-resurrected"),
        module=CLEANING,
    ),
    Bug(
        name="compaction-drops-live-key",
        summary="compaction drops a key's last record with the older ones",
        source="classic (> for >=)",
        proof=("compaction-lost-latest", "compaction-too-early"),
        module=CLEANING,
    ),
    Bug(
        name="compaction-revives-tombstone",
        summary="a replica that was away brings back keys whose deletion the others have forgotten",
        source="Apache Kafka 3.9 to 4.2, the race of compaction and replication (docs/findings.md)",
        proof=("tombstone-resurrected", "aborted-read", "G1a", "hung-transaction"),
        module=CLEANING,
    ),
    Bug(
        name="retention-deletes-unexpired",
        summary="a segment goes when its first record has expired",
        source="classic (the least timestamp for the greatest)",
        proof=("premature-deletion", "lost-write", "unseen"),
        module=CLEANING,
    ),
    Bug(
        name="log-start-goes-back",
        summary="followers keep what the leader has deleted, and show it when they lead",
        source="SEMANTICS S3 (a log start stays, also after failover)",
        proof=("log-start-regression",),
        module=CLEANING,
    ),
    Bug(
        name="out-of-range-silent",
        summary="who asks for what was deleted gets what is left, and is not told",
        source="SEMANTICS S2 (out of range is said, never answered with other data)",
        proof=("offset-reset-silent",),
        module=CLEANING,
    ),
    Bug(
        name="compaction-drops-packed-batch",
        summary="compaction drops a compressed batch whole when one of its records is superseded",
        source="KAFKA-1374 (compaction and compressed batches); classic",
        proof=("compaction-lost-latest", "compaction-too-early"),
        module=PACKING,
    ),
    Bug(
        name="repacked-batch-loses-a-record",
        summary="a leader that packs a batch in the topic's codec leaves its last record out",
        source="redpanda#15416 (a batch that lacks its last record); classic (< for <=)",
        proof=("lost-write", "unseen", "compaction-lost-latest", "share-lost"),
        module=PACKING,
    ),
    Bug(
        name="share-ack-before-write",
        summary="acknowledgements of share groups are answered before they are written, and go with the leader",
        source="KIP-932 (an acknowledgement is complete when its state is written)",
        proof=("share-redelivery", "share-delivery-count", "share-lost"),
        module=SHARES,
        workload=SHARE,
    ),
    Bug(
        name="share-record-given-to-two",
        summary="a share group's record is given to a second member while the first one has it",
        source="KIP-932 (the acquisition lock); classic",
        proof=("share-double-acquisition",),
        module=SHARES,
        workload=SHARE,
    ),
    Bug(
        name="share-released-record-forgotten",
        summary="what a member of a share group releases, or does not acknowledge in time, is not delivered again",
        source="KIP-932 (released records are available again); classic",
        proof=("share-lost",),
        module=SHARES,
        workload=SHARE,
    ),
    Bug(
        name="share-aborted-records-given",
        summary="a share group with read_committed is given the records of aborted transactions",
        source="KIP-932 (share.isolation.level)",
        proof=("share-uncommitted-read",),
        module=SHARES,
        workload=SHARE,
    ),
    Bug(
        name="share-late-ack-taken",
        summary="what a member of a share group says of a record counts although it is another member's by now",
        source="KIP-932 (an acknowledgement after the lock is refused); classic",
        proof=("share-double-acquisition", "share-delivery-count"),
        module=SHARES,
        workload=SHARE,
    ),
    Bug(
        name="share-piggybacked-ack-dropped",
        summary="acknowledgements that come with a ShareFetch are answered, and not taken",
        source="KIP-932 (acknowledgements piggybacked on ShareFetch); classic",
        proof=("share-redelivery", "share-delivery-count"),
        module=SHARES,
        workload=SHARE,
    ),
    Bug(
        name="share-renewal-forgotten",
        summary="a lock that a member of a share group renewed runs out as if it had not",
        source="KIP-1222 (renewed acquisition locks); classic",
        proof=("share-double-acquisition",),
        module=SHARES,
        workload=SHARE,
    ),
    Bug(
        name="share-limit-ignored",
        summary="a share group's record is given again however often it was given",
        source="KIP-932 (group.share.delivery.count.limit)",
        proof=("share-delivery-count",),
        module=SHARES,
        workload=SHARE,
    ),
)

BUGS: Mapping[str, Bug] = {bug.name: bug for bug in _ALL}
