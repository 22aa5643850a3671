"""The queue classes by their definitions (ANOMALIES.md, part 1), as plain loops over operations: slow and obvious.

`judge_slowly(ops, ww_deps)` returns class -> a sorted list of what was found, in a form that the fast checkers' counts
can be compared with. Foreign histories only (no phases); every completion has its invocation.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

DATA = ("send", "poll", "txn")


def sends_of(op):
    out = []
    for m in op.value or ():
        if m[0] == "send":
            offset, value = m[2][:2] if isinstance(m[2], list) else (None, m[2])
            out.append((m[1], offset, value))
    return out


def records_of(op):
    return [
        (key, record[0], record[1])
        for m in op.value or ()
        if m[0] == "poll" and len(m) > 1
        for key, records in m[1]
        for record in records
    ]


def completions(ops):
    done, pending = [], {}
    for op in ops:
        if op.type == "invoke":
            pending[op.process] = op
        else:
            done.append((pending.pop(op.process), op))
    return done


def by_key(rows):
    grouped = defaultdict(list)
    for key, *rest in rows:
        grouped[key].append(rest[-1])
    return grouped


class Tables:
    """The derived tables of section 0."""

    def __init__(self, ops):
        self.calls = completions(ops)
        self.ops = [op for _, op in self.calls]
        self.writer, self.failed, self.read_ok = {}, set(), set()
        for op in self.ops:
            for key, _, value in sends_of(op):
                self.writer[key, value] = op
                if op.type == "fail":
                    self.failed.add((key, value))
            if op.type == "ok":
                self.read_ok |= {(key, value) for key, _, value in records_of(op)}
        self.log = defaultdict(lambda: defaultdict(set))
        for op in self.ops:
            if self.committed(op):
                for key, offset, value in sends_of(op):
                    if offset is not None:
                        self.log[key][offset].add(value)
            for key, offset, value in records_of(op):
                self.log[key][offset].add(value)
        self.place = {}
        for key, log in self.log.items():
            for place, offset in enumerate(sorted(log)):
                for value in log[offset]:
                    self.place[key, value] = place

    def committed(self, op):
        return op.type == "ok" or (
            op.type == "info" and any((key, value) in self.read_ok for key, _, value in sends_of(op))
        )

    @property
    def consistent(self):
        return all(len(values) == 1 for log in self.log.values() for values in log.values())


def judge_slowly(ops, *, ww_deps=False):
    """Return class -> count, without the order classes where offsets are inconsistent."""
    t = Tables(ops)
    found = defaultdict(int)
    for log in t.log.values():
        found["inconsistent-offsets"] += sum(len(values) > 1 for values in log.values())
        offsets = defaultdict(set)
        for offset, values in log.items():
            for value in values:
                offsets[value].add(offset)
        found["duplicate"] += sum(len(places) > 1 for places in offsets.values())
    for op in t.ops:
        read = {(key, value) for key, _, value in records_of(op)}
        if op.type == "ok":
            found["G1a"] += len(read & t.failed)
        found["precommitted-read"] += bool(read & {(key, value) for key, _, value in sends_of(op)})
    found["lost-write"] = _lost(t)
    found["unseen"] = _unseen(t)
    if t.consistent:
        _order(t, found)
    found["cycles"] = _cycles(t, ww_deps)
    return found


def _lost(t):
    lost = 0
    for key, log in t.log.items():
        order = [log[offset] for offset in sorted(log)]
        first, last = {}, {}
        for place, values in enumerate(order):
            for value in values:
                first.setdefault(value, place)
                last[value] = place
        read = [first[value] for value in first if (key, value) in t.read_ok]
        if not read:
            continue
        for value, place in last.items():
            writer = t.writer.get((key, value))
            if place <= max(read) and (key, value) not in t.read_ok and writer is not None and t.committed(writer):
                lost += 1
    return lost


def _unseen(t):
    sent = {(key, value) for op in t.ops if op.type == "ok" for key, _, value in sends_of(op)}
    if not sent:
        return None  # Jepsen's fold has its own idea of histories without ok sends: told by the published cases
    return bool(sent - t.read_ok)


def _order(t, found):
    for op in t.ops:
        exempt = {key for change in op.rebalance_log or () for key in change["keys"]}
        for key, values in by_key(records_of(op)).items():
            for a, b in pairwise(values):
                delta = t.place[key, b] - t.place[key, a]
                if key not in exempt:
                    found["int-poll-skip"] += delta > 1
                    found["int-nonmonotonic-poll"] += delta < 1
        for key, values in by_key(sends_of(op)).items():
            for a, b in pairwise(values):
                if (key, a) in t.place and (key, b) in t.place:
                    delta = t.place[key, b] - t.place[key, a]
                    found["int-send-skip"] += delta > 1
                    found["int-nonmonotonic-send"] += delta < 1
    polled, sent = defaultdict(dict), defaultdict(dict)
    for op in t.ops:
        mine, ours = polled[op.process], sent[op.process]
        if op.f in ("assign", "subscribe") and op.type != "fail":
            for table in (mine, ours):
                for key in set(table) - set(op.value):
                    del table[key]
        for key, values in by_key(records_of(op)).items():
            if key in mine:
                delta = t.place[key, values[0]] - t.place[key, mine[key]]
                found["poll-skip"] += delta > 1
                found["nonmonotonic-poll"] += delta < 1
            if op.type == "ok":
                mine[key] = values[-1]
        if op.type != "fail":
            acknowledged = {(key, value) for key, offset, value in sends_of(op) if offset is not None}
            for key, values in by_key(sends_of(op)).items():
                before = ours.get(key)
                if before is not None and (key, before) in t.place and (key, values[0]) in t.place:
                    found["nonmonotonic-send"] += t.place[key, values[0]] < t.place[key, before] + 1
                if op.type == "ok" or (key, values[-1]) in acknowledged:  # else it may land later
                    ours[key] = values[-1]


def _cycles(t, ww_deps):
    """Return the set of cycle classes that exist, by closure over (node, kinds seen)."""
    nodes = [(begun, op) for begun, op in t.calls if op.f in DATA]
    number = {op.index: n for n, (_, op) in enumerate(nodes)}
    ww, wr, process, time = set(), set(), set(), set()
    for n, (_, op) in enumerate(nodes):
        for key, _, value in records_of(op):
            writer = t.writer.get((key, value))
            if writer is not None and writer is not op:
                wr.add((number[writer.index], n))
    if ww_deps:
        for key, log in t.log.items():
            order = [next(iter(log[offset])) for offset in sorted(log)]
            for a, b in pairwise(order):
                one, other = t.writer.get((key, a)), t.writer.get((key, b))
                if one is not None and other is not None and one is not other:
                    ww.add((number[one.index], number[other.index]))
    for a, (_, one) in enumerate(nodes):
        for b, (begun, other) in enumerate(nodes):
            if one.type == "ok" and other.type != "fail" and one.index < begun.index:
                time.add((a, b))
            if one.type == "ok" and other.type != "fail" and one.process == other.process and a < b:
                process.add((a, b))
    found = set()
    for suffix, extra in (("", set()), ("-process", process), ("-realtime", time)):
        if _has_cycle(len(nodes), ww, set(), extra, bool(suffix)):
            found.add("G0" + suffix)
        if _has_cycle(len(nodes), wr, ww, extra, bool(suffix)):
            found.add("G1c" + suffix)
    return found


def _has_cycle(size, required, other, extra, needs_extra):
    """Whether some closed walk uses a required edge, and an extra one if that is needed."""
    edges = [(a, b, 1) for a, b in required] + [(a, b, 0) for a, b in other] + [(a, b, 2) for a, b in extra]
    leaving = defaultdict(list)
    for a, b, kind in edges:
        leaving[a].append((b, kind))
    for a, b in required:
        seen, todo = set(), [(b, False)]
        while todo:
            node, had = todo.pop()
            if (node, had) in seen:
                continue
            seen.add((node, had))
            todo.extend((target, had or kind == 2) for target, kind in leaving[node])
        if (a, True) in seen or (not needs_extra and (a, False) in seen):
            return True
    return False
