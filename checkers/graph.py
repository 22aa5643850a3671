"""Graphs of operations: strongly connected components and shortest cycles, with real time as a chain of nodes.

Real-time order (a completed before b was invoked) has quadratically many edges. Here it costs linearly many: each
completion hangs on a chain of time nodes, each invocation hangs off the last time node before it (`with_realtime`).
Small graphs are searched in pure Python (Tarjan), large ones by SciPy, which is only imported then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from checkers.columns import Ints

WW, WR, RW, PROCESS, REALTIME = 0, 1, 2, 3, 4
"""Kinds of edges."""
SCIPY_FROM_EDGES = 200_000
"""Below this, pure Python is done before SciPy is imported."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Typed edges; `what` names the value behind an edge (a vid, an element), -1 for orders of time."""

    source: Ints
    target: Ints
    kind: Ints
    what: Ints

    @property
    def size(self) -> int:
        """Return the number of edges."""
        return len(self.source)

    def of_kinds(self, kinds: frozenset[int]) -> Edges:
        """Return the edges of some kinds."""
        return self.only(np.isin(self.kind, list(kinds)))

    def only(self, mask: Ints | np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Edges:
        """Return the edges that a mask or index selects."""
        return Edges(self.source[mask], self.target[mask], self.kind[mask], self.what[mask])


def edges_of(source: Ints, target: Ints, kind: int, what: Ints | None = None) -> Edges:
    """Return edges of one kind."""
    size = len(source)
    names = np.full(size, -1, np.int64) if what is None else what
    return Edges(source, target, np.full(size, kind, np.int64), names)


def joined(*parts: Edges) -> Edges:
    """Return all edges of several tables."""
    return Edges(
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.what for part in parts]),
    )


def realtime_chain(first_node: int, sources: Ints, done: Ints, targets: Ints, begun: Ints) -> tuple[Edges, int]:
    """Return real-time edges through time nodes (numbered from `first_node`), and the number of nodes then.

    sources/done: operations and the rows of their completions; targets/begun: operations and the rows of their
    invocations. A path source -> time nodes -> target exists exactly if done < begun.
    """
    order = np.argsort(done)
    rows = done[order]
    count = len(rows)
    nodes = np.arange(first_node, first_node + count)
    into = edges_of(sources[order], nodes, REALTIME)
    along = edges_of(nodes[:-1], nodes[1:], REALTIME)
    last = np.searchsorted(rows, begun) - 1
    reached = last >= 0
    out = edges_of(nodes[last[reached]], targets[reached], REALTIME)
    return joined(into, along, out), first_node + count


def process_edges(process: Ints, members: Ints, certain: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Edges:
    """Return edges to each member from the last certain one before it in its process; members are in order of time.

    `certain` (per operation): it is over. One that nobody decided may take effect later, even where a foreign history
    goes on with its process: no edge leaves it.
    """
    if not len(members):
        return edges_of(members, members, PROCESS)
    ordered = members[np.argsort(process[members], kind="stable")]
    place = np.arange(len(ordered))
    fresh = np.concatenate((np.array([True]), process[ordered[1:]] != process[ordered[:-1]]))
    start = np.maximum.accumulate(np.where(fresh, place, 0))
    latest = np.maximum.accumulate(np.where(certain[ordered], place, -1))
    before = np.concatenate((np.array([-1]), latest[:-1]))
    linked = before >= start
    return edges_of(ordered[before[linked]], ordered[linked], PROCESS)


ROUNDS = 200
"""Passes of the certificate: the longest chain of dependencies among operations that are all under way at one time."""
FOREVER = 1 << 40
"""The completion row of an operation that may still happen at any time."""
INSTANTS = 1 << 20
"""Instants between two rows of a history."""


EDGES_AT_ONCE = 1 << 20
"""Edges that the certificate looks at together: what it holds of them fits a processor's cache."""


def is_ordered(source: Ints, target: Ints, invoked: Ints, done: Ints) -> bool:
    """Return whether instants exist that respect all edges and real time: then there is no cycle of any kind.

    Each operation gets the earliest instant at which it can have happened: its invocation, or just after what it
    depends on. If that never exceeds its completion (`done`, a row; FOREVER if unknown), these instants order all.
    False only means that the certificate failed.
    """
    instant, latest = invoked * INSTANTS, done * INSTANTS + (INSTANTS - 1)
    for _ in range(ROUNDS):
        settled = True
        for start in range(0, len(source), EDGES_AT_ONCE):
            before, after = source[start : start + EDGES_AT_ONCE], target[start : start + EDGES_AT_ONCE]
            late = np.flatnonzero(instant[after] <= instant[before])
            if not len(late):
                continue
            settled = False
            moved = after[late]
            np.maximum.at(instant, moved, instant[before[late]] + 1)
            if (instant[moved] > latest[moved]).any():
                return False
        if settled:
            return bool((instant <= latest).all())
    return False


def components(nodes: int, edges: Edges) -> Ints:
    """Return each node's component, -1 for nodes that lie on no cycle (self-loops don't count)."""
    source, target = edges.source, edges.target
    source, target, kept = _peel(nodes, source, target)
    if not len(source):
        return np.full(nodes, -1, np.int64)
    labels = _scipy(nodes, source, target) if len(source) > SCIPY_FROM_EDGES else _tarjan(source, target, nodes)
    sizes = np.bincount(labels[labels >= 0])
    alone = (labels >= 0) & (sizes[np.maximum(labels, 0)] < 2)
    labels[alone | ~kept] = -1
    return labels


def leaving(edges: Edges) -> dict[int, list[tuple[int, int, int]]]:
    """Return by node (row, target, kind) of the edges that leave it."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    columns = (edges.source.tolist(), edges.target.tolist(), edges.kind.tolist())
    for row, (source, target, kind) in enumerate(zip(*columns, strict=True)):
        found.setdefault(source, []).append((row, target, kind))
    return found


def shortest_cycle(
    edges: Edges, by_source: dict[int, list[tuple[int, int, int]]], through: int, operations: int, needs: frozenset[int]
) -> list[int] | None:
    """Return the edge rows of a short cycle through edge `through` that has an edge of every kind in `needs`.

    by_source: what `leaving` says of the edges.

    Nodes from `operations` on are time nodes: passing along them costs nothing. None if there is none.
    """
    wanted = sorted(needs - {int(edges.kind[through])})
    bit = {kind: 1 << place for place, kind in enumerate(wanted)}
    full = (1 << len(wanted)) - 1
    start, goal = (int(edges.target[through]), 0), int(edges.source[through])
    before: dict[tuple[int, int], tuple[tuple[int, int], int] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        node, have = state
        if node == goal and have == full:
            return [through, *_trace(before, state)]
        for row, target, kind in by_source.get(node, ()):
            following = (target, have | bit.get(kind, 0))
            if following not in before:
                before[following] = (state, row)
                free = target >= operations
                (queue.appendleft if free else queue.append)(following)
    return None


def _trace(before: dict[tuple[int, int], tuple[tuple[int, int], int] | None], state: tuple[int, int]) -> list[int]:
    rows: list[int] = []
    step = before[state]
    while step is not None:
        state, row = step
        rows.append(row)
        step = before[state]
    return rows[::-1]


PEEL_ROUNDS = 64
"""Rounds of dropping nodes without predecessor or successor; what is left goes to the real search."""


def _peel(nodes: int, source: Ints, target: Ints) -> tuple[Ints, Ints, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Drop edges that can't lie on a cycle, a few rounds; most acyclic graphs vanish here."""
    apart = source != target
    source, target = source[apart], target[apart]
    kept = np.zeros(nodes, np.bool_)
    for _ in range(PEEL_ROUNDS):
        if not len(source):
            break
        has_in, has_out = np.zeros(nodes, np.bool_), np.zeros(nodes, np.bool_)
        has_in[target] = True
        has_out[source] = True
        alive = has_in & has_out
        inside = alive[source] & alive[target]
        if inside.all():
            break
        source, target = source[inside], target[inside]
    kept[source] = True
    kept[target] = True
    return source, target, kept


def _scipy(nodes: int, source: Ints, target: Ints) -> Ints:
    from scipy.sparse import csr_matrix  # noqa: PLC0415  heavy, and only large graphs need it
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    matrix = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(nodes, nodes))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return np.asarray(labels, np.int64)


def _tarjan(source: Ints, target: Ints, nodes: int) -> Ints:  # noqa: C901  one algorithm, one place
    """Return each node's component by Tarjan's algorithm, without recursion; -1 for nodes without edges."""
    leaving: dict[int, list[int]] = {}
    for a, b in zip(source.tolist(), target.tolist(), strict=True):
        leaving.setdefault(a, []).append(b)
    labels = np.full(nodes, -1, np.int64)
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    label = 0
    for root, children in leaving.items():
        if root in number:
            continue
        number[root] = low[root] = len(number)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(children))]
        while work:
            node, rest = work[-1]
            for following in rest:
                if following not in number:
                    number[following] = low[following] = len(number)
                    stack.append(following)
                    on_stack.add(following)
                    work.append((following, iter(leaving.get(following, ()))))
                    break
                if following in on_stack:
                    low[node] = min(low[node], number[following])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        labels[member] = label
                        if member == node:
                            break
                    label += 1
    return labels
