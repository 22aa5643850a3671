"""Committed offsets of consumer groups (G3, G4): what an ok commit stored does not fall back by itself.

A stable read is an ok `committed`. It is explained by any commit of its group and key with that very offset which is
not certainly over before the ok commit began: any commit may lower the offset, and an undecided one may land late. So
may an ok one that took RESENT_S: a client gives a request up after so long and sends it again, and the first one, still
on its way, counts when it arrives (an OffsetCommit has no number by which a broker could know it again). What only a
refused commit or an aborted transaction would have stored must not show, be it lower or higher than what was there.

With `--fresh` each (group, key) is also judged as a register by real time (`nonlinearizable`): commits write it, stable
reads read it. Kafka has no read barrier for it, so that the default leaves real time out. No order at all explains an
offset that nobody ever tried to commit, and that shows after another one was there. That is judged in runs of ours,
which tell of every commit: an operation that never came home may have committed what it polled, and nobody knows what.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Ints
from checkers.findings import Findings
from checkers.interning import NO_OFFSET
from checkers.linear.check import CLASS, given_up, tell
from checkers.linear.model import MODELS, NEVER, Operation
from checkers.linear.search import Answer, search_keys
from checkers.log_view import (
    ANSWERED,
    COMMIT_NEVER,
    COMMIT_UNKNOWN,
    COMMITS,
    NONE,
    TYPE_FAIL,
    TYPE_INFO,
    TYPE_OK,
    UNCERTAIN,
)

RESENT_S = 3.0
"""What our clients wait for an answer (socket.timeout.ms); others wait longer, or say so."""


def resent(case: Case) -> Bools:
    """Per call: it is ok, was no transaction, and took so long that its request may have been sent more than once."""
    calls = case.view.calls
    known = (calls.type == TYPE_OK) & (calls.commit_time == COMMIT_UNKNOWN) & (calls.invoke_row >= 0)
    lasted_ns = np.where(known, case.view.done_time(), 0) - np.where(known, case.view.invoke_time(), 0)
    return np.asarray(known & (lasted_ns >= int(RESENT_S * 1e9)))


def committed_offsets(case: Case, findings: Findings) -> None:
    """Report `committed-offset-regression` and `fenced-commit-applied`."""
    table = case.view.group_offsets
    reads = np.flatnonzero((table.role == ANSWERED) & (table.group != NONE))  # else: who knows of which group
    if not len(reads):
        findings.not_checked.extend(("committed-offset-regression", "fenced-commit-applied"))
        return
    calls = case.view.calls
    type_ = calls.type[table.call]
    sure = (table.role == COMMITS) & (type_ == TYPE_OK)
    refused = (table.role == COMMITS) & (
        (type_ == TYPE_FAIL) | ((type_ == TYPE_INFO) & (calls.commit_time[table.call] == COMMIT_NEVER))
    )
    possible = (table.role != ANSWERED) & ~refused
    late = resent(case)
    for read in reads:
        _judge(case, findings, int(read), sure, possible, refused, late)


def _judge(  # noqa: PLR0917  one read against three sets of commits
    case: Case, findings: Findings, read: int, sure: Bools, possible: Bools, refused: Bools, late: Bools
) -> None:
    table, calls = case.view.group_offsets, case.view.calls
    begun = calls.invoke_row[table.call[read]]
    offset = int(table.offset[read])
    same = (table.key == table.key[read]) & ((table.group == table.group[read]) | (table.group == NONE))
    done = calls.done_row[table.call]
    before = np.flatnonzero(same & sure & (done >= 0) & (done < begun) & (table.group == table.group[read]))
    candidates = np.flatnonzero(same & possible & (table.offset == offset))
    if not len(candidates):
        _judge_refused(case, findings, read, same, refused)
    if not len(before):
        return
    higher = before[table.offset[before] > offset]
    unexplained = [row for row in higher if not _can_follow(case, candidates, int(row), late)]
    if not unexplained:
        return
    commit = unexplained[-1]
    wrote, saw = int(table.call[commit]), int(table.call[read])
    key, group = case.key(table.key[read]), case.view.groups.names[int(table.group[read])]
    stored = "nothing" if offset < 0 else str(offset)
    findings.add(
        "committed-offset-regression",
        [case.view.op(wrote), case.view.op(saw)],
        f"{case.name(wrote)} committed {int(table.offset[commit])} for {key} in group {group}; later "
        f"{case.name(saw)} read "
        f"{stored}, which no commit after it explains.",
        key=key,
        group=group,
        offsets=[int(table.offset[commit]), None if offset < 0 else offset],
    )
    if len(candidates):
        _judge_refused(case, findings, read, same, refused)


def _judge_refused(case: Case, findings: Findings, read: int, same: Bools, refused: Bools) -> None:
    """Report a read of what only a commit says that was certainly not done: refused, or of an aborted transaction.

    The group must have been seen with another offset before, by an ok commit or a read: else it may have been there.
    """
    table, calls = case.view.group_offsets, case.view.calls
    by, offset = table.call, int(table.offset[read])
    begun, ended = calls.invoke_row[by[read]], calls.done_row[by[read]]
    known = same & (table.group == table.group[read]) & (calls.type[by] == TYPE_OK) & (table.offset != offset)
    if offset < 0 or not (known & (calls.done_row[by] >= 0) & (calls.done_row[by] < begun)).any():
        return
    fenced = np.flatnonzero(same & refused & (table.offset == offset) & (calls.invoke_row[by] < ended))
    if not len(fenced):
        return
    culprit, saw = int(by[fenced[-1]]), int(by[read])
    key, group = case.key(table.key[read]), case.view.groups.names[int(table.group[read])]
    findings.add(
        "fenced-commit-applied",
        [case.view.op(culprit), case.view.op(saw)],
        f"{case.name(culprit)} was refused its commit of {offset} for {key} in group {group}, or aborted it, but "
        f"{case.name(saw)} read it.",
        key=key,
        group=group,
    )


def _committed_by_nobody(case: Case, findings: Findings) -> bool:
    """Report stable reads of what no commit ever named, after another offset was there; return if there are any."""
    table, calls = case.view.group_offsets, case.view.calls
    by, found = table.call, False
    reads = np.flatnonzero((table.role == ANSWERED) & (table.group != NONE) & (table.offset >= 0))
    hung = (calls.type == TYPE_INFO) & (calls.done_row < 0)
    if not case.phases.ours or not len(reads) or hung.any():
        return False
    for read in reads.tolist():
        same = (table.key == table.key[read]) & ((table.group == table.group[read]) | (table.group == NONE))
        offset, begun = int(table.offset[read]), calls.invoke_row[by[read]]
        if (same & (table.role != ANSWERED) & (table.offset == offset)).any():
            continue
        before = same & (calls.type[by] == TYPE_OK) & (table.role != UNCERTAIN) & (calls.done_row[by] < begun)
        others = np.flatnonzero(before & (table.offset != offset))
        if not len(others):
            continue
        found = True
        other, key, group = int(others[-1]), case.key(table.key[read]), case.view.groups.names[int(table.group[read])]
        was = "nothing" if table.offset[other] < 0 else str(int(table.offset[other]))
        what = "read" if table.role[other] == ANSWERED else "committed"
        findings.add(
            CLASS,
            [case.view.op(int(by[other])), case.view.op(int(by[read]))],
            f"{case.name(int(by[other]))} {what} {was} for {key} in group {group}; later {case.name(int(by[read]))} "
            f"read {offset}, which nobody ever tried to commit.",
            key=key,
            group=group,
            offset=offset,
        )
    return found


def _can_follow(case: Case, candidates: Ints, commit: int, late: Bools) -> bool:
    """Return whether one of the candidates may have been stored after the ok commit."""
    table, calls = case.view.group_offsets, case.view.calls
    began = calls.invoke_row[table.call[commit]]
    for row in candidates:
        done = calls.done_row[table.call[row]]
        over = calls.type[table.call[row]] == TYPE_OK and table.role[row] == COMMITS and 0 <= done < began
        if row != commit and (not over or late[table.call[row]]):
            return True
    return False


def committed_registers(case: Case, findings: Findings) -> None:
    """Report committed offsets that no order of commits and stable reads explains; only with `--fresh`."""
    table, calls = case.view.group_offsets, case.view.calls
    if not case.options.fresh or not (table.role == ANSWERED).any() or not case.view.has_invocations:
        if not _committed_by_nobody(case, findings):
            findings.not_checked.append(CLASS)
        return
    type_ = calls.type[table.call]
    refused = (type_ == TYPE_FAIL) | ((type_ == TYPE_INFO) & (calls.commit_time[table.call] == COMMIT_NEVER))
    by_register: dict[str, list[Operation]] = {}
    late = resent(case)
    for row in np.flatnonzero((table.group != NONE) & ~refused).tolist():
        call, reads = int(table.call[row]), table.role[row] == ANSWERED
        sure = type_[row] == TYPE_OK and table.role[row] in {COMMITS, ANSWERED}
        offset = None if table.offset[row] == NO_OFFSET else int(table.offset[row])
        group, key = case.view.groups.names[int(table.group[row])], case.key(table.key[row])
        told = by_register.setdefault(f"the committed offset of {key} in group {group}", [])
        one = Operation(
            "read" if reads else "write",
            None if reads else offset,
            offset if reads else True,
            int(calls.invoke_row[call]),
            int(calls.done_row[call]) if sure else NEVER,
            case.view.op(call),
            int(calls.process[call]),
        )
        told.append(one)
        if late[call] and not reads:  # it may be done once more, whenever
            told.append(replace(one, ret=NEVER))
    name, outcome = search_keys(MODELS["register"], by_register, case.options.budget)
    if outcome.answer is Answer.UNDECIDED:
        findings.reasons.append(given_up(name, case.options.budget))
    tell(MODELS["register"], name, outcome, findings)
