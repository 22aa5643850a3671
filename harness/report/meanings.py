"""What each anomaly class means: a title, the guarantee that it breaks, and what happened in one clause.

The order of `MEANINGS` is the order of the cards: root causes before what follows from them, lost and false data before
order, order before liveness.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """One anomaly class: a title, the guarantee that it breaks, and what happened (after a count)."""

    title: str
    guarantee: str
    one: str
    many: str


def _m(title: str, guarantee: str, one: str, many: str) -> Meaning:
    return Meaning(title, guarantee, one, many)


MEANINGS: dict[str, Meaning] = {
    "broken-invariant": _m(
        "Broken invariant",
        "What must hold inside the broker after every step holds; only the simulator can look there.",
        "invariant of the simulated broker was broken",
        "invariants of the simulated broker were broken",
    ),
    "two-leaders": _m(
        "Two leaders",
        "A partition has at most one leader in each leader epoch.",
        "partition had two leaders in one epoch",
        "partitions had two leaders in one epoch",
    ),
    "metadata-divergence": _m(
        "Metadata divergence",
        "The controllers agree on one metadata log; what was committed to it stays.",
        "disagreement between controllers about committed metadata",
        "disagreements between controllers about committed metadata",
    ),
    "replica-divergence": _m(
        "Replica divergence",
        "Replicas hold the same batches at the same offsets up to the high watermark.",
        "offset holds different data on different replicas",
        "offsets hold different data on different replicas",
    ),
    "inconsistent-offsets": _m(
        "Inconsistent offsets",
        "One offset of a partition holds one record, for every reader and forever.",
        "offset held two different records",
        "offsets held more than one record each",
    ),
    "epoch-regression": _m(
        "Leader epoch went back",
        "Leader epochs never go back along a partition's log, nor in one node's answers.",
        "leader epoch went back",
        "leader epochs went back",
    ),
    "deposed-leader-ack": _m(
        "Acknowledged by a deposed leader",
        "A leader that was replaced can't acknowledge a write with acks=all any more.",
        "write was acknowledged by a leader already replaced",
        "writes were acknowledged by leaders already replaced",
    ),
    "min-isr-violation": _m(
        "Written below min.insync.replicas",
        "acks=all succeeds only while at least min.insync.replicas replicas are in sync.",
        "write was acknowledged with too few in-sync replicas",
        "writes were acknowledged with too few in-sync replicas",
    ),
    "record-altered": _m(
        "Record altered",
        "A record is read exactly as it was sent: value, key, headers and timestamp.",
        "record came back different from what was sent",
        "records came back different from what was sent",
    ),
    "phantom-read": _m(
        "Phantom read",
        "Only what a producer sent can be read.",
        "record was read that nobody sent",
        "records were read that nobody sent",
    ),
    "wrong-partition": _m(
        "Wrong partition",
        "A record lands in the partition that its producer chose.",
        "record was found in another partition than it was sent to",
        "records were found in other partitions than they were sent to",
    ),
    "cross-transaction": _m(
        "Effect of another transaction",
        "The end of one transaction never decides about the next one.",
        "transaction was ended by a request that belonged to another",
        "transactions were ended by requests that belonged to others",
    ),
    "incompatible-order": _m(
        "Incompatible orders",
        "All reads of a list agree on one order of its elements.",
        "pair of reads disagrees about the order",
        "pairs of reads disagree about the order",
    ),
    "duplicate-elements": _m(
        "Duplicate elements",
        "An element that is appended once is in the list once.",
        "read saw an element twice",
        "reads saw an element twice",
    ),
    "internal": _m(
        "Internal inconsistency",
        "A transaction sees its own earlier reads and writes.",
        "transaction contradicts itself",
        "transactions contradict themselves",
    ),
    "future-read": _m(
        "Future read",
        "A transaction never reads what it itself appends only later.",
        "transaction read its own later write",
        "transactions read their own later writes",
    ),
    "dirty-update": _m(
        "Dirty update",
        "What an aborted transaction wrote is never built upon.",
        "committed write follows an aborted one",
        "committed writes follow aborted ones",
    ),
    "empty-transaction-graph": _m(
        "Nothing to relate",
        "Operations that read or write are there to be judged.",
        "history relates no operation to another",
        "histories relate no operation to another",
    ),
    "lost-write": _m(
        "Lost write",
        "An acknowledged record stays readable: no reader that goes past its place misses it.",
        "acknowledged record is gone",
        "acknowledged records are gone",
    ),
    "rolled-back-offset": _m(
        "Record moved",
        "An acknowledged record stays at the offset that was acknowledged.",
        "acknowledged record was found at another offset",
        "acknowledged records were found at other offsets",
    ),
    "torn-transaction": _m(
        "Torn transaction",
        "A transaction is visible whole or not at all.",
        "committed transaction is visible only in part",
        "committed transactions are visible only in part",
    ),
    "aborted-read": _m(
        "Aborted read",
        "A read_committed consumer never sees a record of an aborted transaction.",
        "record of an aborted transaction was read",
        "times a record of an aborted transaction was read",
    ),
    "G1a": _m(
        "Aborted read (G1a)",
        "A record whose write certainly failed or was aborted is never read.",
        "record was read although its write was aborted",
        "times a record was read although its write was aborted",
    ),
    "G1b": _m(
        "Intermediate read (G1b)",
        "A read never shows a state in the middle of another transaction.",
        "read saw a transaction half done",
        "reads saw transactions half done",
    ),
    "dirty-read": _m(
        "Dirty read",
        "A read_committed consumer sees a record only after its transaction began to commit.",
        "record was read before its transaction began to commit",
        "records were read before their transactions began to commit",
    ),
    "isolation-mismatch": _m(
        "Isolation mismatch",
        "read_committed shows what read_uncommitted shows, minus aborted records, up to the last stable offset.",
        "partition reads differently under the two isolation levels",
        "partitions read differently under the two isolation levels",
    ),
    "zombie-commit": _m(
        "Zombie commit",
        "Once a new producer session has begun, nothing of the old session can commit.",
        "transaction of a fenced producer became visible",
        "transactions of fenced producers became visible",
    ),
    "precommitted-read": _m(
        "Read its own open transaction",
        "A transaction never reads its own records before it commits.",
        "transaction read what it had not yet committed",
        "transactions read what they had not yet committed",
    ),
    "duplicate": _m(
        "Duplicate",
        "An idempotent producer's record is stored once.",
        "record is stored at more than one offset",
        "records are stored at more than one offset",
    ),
    "eos-loss": _m(
        "Exactly-once: lost",
        "Every input record has its output in an exactly-once copy.",
        "input record has no output",
        "input records have no output",
    ),
    "eos-duplicate": _m(
        "Exactly-once: twice",
        "Every input record has one output in an exactly-once copy, not two.",
        "input record has more than one output",
        "input records have more than one output",
    ),
    "eos-reorder": _m(
        "Exactly-once: out of order",
        "Outputs of one input partition keep their order.",
        "output is out of order",
        "outputs are out of order",
    ),
    "eos-phantom": _m(
        "Exactly-once: from nothing",
        "A program makes outputs of committed inputs only.",
        "output was made of what was never committed",
        "outputs were made of what was never committed",
    ),
    "eos-stalled": _m(
        "The program stalled",
        "A program gets to all inputs once everything is healed.",
        "input partition was not worked off",
        "input partitions were not worked off",
    ),
    "committed-offset-regression": _m(
        "Committed offset went back",
        "A group's committed offset never goes back without somebody's commit.",
        "committed offset went back",
        "committed offsets went back",
    ),
    "fenced-commit-applied": _m(
        "Fenced commit applied",
        "An offset commit that was refused, or whose transaction was aborted, has no effect.",
        "refused offset commit took effect",
        "refused offset commits took effect",
    ),
    "double-ownership": _m(
        "Two owners",
        "A partition is assigned to one member of a group at a time.",
        "partition was owned by two members at once",
        "partitions were owned by two members at once",
    ),
    "resume-gap": _m(
        "Resumed at the wrong place",
        "A consumer resumes at the committed offset, or where its reset policy says.",
        "consumer resumed at the wrong offset",
        "consumers resumed at wrong offsets",
    ),
    "int-nonmonotonic-poll": _m(
        "Poll went back inside one operation",
        "The records of one poll come in log order.",
        "operation read backwards",
        "operations read backwards",
    ),
    "nonmonotonic-poll": _m(
        "Poll went back",
        "A consumer that is not reassigned reads on, never back.",
        "consumer jumped back in the log",
        "times a consumer jumped back in the log",
    ),
    "int-poll-skip": _m(
        "Poll skipped inside one operation",
        "The records of one poll leave none out.",
        "operation skipped records in its own polls",
        "operations skipped records in their own polls",
    ),
    "poll-skip": _m(
        "Poll skipped",
        "A consumer that is not reassigned leaves no record out.",
        "consumer skipped over records",
        "times a consumer skipped over records",
    ),
    "int-nonmonotonic-send": _m(
        "Send went back inside one operation",
        "Records that one operation sends to a partition are stored in the order sent.",
        "operation's records were stored out of order",
        "operations' records were stored out of order",
    ),
    "nonmonotonic-send": _m(
        "Send went back",
        "A producer's records to a partition are stored in the order sent.",
        "producer's later record was stored before an earlier one",
        "times a producer's later record was stored before an earlier one",
    ),
    "int-send-skip": _m(
        "Sends interleaved",
        "Records that one operation sends to a partition stand side by side.",
        "operation's records have others in between",
        "operations' records have others in between",
    ),
    "unseen": _m(
        "Unseen",
        "After a complete drain, every acknowledged record has been read by somebody.",
        "acknowledged record was never read",
        "acknowledged records were never read",
    ),
    "G0": _m("Write cycle (G0)", "Writes of transactions do not interleave.", "cycle of writes", "cycles of writes"),
    "G1c": _m(
        "Circular information flow (G1c)",
        "Two transactions never each see the other.",
        "cycle of transactions that see each other",
        "cycles of transactions that see each other",
    ),
    "lost-update": _m(
        "Lost update",
        "Of two transactions that read one version, only one can write the next.",
        "version was updated twice over",
        "versions were updated twice over",
    ),
    "G-single-item": _m(
        "Read skew (G-single)",
        "A transaction sees another one whole or not at all.",
        "cycle with one anti-dependency",
        "cycles with one anti-dependency",
    ),
    "G-nonadjacent-item": _m(
        "Nonadjacent cycle",
        "Under snapshot isolation no cycle has its anti-dependencies apart.",
        "cycle with anti-dependencies apart",
        "cycles with anti-dependencies apart",
    ),
    "G2-item": _m(
        "Write skew (G2)",
        "Transactions behave as if they ran one after another.",
        "cycle of transactions that missed each other's writes",
        "cycles of transactions that missed each other's writes",
    ),
    "nonlinearizable": _m(
        "Not linearizable",
        "All operations fit one order that respects real time.",
        "part of the history fits no legal order",
        "parts of the history fit no legal order",
    ),
    "read-past-hw": _m(
        "Read past the high watermark",
        "A consumer sees only records below the high watermark.",
        "answer showed records above its own high watermark",
        "answers showed records above their own high watermark",
    ),
    "hw-regression": _m(
        "High watermark went back",
        "The high watermark of a partition never goes back.",
        "high watermark went back",
        "high watermarks went back",
    ),
    "lso-regression": _m(
        "Last stable offset went back",
        "The last stable offset of a partition never goes back.",
        "last stable offset went back",
        "last stable offsets went back",
    ),
    "impossible-watermark": _m(
        "Impossible watermark",
        "Log start, last stable offset and high watermark fit one another, and what was sent, committed and read.",
        "answer named an end of the log that can't be true",
        "answers named ends of the log that can't be true",
    ),
    "log-start-regression": _m(
        "Log start went back",
        "What was deleted from the start of a log stays deleted.",
        "log start went back",
        "log starts went back",
    ),
    "stale-poll": _m(
        "Stale read",
        "A fresh read after an acknowledgement finds the acknowledged record.",
        "read missed what was already acknowledged",
        "reads missed what was already acknowledged",
    ),
    "share-phantom": _m(
        "A share group's record out of nowhere",
        "A share group is given what was sent, as everybody reads it.",
        "record was given to a share group that nobody sent there",
        "records were given to a share group that nobody sent there",
    ),
    "share-uncommitted-read": _m(
        "Uncommitted record in a share group",
        "A read_committed share group is given no record of a transaction that is not committed.",
        "uncommitted record was given to a share group",
        "uncommitted records were given to a share group",
    ),
    "share-redelivery": _m(
        "Accepted record given again",
        "A record whose acceptance or rejection was acknowledged is not given to the share group again.",
        "acknowledged record was given again",
        "acknowledged records were given again",
    ),
    "share-double-acquisition": _m(
        "One record, two holders",
        "A share group's record is one member's at a time, until it is given up or its lock is over.",
        "record was given away while a member had it",
        "records were given away while a member had them",
    ),
    "share-delivery-count": _m(
        "Wrong delivery count",
        "Each delivery to a share group is counted, and there are no more than the limit.",
        "delivery was counted wrongly",
        "deliveries were counted wrongly",
    ),
    "share-lost": _m(
        "Lost for a share group",
        "Each record is given to a share group until it is accepted, rejected, or was given as often as is allowed.",
        "record was not given to the share group (again)",
        "records were not given to the share group (again)",
    ),
    "premature-deletion": _m(
        "Deleted too early",
        "Records inside their retention stay.",
        "record was deleted too early",
        "records were deleted too early",
    ),
    "offset-reset-silent": _m(
        "Silent reset",
        "A consumer whose position is gone is told so.",
        "consumer was moved without a word",
        "consumers were moved without a word",
    ),
    "time-index-wrong": _m(
        "Wrong offset for a time",
        "Looking up a timestamp finds the first record at or after it.",
        "lookup by time gave a wrong offset",
        "lookups by time gave wrong offsets",
    ),
    "compaction-lost-latest": _m(
        "Compaction lost the latest value",
        "Compaction keeps the latest value of every key.",
        "key lost its latest value",
        "keys lost their latest value",
    ),
    "compaction-reordered": _m(
        "Compaction changed the order",
        "Compaction keeps offsets and order.",
        "record changed its place",
        "records changed their place",
    ),
    "compaction-too-early": _m(
        "Compacted too early",
        "Records younger than min.compaction.lag.ms are not compacted.",
        "record was compacted too early",
        "records were compacted too early",
    ),
    "tombstone-resurrected": _m(
        "Deleted key came back",
        "A key whose tombstone was visible stays deleted until it is written again.",
        "deleted key came back",
        "deleted keys came back",
    ),
    "hung-transaction": _m(
        "Hung transaction",
        "An abandoned transaction ends after its timeout and stops holding readers back.",
        "transaction holds readers back beyond its timeout",
        "transactions hold readers back beyond their timeout",
    ),
    "stuck-consumer": _m(
        "Stuck consumer",
        "A consumer moves on where others do.",
        "consumer stands still where others read on",
        "consumers stand still where others read on",
    ),
    "unavailable": _m(
        "Unavailable",
        "With a majority connected and enough replicas in sync, operations make progress within the bound.",
        "stretch without progress was longer than the bound",
        "stretches without progress were longer than the bound",
    ),
    "incompatible-schema": _m(
        "Incompatible schema",
        "The registry refuses a schema that breaks its compatibility rule.",
        "incompatible schema was accepted",
        "incompatible schemas were accepted",
    ),
    "state-divergence": _m(
        "State diverged",
        "State that is rebuilt from a changelog equals the state that wrote it.",
        "store differs from its changelog",
        "stores differ from their changelogs",
    ),
    "dlq-loss": _m(
        "Lost on the way to the dead letter queue",
        "A record that can't be processed reaches the dead letter queue.",
        "record is in neither output nor dead letter queue",
        "records are in neither output nor dead letter queue",
    ),
}
