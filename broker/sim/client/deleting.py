"""DeleteRecords, asked of a partition's leader once: whoever wants more asks again."""

from __future__ import annotations

from typing import Final

from broker.sim.client.contact import Contact
from broker.sim.client.errors import ClientError, of_code
from broker.sim.client.metadata import Partition
from broker.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)

VERSION: Final = 2


async def delete_records(contact: Contact, leader: int, key: Partition, offset: int, timeout_ms: int) -> int:
    """Delete what is below the offset; return the lowest log start of the live replicas.

    Raises ClientError: whatever it says, records may have been deleted.
    """
    topic, index = key
    parts = (DeleteRecordsPartition(partition_index=index, offset=offset),)
    ask = DeleteRecordsRequest(topics=(DeleteRecordsTopic(name=topic, partitions=parts),), timeout_ms=timeout_ms)
    answer = await contact.call(leader, ask, VERSION)
    for found in answer.topics:
        for part in found.partitions:
            if part.error_code:
                raise of_code(part.error_code)
            low: int = part.low_watermark
            return low
    raise ClientError("_BAD_MSG", f"no answer for {topic}/{index}")
