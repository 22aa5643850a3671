"""A program to test: it copies every record of a topic to another one, with confluent-kafka.

    harness run --nemesis kill-app,kill-leader --app '.venv/bin/python examples/copier.py exactly-once'
    harness run --nemesis kill-app,kill-leader --app '.venv/bin/python examples/copier.py at-least-once'

The first commits what it has read in the transaction that holds what it has written, and is valid. The second commits
once a second what is written by then: whoever takes over from a dead instance does again what it had not committed,
`eos-duplicate`; of a program that promises no more (`--app-guarantee at-least-once`) that is allowed. `at-most-once`
commits what it has read before it writes: `eos-loss`.

A step that takes longer than PATIENCE_S ends the process, and another takes over. Without that the first stalls now and
then when the coordinator of its group is killed: librdkafka's `send_offsets_to_transaction` does not return, whatever
its timeout (docs/findings.md).
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

TOGETHER = 50
PATIENCE_S = 20.0
COMMIT_S = 1.0
WORK_S = 0.005
"""What one record takes, where that is what may be lost."""
COMMON = {"bootstrap.servers": os.environ["HARNESS_BOOTSTRAP"], "log_level": 2}
OUTPUT = os.environ["HARNESS_OUTPUT"].split(",")[0]


def main(promise: str) -> None:
    """Copy until killed."""
    consumer = Consumer(
        COMMON
        | {
            "group.id": os.environ["HARNESS_GROUP"],
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
        }
    )
    consumer.subscribe(os.environ["HARNESS_INPUT"].split(","))
    if promise == "exactly-once":
        producer = Producer(
            COMMON | {"transactional.id": os.environ["HARNESS_INSTANCE"], "transaction.timeout.ms": 10000}
        )
        producer.init_transactions()
        step = transaction
    else:
        producer = Producer(COMMON | {"enable.idempotence": True})
        step = After() if promise == "at-least-once" else before
    while True:
        messages = [one for one in consumer.consume(TOGETHER, 0.2) if one.error() is None]
        if messages:
            faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
            step(consumer, producer, messages)
            faulthandler.cancel_dump_traceback_later()


def transaction(consumer: Consumer, producer: Producer, messages: list[Message]) -> None:
    """Copy them and commit the offsets, all or nothing; what was aborted is read again."""
    producer.begin_transaction()
    try:
        write(producer, messages)
        producer.send_offsets_to_transaction(behind(messages), consumer.consumer_group_metadata())
        producer.commit_transaction()
    except KafkaException as error:
        if not error.args[0].txn_requires_abort():
            raise  # it is fenced, or nobody knows: the next process begins where the group has committed
        producer.abort_transaction()
        for place in behind(messages):
            first = min(one.offset() for one in messages if one.partition() == place.partition)
            consumer.seek(TopicPartition(place.topic, place.partition, first))


class After:
    """Copies them; commits the offsets once a second."""

    def __init__(self) -> None:
        """Begin with nothing to commit."""
        self._next_s = time.monotonic() + COMMIT_S

    def __call__(self, consumer: Consumer, producer: Producer, messages: list[Message]) -> None:
        """Do one step."""
        write(producer, messages)
        producer.flush()
        if time.monotonic() >= self._next_s:
            consumer.commit(offsets=behind(messages), asynchronous=False)
            self._next_s = time.monotonic() + COMMIT_S


def before(consumer: Consumer, producer: Producer, messages: list[Message]) -> None:
    """Commit their offsets, then copy them."""
    consumer.commit(offsets=behind(messages), asynchronous=False)
    time.sleep(WORK_S * len(messages))
    write(producer, messages)
    producer.flush()


def write(producer: Producer, messages: list[Message]) -> None:
    """Send the copies to the partitions of the same numbers."""
    for message in messages:
        producer.produce(OUTPUT, value=message.value(), key=message.key(), partition=message.partition())


def behind(messages: list[Message]) -> list[TopicPartition]:
    """Return the next offsets."""
    last = {(one.topic(), one.partition()): one.offset() + 1 for one in messages}
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in last.items()]


if __name__ == "__main__":
    main(sys.argv[1])
