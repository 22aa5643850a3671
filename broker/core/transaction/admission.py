"""Which partitions may join a transaction, and the answers that say so.

They have to be there, and a client names none of an internal topic: its offsets join by AddOffsetsToTxn, and leaders
ask for what they were sent. One that may not keeps the others out. Kafka: KafkaApis.handleAddPartitionsToTxnRequest.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.core.topic_names import INTERNAL
from broker.core.transaction.state import Place
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult,
)

Topics = tuple[AddPartitionsToTxnTopic, ...]
Results = tuple[AddPartitionsToTxnTopicResult, ...]


def places(topics: Topics) -> tuple[Place, ...]:
    """Return the partitions one by one."""
    return tuple((topic.name, index) for topic in topics for index in topic.partitions)


def results(topics: Topics, code_of: Callable[[Place], Code]) -> Results:
    """Return the answer about each partition."""
    return tuple(
        AddPartitionsToTxnTopicResult(
            name=topic.name,
            results_by_partition=tuple(
                AddPartitionsToTxnPartitionResult(
                    partition_index=index, partition_error_code=code_of((topic.name, index))
                )
                for index in topic.partitions
            ),
        )
        for topic in topics
    )


def alike(topics: Topics, code: Code) -> Results:
    """Return the same answer about all partitions."""
    return results(topics, lambda _: code)


def refusal(image: Image, topics: Topics, *, of_client: bool) -> Results | None:
    """Return the answer to a request of which a partition may not join, None when all may."""
    codes = {}
    for place in places(topics):
        name, index = place
        if of_client and name in INTERNAL:
            codes[place] = Code.TOPIC_AUTHORIZATION_FAILED
        elif image.partition(image.topic_ids.get(name, ""), index) is None:
            codes[place] = Code.UNKNOWN_TOPIC_OR_PARTITION
    return results(topics, lambda place: codes.get(place, Code.OPERATION_NOT_ATTEMPTED)) if codes else None
