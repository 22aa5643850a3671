"""The micro-ops of an op on the virtual clock, one after another; `Work` is that of `harness.clients.micro_ops`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.sim.client.errors import ClientError
from broker.sim.client.producer import Producer
from harness.client import Now
from harness.clients.micro_ops import Work
from harness.clients.payload import Outgoing, is_copy, outgoing
from harness.clients.sender import UNTOLD, split
from harness.clients.simulated.failures import failed
from harness.clients.simulated.reader import Reader
from harness.outcome import Stage


class MicroOps:
    """Does the micro-ops of one process."""

    def __init__(self, process: int, reader: Reader, now: Now) -> None:
        """Prepare; the process's records are numbered from 0."""
        self._process, self._reader, self._now = process, reader, now
        self._sequence = 0

    async def do(self, work: Work, position: int, producer: Producer | None, deadline_ms: float) -> None:
        """Do one micro-op and note in `work` what came of it, also when it raises FailedError."""
        if work.is_left_over(position):
            return
        begun, micro_op = self._now(), work.value[position]
        try:
            if micro_op == ["poll"]:
                await self._poll(work, position)
            else:
                assert producer is not None, "who sends has a producer"
                source = work.uncopied.popleft() if is_copy(micro_op) else None
                record = outgoing(micro_op, self._process, self._sequence, source)
                self._sequence += 1
                work.value[position] = record.sent(None)
                work.value[position] = record.sent(await _send(producer, record, deadline_ms))
        finally:
            work.times.append([begun, self._now()])

    async def _poll(self, work: Work, position: int) -> None:
        work.polls += 1
        work.isolation = self._reader.isolation
        work.saw(position, await self._reader.poll(work.limit))

    def seen(self, work: Work) -> Mapping[str, Any]:
        """Return the fields of a completion that tell of its polls."""
        if not work.polls:
            return {}
        return {"isolation": work.isolation, "positions": self._reader.shown_positions()}


async def _send(producer: Producer, record: Outgoing, deadline_ms: float) -> int | None:
    """Send one record and await its report. Raises FailedError at stage PRODUCE (never queued) or DELIVERY."""
    topic, partition = split(record.key)
    try:
        report = producer.produce(topic, partition, record.value, record.record_key, record.headers)
    except ClientError as error:
        raise failed(Stage.PRODUCE, error) from error
    try:
        return await producer.contact.until(report, deadline_ms)
    except ClientError as error:
        reason = producer.error if error.name in UNTOLD else None
        raise failed(Stage.DELIVERY, reason or error) from error
