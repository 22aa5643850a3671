"""What a leader takes from a producer: one good batch per partition, whose records its topic allows.

By the header alone: size, checksum, counts. Only where the topic asks for it are the records looked at, each by itself,
as in Kafka (KIP-467): a compacted topic takes no record without a key (INVALID_RECORD); no record's own time may lie
further from this node's clock than `message.timestamp.before.max.ms` and `message.timestamp.after.max.ms`
(INVALID_TIMESTAMP). One bad record refuses its batch; the answer names every bad one, so that a producer sends the
others again. A topic with a codec of its own (`compression.type`) gets the batch packed anew, with the same identity.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.core.config import IntakeConfig, TopicConfig
from broker.core.errors import Code, Refused
from broker.core.topic_settings import WITHOUT_LIMIT
from broker.wire import batch, compression
from broker.wire.batch import BatchHeader, Buffer, CorruptBatchError
from broker.wire.entries import Entry, entries, records_of

Writable = bytearray | memoryview
Place = tuple[str, int]
"""Topic name and partition index."""
BadRecords = tuple[tuple[int, str], ...]
"""(place in the batch, what is wrong) of each record that is refused."""
_SHOWN = 3


class RefusedRecords(Refused):
    """A batch is refused for some of its records."""

    def __init__(self, code: Code, message: str, records: BadRecords) -> None:
        super().__init__(code, message)
        self.records = records


def take(records: Buffer | None, config: TopicConfig, now_ms: int, place: Place) -> tuple[Writable, BatchHeader]:
    """Return the batch as it shall be appended, writable, and its header. Raise Refused.

    place: the partition, as the answer calls it.
    """
    buffer = records if isinstance(records, bytearray | memoryview) else bytearray(records or b"")
    most = config.log.max_message_bytes
    header = _check_batch(buffer, most)
    if config.cleanup.compact or _may_be_out_of_time(header, config, now_ms):
        _check_records(buffer, header, config, now_ms, place)
    codec = config.intake.codec
    if codec is not None and codec != header.compression:
        buffer = _packed(buffer, header, codec)
        header = batch.parse_header(buffer, 0)
        _check_size(header, most)
    return buffer, header


def _check_batch(buffer: Buffer, most: int) -> BatchHeader:
    """Return the header of the one good batch that a client may send."""
    try:
        found = list(batch.parse(buffer))
        if len(found) != 1 or found[0][1].size != len(buffer):
            raise Refused(Code.INVALID_RECORD, "a partition takes exactly one record batch per request")
        header = found[0][1]
        _check_size(header, most)
        batch.check(buffer, 0, header)
    except CorruptBatchError as error:
        raise Refused(Code.CORRUPT_MESSAGE, str(error)) from error
    if header.is_control or header.record_count < 1 or header.last_offset_delta != header.record_count - 1:
        raise Refused(Code.INVALID_RECORD, f"{header.record_count} records to offset +{header.last_offset_delta}")
    if header.is_transactional and header.producer_id < 0:
        raise Refused(Code.INVALID_RECORD, "a transactional batch needs a producer id")
    return header


def _check_size(header: BatchHeader, most: int) -> None:
    if header.size > most:
        raise Refused(Code.MESSAGE_TOO_LARGE, f"the batch has {header.size} bytes, {most} are allowed")


def _may_be_out_of_time(header: BatchHeader, config: TopicConfig, now_ms: int) -> bool:
    """Return whether the records must be asked for their times: the header knows only the latest."""
    if config.log.append_time or header.max_timestamp == batch.NO_TIMESTAMP:
        return False
    too_new = header.max_timestamp - now_ms > config.intake.timestamp_after_ms
    return too_new or config.intake.timestamp_before_ms != WITHOUT_LIMIT


def _check_records(buffer: Buffer, header: BatchHeader, config: TopicConfig, now_ms: int, place: Place) -> None:
    """Refuse the batch for the records that the topic does not take."""
    try:
        found = entries(records_of(buffer, 0, header), header.record_count)
    except CorruptBatchError as error:
        raise Refused(Code.INVALID_RECORD, str(error)) from error
    keyless = tuple(_keyless(found, place)) if config.cleanup.compact else ()
    known = {index for index, _ in keyless}
    out_of_time: BadRecords = ()
    if not config.log.append_time:
        bad = _out_of_time(found, header, config.intake, now_ms)
        out_of_time = tuple((index, text) for index, text in bad if index not in known)
    if out_of_time:
        message = "One or more records have been rejected due to invalid timestamp"
        raise RefusedRecords(Code.INVALID_TIMESTAMP, message, tuple(sorted(keyless + out_of_time)))
    if keyless:
        first = "; ".join(f"{index}: {text}" for index, text in keyless[:_SHOWN])
        message = f"One or more records have been rejected: {len(keyless)} of {len(found)}, the first are {first}"
        raise RefusedRecords(Code.INVALID_RECORD, message, keyless)


def _keyless(found: list[Entry], place: Place) -> Iterator[tuple[int, str]]:
    """Yield the records that a compacted topic could never keep."""
    topic, partition = place
    for index, entry in enumerate(found):
        if entry.key is None:
            yield index, f"Compacted topic cannot accept message without key in topic partition {topic}-{partition}."


def _out_of_time(
    found: list[Entry], header: BatchHeader, intake: IntakeConfig, now_ms: int
) -> Iterator[tuple[int, str]]:
    """Yield the records whose time is too far away; one without a time is not."""
    low, high = now_ms - intake.timestamp_before_ms, now_ms + intake.timestamp_after_ms
    for index, entry in enumerate(found):
        timestamp = header.base_timestamp + entry.timestamp_delta
        if timestamp != batch.NO_TIMESTAMP and not low <= timestamp <= high:
            yield index, f"Timestamp {timestamp} is out of range: it should be within [{low}, {high}]"


def _packed(buffer: Buffer, header: BatchHeader, codec: int) -> bytearray:
    """Return the batch under another codec."""
    try:
        body = records_of(buffer, 0, header)
    except CorruptBatchError as error:
        raise Refused(Code.INVALID_RECORD, str(error)) from error
    return batch.rebuild(
        header,
        compression.compress(codec, body),
        count=header.record_count,
        max_timestamp=header.max_timestamp,
        compression=codec,
    )
