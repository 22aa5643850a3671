"""Cycles among queue operations: G0 and G1c with their process and realtime variants (ANOMALIES.md, section 1).

wr: the writer of a value -> every other call that polled it. ww (only with `ww_deps`): the writer of a value -> the
writer of the next value in the version order. Time: per process, and realtime from an ok call's completion to the
invocation of a later ok or info call. There are no rw edges, as in Jepsen. Where the run is read_committed,
a reader who asked for read_uncommitted may be shown what others have not committed yet: that is no dependency.

Most histories have no cycle, and a certificate shows it in a few passes over the edges (`graph.is_ordered`). Only where
it fails is the graph searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.case import Case
from checkers.columns import ROWS_AT_ONCE, Bools, Ints, same_as_before
from checkers.findings import Findings
from checkers.graph import (
    FOREVER,
    PROCESS,
    REALTIME,
    WR,
    WW,
    Edges,
    components,
    edges_of,
    is_ordered,
    joined,
    leaving,
    process_edges,
    realtime_chain,
    shortest_cycle,
)
from checkers.log_view import ANSWERED, DATA_KINDS, READ_UNCOMMITTED, TYPE_FAIL, TYPE_OK
from checkers.placement import NOWHERE

EDGES_TRIED = 64
"""Edges of one component that are tried as the start of a cycle."""


@dataclass(frozen=True, slots=True)
class _Variant:
    suffix: str
    order: int | None
    """The kind of time edge that such a cycle must have."""


VARIANTS = (_Variant("", None), _Variant("-process", PROCESS), _Variant("-realtime", REALTIME))


def cycles(case: Case, findings: Findings) -> None:
    """Report cycles, and `empty-transaction-graph` for a foreign history that holds nothing to relate."""
    source, target = _related(case)
    vertices = _vertices(case)
    shown = len(source) or (_reads_early(case) and len(case.view.records.call))
    if not (shown or case.phases.ours or _has_realtime(case, vertices) or _answers(case)):
        findings.add(
            "empty-transaction-graph",
            [],
            "No operation polled what another one sent, and none came after another: nothing relates them.",
        )
    if _is_ordered(case, source, target):
        return
    dependencies = _dependencies(case)
    calls = case.view.calls
    finished = vertices[calls.type[vertices] != TYPE_FAIL]
    ok = vertices[(calls.type[vertices] == TYPE_OK) & (calls.done_row[vertices] >= 0)]
    begun = finished[calls.invoke_row[finished] >= 0]
    by_process = process_edges(calls.process, finished, calls.type == TYPE_OK)
    by_time, nodes = realtime_chain(calls.size, ok, calls.done_row[ok], begun, calls.invoke_row[begun])
    for variant in VARIANTS:
        extra = {None: None, PROCESS: by_process, REALTIME: by_time}[variant.order]
        edges = dependencies if extra is None else joined(dependencies, extra)
        size = nodes if variant.order == REALTIME else calls.size
        _search(case, findings, edges, size, variant)


def _related(case: Case) -> tuple[Ints, Ints]:
    """Return the ends of all dependencies, and nothing else: of most histories nobody asks for more."""
    if case.options.ww_deps:
        edges = _dependencies(case)
        return edges.source, edges.target
    placement, view = case.placement, case.view
    sender = np.full(placement.vids.size, NOWHERE, np.int64)
    sent = (placement.writer != NOWHERE) & ~placement.twice
    sender[sent] = view.sends.call[placement.writer[sent]]
    ends = np.empty((2, len(view.records.call)), np.int64)
    early = _reads_early(case)
    count = 0
    for start in range(0, len(view.records.call), ROWS_AT_ONCE):
        reader = view.records.call[start : start + ROWS_AT_ONCE]
        writer = sender[placement.record_vid[start : start + ROWS_AT_ONCE]]
        other = (writer != NOWHERE) & (writer != reader)
        if early:
            other &= ~_is_early(case, writer, reader)
        size = int(np.count_nonzero(other))
        ends[0, count : count + size], ends[1, count : count + size] = writer[other], reader[other]
        count += size
    return ends[0, :count], ends[1, :count]


def _dependencies(case: Case) -> Edges:
    placement, view = case.placement, case.view
    written = np.where(placement.twice, NOWHERE, placement.writer)
    row = written[placement.record_vid]
    known = np.flatnonzero(row >= 0)
    writer = view.sends.call[row[known]]
    reader = view.records.call[known]
    vid = placement.record_vid[known]
    other = writer != reader
    if _reads_early(case):
        other &= ~_is_early(case, writer, reader)
    wr = edges_of(writer[other], reader[other], WR, vid[other])
    if not case.options.ww_deps:
        return wr
    slot_writer = written[placement.slot_vid]
    same_key = same_as_before(placement.slots.first)
    later = np.flatnonzero(same_key)
    later = later[(slot_writer[later] >= 0) & (slot_writer[later - 1] >= 0)]
    source, target = view.sends.call[slot_writer[later - 1]], view.sends.call[slot_writer[later]]
    apart = source != target
    return joined(wr, edges_of(source[apart], target[apart], WW, placement.slot_vid[later[apart]]))


def _reads_early(case: Case) -> bool:
    return case.options.isolation == "read_committed" and bool((case.view.calls.isolation == READ_UNCOMMITTED).any())


def _is_early(case: Case, writer: Ints, reader: Ints) -> Bools:
    """Return where a reader may be shown what a transaction sent before it commits; never before it was invoked."""
    calls = case.view.calls
    begun = (calls.invoke_row[writer] < calls.done_row[reader]) | (calls.done_row[reader] < 0)
    return np.asarray(begun & case.transactional[writer] & (calls.isolation[reader] == READ_UNCOMMITTED))


def _vertices(case: Case) -> Ints:
    kinds = [code for code, name in enumerate(case.view.kinds.names) if name in DATA_KINDS]
    return np.flatnonzero(np.isin(case.view.calls.f, kinds))


def _has_realtime(case: Case, vertices: Ints) -> bool:
    calls = case.view.calls
    done = calls.done_row[vertices[calls.type[vertices] == TYPE_OK]]
    begun = calls.invoke_row[vertices[calls.type[vertices] != TYPE_FAIL]]
    return bool(len(done) and len(begun) and done.min() < begun.max())


def _answers(case: Case) -> bool:
    """Return whether a foreign history holds what needs no other operation: answers of nodes and of groups."""
    return len(case.samples) > 1 or bool((case.view.group_offsets.role == ANSWERED).any())


def _is_ordered(case: Case, source: Ints, target: Ints) -> bool:
    calls = case.view.calls
    certain = (calls.type == TYPE_OK) & (calls.done_row >= 0)
    if not case.view.has_invocations:
        order = np.arange(calls.size)
        return is_ordered(source, target, order, np.where(certain, order, FOREVER))
    invoked = np.where(calls.type == TYPE_FAIL, -1, calls.invoke_row)
    return is_ordered(source, target, invoked, np.where(certain, calls.done_row, FOREVER))


def _search(case: Case, findings: Findings, edges: Edges, nodes: int, variant: _Variant) -> None:
    """Report one short cycle per component and class."""
    calls = case.view.calls.size
    label = components(nodes, edges)
    inside = (label[edges.source] >= 0) & (label[edges.source] == label[edges.target])
    inner = edges.only(inside)
    if not inner.size:
        return
    inner_label = label[inner.source]
    order = set() if variant.order is None else {variant.order}
    for base, kinds, required in (("G0", {WW}, WW), ("G1c", {WW, WR}, WR)):
        allowed = frozenset(kinds | order)
        name = base + variant.suffix
        for component in np.unique(inner_label[inner.kind == required]):
            part = inner.only(inner_label == component).of_kinds(allowed)
            if base == "G0":
                part = _core(part, nodes)
            best = _best_cycle(part, required, calls, frozenset(order))
            if best is not None:
                ops, why, steps = _explain(case, part, best, calls)
                findings.add(name, ops, why, cycle=ops, steps=steps)
            if findings.room(name) <= EXAMPLES_LEFT:
                break


EXAMPLES_LEFT = 8
"""Stop searching for further cycles of a class when so few places for examples are left."""


def _core(edges: Edges, nodes: int) -> Edges:
    """Return the edges that still lie on a cycle after some kinds were left out."""
    label = components(nodes, edges)
    return edges.only((label[edges.source] >= 0) & (label[edges.source] == label[edges.target]))


def _best_cycle(edges: Edges, required: int, operations: int, needs: frozenset[int]) -> list[int] | None:
    best: list[int] | None = None
    by_source = leaving(edges)
    for row in np.flatnonzero(edges.kind == required)[:EDGES_TRIED]:
        found = shortest_cycle(edges, by_source, int(row), operations, needs)
        if found is not None and (best is None or len(found) < len(best)):
            best = found
    return best


def _explain(
    case: Case, edges: Edges, rows: list[int], operations: int
) -> tuple[list[int], str, list[dict[str, object]]]:
    """Return (indexes, sentence, steps) of a cycle given by its edge rows; runs of time nodes become one step."""
    ops: list[int] = []
    sentences: list[str] = []
    steps: list[dict[str, object]] = []
    start: int | None = None
    for row in rows:
        source, target, kind = int(edges.source[row]), int(edges.target[row]), int(edges.kind[row])
        if source < operations:
            start = source
        if target >= operations:
            continue
        assert start is not None, "a cycle through time nodes starts at an operation"
        ops.append(case.view.op(start))
        sentences.append(_sentence(case, start, target, kind, int(edges.what[row])))
        step: dict[str, object] = {
            "type": ("ww", "wr", "rw", "process", "realtime")[kind],
            "from": ops[-1],
            "to": case.view.op(target),
        }
        if kind in {WW, WR}:
            vid = int(edges.what[row])
            step |= {"key": case.vid_key(vid), "value": case.vid_value(vid)}
        steps.append(step)
    return ops, "; ".join(sentences) + ": a cycle.", steps


def _sentence(case: Case, source: int, target: int, kind: int, vid: int) -> str:
    if kind == WR:
        return (
            f"{case.name(target)} polled {case.vid_value(vid)!r} on {case.vid_key(vid)}, which {case.name(source)} sent"
        )
    if kind == WW:
        return (
            f"{case.name(target)} sent {case.vid_value(vid)!r} to {case.vid_key(vid)}, which lies right after a "
            "value of "
            f"{case.name(source)}"
        )
    if kind == PROCESS:
        return f"{case.name(source)} came before {case.name(target)} in process {int(case.view.calls.process[source])}"
    return f"{case.name(source)} completed before {case.name(target)} was invoked"
