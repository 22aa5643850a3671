"""What the members of share groups did, as values: fetches, deliveries and acknowledgements, each with its place.

Rows are positions in the history: an event with a lower one came before. Times are those of whoever wrote the history;
locks are measured by them. What never completed ends at NEVER.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from checkers.case import Case
from checkers.log_view import NONE, TYPE_FAIL, TYPE_INFO, TYPE_OK
from checkers.phases import Windows, deposed_leaders
from checkers.share.vocabulary import KINDS, Acknowledged, Fetched
from harness.history import SHARE_ACKNOWLEDGE, SHARE_FETCH, SHARE_LEAVE

NEVER = 1 << 62
MS_NS = 1_000_000
SLACK_NS = 50 * MS_NS
"""Brokers count milliseconds."""
ACCEPT, RELEASE, REJECT, RENEW = "accept", "release", "reject", "renew"
FINAL = frozenset({ACCEPT, REJECT})
"""What is acknowledged so is nobody's any more."""
TYPES = {"ok": TYPE_OK, "fail": TYPE_FAIL, "info": TYPE_INFO}


class Span(NamedTuple):
    """When a call was under way."""

    call: int
    process: int
    begin_row: int
    done_row: int
    begin_ns: int
    done_ns: int


class Fetch(NamedTuple):
    """A request for records. `lock_ns`: how long what it was given is its member's; None where that is not told."""

    span: Span
    is_ok: bool
    said: Fetched
    lock_ns: int | None

    def asked(self, key: Any) -> bool:
        """Return whether it asked for the key."""
        return self.said.keys is None or key in self.said.keys

    def may_hide(self, key: Any) -> bool:
        """Return whether records of the key may have been acquired by it that nobody was shown."""
        return self.asked(key) and (not self.is_ok or key in self.said.refused)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record that a member was given."""

    fetch: Fetch
    value: Any
    count: int

    @property
    def span(self) -> Span:
        """When it was fetched."""
        return self.fetch.span

    @property
    def held_until_ns(self) -> int:
        """Until when nobody takes it from its member but with the leader: 0 if that is not told."""
        return 0 if self.fetch.lock_ns is None else self.span.begin_ns + self.fetch.lock_ns - SLACK_NS


class Ack(NamedTuple):
    """What a member said of a record, by itself or with a fetch; `type`: as in `Calls`."""

    span: Span
    kind: str
    type: int
    node: str | None

    @property
    def gives_up(self) -> bool:
        """Whether the record is not its member's any more if it was taken."""
        return self.kind != RENEW


Place = tuple[Any, int]
"""A key and an offset."""


class Hiding:
    """The fetches by which records of one key may have been acquired that nobody was shown."""

    def __init__(self, fetches: Iterable[Fetch]) -> None:
        by_process, by_node = defaultdict[int, list[Span]](list), defaultdict[str | None, list[Span]](list)
        for fetch in fetches:
            by_process[fetch.span.process].append(fetch.span)
            by_node[fetch.said.node].append(fetch.span)
        self._by_process = {process: _windows(spans) for process, spans in by_process.items()}
        self._by_node = {node: _windows(spans) for node, spans in by_node.items()}
        self._begins = sorted(span.begin_row for spans in by_process.values() for span in spans)

    def before(self, row: int) -> int:
        """Return how many began before a row."""
        return bisect_left(self._begins, row)

    def of_process(self, process: int, begin_row: int, end_row: int) -> bool:
        """Return whether one of a process was under way between two rows."""
        return process in self._by_process and self._by_process[process].meet(begin_row + 1, end_row - 1)

    def elsewhere(self, node: str | None, begin_row: int, end_row: int) -> bool:
        """Return whether one that was not answered by a node was under way between two rows."""
        return any(
            other != node and windows.meet(begin_row + 1, end_row - 1) for other, windows in self._by_node.items()
        )


def _windows(spans: Iterable[Span]) -> Windows:
    return Windows((span.begin_row, span.done_row) for span in spans)


@dataclass
class Group:
    """What one share group did. Lists are in the order in which the calls ended."""

    name: str
    deposed: Windows
    """When leaders that were deposed may have been alive."""
    drained: int
    """The index of the last event that tells of a final read; NEVER if there is none."""
    fetches: list[Fetch] = field(default_factory=list)
    deliveries: dict[Place, list[Delivery]] = field(default_factory=lambda: defaultdict(list))
    acks: dict[Place, list[Ack]] = field(default_factory=lambda: defaultdict(list))
    ended: list[Span] = field(default_factory=list)
    """Calls with which members left or died."""
    lasted: dict[tuple[int, int], int] = field(default_factory=dict)
    """By process and session the row in which the last request began that was answered in it."""
    _hiding: dict[Any, Hiding] = field(default_factory=dict)
    _served: dict[Any, dict[str | None, int]] = field(default_factory=dict)
    _in_time: dict[Place, list[tuple[Ack, Delivery]]] = field(default_factory=dict)

    @cached_property
    def _unshown(self) -> list[Fetch]:
        return [fetch for fetch in self.fetches if not fetch.is_ok or fetch.said.refused]

    def hiding(self, key: Any) -> Hiding:
        """Return the fetches that may hide records of a key."""
        if key not in self._hiding:
            self._hiding[key] = Hiding(fetch for fetch in self._unshown if fetch.may_hide(key))
        return self._hiding[key]

    def served(self, key: Any) -> dict[str | None, int]:
        """Return by node (None: it is not told) the row from which on it had been asked for a key, or told of it."""
        if key not in self._served:
            asked = ((fetch.said.node, fetch.span.begin_row) for fetch in self.fetches if fetch.asked(key))
            told = ((ack.node, ack.span.begin_row) for place, of in self.acks.items() if place[0] == key for ack in of)
            since: dict[str | None, int] = {}
            for node, row in chain(asked, told):
                since[node] = min(row, since.get(node, NEVER))
            self._served[key] = since
        return self._served[key]

    def went_on(self, one: Delivery, row: int) -> bool:
        """Return whether the session of a delivery is known to have gone on behind a row: nothing was given back."""
        session = one.fetch.said.session
        return session is not None and self.lasted.get((one.span.process, session), -1) > row

    def held_until_ns(self, place: Place, one: Delivery, row: int) -> int:
        """Return until when nobody takes a delivered record from its member but with the leader, as was known at a row.

        That is the end of its lock, or of the last lock that was renewed with an answer before the former was over.
        Only a renewal by the member's last delivery, and by the node that gave it, is about it. 0: it is not told.
        """
        if one.fetch.lock_ns is None:
            return 0
        until_ns = one.held_until_ns
        renewals = [
            ack
            for ack in self.acks.get(place, ())
            if not ack.gives_up and ack.type == TYPE_OK and ack.node == one.fetch.said.node
        ]
        for ack in renewals:
            is_before = ack.span.process == one.span.process and ack.span.done_row < row
            if is_before and ack.span.done_ns < until_ns and self.about(place, ack) is one:
                until_ns = max(until_ns, ack.span.begin_ns + one.fetch.lock_ns - SLACK_NS)
        return until_ns

    def about(self, place: Place, ack: Ack) -> Delivery | None:
        """Return what an acknowledgement is about: its member's last delivery of the record before it."""
        mine = (
            one
            for one in self.deliveries.get(place, ())
            if one.span.process == ack.span.process and one.span.done_row < ack.span.begin_row
        )
        return max(mine, key=lambda one: one.span.done_row, default=None)

    def in_time(self, place: Place) -> list[tuple[Ack, Delivery]]:
        """Return the acknowledgements that give a record up and were answered ok within a lock, each with its delivery.

        Later ones may have been of no effect: what a leader holds for done (its deliveries are used up, and that is not
        written yet) is skipped without an error. So are those by another node than the one that gave the record: that
        one's lock went with its lead. Renewals are not written, so even a deposed leader takes them.
        """
        if place in self._in_time:
            return self._in_time[place]
        found = self._in_time[place] = []
        for ack in self.acks.get(place, ()):
            one = self.about(place, ack) if ack.type == TYPE_OK and ack.gives_up else None
            if one is None or self.held_until_ns(place, one, ack.span.begin_row) <= ack.span.done_ns:
                continue
            if None in {ack.node, one.fetch.said.node} or ack.node == one.fetch.said.node:
                found.append((ack, one))
        return found


def groups_of(case: Case) -> list[Group]:
    """Return the share groups of a history, in the order of their first calls."""
    view, calls = case.view, case.view.calls
    codes = {code: kind for kind in (*KINDS, "crash") if (code := view.kinds.get(kind)) is not None}
    if not any(kind in KINDS for kind in codes.values()):
        return []
    begins, dones = view.invoke_time(), view.done_time()
    deposed = deposed_leaders(case.phases)
    drained = max((drain.op for drain in case.phases.drains.values()), default=NEVER)
    groups: dict[int, Group] = {}
    member_of: dict[int, int] = {}
    for call in np.flatnonzero(np.isin(calls.f, list(codes))).tolist():
        kind, process = codes[int(calls.f[call])], int(calls.process[call])
        begun, done = int(calls.invoke_row[call]), int(calls.done_row[call])
        span = Span(
            call,
            process,
            begun,
            done if done >= 0 else NEVER,
            int(begins[call]),
            int(dones[call]) if done >= 0 else NEVER,
        )
        code = int(calls.group[call])
        if kind in KINDS:
            member_of[process] = code
        elif process not in member_of:
            continue
        code = member_of[process]
        name = "" if code == NONE else view.groups.names[code]
        _take(
            groups.setdefault(code, Group(name, deposed, drained)),
            kind,
            span,
            int(calls.type[call]),
            view.call_extras.get(call, {}),
        )
    return list(groups.values())


def _take(group: Group, kind: str, span: Span, type_: int, value: dict[str, Any]) -> None:
    if kind == SHARE_FETCH:
        said = msgspec.convert(value, Fetched)
        _ride(group, span, type_, said)
        if type_ == TYPE_FAIL:
            return
        lock_ns = None if said.lock_ms is None else said.lock_ms * MS_NS
        fetch = Fetch(span, type_ == TYPE_OK, said, lock_ns)
        _last(group, span, type_, said.session)
        group.fetches.append(fetch)
        for key, records in said.records:
            for offset, shown, count in records:
                group.deliveries[key, offset].append(Delivery(fetch, shown, count))
    elif kind == SHARE_ACKNOWLEDGE:
        told = msgspec.convert(value, Acknowledged)
        _last(group, span, type_, told.session)
        for offset, what in told.records:
            group.acks[told.key, offset].append(Ack(span, what, type_, told.node))
    else:
        assert kind in {SHARE_LEAVE, "crash"}
        group.ended.append(span)


def _last(group: Group, span: Span, type_: int, session: int | None) -> None:
    """Note that a session was there when a request was answered."""
    if type_ == TYPE_OK and session is not None:
        place = span.process, session
        group.lasted[place] = max(group.lasted.get(place, -1), span.begin_row)


def _ride(group: Group, span: Span, type_: int, said: Fetched) -> None:
    """Take what went with a fetch: what came of it is told where that was answered, and else is what came of that."""
    told = {key: TYPES[outcome] for key, outcome, _ in said.acknowledged} if type_ == TYPE_OK else {}
    for key, records in said.acknowledge:
        of_key = told.get(key, TYPE_INFO) if type_ == TYPE_OK else type_
        for offset, what in records:
            group.acks[key, offset].append(Ack(span, what, of_key, said.node))
