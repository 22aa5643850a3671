"""A program of the user's that did nothing while things were broken was not put to the test: `vacuous`.

A program takes its time to begin: a JVM some seconds, a group up to the session of a member that died. Whoever is
killed again before that loses nothing and doubles nothing, and what it copies after the faults met none. It was at work
when an output was seen for the first time: by a client's poll, before the final reads.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from checkers.case import Case
from checkers.columns import Ints
from checkers.findings import Findings
from checkers.log_view import TYPE_OK
from checkers.phases import Fault

OF_PROGRAMS: Final = frozenset({"kill-app", "kill-apps", "pause-app", "restart-app"})
"""Faults that strike the program itself."""


def at_work(case: Case, findings: Findings) -> None:
    """Say of which faults the program showed nothing; nothing where no program ran, or no fault bit."""
    bitten = [fault for fault in case.phases.faults if fault.bit]
    if case.application is None or not case.phases.ours or not bitten:
        return
    seen = _seen(case)
    main = case.phases.span("main", int(case.view.time[-1]) + 1)
    if main is not None and not _any(seen, *main):
        findings.vacuous.append("The program made no output before the faults were over.")
        return
    since_ns, met = 0, dict[str, bool]()
    for fault in sorted(filter(_strikes_it, bitten), key=lambda one: one.asked_ns):
        met[fault.name] = met.get(fault.name, False) or _any(seen, since_ns, fault.asked_ns)
        since_ns = fault.begin_ns
    findings.vacuous.extend(
        f"The fault {name} never met the program at work: it had made no output since the fault before."
        for name, has in met.items()
        if not has
    )


def _strikes_it(fault: Fault) -> bool:
    return not OF_PROGRAMS.isdisjoint(fault.name.split("+"))


def _seen(case: Case) -> Ints:
    """Return when outputs were seen for the first time, in ns, rising."""
    records, calls, slot = case.view.records, case.view.calls, case.placement.record_slot
    rows = np.flatnonzero(case.is_output[records.key] & (slot >= 0) & (calls.type[records.call] == TYPE_OK))
    times = case.view.time[calls.done_row[records.call[rows]]]
    order = np.argsort(times, kind="stable")
    _, first = np.unique(slot[rows[order]], return_index=True)
    return np.sort(times[order][first])


def _any(times: Ints, begin_ns: int, end_ns: int) -> bool:
    return bool(np.searchsorted(times, begin_ns) < np.searchsorted(times, end_ns))
