"""One process's transactions on the virtual clock: the same order of calls as `harness.clients.transactions`.

init (once per producer) -> begin -> micro-ops -> send_offsets, when subscribed and something was polled -> commit.
Whatever stops a transaction before commit leads to an abort, and so does an error of commit that asks for one. A
producer after a fatal error, or whose abort failed, is thrown away. A crash drops it with the transaction open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from broker.sim.client.errors import ClientError
from broker.sim.client.transactional import TransactionalProducer
from harness.client import Now
from harness.clients import settings
from harness.clients.errors import FailedError
from harness.clients.micro_ops import Work
from harness.clients.sender import MIN_CALL_S, split
from harness.clients.simulated.failures import failed
from harness.clients.simulated.micro_ops import MicroOps
from harness.clients.simulated.reader import Reader
from harness.clients.transactions import MIN_ABORT_S, Attempt, on_purpose
from harness.history import Op
from harness.outcome import DELIBERATE_ABORT, DELIBERATE_CRASH, Course, Failure, Stage


class Transactions:
    """Owns the process's transactional producer; used by one coroutine at a time."""

    def __init__(
        self, micro_ops: MicroOps, reader: Reader, new_producer: Callable[[], TransactionalProducer], now: Now
    ) -> None:
        """Prepare; `new_producer` makes one with the process's transactional id."""
        self._micro_ops, self._reader, self._new_producer, self._now = micro_ops, reader, new_producer, now
        self._producer: TransactionalProducer | None = None
        self._used: TransactionalProducer | None = None
        """Of the transaction under way."""
        self._init_time: int | None = None

    async def attempt(self, op: Op, work: Work, deadline_ms: float) -> Attempt:
        """Run one transaction to its end, or up to where a crash leaves it; the caller then drops the producer."""
        self._used = None
        attempt = await self._attempt(op, work, deadline_ms)
        ends = 0 if self._used is None else self._used.end_attempts
        return replace(attempt, init_time=self._init_time, end_attempts=ends)

    async def _attempt(self, op: Op, work: Work, deadline_ms: float) -> Attempt:
        body_ms = deadline_ms - settings.OP_GRACE_S * 1000
        offsets = None
        try:
            producer = await self._ready(body_ms)
            await _call(Stage.BEGIN, _begin(producer))
            for position in range(len(work.value)):
                await self._micro_ops.do(work, position, producer, body_ms)
            offsets = await self._send_offsets(producer, work, body_ms)
        except FailedError as error:
            if op.crash:
                return Attempt(course=Course(stopped=on_purpose(DELIBERATE_CRASH)))
            return Attempt(course=await self._after(Course(stopped=error.failure), deadline_ms))
        if op.crash:
            return Attempt(course=Course(stopped=on_purpose(DELIBERATE_CRASH)), offsets=offsets)
        if op.abort:
            course = await self._after(Course(stopped=on_purpose(DELIBERATE_ABORT)), deadline_ms)
            return Attempt(course=course, offsets=offsets)
        commit_time = self._now()
        try:
            until_ms = max(deadline_ms - MIN_ABORT_S * 1000, producer.loop.now_ms + MIN_CALL_S * 1000)
            await _call(Stage.COMMIT, producer.commit(until_ms))
        except FailedError as error:
            course = await self._after(Course(commit_called=True, commit=error.failure), deadline_ms)
            return Attempt(course=course, commit_time=commit_time, offsets=offsets)
        return Attempt(course=Course(commit_called=True), commit_time=commit_time, offsets=offsets)

    async def _ready(self, deadline_ms: float) -> TransactionalProducer:
        """Return the producer, which has its transactional id."""
        if self._producer is None:
            producer, self._init_time = self._new_producer(), None
            try:
                await _call(Stage.INIT, producer.init(deadline_ms))
            except FailedError:
                producer.close()
                raise
            self._producer, self._init_time = producer, self._now()
        self._used = self._producer
        return self._producer

    async def _send_offsets(self, producer: TransactionalProducer, work: Work, deadline_ms: float) -> list[Any] | None:
        if not (self._reader.subscribed and work.next):
            return None
        places = {split(key): offset for key, offset in work.next.items()}
        until_ms = max(deadline_ms, producer.loop.now_ms + settings.MIN_OFFSETS_S * 1000)
        await _call(Stage.SEND_OFFSETS, producer.send_offsets(places, self._reader.group_metadata(), until_ms))
        return [[key, offset] for key, offset in work.next.items()]

    async def _after(self, course: Course, deadline_ms: float) -> Course:
        """Abort what did not commit, where that may be; throw the producer away where it is of no use."""
        failure, producer = course.deciding(), self._producer
        assert failure is not None
        if producer is None:  # init failed: there is no transaction
            return course
        abort: Failure | None = None
        if not failure.fatal and failure.stage != Stage.BEGIN and (course.commit is None or failure.requires_abort):
            until_ms = max(deadline_ms, producer.loop.now_ms + MIN_ABORT_S * 1000)
            try:
                await _call(Stage.ABORT, producer.abort(until_ms))
            except FailedError as error:
                abort = error.failure
            else:
                return replace(course, abort_ok=True)
        self.drop()
        return replace(course, abort=abort)

    def drop(self) -> None:
        """Throw the producer away, with whatever transaction is open."""
        if self._producer is not None:
            self._producer.close()
        self._producer = None


async def _begin(producer: TransactionalProducer) -> None:
    producer.begin()


async def _call(stage: Stage, call: Awaitable[None]) -> None:
    """Await a step; raises FailedError at the stage."""
    try:
        await call
    except ClientError as error:
        raise failed(stage, error) from error
