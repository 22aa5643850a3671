"""What goes wrong for a client: Kafka's names for what a broker answered, librdkafka's (with `_`) for the client's own.

`retriable`: the same call may be tried again. `fatal`: the client object is of no more use. `requires_abort`: the
transaction can only be aborted.
"""

from __future__ import annotations

from broker.core.errors import Code
from broker.wire.errors import error_name

TIMED_OUT = "_TIMED_OUT"
MSG_TIMED_OUT = "_MSG_TIMED_OUT"
TRANSPORT = "_TRANSPORT"
FENCED = "_FENCED"
STATE = "_STATE"
PURGE_QUEUE = "_PURGE_QUEUE"
PURGE_INFLIGHT = "_PURGE_INFLIGHT"

MOVED = frozenset(
    {
        "NOT_LEADER_OR_FOLLOWER",
        "LEADER_NOT_AVAILABLE",
        "UNKNOWN_TOPIC_OR_PARTITION",
        "UNKNOWN_TOPIC_ID",
        "FENCED_LEADER_EPOCH",
        "UNKNOWN_LEADER_EPOCH",
        "REPLICA_NOT_AVAILABLE",
        "KAFKA_STORAGE_ERROR",
        "OFFSET_NOT_AVAILABLE",
    }
)
"""The partition is elsewhere, or not ready: look at the metadata and try again."""
COORDINATOR = frozenset({"NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS"})
"""The coordinator is elsewhere, or not ready: look for it and try again."""
LOST = frozenset({TIMED_OUT, TRANSPORT})
"""No answer: the request may have been executed, or may still be."""
FENCES = frozenset({"PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"})


LOCAL_CODES = {
    "_TRANSPORT": -195,
    "_MSG_TIMED_OUT": -192,
    "_TIMED_OUT": -185,
    "_CONFLICT": -173,
    "_STATE": -172,
    "_PURGE_QUEUE": -152,
    "_PURGE_INFLIGHT": -151,
    "_FENCED": -144,
}
"""librdkafka's numbers of the client's own errors."""


class ClientError(Exception):
    """See the module."""

    def __init__(
        self,
        name: str,
        message: str = "",
        *,
        retriable: bool = False,
        fatal: bool = False,
        requires_abort: bool = False,
    ) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name, self.message = name, message
        self.retriable, self.fatal, self.requires_abort = retriable, fatal, requires_abort


def code_of(name: str) -> int | None:
    """Return the number of an error, None of one that has none here."""
    return LOCAL_CODES.get(name, Code[name].value if name in Code.__members__ else None)


def of_code(code: int, message: str = "") -> ClientError:
    """Return the error that a broker answered."""
    return ClientError(error_name(code), message)
