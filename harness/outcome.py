"""The one table: (stage, error) -> ok | fail | info, for every client of Kafka.

`fail` means that the operation certainly did not happen; `info` that nobody knows. Whoever is unsure says `info`, and a
time-out is never `fail`. What the table does not name is `info`.

Outside a transaction the operation's own error decides (`outcome`). Inside one, the transaction's outcome decides, not
the errors of its sends (`transaction`): commit returned ok -> ok; abort returned ok -> `fail`, but for the few errors
of commit that leave it possible that the commit was done before; else `info`, unless the row says that without a call
of commit nothing can have happened.

Three things that look like proof and are none:
* A refusal before the append (NOT_ENOUGH_REPLICAS, a fenced commit of offsets) proves nothing about the attempts that
  the client made before it, in silence. Such rows have a column of their own for clients that never retry.
* NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_OR_PARTITION and KAFKA_STORAGE_ERROR can follow the append (KAFKA-13574).
* `acks` decides nothing here: acks=0 and acks=1 make weaker promises about an `ok`, they do not make a refusal surer.

Rows are data. `unproven` holds the reason where the error can't be provoked on the real client in a test.
The names are librdkafka's; `canonical` maps Kafka's own names and numbers to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from harness.history import FAIL, INFO, OK, OpType


class Stage(StrEnum):
    """What the client was doing when it was told of the error."""

    INIT = "init"
    """init_transactions: nothing of the operation was sent yet."""
    BEGIN = "begin"
    PRODUCE = "produce"
    """The call that hands a record to the client's queue."""
    DELIVERY = "delivery"
    """The delivery report."""
    POLL = "poll"
    SEND_OFFSETS = "send-offsets"
    COMMIT = "commit"
    ABORT = "abort"
    COMMIT_OFFSETS = "commit-offsets"
    """A consumer's own commit, outside a transaction."""
    COMMITTED = "committed"
    DELETE_RECORDS = "delete-records"
    """Its errors have no rows: each may follow a deletion, whole or in part."""
    SHARE_FETCH = "share-fetch"
    ACKNOWLEDGE = "share-acknowledge"
    ASSIGN = "assign"
    SUBSCRIBE = "subscribe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as the client was told of it. `name` is librdkafka's, e.g. "_MSG_TIMED_OUT"; see `canonical`."""

    stage: Stage
    name: str
    code: int | None = None
    message: str = ""
    retriable: bool = False
    fatal: bool = False
    """The client object is of no more use."""
    requires_abort: bool = False

    def to_history(self) -> dict[str, Any]:
        """Return the `error` of an op's completion."""
        shown: dict[str, Any] = {"name": self.name, "message": self.message, "stage": str(self.stage)}
        if self.code is not None:
            shown |= {"code": self.code, "retriable": self.retriable}
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What an error at a stage means. `ANY` as name stands for all names that have no row of their own there."""

    stage: Stage
    name: str
    transactional: bool
    outcome: OpType
    """Of the operation; in a transaction: while no abort has returned ok."""
    without_retries: OpType
    """Of the same error from a client that sends every request once."""
    aborted: OpType
    """In a transaction: after an abort that returned ok."""
    why: str
    unproven: str | None


ANY: Final = "*"
DELIBERATE_ABORT: Final = "DELIBERATE_ABORT"
"""Our own name for an abort that the workload asked for."""
DELIBERATE_CRASH: Final = "DELIBERATE_CRASH"
"""Our own name for a client that was dropped because the workload asked for it."""
UNSENT: Final = "_UNSENT"
"""Our own name for a request that certainly did not leave: there was no connection, or nobody to ask."""

NO_SUCH_CODEC: Final = "UNSUPPORTED_COMPRESSION_TYPE"
"""A broker's, which does not take the codec of a batch, not in this version of the request."""

TIMEOUTS: Final = frozenset({"_TIMED_OUT", "_MSG_TIMED_OUT", "_TIMED_OUT_QUEUE", "REQUEST_TIMED_OUT"})
"""Never `fail`, at no stage, whatever a row with ANY says."""
FENCED: Final = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")
_RAW_FENCE = "librdkafka reports it as _FENCED"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Rows that share everything but the name."""

    stages: tuple[Stage, ...]
    names: tuple[str, ...]
    outcome: OpType
    why: str
    transactional: bool = False
    without_retries: OpType | None = None
    aborted: OpType = FAIL
    unproven: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        return [
            Row(
                stage=stage,
                name=name,
                transactional=self.transactional,
                outcome=self.outcome,
                without_retries=self.without_retries or self.outcome,
                aborted=self.aborted,
                why=self.why,
                unproven=self.unproven.get(name),
            )
            for stage in self.stages
            for name in self.names
        ]


_PLAIN = (
    _Group(
        stages=(Stage.PRODUCE,),
        names=("_QUEUE_FULL", "MSG_SIZE_TOO_LARGE", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC", "_FATAL", "_STATE"),
        outcome=FAIL,
        why="the call was refused: the record never entered the queue",
    ),
    _Group(
        stages=(Stage.DELIVERY,),
        names=("MSG_SIZE_TOO_LARGE", "INVALID_RECORD", "TOPIC_AUTHORIZATION_FAILED"),
        outcome=FAIL,
        why="refused before the append for what the record or the caller is: every attempt was refused alike",
    ),
    _Group(
        stages=(Stage.DELIVERY,),
        names=("NOT_ENOUGH_REPLICAS",),
        outcome=INFO,
        without_retries=FAIL,
        why="refused before the append, but an earlier attempt may have been appended",
    ),
    _Group(
        stages=(Stage.DELIVERY,),
        names=(NO_SUCH_CODEC,),
        outcome=INFO,
        without_retries=FAIL,
        why="refused before the append, but a broker of another version may have taken an earlier attempt",
    ),
    _Group(
        stages=(Stage.DELIVERY,),
        names=(
            "_MSG_TIMED_OUT",
            "_TIMED_OUT",
            "REQUEST_TIMED_OUT",
            "_TRANSPORT",
            "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
            "NOT_LEADER_FOR_PARTITION",
            "UNKNOWN_TOPIC_OR_PART",
            "UNKNOWN_TOPIC_ID",
            "KAFKA_STORAGE_ERROR",
            "_PURGE_QUEUE",
            "_PURGE_INFLIGHT",
            "OUT_OF_ORDER_SEQUENCE_NUMBER",
            "UNKNOWN_PRODUCER_ID",
            "INVALID_PRODUCER_EPOCH",
            "_UNKNOWN_PARTITION",
        ),
        outcome=INFO,
        why="can follow an append, of this attempt or of an earlier one",
        unproven={
            "NOT_LEADER_FOR_PARTITION": "librdkafka retries it until message.timeout.ms: it arrives as _MSG_TIMED_OUT",
        },
    ),
    _Group(
        stages=(Stage.POLL,),
        names=(
            "UNKNOWN_TOPIC_OR_PART",
            "TOPIC_AUTHORIZATION_FAILED",
            "GROUP_AUTHORIZATION_FAILED",
            "_MAX_POLL_EXCEEDED",
            "_ALL_BROKERS_DOWN",
            "_TRANSPORT",
        ),
        outcome=FAIL,
        why="reading changes nothing, and the consumer is still good: it is rewound and goes on",
        unproven={
            "_MAX_POLL_EXCEEDED": "the workloads poll more often than max.poll.interval.ms (5 minutes)",
            "_ALL_BROKERS_DOWN": "librdkafka tells an error callback, not the poll",
            "_TRANSPORT": "librdkafka tells an error callback, not the poll",
        },
    ),
    _Group(
        stages=(Stage.ASSIGN, Stage.SUBSCRIBE),
        names=("_INVALID_ARG", "_STATE"),
        outcome=FAIL,
        why="a local call that was refused",
        unproven={"_STATE": "the client makes a new consumer where librdkafka's state could refuse the call"},
    ),
    _Group(
        stages=(Stage.COMMIT_OFFSETS,),
        names=("_NO_OFFSET",),
        outcome=FAIL,
        why="there was nothing to commit: no request was sent",
    ),
    _Group(
        stages=(Stage.COMMIT_OFFSETS,),
        names=(
            "ILLEGAL_GENERATION",
            "UNKNOWN_MEMBER_ID",
            "FENCED_INSTANCE_ID",
            "STALE_MEMBER_EPOCH",
            "REBALANCE_IN_PROGRESS",
        ),
        outcome=INFO,
        without_retries=FAIL,
        why="refused, but librdkafka sends a commit again whose first answer was lost",
    ),
    _Group(
        stages=(Stage.COMMIT_OFFSETS,),
        names=("_TIMED_OUT", "_WAIT_COORD", "REQUEST_TIMED_OUT", "_TRANSPORT"),
        outcome=INFO,
        why="the request may have arrived, or may still",
        unproven={
            "_WAIT_COORD": "librdkafka waits longer for a coordinator than we wait for librdkafka: it is _TIMED_OUT",
        },
    ),
    _Group(
        stages=(Stage.COMMITTED,),
        names=("GROUP_AUTHORIZATION_FAILED", "UNSTABLE_OFFSET_COMMIT", "_TRANSPORT"),
        outcome=FAIL,
        why="reading changes nothing",
        unproven={
            "UNSTABLE_OFFSET_COMMIT": "librdkafka retries it until the time-out of the call",
            "_TRANSPORT": "librdkafka retries it until the time-out of the call",
        },
    ),
)

_OWN_MEMBER = "share groups' members are the harness's own (tests/harness/clients/test_share_member.py)"
_SESSIONS = ("SHARE_SESSION_NOT_FOUND", "INVALID_SHARE_SESSION_EPOCH", "SHARE_SESSION_LIMIT_REACHED")
_REFUSED = ("INVALID_REQUEST", "UNSUPPORTED_VERSION", "GROUP_AUTHORIZATION_FAILED", UNSENT, *_SESSIONS)
_SHARE = (
    _Group(
        stages=(Stage.SHARE_FETCH,),
        names=_REFUSED,
        outcome=FAIL,
        why="refused before anything was acquired, or never sent; a member sends each request once",
        unproven=dict.fromkeys(_REFUSED, _OWN_MEMBER),
    ),
    _Group(
        stages=(Stage.ACKNOWLEDGE,),
        names=("INVALID_RECORD_STATE", "_STATE", *_REFUSED),
        outcome=FAIL,
        why="refused before anything was written, or never sent; a member sends each request once",
        unproven=dict.fromkeys(("INVALID_RECORD_STATE", "_STATE", *_REFUSED), _OWN_MEMBER),
    ),
)
_TAKEN_AWAY = "commit was never called and a later session, or the time-out, has taken the transaction away"
_SENDING = (Stage.PRODUCE, Stage.DELIVERY, Stage.SEND_OFFSETS)
_IN_TXN = (
    _Group(
        stages=(Stage.INIT,),
        names=(
            "_FENCED",
            "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
            "CLUSTER_AUTHORIZATION_FAILED",
            "INVALID_TRANSACTION_TIMEOUT",
        ),
        outcome=FAIL,
        why="refused before anything of the transaction was sent",
        transactional=True,
    ),
    _Group(
        stages=(Stage.BEGIN,),
        names=(ANY,),
        outcome=FAIL,
        why="begin is a local call: nothing of the transaction was sent",
        transactional=True,
    ),
    _Group(
        stages=(Stage.DELIVERY,),
        names=FENCED,
        outcome=FAIL,
        why=_TAKEN_AWAY,
        transactional=True,
        unproven={"INVALID_PRODUCER_EPOCH": _RAW_FENCE},
    ),
    _Group(
        stages=(Stage.PRODUCE, Stage.SEND_OFFSETS),
        names=FENCED,
        outcome=FAIL,
        why=_TAKEN_AWAY,
        transactional=True,
        unproven={"PRODUCER_FENCED": _RAW_FENCE, "INVALID_PRODUCER_EPOCH": _RAW_FENCE},
    ),
    _Group(
        stages=(*_SENDING, Stage.POLL),
        names=(ANY,),
        outcome=INFO,
        why="the transaction is open: its abort decides",
        transactional=True,
    ),
    _Group(
        stages=(Stage.COMMIT,),
        names=("UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_ID_MAPPING"),
        outcome=INFO,
        aborted=INFO,
        why="the abort that follows asks for a new epoch, which also succeeds after the commit was done",
        transactional=True,
    ),
    _Group(
        stages=(Stage.COMMIT,),
        names=("_TIMED_OUT", "_STATE", *FENCED, "INVALID_TXN_STATE", "_INCONSISTENT", ANY),
        outcome=INFO,
        why="the commit may have been done, now or by an attempt whose answer was lost; an abort that the coordinator "
        "accepts proves that it was not",
        transactional=True,
        unproven={
            "PRODUCER_FENCED": _RAW_FENCE,
            "INVALID_PRODUCER_EPOCH": _RAW_FENCE,
        },
    ),
    _Group(
        stages=(Stage.ABORT,),
        names=FENCED,
        outcome=FAIL,
        why=_TAKEN_AWAY,
        transactional=True,
        unproven={"PRODUCER_FENCED": _RAW_FENCE, "INVALID_PRODUCER_EPOCH": _RAW_FENCE},
    ),
    _Group(
        stages=(Stage.ABORT,),
        names=("_TIMED_OUT", ANY),
        outcome=INFO,
        why="the transaction may still be open",
        transactional=True,
    ),
    _Group(
        stages=(Stage.ABORT,),
        names=(DELIBERATE_ABORT, DELIBERATE_CRASH),
        outcome=INFO,
        why="what the workload asked for: only an abort that returned ok makes it certain",
        transactional=True,
    ),
)

ROWS: Final[tuple[Row, ...]] = tuple(row for group in (*_PLAIN, *_SHARE, *_IN_TXN) for row in group.rows())
TABLE: Final[Mapping[tuple[bool, Stage, str], Row]] = {(row.transactional, row.stage, row.name): row for row in ROWS}

ALIASES: Final[Mapping[str, str]] = {
    "NOT_LEADER_OR_FOLLOWER": "NOT_LEADER_FOR_PARTITION",
    "UNKNOWN_TOPIC_OR_PARTITION": "UNKNOWN_TOPIC_OR_PART",
    "MESSAGE_TOO_LARGE": "MSG_SIZE_TOO_LARGE",
}
"""Kafka's names of protocol errors that librdkafka calls otherwise."""
CODES: Final[Mapping[int, str]] = {
    3: "UNKNOWN_TOPIC_OR_PART",
    6: "NOT_LEADER_FOR_PARTITION",
    7: "REQUEST_TIMED_OUT",
    10: "MSG_SIZE_TOO_LARGE",
    19: "NOT_ENOUGH_REPLICAS",
    20: "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    22: "ILLEGAL_GENERATION",
    25: "UNKNOWN_MEMBER_ID",
    27: "REBALANCE_IN_PROGRESS",
    29: "TOPIC_AUTHORIZATION_FAILED",
    30: "GROUP_AUTHORIZATION_FAILED",
    31: "CLUSTER_AUTHORIZATION_FAILED",
    35: "UNSUPPORTED_VERSION",
    42: "INVALID_REQUEST",
    45: "OUT_OF_ORDER_SEQUENCE_NUMBER",
    47: "INVALID_PRODUCER_EPOCH",
    48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING",
    50: "INVALID_TRANSACTION_TIMEOUT",
    53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    56: "KAFKA_STORAGE_ERROR",
    59: "UNKNOWN_PRODUCER_ID",
    76: NO_SUCH_CODEC,
    82: "FENCED_INSTANCE_ID",
    87: "INVALID_RECORD",
    88: "UNSTABLE_OFFSET_COMMIT",
    90: "PRODUCER_FENCED",
    100: "UNKNOWN_TOPIC_ID",
    113: "STALE_MEMBER_EPOCH",
    121: "INVALID_RECORD_STATE",
    122: "SHARE_SESSION_NOT_FOUND",
    123: "INVALID_SHARE_SESSION_EPOCH",
    133: "SHARE_SESSION_LIMIT_REACHED",
}
"""The protocol's numbers of the errors that the table names."""


def canonical(error: str | int) -> str:
    """Return the table's name for an error that a client knows by Kafka's name or number."""
    if isinstance(error, int):
        return CODES.get(error, str(error))
    return ALIASES.get(error, error)


def _row(failure: Failure, *, transactional: bool) -> Row | None:
    name = canonical(failure.name)
    key = (transactional, failure.stage, name)
    return TABLE.get(key) or (None if name in TIMEOUTS else TABLE.get((transactional, failure.stage, ANY)))


def outcome(failure: Failure, *, retries: bool = True) -> OpType:
    """Return what an operation outside a transaction came to; `retries`: the client may have sent it more than once."""
    row = _row(failure, transactional=False)
    if row is None:
        return INFO
    return row.outcome if retries else row.without_retries


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a transaction went. `stopped`: why it was not committed, an error of its body or a deliberate abort."""

    stopped: Failure | None = None
    commit_called: bool = False
    commit: Failure | None = None
    """The error of commit; None: it returned ok, or was not called."""
    abort_ok: bool = False
    abort: Failure | None = None

    def deciding(self) -> Failure | None:
        """Return the error that the completion shows: what stopped the transaction first."""
        return self.stopped or self.commit


def transaction(course: Course) -> OpType:
    """Return what a transaction came to."""
    failure = course.deciding()
    if failure is None:
        assert course.commit_called, "a transaction that nothing stopped was committed"
        return OK
    row = _row(failure, transactional=True)
    if course.abort_ok:
        return FAIL if row is None else row.aborted
    if course.commit_called:
        return INFO
    told = (row, _row(course.abort, transactional=True) if course.abort else None)
    return FAIL if any(r is not None and r.outcome == FAIL for r in told) else INFO
