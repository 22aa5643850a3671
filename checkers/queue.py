"""The queue workload (send, poll, txn): all checkers in one order, root causes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from checkers import (
    application,
    at_work,
    availability,
    compaction,
    cycles,
    deletions,
    eos,
    epoch_ends,
    epochs,
    groups,
    identity,
    invariants,
    loss,
    order,
    ownership,
    permissions,
    probes,
    reads,
    replicas,
    retention,
    rising,
    routing,
    scans,
    sessions,
    stuck,
    torn,
    undone,
    watermarks,
)
from checkers.case import Case
from checkers.findings import Findings
from checkers.log_view import LogView, build
from checkers.mapping import IN_TURN, Mapper
from checkers.options import CheckOptions
from checkers.phases import phases_of
from checkers.placement import place
from checkers.sharding import makers, merge, shards
from checkers.share import rest, safety, told
from checkers.source import Lines

Checker = Callable[[Case, Findings], object]

CHECKERS: tuple[Checker, ...] = (
    invariants.invariants,
    epochs.leader_epochs,
    epoch_ends.ends_of_epochs,
    replicas.nodes,
    identity.inconsistent_offsets,
    identity.duplicates,
    identity.rolled_back_offsets,
    undone.undone_transactions,
    reads.altered_records,
    reads.phantom_reads,
    routing.wrong_partitions,
    sessions.zombie_commits,
    sessions.cross_transactions,
    reads.aborted_reads,
    reads.dirty_reads,
    reads.precommitted_reads,
    scans.isolation_mismatches,
    loss.lost_writes,
    compaction.compaction,
    compaction.losses_unjudged,
    retention.premature_deletions,
    retention.silent_resets,
    torn.torn_transactions,
    loss.unseen,
    eos.exactly_once,
    application.copies,
    ownership.ownership,
    safety.deliveries,
    rest.nothing_is_left,
    told.told_in_full,
    order.polls,
    rising.rising_offsets,
    order.sends,
    cycles.cycles,
    groups.committed_offsets,
    groups.committed_registers,
    probes.probes,
    watermarks.watermarks,
    deletions.deletions,
    availability.drain,
    availability.recovery,
    stuck.stuck_consumers,
    availability.vacuity,
    at_work.at_work,
)
KEYED: frozenset[Checker] = frozenset(
    {
        identity.inconsistent_offsets,
        identity.duplicates,
        identity.rolled_back_offsets,
        reads.aborted_reads,
        order.polls,
        order.sends,
    }
)
"""These look at one key at a time: of a large history they are given its keys in shards. Any other one sees all."""
_NEEDS_RECORD_KEYS: dict[Checker, tuple[str, ...]] = {
    loss.lost_writes: ("lost-write",),
    loss.unseen: ("unseen",),
    order.polls: ("poll-skip", "int-poll-skip", "nonmonotonic-poll"),
}
"""On a topic that drops records by itself these classes can't be judged: what is missing may have gone in order."""
NEED_OFFSETS = (
    "inconsistent-offsets",
    "duplicate",
    "rolled-back-offset",
    "lost-write",
    "poll-skip",
    "int-poll-skip",
    "nonmonotonic-poll",
    "int-nonmonotonic-poll",
    "nonmonotonic-send",
    "int-nonmonotonic-send",
)
"""Classes about places in a log: of a history that tells no offset at all nothing can be said of them."""
NEVER_CHECKED = (
    "incompatible-schema",
    "state-divergence",
    "dlq-loss",
)
"""Classes of ANOMALIES.md for which no checker exists yet: said in every verdict, so that nobody relies on them."""


def case_of(blocks: Iterable[Lines], name: str, options: CheckOptions) -> Case:
    """Return the case of a history: its columns, version orders and own events."""
    return case_of_view(build(blocks, name=name, isolation=options.isolation), options)


def case_of_view(view: LogView, options: CheckOptions) -> Case:
    """Return the case of columns that exist already."""
    phases = phases_of(view)
    options = msgspec.structs.replace(options, clocks_jump_s=phases.clocks_jump_s)
    return Case(view, place(view, ours=phases.ours), phases, options)


def judge_case(case: Case, findings: Findings, mapper: Mapper = IN_TURN) -> None:
    """Run every checker; one that crashes makes the verdict `unknown`, the others still speak."""
    ranges = shards(case, mapper.width)
    apart = KEYED if len(ranges) > 1 else frozenset[Checker]()
    for checker in CHECKERS:
        if checker not in apart:
            _run(checker, case, findings)
    if apart:
        merge(findings, mapper.map(judge_shard, makers(case, ranges)))
    permissions.permissions(case, findings)
    _doubts(case.view, case, findings)
    if case.placement.vids.size and not case.placement.slots.size:
        findings.not_checked.extend(NEED_OFFSETS)
    findings.not_checked.extend(NEVER_CHECKED)


def judge_shard(case: Case) -> Findings:
    """Run the checkers of single keys."""
    findings = Findings()
    for checker in CHECKERS:
        if checker in KEYED:
            _run(checker, case, findings)
    return findings


def _run(checker: Checker, case: Case, findings: Findings) -> None:
    if case.options.forgets and checker in _NEEDS_RECORD_KEYS:
        findings.not_checked.extend(_NEEDS_RECORD_KEYS[checker])
        return
    try:
        checker(case, findings)
    except Exception as error:  # noqa: BLE001  a door: a checker's crash must not hide what the others found
        where = getattr(checker, "__module__", "checkers")
        findings.reasons.append(
            f"The checker {where}.{checker.__name__} crashed ({type(error).__name__}: {error}): its classes were not "
            "judged."
        )


def _doubts(view: LogView, case: Case, findings: Findings) -> None:
    """Say what makes the history itself doubtful: the verdict is then at best `unknown`."""
    for kind, (count, line) in view.unknown_kinds.items():
        findings.reasons.append(
            f"{view.name}:{line}: the kafka checkers don't know the operation {kind!r} ({count} of them): not judged."
        )
    if view.backwards is not None:
        findings.reasons.append(f"{view.backwards}: what depends on time or order can't be trusted.")
    twice = np.flatnonzero(case.placement.twice)
    if len(twice):
        vid = int(twice[0])
        senders = view.sends.call[np.flatnonzero(case.placement.send_vid == vid)][:2]
        told = " and ".join(case.name(int(call)) for call in senders)
        findings.reasons.append(
            f"Values must be unique per key, but {len(twice)} {'was' if len(twice) == 1 else 'were'} sent twice: "
            f"{case.vid_value(vid)!r} to {case.vid_key(vid)} by {told}."
        )
