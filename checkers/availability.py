"""Progress: counts, outages, what happened inside and after each fault, `unavailable`, `hung-transaction`, vacuity.

The last says whether the run tested anything at all (DESIGN.md, "Verdict").

Progress is judged per operation kind among those that carry data. After the heal of a fault, with no other fault
holding, an ok of every kind that was attempted must complete within the recovery bound; a span that the run cut short
(next fault, end of the main phase) before the bound passed proves nothing and is not judged, nor one in which nobody
tried for long enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from checkers.case import Case
from checkers.columns import Ints
from checkers.findings import Findings
from checkers.log_view import DATA_KINDS, ON_PURPOSE, READS, TYPE_FAIL, TYPE_INFO, TYPE_OK
from checkers.options import ALL_FAULTS
from checkers.phases import Fault, Windows
from checkers.sessions import taken_over
from harness.history import DELETE_RECORDS, SHARE_LEAVE

SECOND_NS = 1_000_000_000
_NEVER = int(np.iinfo(np.int64).max)
MOST_NAMED = 8
"""Keys that a sentence names."""
NEVER_OK = frozenset({"crash", "debug-topic-partitions"})
"""Kinds that by their nature have no ok."""
READING_KINDS = frozenset({"poll", *READS})
RARE_KINDS = frozenset({"assign", "subscribe", "unsubscribe", "commit", "committed", DELETE_RECORDS, SHARE_LEAVE})
"""Kinds that a generator mixes in now and then: a fault window need not hold one."""
MAY_NEVER_SUCCEED = frozenset({"commit", DELETE_RECORDS, SHARE_LEAVE})
"""Of these, the ones that a sound run may have none of: the workload `groups` commits when it ought to be refused."""


def stats(case: Case) -> dict[str, dict[str, int]]:
    """Return ok/fail/info counts per operation kind, and the total of each kind."""
    calls = case.view.calls
    counted: dict[str, dict[str, int]] = {}
    for code, name in enumerate(case.view.kinds.names):
        types = calls.type[calls.f == code]
        counted[name] = {
            "count": len(types),
            "ok": int((types == TYPE_OK).sum()),
            "fail": int((types == TYPE_FAIL).sum()),
            "info": int((types == TYPE_INFO).sum()),
        }
    return counted


def availability(case: Case) -> dict[str, dict[str, Any]]:
    """Return per operation kind its longest stretch of main and heal without an ok completion, in seconds.

    From when it was first asked for to when nobody waited for it any more: where nobody asks, nothing is out.
    """
    span = _main_span(case)
    if span is None:
        return {}
    start, end = span
    answer: dict[str, dict[str, Any]] = {}
    invoked, over = case.view.invoke_time(), case.view.done_time()
    for name in _progress_kinds(case):
        done = _within(case.ok_times[name], start, end)
        asked = (case.view.calls.f == case.view.kinds.get(name)) & (over >= start) & (invoked <= end)
        if not asked.any():
            continue
        edges = np.concatenate(([max(start, invoked[asked].min())], done, [min(end, over[asked].max())]))
        gaps = np.diff(edges)
        worst = int(np.argmax(gaps))
        answer[name] = {
            "longest-outage-s": round(int(gaps[worst]) / SECOND_NS, 3),
            "from-ns": int(edges[worst]),
            "to-ns": int(edges[worst + 1]),
            "ok": len(done),
        }
    return answer


def faults(case: Case) -> list[dict[str, Any]]:
    """Return each injection with its window, its evidence and how the operations fared in it and after it."""
    kinds = _progress_kinds(case)
    return [_fault(case, fault, kinds) for fault in case.phases.faults]


ONLY_OF_RUNS = ("broken-invariant", "hung-transaction", "unavailable")
"""Classes whose evidence only a run of ours records: invariants, final reads with their bounds, phases and heals."""


def recovery(case: Case, findings: Findings) -> None:
    """Report `unavailable` where a kind had no ok within the recovery bound after a heal."""
    span = _main_span(case)
    if span is None or not case.phases.ours:
        return
    bound, holding = int(case.options.recovers_within_s * SECOND_NS), _holding(case.phases.faults)
    kinds = {name: _Attempts(case, name) for name in _progress_kinds(case)}
    for fault in case.phases.faults:
        healed = fault.healed_ns
        if not fault.bit or healed is None or healed + bound > span[1] or holding.meet(healed + 1, healed + bound - 1):
            continue
        for name, tried in kinds.items():
            if len(_within(case.ok_times[name], healed, healed + bound)):
                continue
            attempts = tried.within(healed, healed + bound)
            if tried.fill(attempts, healed, healed + bound):
                first = int(attempts[0])
                assert fault.healed is not None
                why = (
                    f"No {name} succeeded within {case.options.recovers_within_s:g} s after {fault.name} (op "
                    f"{fault.injected}) was healed (op {fault.healed}), though {len(attempts)} were tried"
                )
                fenced = int(taken_over(case.view)[attempts].sum())
                if 2 * fenced > len(attempts):
                    findings.reasons.append(
                        f"{why}: {fenced} of them lost their transactional.id to another client, so that it was not "
                        "judged whether the cluster recovered."
                    )
                    continue
                ops = [fault.injected, fault.healed, case.view.op(first)]
                findings.add("unavailable", ops, f"{why}.", fault=fault.name, kind=name)


def drain(case: Case, findings: Findings) -> None:
    """Judge final reads whose bound passed: `hung-transaction`, `unavailable`, or our own slowness (`unknown`)."""
    for read in case.phases.drains.values():
        if read.complete:
            continue
        if read.end is None:
            findings.add(
                "unavailable",
                [read.op],
                f"After healing and the whole bound, nobody could say where {read.key} ends: it has no leader.",
                key=read.key,
            )
        elif read.lso is not None and read.lso < read.end:
            findings.add(
                "hung-transaction",
                [read.op],
                f"After healing and the whole bound, the last stable offset of {read.key} still stands at {read.lso}, "
                f"below its end {read.end}: a transaction there was never decided.",
                key=read.key,
                lso=read.lso,
                end=read.end,
            )
        else:
            findings.reasons.append(
                f"The final read of {read.key} stopped at {read.read_to} of {read.end} (op {read.op}): what "
                "lies beyond "
                "was not judged."
            )
    if not case.phases.ours or not case.placement.vids.size:
        return
    if not case.phases.drains:
        findings.reasons.append(
            "The run has no final read (it was killed or stopped early): lost-write, unseen and torn-transaction were "
            "not judged."
        )
        return
    codes = np.unique(case.placement.vids.first)
    unread = sorted(str(key) for key in map(case.key, codes) if key not in case.phases.drains)
    if unread:
        findings.reasons.append(
            f"The run ended before the final read of {', '.join(unread[:MOST_NAMED])}"
            f"{' and others' if len(unread) > MOST_NAMED else ''} was over: what was lost there was not judged."
        )


def cut_short(case: Case) -> list[str]:
    """Return a note on who ended the run before its time."""
    ended_ns = case.phases.interrupted_ns
    if ended_ns is None:
        return []
    return [f"The run was ended early, by Ctrl-C or a signal, {ended_ns / SECOND_NS:.1f} s after its begin."]


def vacuity(case: Case, findings: Findings) -> None:
    """Say why a run would be vacuous; of a foreign history little can be told."""
    if not case.phases.ours:
        _foreign_vacuity(case, findings)
        return
    counted = stats(case)
    if not counted:
        findings.vacuous.append("No client operation was recorded.")
        return
    begun = {*_progress_kinds(case), *RARE_KINDS - MAY_NEVER_SUCCEED}
    for name, counts in counted.items():
        if not counts["ok"] and name in begun:
            findings.vacuous.append(f"No {name} succeeded in the whole run ({counts['count']} tried).")
    _traffic(case, findings)
    happened = {fault.name for fault in case.phases.faults}
    if ALL_FAULTS in case.options.faults and not happened:
        findings.vacuous.append("Faults were asked for, but none was ever injected.")
    requested = dict.fromkeys((*case.options.faults, *sorted(happened)))
    requested.pop(ALL_FAULTS, None)
    stalls = _holding(fault for fault in case.phases.faults if fault.expects == "stall")
    for name in requested:
        injections = [fault for fault in case.phases.faults if fault.name == name]
        if not any(fault.bit for fault in injections):
            findings.vacuous.append(
                f"The fault {name} never bit ({len(injections)} injection{'s' if len(injections) > 1 else ''})."
                if injections
                else f"The fault {name} was asked for but never injected."
            )
        for missed in injections:
            if not missed.bit:
                why = f": {reason}" if (reason := missed.evidence.get("reason")) else "."
                findings.notes.append(f"The injection of {name} in op {missed.injected} missed{why}")
        free = [f for f in injections if f.bit and f.expects == "progress" and not _is_stalled(case, stalls, f)]
        _window_progress(case, findings, name, free)


def _foreign_vacuity(case: Case, findings: Findings) -> None:
    """A foreign history holds a record that was written or read, or what nodes or groups answered, or nothing."""
    findings.not_checked.extend(ONLY_OF_RUNS)
    view = case.view
    written = (view.calls.type == TYPE_OK)[view.sends.call].any()
    answered = view.group_offsets.call.size or view.call_extras or case.samples
    if not (written or view.records.call.size or answered):
        findings.vacuous.append("No record was written by an operation that succeeded, and none was read.")


def _traffic(case: Case, findings: Findings) -> None:
    """A run in which nothing was written, or nothing read before the final reads, shows nothing of Kafka.

    What a transaction has read counts however it ended: it is judged, too. Transactions that only read commit nothing.
    """
    view = case.view
    calls, row = view.calls, case.phases.row("drain")
    ok = calls.type == TYPE_OK
    if not ok[view.sends.call].any():
        findings.vacuous.append("No record was written by an operation that succeeded.")
        return
    wrote = np.unique(view.sends.call[case.transactional[view.sends.call]])
    if len(wrote) and not ok[wrote].any() and (ok & case.transactional).any():
        findings.vacuous.append(f"No transaction that writes was committed for certain ({len(wrote)} tried).")
    if READING_KINDS.isdisjoint(_progress_kinds(case)):
        return
    if not (view.records.call.size if row is None else (calls.invoke_row < row)[view.records.call].any()):
        findings.vacuous.append("No record was read before the final reads.")


def _is_stalled(case: Case, stalls: Windows, window: Fault) -> bool:
    """Return whether a fault that is expected to stall everything held in the window, too: then it says nothing."""
    end = _last_time(case) if window.end_ns is None else window.end_ns
    return stalls.meet(window.begin_ns + 1, end - 1)


def _window_progress(case: Case, findings: Findings, name: str, windows: list[Fault]) -> None:
    """A kind of fault that lets the majority live must have let every kind of operation through in some window."""
    spans = [(w.begin_ns, w.end_ns if w.end_ns is not None else _last_time(case)) for w in windows]
    for kind in _progress_kinds(case) if spans else ():
        if not any(len(_within(case.ok_times[kind], begin, end)) for begin, end in spans):
            where = f"any of the {len(spans)} windows" if len(spans) > 1 else "the only window"
            findings.vacuous.append(f"No {kind} succeeded inside {where} of {name}.")


def _fault(case: Case, fault: Fault, kinds: list[str]) -> dict[str, Any]:
    end = fault.end_ns
    inside: dict[str, int] = {}
    recovered: dict[str, float | None] = {}
    for kind in kinds:
        done = case.ok_times[kind]
        inside[kind] = len(_within(done, fault.begin_ns, _last_time(case) if end is None else end))
        after = done[:0] if end is None else done[np.searchsorted(done, end) :]
        recovered[kind] = None if end is None or not len(after) else round((int(after[0]) - end) / SECOND_NS, 3)
    return {
        "fault-id": fault.fault_id,
        "name": fault.name,
        "injected-op": fault.injected,
        "healed-op": fault.healed,
        "begin-ns": fault.begin_ns,
        "end-ns": end,
        "healed-ns": fault.healed_ns,
        "bit": fault.bit,
        "expects": fault.expects,
        "keys": list(fault.keys),
        "nodes": list(fault.nodes),
        "ok-inside": inside,
        "first-ok-after-s": recovered,
    }


def _holding(faults: Iterable[Fault]) -> Windows:
    """Return when faults that bit held, or were being injected or healed."""
    return Windows((f.begin_ns, _NEVER if f.healed_ns is None else f.healed_ns) for f in faults if f.bit)


def _within(times: Ints, begin: int, end: int) -> Ints:
    """Return those of rising times that lie in [begin, end]."""
    return times[np.searchsorted(times, begin) : np.searchsorted(times, end, side="right")]


def _progress_kinds(case: Case) -> list[str]:
    """Return the operation kinds that the workload generates in its main phase and that may be expected to succeed."""
    row = case.phases.row("drain")
    calls = case.view.calls
    names = []
    for code, name in enumerate(case.view.kinds.names):
        if name in NEVER_OK | RARE_KINDS:
            continue
        begun = calls.invoke_row[calls.f == code]
        if len(begun) and (row is None or (begun < row).any()):
            names.append(name)
    return sorted(names, key=lambda name: (name not in DATA_KINDS, name))


class _Attempts:
    """The calls of a kind that were meant to succeed, in order of their invocations.

    A transaction that was to come to nothing is no attempt. Who tried in the first moments only, or in the last, shows
    nothing of what lies between: some attempt has to fail in the second half of the span, or to lie open for a quarter.
    """

    def __init__(self, case: Case, kind: str) -> None:
        meant = case.view.calls.f == case.view.kinds.get(kind)
        meant[[call for call, said in case.view.call_extras.items() if said.get(ON_PURPOSE)]] = False
        self._begun, self._done = case.view.invoke_time(), case.view.done_time()
        calls = np.flatnonzero(meant)
        self._calls = calls[np.argsort(self._begun[calls], kind="stable")]
        self._times = self._begun[self._calls]

    def within(self, begin: int, end: int) -> Ints:
        """Return the calls that were invoked in a span, rising."""
        low, high = np.searchsorted(self._times, begin), np.searchsorted(self._times, end, side="right")
        return np.sort(self._calls[low:high])

    def fill(self, attempts: Ints, begin: int, end: int) -> bool:
        """Return whether attempts of a span show something of all of it."""
        begun, done = self._begun[attempts], self._done[attempts]
        failed = (done >= (begin + end) // 2) & (done <= end)
        hung = (done > end) & (end - begun >= (end - begin) // 4)
        return bool((failed | hung).any())


def _main_span(case: Case) -> tuple[int, int] | None:
    if not len(case.view.time):
        return None
    main = case.phases.span("main", _last_time(case))
    rows = [row for name in ("catch-up", "drain") if (row := case.phases.row(name)) is not None]
    return main if main is None or not rows else (main[0], int(case.view.time[min(rows)]))


def _last_time(case: Case) -> int:
    return int(case.view.time.max()) if len(case.view.time) else 0
