"""What of a run's anomalies a setting or a fault makes legal for Kafka: it stays invalid, and the verdict says by what.

Settings permit classes (`checkers.catalog`). Clocks that have jumped permit that records go early, by no more than two
such jumps, back when a record was given its time and ahead when it was looked at. A fault of power
or of a disk permits only what it can have taken (A1):

* It is gone only if as many nodes as min.insync.replicas demands have lost what they had not synced of its partition
  (`checkers.taken`).
* What was sent later can't have been taken, nor what a program of the user's has made of it. So the operations that
  were invoked after the last such loss are judged once more, by themselves, and so is what was seen since all replicas
  were in sync again (`checkers.later`): what is found there is permitted by no disk. Left out are rotten disks, which
  nobody may notice for long.
* What share groups, committed offsets, owners and copies show has to have a loss between what proves it, of a
  partition that it hangs on; else it is permitted by none.
"""

from __future__ import annotations

import msgspec

from checkers import compaction, identity, reads, retention
from checkers.case import Case
from checkers.catalog import permitted
from checkers.findings import Findings
from checkers.later import LATER, WHOLE, found_later, found_whole
from checkers.taken import HANGS_ON, INNER, found_apart, last_ns_of, losses

UNCOMMITTED = "read_uncommitted"
POWER, ROT = ("lose-power", "last-replica"), ("rot",)
"""So begin the names of the faults that take the power of nodes, and what was not synced with it; of rotten disks."""
PREMATURE, TOO_EARLY = "premature-deletion", "compaction-too-early"
WHOLE_AGAIN = "All replicas were in sync again by then: no loss of what disks had not synced shows any more."
APART = "No loss of what disks had not synced lies between, of a partition that this hangs on."
TOO_LATE = "It was sent after the last loss of what disks had not synced, which can't have taken it."


def permissions(case: Case, findings: Findings) -> None:
    """Mark what was found, and is permitted."""
    settings = _settings(case, findings)
    for name in _gone_too_early(case, findings):
        settings.pop(name, None)
    if settings.get("G1a") == UNCOMMITTED and findings.has("G1a") and reads.refused_is_seen(case):
        del settings["G1a"]
    for name, setting in settings.items():
        if findings.has(name):
            findings.permit(name, setting)
    for name, asked_for in (
        ("G1a", reads.only_uncommitted_saw_aborted),
        ("precommitted-read", reads.only_uncommitted_saw_their_own),
    ):
        if findings.has(name) and asked_for(case):
            findings.permit(name, UNCOMMITTED)
            if case.options.isolation == "read_committed":  # its readers asked for more than the others
                findings.legal.add(name)


def _settings(case: Case, findings: Findings) -> dict[str, str]:
    """Return class -> what permits it; examples of what no disk can explain are told first."""
    taken, rotten = losses(case, POWER, case.options.min_isr or 1), losses(case, ROT, 1)
    power_ns = last_ns_of(loss for loss in taken if loss.took_records)
    state_ns = last_ns_of(loss for loss in taken if loss.took_any(INNER))
    rot_ns = last_ns_of(rotten)
    takes = case.options.unsynced_loss and power_ns is not None
    forgets = not takes and (case.options.unsynced_loss or case.options.unsynced_state) and state_ns is not None
    by_power = {"unsynced_loss": takes, "unsynced_state": forgets}
    by_rot = {} if rot_ns is not None else {"rotten_loss": False}
    options = msgspec.structs.replace(case.options, **by_power, **by_rot)
    intact = msgspec.structs.replace(options, unsynced_loss=False, unsynced_state=False, rotten_loss=False)
    disagree = identity.reads_disagree(case)
    settings = permitted(options, reads_disagree=disagree)
    if options == intact:
        return settings
    otherwise = permitted(intact, reads_disagree=disagree)
    last_ns = max(time_ns for time_ns in (power_ns, state_ns, rot_ns) if time_ns is not None)
    whole_ns = None if rot_ns is not None else _whole_ns(case, last_ns)  # rot shows when somebody looks
    told = [name for name in settings if findings.has(name) and settings[name] != otherwise.get(name)]
    names = [name for name in told if name in LATER]
    synced = not (options.unsynced_loss or options.rotten_loss)
    later = found_later(case, last_ns, synced=synced) if names else Findings()
    others = [name for name in told if name in WHOLE and not later.has(name)]
    whole = found_whole(case, whole_ns) if others and whole_ns is not None else Findings()
    hanging = [name for name in told if name in HANGS_ON and rot_ns is None]
    apart = found_apart(case, hanging, taken) if hanging else Findings()
    for found, remark, among in ((later, TOO_LATE, names), (whole, WHOLE_AGAIN, others), (apart, APART, hanging)):
        for name in sorted(name for name in among if found.has(name)):
            del settings[name]
            settings |= {name: otherwise[name]} if name in otherwise else {}
            findings.put_first(name, found, remark)
    return settings


def _gone_too_early(case: Case, findings: Findings) -> list[str]:
    """Return the classes of records that went earlier than clocks explain that have jumped."""
    options = case.options
    if not options.clocks_jump_s or options.clocks_differ:
        return []
    sooner_ms = int(2 * options.clocks_jump_s * 1000)
    kept_ms, lag_ms = options.retention_ms, options.min_compaction_lag_ms
    patient = msgspec.structs.replace(
        options,
        retention_ms=None if kept_ms is None else max(0, kept_ms - sooner_ms),
        min_compaction_lag_ms=max(0, lag_ms - sooner_ms),
    )
    names = []
    for name, find in ((PREMATURE, retention.premature_deletions), (TOO_EARLY, compaction.compaction)):
        if findings.has(name):
            found = Findings()
            find(Case(case.view, case.placement, case.phases, patient), found)
            names += [name] if found.has(name) else []
    return names


def _whole_ns(case: Case, last_ns: int) -> int | None:
    """Return when all replicas were first in sync again after a time."""
    return min((time_ns for time_ns in case.phases.recovered_ns if time_ns > last_ns), default=None)
