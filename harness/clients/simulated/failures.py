"""The simulated clients' errors as `harness.outcome.Failure`s. They carry librdkafka's names and flags already."""

from __future__ import annotations

from broker.sim.client.errors import ClientError, code_of
from harness.clients.errors import FailedError
from harness.outcome import Failure, Stage, canonical


def failed(stage: Stage, error: ClientError) -> FailedError:
    """Return what to raise for an error at a stage."""
    return FailedError(
        Failure(
            stage=stage,
            name=canonical(error.name),
            code=code_of(error.name),
            message=error.message,
            retriable=error.retriable,
            fatal=error.fatal,
            requires_abort=error.requires_abort,
        )
    )
