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

from dataclasses import dataclass, replace

import numpy as np

from checkers.case import Case
from checkers.columns import Bools, Groups, Ints, last_where
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
_NEVER = 1 << 62
"""The row at which a commit is over that may still be done."""


def resent(case: Case) -> Bools:
    """Per call: it is ok, was no transaction, and took so long that its request may have been sent more than once."""
    calls = case.view.calls
    known = (calls.type == TYPE_OK) & (calls.commit_time == COMMIT_UNKNOWN) & (calls.invoke_row >= 0)
    lasted_ns = np.where(known, case.view.done_time(), 0) - np.where(known, case.view.invoke_time(), 0)
    return np.asarray(known & (lasted_ns >= int(RESENT_S * 1e9)))


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of `group_offsets`, with the rows of the history at which their calls began and were over."""

    row: Ints
    offset: Ints
    began: Ints
    done: Ints

    def before(self, row: int) -> int:
        """Return how many were over before a row of the history; all of them are over."""
        return int(np.searchsorted(self.done, row))


class _Place:
    """What a history says of one group's offset of one key, by what it proves.

    Calls are in order of completion, and so are rows that are over. What was over when a read began is a beginning of
    them, and no read looks at more than lies between what explains it and itself.
    """

    def __init__(self, case: Case, group: int, key: int, late: Bools) -> None:
        table, calls = case.view.group_offsets, case.view.calls
        self._table, self._calls = table, calls
        rows = case.group_offsets_of(group, key)
        call, role, own = table.call[rows], table.role[rows], table.group[rows] == group
        type_, done = calls.type[call], calls.done_row[call]
        refused = (role == COMMITS) & (
            (type_ == TYPE_FAIL) | ((type_ == TYPE_INFO) & (calls.commit_time[call] == COMMIT_NEVER))
        )
        is_ok = (type_ == TYPE_OK) & (done >= 0)
        self.reads = self._rows(rows[own & (role == ANSWERED)])
        self._sure = self._rows(rows[own & is_ok & (role == COMMITS)])
        self._shown = self._rows(rows[own & is_ok])
        self._told = self._rows(rows[is_ok & (role != UNCERTAIN)])
        self._lowest, self._highest = (each.accumulate(self._shown.offset) for each in (np.minimum, np.maximum))
        self._refused = self._rows(rows[refused])
        self._refused_at = Groups(self._refused.offset)
        self._tried = np.unique(table.offset[rows[role != ANSWERED]])
        possible = (role != ANSWERED) & ~refused
        self._possible, at = np.unique(table.offset[rows[possible]], return_inverse=True)
        self._until = np.full(len(self._possible), -1)
        """Per offset in `_possible`: the row at which the last commit of it was over, _NEVER if one may not be."""
        ends = np.where(is_ok & (role == COMMITS) & ~late[call], done, _NEVER)
        np.maximum.at(self._until, at, ends[possible])

    def _rows(self, rows: Ints) -> _Rows:
        call = self._table.call[rows]
        return _Rows(rows, self._table.offset[rows], self._calls.invoke_row[call], self._calls.done_row[call])

    def doubtful(self) -> list[int]:
        """Return the reads that something may contradict, as places in `reads`."""
        until = self._explained(self.reads.offset)
        low = np.searchsorted(self._sure.done, until, side="right")
        return np.flatnonzero((until < 0) | (np.searchsorted(self._sure.done, self.reads.began) > low)).tolist()

    def _explained(self, offset: Ints) -> Ints:
        """Return per offset until when a commit of it may have been stored, -1 where none can."""
        if not len(self._possible):
            return np.full(len(offset), -1)
        at = np.minimum(np.searchsorted(self._possible, offset), len(self._possible) - 1)
        return np.where(self._possible[at] == offset, self._until[at], -1)

    def is_explained(self, read: int) -> bool:
        """Return whether some commit of what was read may have been done."""
        return bool(self._explained(self.reads.offset[read : read + 1])[0] >= 0)

    def contradiction(self, read: int) -> int | None:
        """Return the last commit of more than was read that was done before, and that no commit of that can follow."""
        offset, sure = self.reads.offset[read], self._sure
        until = self._explained(self.reads.offset[read : read + 1])[0]
        low, high = int(np.searchsorted(sure.done, until, side="right")), sure.before(self.reads.began[read])
        found = last_where(lambda part: (sure.offset[part] > offset) & (sure.began[part] > until), low, high)
        return None if found is None else int(sure.row[found])

    def refusal(self, read: int) -> int | None:
        """Return the last refused commit of what was read, begun before the read was over.

        The group must have been seen with another offset before, by an ok commit or a read: else it may have been
        there.
        """
        offset, before = self.reads.offset[read], self._shown.before(self.reads.began[read])
        if offset < 0 or not before or self._lowest[before - 1] == offset == self._highest[before - 1]:
            return None
        refused, done = self._refused_at.rows(offset), self.reads.done[read]
        found = last_where(lambda part: self._refused.began[refused[part]] < done, 0, len(refused))
        return None if found is None else int(self._refused.row[refused[found]])

    def by_nobody(self) -> list[tuple[int, int]]:
        """Return reads of what nobody tried to commit, each with the last row before it that tells another offset."""
        unknown = (self.reads.offset >= 0) & ~np.isin(self.reads.offset, self._tried)
        return [
            (int(self.reads.row[read]), int(self._told.row[other]))
            for read in np.flatnonzero(unknown).tolist()
            if (other := self._told_before(read)) is not None
        ]

    def _told_before(self, read: int) -> int | None:
        """Return which row in `_told` was the last before a read to tell another offset."""
        offset, told = self.reads.offset[read], self._told
        return last_where(lambda part: told.offset[part] != offset, 0, told.before(self.reads.began[read]))


def _places(case: Case) -> list[_Place]:
    """Return the places that are read, where it is told of which group."""
    table, late = case.view.group_offsets, resent(case)
    read = (table.role == ANSWERED) & (table.group != NONE)
    named = dict.fromkeys(zip(table.group[read].tolist(), table.key[read].tolist(), strict=True))
    return [_Place(case, group, key, late) for group, key in named]


def committed_offsets(case: Case, findings: Findings) -> None:
    """Report `committed-offset-regression` and `fenced-commit-applied`."""
    places = _places(case)
    if not places:
        findings.not_checked.extend(("committed-offset-regression", "fenced-commit-applied"))
        return
    doubtful = [(place.reads.row[read], read, place) for place in places for read in place.doubtful()]
    for _, read, place in sorted(doubtful, key=lambda each: each[0]):
        if not place.is_explained(read):
            _judge_refused(case, findings, place, read)
        if _judge(case, findings, place, read) and place.is_explained(read):
            _judge_refused(case, findings, place, read)


def _judge(case: Case, findings: Findings, place: _Place, at: int) -> bool:
    """Report what a read contradicts; return whether there is anything."""
    commit, table, read = place.contradiction(at), case.view.group_offsets, int(place.reads.row[at])
    if commit is None:
        return False
    offset = int(table.offset[read])
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
    return True


def _judge_refused(case: Case, findings: Findings, place: _Place, at: int) -> None:
    """Report a read of what only a commit says that was certainly not done: refused, or of an aborted transaction."""
    refused, table, read = place.refusal(at), case.view.group_offsets, int(place.reads.row[at])
    if refused is None:
        return
    culprit, saw = int(table.call[refused]), int(table.call[read])
    key, group = case.key(table.key[read]), case.view.groups.names[int(table.group[read])]
    findings.add(
        "fenced-commit-applied",
        [case.view.op(culprit), case.view.op(saw)],
        f"{case.name(culprit)} was refused its commit of {int(table.offset[read])} for {key} in group {group}, or "
        f"aborted it, but {case.name(saw)} read it.",
        key=key,
        group=group,
    )


def _committed_by_nobody(case: Case, findings: Findings) -> bool:
    """Report stable reads of what no commit ever named, after another offset was there; return if there are any."""
    table, calls = case.view.group_offsets, case.view.calls
    hung = (calls.type == TYPE_INFO) & (calls.done_row < 0)
    if not case.phases.ours or hung.any():
        return False
    found = sorted(each for place in _places(case) for each in place.by_nobody())
    for read, other in found:
        key, group = case.key(table.key[read]), case.view.groups.names[int(table.group[read])]
        was = "nothing" if table.offset[other] < 0 else str(int(table.offset[other]))
        what = "read" if table.role[other] == ANSWERED else "committed"
        offset, told, saw = int(table.offset[read]), int(table.call[other]), int(table.call[read])
        findings.add(
            CLASS,
            [case.view.op(told), case.view.op(saw)],
            f"{case.name(told)} {what} {was} for {key} in group {group}; later {case.name(saw)} "
            f"read {offset}, which nobody ever tried to commit.",
            key=key,
            group=group,
            offset=offset,
        )
    return bool(found)


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
