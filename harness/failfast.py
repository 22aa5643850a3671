"""`--fail-fast`: the run's ops are looked at while it goes; the first violation ends its main phase.

What follows is what follows an interrupt: faults are healed, the logs are read to their ends, and the whole history is
judged. The alarm stands in the history as the value of the `interrupt` event.
"""

from __future__ import annotations

from collections.abc import Callable

from checkers.online import Online
from checkers.options import CheckOptions
from harness.generator import INTERRUPT
from harness.history import HARNESS, INFO, Op
from harness.process import crash
from harness.scenario import Scenario

TRIMS = ("retention", "cleanup.policy", "segment")
"""Settings with one of these in their name may move a log's start within a run."""


def trims(scenario: Scenario) -> bool:
    """Return whether the scenario's settings let log starts move."""
    return any(part in name for name in (*scenario.topic_config, *scenario.broker_config) for part in TRIMS)


class FailFast:
    """Hands each recorded op to the online checkers, until the first alarm or the final reads."""

    def __init__(self, scenario: Scenario, options: CheckOptions, post: Callable[[Op], None]) -> None:
        """Begin; `post` hands an event into the run."""
        self._watch: Online | None = Online(options, logs_are_trimmed=trims(scenario))
        self._post = post

    def take(self, op: Op) -> None:
        """Take the next op of the history."""
        if self._watch is None:
            return
        if op.process == HARNESS and op.f == "phase" and op.value == "drain":
            self._watch = None
            return
        try:
            alarm = self._watch.feed(op)
        except Exception as error:  # noqa: BLE001  a door: what looks ahead must not end a run; the judgement will see all
            self._watch = None
            self._tell({"crashed": crash.describe(error)})
            return
        if alarm is not None:
            self._watch = None
            self._post(
                Op(
                    process=HARNESS,
                    type=INFO,
                    f=INTERRUPT,
                    value={"anomaly": alarm.name, "ops": list(alarm.ops), "why": alarm.why},
                )
            )

    def _tell(self, value: dict[str, str]) -> None:
        self._post(Op(process=HARNESS, type=INFO, f="online", value=value))
