"""Does once, against one node, what runs do: `python -m harness.cluster.exercise ADDRESS`.

A process of its own, since no call of librdkafka is bound to return (see `harness.clients.membership`): who started it
ends it. It says READ when a group has read what a transaction wrote; what is left then is to leave the group.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

READ: Final = "read"
STEP_TIMEOUT_S: Final = 30.0
_TOPIC: Final = "warm-up"


def exercise(address: str) -> None:
    """Make a topic, write to it in a transaction, read it in a group. KafkaException, TimeoutError."""
    config: dict[str, str | int | float | bool] = {"bootstrap.servers": address, "log_level": 0}
    admin = AdminClient(config)  # held: its answers end with it
    admin.create_topics([NewTopic(_TOPIC, 1, 1)])[_TOPIC].result(STEP_TIMEOUT_S)
    producer = Producer(config | {"transactional.id": _TOPIC})
    producer.init_transactions(STEP_TIMEOUT_S)
    producer.begin_transaction()
    producer.produce(_TOPIC, b"1")
    producer.commit_transaction(STEP_TIMEOUT_S)
    consumer = Consumer(config | {"group.id": _TOPIC, "auto.offset.reset": "earliest"})
    consumer.subscribe([_TOPIC])
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while (message := consumer.poll(0.2)) is None or message.error() is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"a group read nothing within {STEP_TIMEOUT_S:g} s")
    sys.stdout.write(READ)
    sys.stdout.flush()
    consumer.close()


if __name__ == "__main__":
    try:
        exercise(sys.argv[1])
    except (KafkaException, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
