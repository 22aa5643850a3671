"""DeleteRecords by confluent-kafka's admin client: the start of one partition's log is raised (KIP-107).

The admin client is made for one question and let go. It knows the leader before it is asked: where librdkafka 2.16 has
to look for one while it connects, one question in fifteen finds none within its three seconds. It asks the leader once;
whatever error it tells, records may have been deleted, on some replicas or on all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from harness.clients import settings
from harness.clients.errors import FailedError, of_exception, timed_out
from harness.clients.patience import Deadline, let_go
from harness.clients.sender import split
from harness.outcome import Stage


def delete_records(config: Mapping[str, Any], key: str, offset: int, deadline: Deadline) -> int:
    """Delete what is below the offset; return the lowest log start of the live replicas. Raises FailedError."""
    admins: list[Any] = [AdminClient(dict(config))]
    place = TopicPartition(*split(key), offset)
    try:
        with contextlib.suppress(KafkaException):  # a head start, no more
            admins[0].list_topics(place.topic, timeout=min(settings.WARM_UP_S, deadline.left_s(at_least=0.1)))
        asked = admins[0].delete_records(
            [place],
            operation_timeout=settings.BROKER_WAIT_MS / 1000,
            request_timeout=min(settings.SOCKET_TIMEOUT_MS / 1000, deadline.left_s(at_least=0.1)),
        )
        low: int = asked[place].result(deadline.left_s()).low_watermark
    except KafkaException as error:
        raise FailedError(of_exception(Stage.DELETE_RECORDS, error)) from error
    except TimeoutError as error:
        message = f"{key}: no answer within the op's bound"
        raise FailedError(timed_out(Stage.DELETE_RECORDS, message)) from error
    else:
        return low
    finally:
        let_go(admins, None, 0)
