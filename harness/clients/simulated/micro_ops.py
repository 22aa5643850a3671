"""The micro-ops of an op on the virtual clock, one after another; `Work` is that of `harness.clients.micro_ops`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.sim.client.errors import ClientError
from broker.sim.client.producer import Producer
from broker.sim.loop import Future
from harness.client import Now
from harness.clients.errors import FailedError
from harness.clients.micro_ops import Work
from harness.clients.packing import PLAIN, Packing
from harness.clients.sender import UNTOLD, split
from harness.clients.simulated.failures import failed
from harness.clients.simulated.reader import Reader
from harness.outcome import Stage


class MicroOps:
    """Does the micro-ops of one process."""

    def __init__(self, process: int, reader: Reader, now: Now, packing: Packing = PLAIN) -> None:
        """Prepare; the process's records are numbered from 0."""
        self._process, self._reader, self._now, self._packing = process, reader, now, packing
        self._sequence = 0

    async def do(self, work: Work, position: int, producer: Producer | None, deadline_ms: float) -> None:
        """Do one micro-op and note in `work` what came of it, also when it raises FailedError."""
        if work.is_left_over(position):
            return
        if work.value[position] == ["poll"]:
            begun = self._now()
            try:
                await self._poll(work, position)
            finally:
                work.times.append([begun, self._now()])
            return
        assert producer is not None, "who sends has a producer"
        try:
            if position not in work.begun:
                self._begin(work, position, producer)
            one = work.begun[position]
            work.value[position] = one.record.sent(await _reported(producer, one.report, deadline_ms))
        finally:
            work.waited(self._now())
            work.begun.pop(position, None)

    def _begin(self, work: Work, position: int, producer: Producer) -> None:
        """Hand over the send at that position, and those that go with it."""
        for at in work.following(position, self._packing):
            if work.is_left_over(at):
                return
            one = work.begin(at, self._process, self._sequence, self._packing, self._now())
            self._sequence += 1
            record, place = one.record, split(one.record.key)
            try:
                one.report = producer.produce(*place, record.value, record.record_key, record.headers)
            except ClientError as error:
                one.report = failed(Stage.PRODUCE, error)
                return

    async def _poll(self, work: Work, position: int) -> None:
        work.polls += 1
        work.isolation = self._reader.isolation
        polled = await self._reader.poll(work.limit)
        work.saw(position, polled.records)
        if polled.failure is not None:
            raise FailedError(polled.failure)

    def seen(self, work: Work) -> Mapping[str, Any]:
        """Return the fields of a completion that tell of its polls."""
        if not work.polls:
            return {}
        return {"isolation": work.isolation, "positions": self._reader.shown_positions()}


async def _reported(producer: Producer, report: Future[int | None] | FailedError, deadline_ms: float) -> int | None:
    """Await a record's report. Raises FailedError at stage PRODUCE (never queued) or DELIVERY."""
    if isinstance(report, FailedError):
        raise report
    try:
        return await producer.contact.until(report, deadline_ms)
    except ClientError as error:
        reason = producer.error if error.name in UNTOLD else None
        raise failed(Stage.DELIVERY, reason or error) from error
