"""Cycles of transactions, named as Elle names them: G0, G1c, G-single, G-nonadjacent, G2, and their time variants.

Levels: dependencies alone, then with process order, then with real time. On each level a component is named by the
worst class that it holds: a cycle of writes (G0), of writes and reads-from (G1c), with exactly one anti-dependency
(G-single), with several but none next to each other (G-nonadjacent), with any (G2). In a component that a lower level
explained, a higher one tells only classes that rule out a model which nothing told so far does.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from checkers.append.consistency import models_of
from checkers.append.dependencies import Reason
from checkers.append.history import Appends
from checkers.findings import Findings
from checkers.graph import (
    FOREVER,
    PROCESS,
    REALTIME,
    RW,
    WR,
    WW,
    Edges,
    components,
    is_ordered,
    joined,
    process_edges,
    realtime_chain,
)
from harness.history import OK

EDGES_TRIED = 256
"""Edges of one component that are tried as the start of a shorter cycle of one class, once there is one."""
VISITS = 2_000_000
"""States visited in one component for one class; past it only what was found by then is told."""
COMPONENTS_TOLD = 8
"""Components of one level of which one class is told."""


@dataclass(frozen=True, slots=True)
class _Class:
    name: str
    kinds: frozenset[int]
    needs: int
    """The kind of edge at which the search starts."""
    spacing: str
    """How many anti-dependencies: "none", "one", "apart" (two or more, none adjacent), "any"."""


CLASSES = (
    _Class("G0", frozenset({WW}), WW, "none"),
    _Class("G1c", frozenset({WW, WR}), WR, "none"),
    _Class("G-single-item", frozenset({WW, WR, RW}), RW, "one"),
    _Class("G-nonadjacent-item", frozenset({WW, WR, RW}), RW, "apart"),
    _Class("G2-item", frozenset({WW, WR, RW}), RW, "any"),
)
LEVELS: tuple[tuple[str, int | None], ...] = (("", None), ("-process", PROCESS), ("-realtime", REALTIME))


def cycles(history: Appends, edges: Edges, reasons: list[Reason], wanted: frozenset[str], findings: Findings) -> bool:
    """Report the cycles among those wanted; return whether the graph had any edge at all."""
    transactions = history.transactions
    count = len(transactions)
    invoked = np.array([t.invoke_row for t in transactions], np.int64)
    done = np.array([t.done_row for t in transactions], np.int64)
    process = np.array([t.process for t in transactions], np.int64)
    is_ok = np.array([t.type == OK for t in transactions], np.bool_)
    alive = np.array([t.type != "fail" for t in transactions], np.bool_)
    with_process = any(name.endswith("-process") for name in wanted)
    with_time = any(name.endswith("-realtime") for name in wanted)
    by_process = process_edges(process, np.flatnonzero(alive), is_ok) if with_process else None
    by_time, nodes = None, count
    if with_time:
        ok, begun = np.flatnonzero(is_ok & (done >= 0)), np.flatnonzero(alive & (invoked >= 0))
        by_time, nodes = realtime_chain(count, ok, done[ok], begun, invoked[begun])
    related = bool(edges.size) or bool(by_process and by_process.size) or _something_follows(by_time, count)
    certain = is_ok & (done >= 0)
    begun, over = np.where(alive, invoked, -1), np.where(certain, done, FOREVER)
    if history.has_invocations and is_ordered(edges.source, edges.target, begun, over):
        return related
    explained = np.zeros(count, np.bool_)
    for suffix, order in LEVELS:
        extra = {None: None, PROCESS: by_process, REALTIME: by_time}[order]
        if order is not None and extra is None:
            continue
        level = edges if extra is None else joined(edges, extra)
        size = nodes if order == REALTIME else count
        _level(history, level, size, suffix, order, reasons, wanted, findings, explained)
    return related


def _something_follows(by_time: Edges | None, count: int) -> bool:
    return by_time is not None and bool((by_time.target < count).any())


def _level(  # noqa: PLR0917  one level of one search
    history: Appends,
    edges: Edges,
    nodes: int,
    suffix: str,
    order: int | None,
    reasons: list[Reason],
    wanted: frozenset[str],
    findings: Findings,
    explained: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> None:
    """Tell the cycles of one level; `explained`, per transaction: a cycle of its component is told."""
    count = len(history.transactions)
    label = components(nodes, edges)
    inside = (label[edges.source] >= 0) & (label[edges.source] == label[edges.target])
    inner = edges.only(inside)
    of_edge = label[inner.source]
    told = Counter[str]()
    for component in np.unique(of_edge[inner.kind <= RW]):
        members = np.flatnonzero(label[:count] == component)
        part = inner.only(of_edge == component)
        anti, given_up = False, None
        again = bool(explained[members].any())
        for cls in CLASSES:
            name = cls.name + suffix
            if name not in wanted or (anti and cls.needs == RW) or told[name] >= COMPONENTS_TOLD:
                continue
            if again and models_of([name]) <= models_of(findings.names()):
                continue
            allowed = cls.kinds | (frozenset() if order is None else {order})
            rows = _core(part.of_kinds(allowed), nodes)
            found, is_all = _find(rows, cls, order, count)
            if found is None and not is_all:
                given_up = name
            if found is not None:
                anti = anti or cls.needs == RW
                ops, why, steps = _explain(history, rows, found, reasons, count)
                findings.add(name, ops, why, cycle=ops, steps=steps)
                explained[members] = True
                told[name] += 1
        if given_up is not None:
            searched = f"The search for {given_up} among {len(members)} transactions was given up after {VISITS} steps"
            if explained[members].any():
                findings.notes.append(f"{searched}: what only it rules out is not told.")
            else:
                findings.reasons.append(f"{searched}: undecided.")


def _core(edges: Edges, nodes: int) -> Edges:
    """Return the edges that still lie on a cycle after some kinds were left out."""
    label = components(nodes, edges)
    return edges.only((label[edges.source] >= 0) & (label[edges.source] == label[edges.target]))


def _find(edges: Edges, cls: _Class, order: int | None, count: int) -> tuple[list[int] | None, bool]:
    """Return the edge rows of a short cycle of the class or None, and whether every edge was tried that could be."""
    leaving: dict[int, list[int]] = {}
    for row, node in enumerate(edges.source.tolist()):
        leaving.setdefault(node, []).append(row)
    search = _Search(edges, leaving, cls, order, count)
    best: list[int] | None = None
    for tried, row in enumerate(np.flatnonzero(edges.kind == cls.needs).tolist()):
        if search.visits > VISITS or (best is not None and tried >= EDGES_TRIED):
            return best, False
        found = search.through(row)
        if found is not None and (best is None or len(found) < len(best)):
            best = found
    return best, True


State = tuple[int, bool, int, bool]
"""(node, came by rw, anti-dependencies so far (2: two or more), saw a time edge)."""


class _Search:
    """Breadth-first search for cycles through one edge, with the class's rule about anti-dependencies."""

    def __init__(self, edges: Edges, leaving: dict[int, list[int]], cls: _Class, order: int | None, count: int) -> None:
        self.target = edges.target.tolist()
        self.kind = edges.kind.tolist()
        self.source = edges.source.tolist()
        self.leaving, self.spacing, self.order, self.count = leaving, cls.spacing, order, count
        self.visits = 0

    def through(self, first: int) -> list[int] | None:
        """Return a shortest cycle that begins with the edge."""
        goal = self.source[first]
        anti = self.kind[first] == RW
        start: State = (self.target[first], anti, int(anti), self.order is None)
        before: dict[State, tuple[State, int] | None] = {start: None}
        queue = deque([start])
        while queue:
            state = queue.popleft()
            self.visits += 1
            if state[0] == goal and state[3] and self._closes(state, anti):
                return [first, *_trace(before, state)]
            for row in self.leaving.get(state[0], ()):
                after = self._step(state, row)
                if after is not None and after not in before:
                    before[after] = (state, row)
                    (queue.appendleft if after[0] >= self.count else queue.append)(after)
        return None

    def _step(self, state: State, row: int) -> State | None:
        kind = self.kind[row]
        rw = kind == RW
        if rw and (self.spacing == "one" or (self.spacing == "apart" and state[1])):
            return None
        return (self.target[row], rw, min(2, state[2] + rw), state[3] or kind == self.order)

    def _closes(self, state: State, first_is_rw: bool) -> bool:  # noqa: FBT001  a fact about the edge
        if self.spacing == "apart":
            return state[2] >= 2 and not (state[1] and first_is_rw)
        return True


def _trace(before: dict[State, tuple[State, int] | None], state: State) -> list[int]:
    rows: list[int] = []
    step = before[state]
    while step is not None:
        state, row = step
        rows.append(row)
        step = before[state]
    return rows[::-1]


def _explain(
    history: Appends, edges: Edges, rows: list[int], reasons: list[Reason], count: int
) -> tuple[list[int], str, list[dict[str, object]]]:
    """Return (indexes, sentence, steps): T1 < T2 because ..., for every edge of the cycle."""
    name: dict[int, str] = {}
    ops: list[int] = []
    told: list[str] = []
    steps: list[dict[str, object]] = []
    start = -1
    for row in rows:
        source, target, kind = int(edges.source[row]), int(edges.target[row]), int(edges.kind[row])
        if source < count:
            start = source
        if target >= count:
            continue
        for number in (start, target):
            name.setdefault(number, f"T{len(name) + 1}")
        reason = reasons[int(edges.what[row])] if kind in {WW, WR, RW} else None
        ops.append(history.transactions[start].index)
        told.append(f"{name[start]} < {name[target]} because {_because(history, name, start, target, kind, reason)}")
        steps.append(
            {
                "type": ("ww", "wr", "rw", "process", "realtime")[kind],
                "from": ops[-1],
                "to": history.transactions[target].index,
                **({} if reason is None else {"key": reason[0], "value": reason[1]}),
            }
        )
    who = ", ".join(f"{short} = op {history.transactions[number].index}" for number, short in name.items())
    return ops, f"Let {who}. Then {'; '.join(told)}: a contradiction.", steps


def _because(  # noqa: PLR0917  one edge in words
    history: Appends, name: dict[int, str], source: int, target: int, kind: int, reason: Reason | None
) -> str:
    one, other = name[source], name[target]
    if kind == PROCESS:
        return f"process {history.transactions[source].process} did {one} before {other}"
    if reason is None:
        return f"{one} completed before {other} was invoked"
    key, element = reason
    if kind == WR:
        return f"{other} read {one}'s append of {element!r} to {key}"
    if kind == RW:
        return f"{one} did not read {other}'s append of {element!r} to {key}"
    return f"{other} appended {element!r} to {key} right after an append of {one}"
