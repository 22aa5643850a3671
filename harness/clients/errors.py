"""confluent-kafka's exceptions as `harness.outcome.Failure`s, and the exception that carries one through a client."""

from __future__ import annotations

from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from harness.outcome import Failure, Stage, canonical

TIMED_OUT: Final = -185
QUEUE_FULL: Final = -184


class FailedError(Exception):
    """Something that an op needed failed; the outcome table decides what that means."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.stage}: {failure.name}: {failure.message}")
        self.failure = failure


class UnreadableError(FailedError):
    """A read met a batch that nobody can take apart; `entry` is the history's entry for it."""

    def __init__(self, failure: Failure, entry: list[Any]) -> None:
        super().__init__(failure)
        self.entry = entry


def of_error(stage: Stage, error: KafkaError) -> Failure:
    """Return the failure that librdkafka's error tells of."""
    return Failure(
        stage=stage,
        name=canonical(error.name()),
        code=error.code(),
        message=error.str(),
        retriable=error.retriable(),
        fatal=error.fatal(),
        requires_abort=error.txn_requires_abort(),
    )


def of_exception(stage: Stage, exception: KafkaException | BufferError | RuntimeError) -> Failure:
    """Return the failure of a call that raised: KafkaException, BufferError (queue full) or RuntimeError (closed)."""
    if isinstance(exception, BufferError):
        return Failure(stage=stage, name="_QUEUE_FULL", code=QUEUE_FULL, message=str(exception), retriable=True)
    if exception.args and isinstance(exception.args[0], KafkaError):
        return of_error(stage, exception.args[0])
    return Failure(stage=stage, name=type(exception).__name__, message=str(exception))


def timed_out(stage: Stage, message: str) -> Failure:
    """Return the failure of a wait that we ended ourselves."""
    return Failure(stage=stage, name="_TIMED_OUT", code=TIMED_OUT, message=message, retriable=True)
