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

from collections.abc import Iterator

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
    samples = case.samples
    for call, code, offset in done:
        key = case.key(code)
        about = [sample for sample in samples if sample.value.get("key") == key]
        if len({sample.place for sample in about}) > 1:
            continue  # a topic that was made anew begins anew
        for sample in _below(case, call, offset, about):
            findings.add(
                CLASS,
                [case.view.op(call), sample.index],
                f"{case.name(call)} deleted what is below offset {offset} of {key}. {sample.node}, which was in sync "
                f"all the time, led it later in epoch {sample.value.get('epoch')} and answered log start "
                f"{sample.value['log-start']} in op {sample.index}.",
                key=key,
                offset=offset,
            )


def _below(case: Case, call: int, offset: int, about: list[Sample]) -> Iterator[Sample]:
    """Yield the first answer of each node that is held to the deletion, and begins below it."""
    view = case.view
    asked, acked = int(view.calls.invoke_row[call]), int(view.calls.done_row[call])
    begun_ns, told = int(view.time[asked]), set[str]()
    known = [sample for sample in about if sample.value.get("api") == METADATA and "isr" in sample.value]
    recent = [sample for sample in known if int(view.time[sample.ended]) >= begun_ns - int(IN_SYNC_S * _SECOND_NS)]
    if not any(sample.ended < asked for sample in recent):
        return
    for sample in about:
        start = sample.value.get("log-start")
        if sample.value.get("api") != LATEST or not isinstance(start, int) or start >= offset or sample.begun < acked:
            continue
        if sample.node in told or not _in_sync(sample, recent):
            continue
        if case.phases.unknown_ns is not None and case.phases.unknown_ns <= int(view.time[sample.ended]):
            continue
        since = begun_ns - int(RECOVERED_S * _SECOND_NS)
        if not any(_concerns(fault, sample.node, since, int(view.time[sample.ended])) for fault in case.phases.faults):
            told.add(sample.node)
            yield sample


def _in_sync(sample: Sample, known: list[Sample]) -> bool:
    """Whether every answer that was asked for by then names the sample's node in the ISR."""
    return all(sample.node in other.value["isr"] for other in known if other.begun <= sample.ended)


def _concerns(fault: Fault, node: str, since_ns: int, until_ns: int) -> bool:
    """Whether a fault held at some time between the two that may have concerned the node."""
    over = fault.healed_ns is not None and fault.healed_ns < since_ns
    return not over and fault.asked_ns <= until_ns and (not fault.nodes or node in fault.nodes)
