"""What was deleted stays deleted, whoever leads (S3): `log-start-regression` after an acknowledged DeleteRecords.

DeleteRecords is answered when every live replica has raised its log start; a replica that was not live learns it from
the leader that it follows, and one that dies may forget it. So a node is held to a deletion only if it was live all the
time from before the deletion on: no fault concerned it since RECOVERED_S before, and every answer to a `Metadata` probe
since IN_SYNC_S before, one of them from before, names it in the ISR. From the acknowledgement on, its own answers to
`ListOffsets` must never begin below the offset, in whatever epoch it leads, deposed or not.

(Apache Kafka writes log starts down once a minute; where all members of an ISR die uncleanly within that time a start
may go back. Who did not die has it in memory.)
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from checkers.case import Case
from checkers.findings import Findings
from checkers.log_view import TYPE_OK
from checkers.phases import Fault
from checkers.probes import LATEST, METADATA
from checkers.samples import Sample

CLASS = "log-start-regression"
RECOVERED_S = 10.0
"""After a fault has been healed a node may be away for so long, before it is in touch with its controller again."""
IN_SYNC_S = 5.0
"""Some node may tell an ISR of the past, but not all that were asked for so long."""
_SECOND_NS = 1_000_000_000


def deletions(case: Case, findings: Findings) -> None:
    """Report answers that begin below what was deleted; without a deletion that was acknowledged there is nothing."""
    done = [(call, key, offset) for call, key, offset in case.deletions if case.view.calls.type[call] == TYPE_OK]
    if not done:
        return
    about: dict[Any, list[Sample]] = {}
    for sample in case.samples:
        about.setdefault(sample.value.get("key"), []).append(sample)
    told = {key: _Told(samples) for key, samples in about.items() if len({sample.place for sample in samples}) == 1}
    for call, code, offset in done:
        key = case.key(code)
        if key not in told:
            continue  # nobody answered, or it was made anew, and begins anew
        for sample in _below(case, call, offset, told[key]):
            findings.add(
                CLASS,
                [case.view.op(call), sample.index],
                f"{case.name(call)} deleted what is below offset {offset} of {key}. {sample.node}, which was in sync "
                f"all the time, led it later in epoch {sample.value.get('epoch')} and answered log start "
                f"{sample.value['log-start']} in op {sample.index}.",
                key=key,
                offset=offset,
            )


class _Told:
    """The answers about one key, in order of their answers."""

    def __init__(self, samples: list[Sample]) -> None:
        self.in_sync = [sample for sample in samples if sample.value.get("api") == METADATA and "isr" in sample.value]
        self._soonest = list(accumulate((sample.begun for sample in reversed(self.in_sync)), min))[::-1]
        self._starts = [
            sample
            for sample in samples
            if sample.value.get("api") == LATEST and isinstance(sample.value.get("log-start"), int)
        ]
        lowest = accumulate((sample.value["log-start"] for sample in reversed(self._starts)), min)
        self._lowest = list(lowest)[::-1]

    def is_in_sync(self, sample: Sample, since: int) -> bool:
        """Whether every answer from a place in `in_sync` on that was asked for by then names the sample's node."""
        until = bisect_right(self._soonest, sample.ended)
        return all(
            sample.node in other.value["isr"] for other in self.in_sync[since:until] if other.begun <= sample.ended
        )

    def below(self, offset: int, asked: int) -> Iterator[Sample]:
        """Yield the answers, asked for from a row on, that begin below an offset."""
        at = bisect_left(self._starts, asked, key=lambda sample: sample.ended)
        while at < len(self._starts) and self._lowest[at] < offset:
            if self._starts[at].value["log-start"] < offset and self._starts[at].begun >= asked:
                yield self._starts[at]
            at += 1


def _below(case: Case, call: int, offset: int, about: _Told) -> Iterator[Sample]:
    """Yield the first answer of each node that is held to the deletion, and begins below it."""
    view = case.view
    asked, acked = int(view.calls.invoke_row[call]), int(view.calls.done_row[call])
    begun_ns, told = int(view.time[asked]), set[str]()
    since_ns = begun_ns - int(IN_SYNC_S * _SECOND_NS)
    since = bisect_left(about.in_sync, since_ns, key=lambda sample: int(view.time[sample.ended]))
    if since == len(about.in_sync) or about.in_sync[since].ended >= asked:
        return
    for sample in about.below(offset, acked):
        if sample.node in told or not about.is_in_sync(sample, since):
            continue
        if case.phases.unknown_ns is not None and case.phases.unknown_ns <= int(view.time[sample.ended]):
            continue
        since = begun_ns - int(RECOVERED_S * _SECOND_NS)
        if not any(_concerns(fault, sample.node, since, int(view.time[sample.ended])) for fault in case.phases.faults):
            told.add(sample.node)
            yield sample


def _concerns(fault: Fault, node: str, since_ns: int, until_ns: int) -> bool:
    """Whether a fault held at some time between the two that may have concerned the node."""
    over = fault.healed_ns is not None and fault.healed_ns < since_ns
    return not over and fault.asked_ns <= until_ns and (not fault.nodes or node in fault.nodes)
