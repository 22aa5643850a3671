"""What faults have taken from disks: when, and from which partitions.

A record that was acknowledged lies on min.insync.replicas nodes at least. It is gone only if so many of them have lost
what they had not synced of its partition before all replicas were in sync again (the `full-isr` of a `recover`): a node
that is back in every ISR has all that was acknowledged. The evidence of a fault says of which partitions its nodes have
lost something (`partitions-lost`), or how much at all (`bytes-lost`: it may be of any partition then); where nobody
says how much, all of a fault that bit have. What coordinators know lies in partitions, too (`INNER`).

`found_apart` judges once more what share groups, committed offsets, owners and copies show, and leaves
out whatever one of these losses may explain. One explains only what it lies between (an anomaly that is over before, or
begins when it shows no more, has another cause), and nothing that hangs on partitions which it has not taken.
Coordinators that have forgotten something go on to show it when all replicas are in sync again: transactions end by
their time-outs, states of share groups are begun anew by whoever has forgotten that they were. After that
(`settled_ns`) they don't. Who says that something is missing at the end has nothing to show but what came in: that may
have been passed over ever since the log of the input was cut, as its offsets were given away once more.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers import eos, groups, ownership
from checkers.case import Case
from checkers.findings import Findings
from checkers.log_view import TYPE_OK
from checkers.phases import Fault
from checkers.share import rest, safety

OFFSETS, TRANSACTIONS, SHARES = "__consumer_offsets", "__transaction_state", "__share_group_state"
INNER = frozenset({OFFSETS, TRANSACTIONS, SHARES})
INNER_MIN_ISR = 2
"""Of the topics of coordinators, at most (`harness.cluster.properties`): with more in --min-isr they may lose alone."""
SETTLED_S = 10.0
"""A coordinator looks for transactions that are too old, or asks for a share group's state, again after so long."""
_NEVER = np.iinfo(np.int64).max
_OF_OFFSETS, _OF_SHARES = (OFFSETS, TRANSACTIONS), (SHARES, OFFSETS, TRANSACTIONS)
_COMMITTED = ("committed-offset-regression", "fenced-commit-applied")
_OWNED = "double-ownership"
_KEPT = frozenset({*_COMMITTED, _OWNED})
"""Classes of what coordinators alone know."""
HANGS_ON: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((*_COMMITTED, _OWNED, *eos.CLASSES), _OF_OFFSETS),
    **dict.fromkeys((*safety.CLASSES, rest.LOST), _OF_SHARES),
}
"""Class -> the topics of coordinators that its anomalies hang on, each in any of its partitions."""
_MISSING = frozenset({"eos-loss", rest.LOST})
"""Classes of what is not there in the end."""
_FIND = (
    (frozenset(_COMMITTED), groups.committed_offsets),
    (frozenset({_OWNED}), ownership.ownership),
    (frozenset(eos.CLASSES), eos.exactly_once),
    (frozenset(safety.CLASSES), safety.deliveries),
    (frozenset({rest.LOST}), rest.nothing_is_left),
)


@dataclass(frozen=True, slots=True)
class Loss:
    """One fault that takes something, and what it may have taken together with those before it."""

    asked_ns: int
    begin_ns: int
    """From when on nothing is taken any more."""
    settled_ns: int
    untold: frozenset[Any]
    """Nodes that may have lost something of any partition."""
    nodes: Mapping[str, frozenset[Any]]
    """Partition -> nodes that have lost something of it."""
    least: int
    least_inner: int

    def took(self, key: Any) -> bool:
        """Return whether as many nodes as it takes have lost something of a partition."""
        least = self.least_inner if _topic(key) in INNER else self.least
        return len(self.nodes.get(key, frozenset()) | self.untold) >= least

    def took_any(self, topics: Iterable[str]) -> bool:
        """Return whether it took something of one of the coordinators' topics."""
        return len(self.untold) >= self.least_inner or any(
            _topic(key) in topics and self.took(key) for key in self.nodes
        )

    @property
    def took_records(self) -> bool:
        """Whether it took something of a client's topic."""
        return len(self.untold) >= self.least or any(_topic(key) not in INNER and self.took(key) for key in self.nodes)


def losses(case: Case, named: tuple[str, ...], least: int) -> list[Loss]:
    """Return what faults whose names begin so may have taken of what lies on `least` nodes, in their order."""
    found: list[Loss] = []
    untold: frozenset[Any] = frozenset()
    nodes: dict[str, frozenset[Any]] = {}
    last_ns = -1
    patience_ns = int((SETTLED_S + case.options.transaction_timeout_s) * 1e9)
    for fault in sorted(case.phases.faults, key=_asked):
        lost = injured(fault) if fault.name.startswith(named) else frozenset[Any]()
        if not lost:
            continue
        if any(last_ns < recovered_ns <= fault.asked_ns for recovered_ns in case.phases.recovered_ns):
            untold, nodes = frozenset(), {}
        told = fault.evidence.get("partitions-lost")
        for node in sorted(lost, key=str):
            keys = told.get(str(node)) if isinstance(told, dict) else None
            if not isinstance(keys, dict):
                untold |= {node}
                continue
            nodes |= {key: nodes.get(key, frozenset()) | {node} for key, size in keys.items() if size}
        last_ns = fault.begin_ns
        whole_ns = min((time_ns for time_ns in case.phases.recovered_ns if time_ns > last_ns), default=_NEVER)
        settled_ns = min(whole_ns, _NEVER - patience_ns) + patience_ns
        found.append(Loss(fault.asked_ns, last_ns, settled_ns, untold, dict(nodes), least, min(least, INNER_MIN_ISR)))
    return found


def last_ns_of(taken: Iterable[Loss]) -> int | None:
    """Return up to when the last of these losses took something; None where there is none."""
    return max((loss.begin_ns for loss in taken), default=None)


def injured(fault: Fault) -> frozenset[Any]:
    """Return the nodes whose disks have lost something; where nobody says how much, all of a fault that bit."""
    lost = fault.evidence.get("bytes-lost", fault.evidence.get("bytes-changed"))
    if isinstance(lost, dict):
        return frozenset(node for node, size in lost.items() if size)
    if lost is None:
        return frozenset(fault.nodes if fault.bit else ())
    return frozenset((fault.evidence.get("last", fault.nodes[0]),) if lost and fault.nodes else ())


def found_apart(case: Case, names: Iterable[str], taken: list[Loss]) -> Findings:
    """Return what is found of these classes, of those in HANGS_ON, that no loss explains."""
    wanted, findings = frozenset(names), Apart(case, taken)
    for classes, find in _FIND:
        if classes & wanted:
            find(case, findings)
    return findings


class Apart(Findings):
    """Findings that leave out what a loss may explain."""

    def __init__(self, case: Case, taken: list[Loss]) -> None:
        """Take the losses of the history."""
        super().__init__()
        self._case, self._taken, self._seen = case, taken, Counter[str]()
        calls = range(len(case.view.calls.f))
        self._calls = {case.view.op(call): call for call in calls}
        self._events = {int(case.view.index[row]): time for row, time, _ in case.view.marks}
        self._begun, self._done = case.view.invoke_time(), case.view.done_time()

    def add(self, name: str, ops: Iterable[int], why: str, **details: Any) -> None:
        """Add one occurrence that nothing explains."""
        self._seen[name] += 1
        told = [int(op) for op in ops]
        if name in HANGS_ON and not any(self._explains(loss, name, told, details) for loss in self._taken):
            super().add(name, told, why, **details)

    def room(self, name: str) -> int:  # noqa: ARG002  every class has it
        """Return that every occurrence is wanted: which of them are kept is known only when they are told."""
        return sys.maxsize

    def examples(self, name: str) -> int:
        """Return how many occurrences were told."""
        return self._seen[name]

    def _explains(self, loss: Loss, name: str, told: list[int], details: Mapping[str, Any]) -> bool:
        key = details["source"][0] if "source" in details else details.get("key")
        of_records = name not in _KEPT and (loss.took_records if name in eos.CLASSES else loss.took(key))
        if not of_records and not loss.took_any(HANGS_ON[name]):
            return False
        if name not in _MISSING:
            seen_by = self._writers(told) if name in eos.CLASSES else told
            end_ns = max(self._span(op)[1] for op in seen_by)
            return loss.asked_ns <= end_ns and min(self._span(op)[0] for op in told) <= loss.settled_ns
        offset = details["source"][1] if "source" in details else details["offset"]
        return loss.took(key) or self._sent_ns(key, offset) <= loss.settled_ns

    def _writers(self, told: list[int]) -> list[int]:
        """Return the transactions that have copied what was copied wrongly, if all have certainly done so; else all."""
        writers = [op for op in told if op in self._calls and self._case.transactional[self._calls[op]]]
        types = self._case.view.calls.type[[self._calls[op] for op in writers]]
        return writers if len(writers) > 1 and (types == TYPE_OK).all() else told

    def _span(self, op: int) -> tuple[int, int]:
        """Return from when to when an operation lasted; an event is a moment."""
        call = self._calls.get(op)
        return (self._events[op],) * 2 if call is None else (int(self._begun[call]), int(self._done[call]))

    def _sent_ns(self, key: Any, offset: int) -> int:
        """Return when the record at a place was sent, -1 where nobody says."""
        case, code = self._case, self._case.view.keys.get(key)
        rows = np.empty(0, np.int64) if code is None else case.records_of_key.rows(code)
        rows = rows[case.view.records.offset[rows] == offset]
        writer = None if not len(rows) else case.writer_call(int(case.placement.record_vid[rows[0]]))
        return -1 if writer is None else int(self._begun[writer])


def _asked(fault: Fault) -> int:
    return fault.asked_ns


def _topic(key: Any) -> str:
    return str(key).rpartition("/")[0]
