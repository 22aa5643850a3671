"""One process's transactions: what is called in which order, when commit was first called, when an abort is tried.

init (once per producer) -> begin -> micro-ops in their order, each send awaiting its report -> send_offsets, when
subscribed and something was polled -> commit. `commit_time` is taken before the first call of commit and is None where
commit was certainly never called. Whatever stops a transaction before commit leads to an abort, and so does an error of
commit that asks for one; a commit that is still under way can't be aborted. A producer after a fatal error, or whose
abort failed, is of no more use: it is thrown away, and the next transaction makes a new one.

So is one whose abort purged a record that was not reported, unless the scenario keeps producers. librdkafka 2.16 gives
the purged record's sequence number to the next record of that partition; if the purged one had been written after all,
the broker takes the next for its repetition, acknowledges it, and writes nothing (docs/findings.md). A new session has
a new epoch, and its numbers begin anew.

A crash drops the producer with the transaction open: neither commit nor abort.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import KafkaException

from harness.client import Now
from harness.clients import settings
from harness.clients.completion import error_of
from harness.clients.errors import FailedError, of_exception
from harness.clients.micro_ops import MicroOps, Work
from harness.clients.patience import Deadline
from harness.clients.reader import Reader
from harness.clients.sender import Sender
from harness.history import Op
from harness.outcome import DELIBERATE_ABORT, DELIBERATE_CRASH, Course, Failure, Stage

MIN_ABORT_S: Final = 1.0
"""An abort is tried for at least so long, even when the op's time is up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one transaction went, for its completion."""

    course: Course
    commit_time: int | None = None
    offsets: list[Any] | None = None
    """[[key, next_offset], ...] for which send_offsets returned ok."""
    init_time: int | None = None
    """ns at which init_transactions of the producer's session had returned."""
    end_attempts: int = 0
    """How often EndTxn was sent, where the client can tell."""

    def told(self, txn_id: str | None, group: str | None) -> dict[str, Any]:
        """Return what the completion says of it, beside its type and what it wrote and read."""
        session = {"init-time": self.init_time, "end-attempts": self.end_attempts or None}
        return {
            "error": error_of(self.course),
            "commit_time": self.commit_time,
            "offsets": self.offsets,
            "txn_id": txn_id,
            "group": group if self.offsets is not None else None,
            "extra": {name: value for name, value in session.items() if value is not None} or None,
        }


class Transactions:
    """Owns the process's transactional producer; used by one thread."""

    def __init__(
        self, micro_ops: MicroOps, reader: Reader, new_sender: Callable[[], Sender], now: Now, *, keep: bool = False
    ) -> None:
        """Prepare; `new_sender` makes a producer with the process's transactional id; `keep`: after a purge, too."""
        self._keep = keep
        self._micro_ops = micro_ops
        self._reader = reader
        self._new_sender = new_sender
        self._now = now
        self._sender: Sender | None = None
        self._init_time: int | None = None

    def attempt(self, op: Op, work: Work, deadline: Deadline) -> Attempt:
        """Run one transaction to its end, or up to where a crash leaves it; the caller then drops the producer."""
        attempt = self._attempt(op, work, deadline)
        return replace(attempt, init_time=self._init_time)

    def _attempt(self, op: Op, work: Work, deadline: Deadline) -> Attempt:
        body = deadline.sooner(settings.OP_GRACE_S)
        offsets = None
        try:
            sender = self._ready(body)
            sender.begin()
            for position in range(len(work.value)):
                self._micro_ops.do(work, position, lambda: sender, body)
            offsets = self._send_offsets(sender, work, body)
        except FailedError as failed:
            if op.crash:
                return Attempt(course=Course(stopped=on_purpose(DELIBERATE_CRASH)))
            return Attempt(course=self._after(Course(stopped=failed.failure), deadline))
        if op.crash:
            return Attempt(course=Course(stopped=on_purpose(DELIBERATE_CRASH)), offsets=offsets)
        if op.abort:
            course = self._after(Course(stopped=on_purpose(DELIBERATE_ABORT)), deadline)
            return Attempt(course=course, offsets=offsets)
        commit_time = self._now()
        try:
            sender.commit(deadline.sooner(MIN_ABORT_S))
        except FailedError as failed:
            course = self._after(Course(commit_called=True, commit=failed.failure), deadline)
            return Attempt(course=course, commit_time=commit_time, offsets=offsets)
        return Attempt(course=Course(commit_called=True), commit_time=commit_time, offsets=offsets)

    def _ready(self, deadline: Deadline) -> Sender:
        """Return the producer, which has its transactional id."""
        if self._sender is not None:
            return self._sender
        self._init_time = None
        try:
            sender = self._new_sender()
        except KafkaException as error:  # settings that librdkafka refuses
            raise FailedError(of_exception(Stage.INIT, error)) from error
        try:
            sender.init(deadline)
        except FailedError:
            sender.drop(0)
            raise
        self._sender, self._init_time = sender, self._now()
        return sender

    def _send_offsets(self, sender: Sender, work: Work, deadline: Deadline) -> list[Any] | None:
        if not (self._reader.subscribed and work.next):
            return None
        sender.send_offsets(work.next, self._reader.group_metadata(), deadline)
        return [[key, offset] for key, offset in work.next.items()]

    def _after(self, course: Course, deadline: Deadline) -> Course:
        """Abort what did not commit, where librdkafka allows it; throw the producer away where it is of no use."""
        failure, sender = course.deciding(), self._sender
        assert failure is not None
        if sender is None:  # init failed: there is no transaction
            return course
        abort: Failure | None = None
        if not failure.fatal and failure.stage != Stage.BEGIN and (course.commit is None or failure.requires_abort):
            try:
                sender.abort(Deadline(deadline.left_s(at_least=MIN_ABORT_S)))
            except FailedError as failed:
                abort = failed.failure
            else:
                if failure.stage == Stage.DELIVERY and not self._keep:
                    self.drop(Deadline(0))
                return replace(course, abort_ok=True)
        self.drop(Deadline(0))
        return replace(course, abort=abort)

    def drop(self, deadline: Deadline) -> None:
        """Throw the producer away, with whatever transaction is open."""
        if self._sender is not None:
            self._sender.drop(deadline.left_s())
        self._sender = None


def on_purpose(name: str) -> Failure:
    """Return the failure of what the workload asked for."""
    return Failure(stage=Stage.ABORT, name=name, message="the workload asked for it")
