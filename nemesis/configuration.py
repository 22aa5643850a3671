"""The fault change-config: what an operator does to settings while records are written.

One dynamic setting of the partition's topic, or of all brokers, is given another value, which holds for the fault's
length; the heal gives it the value of its own that it had before, or takes it away again. The settings are those that
no guarantee hangs on, in the direction that is safe whatever the run has chosen: segments may roll sooner or later,
batches be packed anew, disks be synced more often, a compacted log be cleaned less; retention, the policy of cleaning
and elections stay as they are. `min.insync.replicas` goes up to the number of replicas: then writes stand still while
one is away, so that such an injection is expected to stall.

Which setting is drawn, and its value; one that would change nothing, or go the wrong way, makes room for the next.
Bit: DescribeConfigs on the partition's leader shows the new value.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from harness.cluster.actions import Configure, Reset
from harness.cluster.api import PartitionState, Setting
from harness.cluster.questions import Configured, SettingOf
from nemesis.actions import inverse
from nemesis.aiming import bitten, led, missed, no_leader, split
from nemesis.fault import Act, Aim, Ask, Expects, Heal, Inject, Injection, Power, Step, Until

SHOWN_S: Final = 5.0
"""For a controller to write it down, and for the partition's leader to hear of it."""
TRIES: Final = 5
"""A controller that has just changed, or a node that has just died, leaves the first request without an answer."""
MIN_ISR: Final = "min.insync.replicas"
POLICY: Final = "cleanup.policy"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting, and the values that it may be given; `only`: where it may be raised only, or lowered."""

    name: str
    values: tuple[str, ...]
    only: Literal["up", "down"] | None = None
    of_brokers: bool = False
    of_compacted: bool = False
    """Means something on a compacted topic alone."""


CHANGES: Final[Sequence[Change]] = (
    Change("segment.ms", ("200", "800")),
    Change("segment.bytes", ("1048576", "2097152")),  # Kafka 4 refuses less than the first
    Change("segment.index.bytes", ("1024", "2048")),
    Change("index.interval.bytes", ("0", "65536")),
    Change("flush.messages", ("1",), only="down"),  # else what was synced may be what a run counts on
    Change("max.message.bytes", ("262144", "2000000")),  # more than an op sends at once, if it is not told to
    Change("compression.type", ("zstd", "lz4", "gzip", "snappy", "uncompressed")),
    Change(MIN_ISR, (), only="up"),  # the number of replicas
    Change("min.cleanable.dirty.ratio", ("0.25", "0.9"), only="up", of_compacted=True),
    Change("min.compaction.lag.ms", ("1500",), only="up", of_compacted=True),
    Change("delete.retention.ms", ("60000",), only="up", of_compacted=True),
    Change("log.roll.ms", ("500",), of_brokers=True),  # the internal topics' segments, too
    Change("num.replica.fetchers", ("2",), of_brokers=True),
    Change("num.io.threads", ("6",), of_brokers=True),  # Kafka: from half of what there is to its double
    Change("num.network.threads", ("4", "3"), of_brokers=True),
)


class ChangeConfig:
    """See the module."""

    name = "change-config"
    summary = "change a dynamic setting of a topic, or of all brokers, that no guarantee hangs on; then set it back"
    needs: frozenset[Power] = frozenset({"configure"})
    expects: Expects = "progress"

    def inject(self, aim: Aim) -> Inject:
        """Find a setting to change, change it, and wait until the leader shows it."""
        state = yield from led(aim)
        if state is None or state.leader is None:
            return no_leader(aim)
        found = yield from _choice(aim, state)
        if found is None:
            return missed(aim, f"nobody told of a setting of {aim.keys[0]} that could be changed")
        change, value, before = found
        question = SettingOf(aim.keys[0], change.name, change.of_brokers)
        topic = "" if change.of_brokers else aim.keys[0].rpartition("/")[0]
        action = Configure(state.leader, topic, change.name, value, before.own)
        yield Act((action,))
        shown_ms = yield Until(Configured(question, value), SHOWN_S)
        undo = inverse(action)
        assert undo is not None
        injection = Injection(
            nodes=(state.leader,),
            keys=aim.keys,
            evidence={"setting": f"{change.name} of {topic or 'all brokers'}", "from": before.value, "to": value},
            bit=True,
            undo=(undo,),
            expects="stall" if change.name == MIN_ISR else None,
        )
        reason = {"reason": f"no leader of {aim.keys[0]} showed it within {SHOWN_S:g} s"}
        return bitten(injection, reason if shown_ms is None else {"shown-after_ms": shown_ms})

    def heal(self, injection: Injection) -> Heal:
        """Give the setting back what it had, and wait until the leader shows that."""
        for undo in injection.undo:
            assert isinstance(undo, Reset)
            question = SettingOf(injection.keys[0], undo.name, not undo.topic)
            for _ in range(TRIES):
                yield Act((undo,))
                after_ms = yield Until(Configured(question, undo.value), SHOWN_S)
                if after_ms is not None:
                    return {"back": undo.value or "default", "back-after_ms": after_ms}
            return {"reason": f"{undo.name} was not shown as it was before in {TRIES} tries"}
        return {}


def _choice(aim: Aim, state: PartitionState) -> Generator[Step, Any, tuple[Change, str, Setting] | None]:
    """Return the drawn change that changes something, to which value, and what holds now; None: nobody says."""
    key = aim.keys[0]
    policy: Setting | None = yield Ask(SettingOf(key, POLICY))
    is_compacted = policy is not None and "compact" in (policy.value or "")
    usable = [change for change in CHANGES if is_compacted or not change.of_compacted]
    drawn, left = split(usable, aim.draw)
    begin = usable.index(drawn)
    for change in (*usable[begin:], *usable[:begin]):
        setting: Setting | None = yield Ask(SettingOf(key, change.name, change.of_brokers))
        values = change.values or (str(len(state.replicas)),)
        able = [value for value in values if setting is not None and _may(change, setting.value, value)]
        if setting is not None and able:
            return change, split(able, left)[0], setting
    return None


def _may(change: Change, present: str | None, value: str) -> bool:
    if change.only is None:
        return present != value
    if present is None:
        return False
    return float(value) > float(present) if change.only == "up" else float(value) < float(present)
