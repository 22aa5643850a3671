"""What is left of a share group at its end: nothing (`share-lost`).

Every record that the log holds for the group's isolation is given to some member, again and again, until one accepts or
rejects it or it was given as often as the limit allows. So when nobody has anything any more, and members that ask for
long enough are given nothing, each record was accepted or rejected, may have been, or has used up its deliveries.

Judged is a key that was quiet in the final reads: after all had healed and the last call that may have acquired,
changed or given back something of it, and the time of a lock and SETTLED_NS more, at least QUIET fetches asked for it
and came back empty. Each request without an answer may have used up a delivery unseen. Ground truth is what ordinary
consumers read at the end.

Kafka: SharePartition.nextFetchOffset, .releaseAcquisitionLockOnTimeout, ShareCoordinatorShard.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from checkers.case import Case
from checkers.findings import Findings
from checkers.log_view import TYPE_FAIL
from checkers.share.table import FINAL, MS_NS, NEVER, Fetch, Group, Place, groups_of

LOST = "share-lost"
SETTLED_NS = 12_000 * MS_NS
"""A leader that can't read or write a state asks for 10 s before it says so, and gives nothing meanwhile."""
QUIET = 2


def nothing_is_left(case: Case, findings: Findings) -> None:
    """Report records that were not given to anybody, or not again, although they are not done with."""
    limit, groups = case.options.share_delivery_limit, groups_of(case)
    ends = [drain.op for drain in case.phases.drains.values()]
    if not groups or limit is None or not ends or case.options.forgets or case.options.clocks_differ:
        findings.not_checked.append(LOST)
        return
    written = dict[Any, list[tuple[int, Any, int]]]()
    for key, record in _log(case):
        written.setdefault(key, []).append(record)
    for group in groups:
        for key, records in written.items():
            if not _is_quiet(case, group, key, max(ends)):
                findings.reasons.append(
                    f"The members of share group {group.name!r} did not come to an end of {key} in the final reads: "
                    "what is left of it is not known."
                )
                continue
            for record in records:
                _judge(case, findings, group, (key, record), limit)


def _log(case: Case) -> Iterator[tuple[Any, tuple[int, Any, int]]]:
    """Yield key and (offset, value, reading call) of what the final reads show to whoever reads as the run does."""
    records = case.view.records
    for row in (case.final_reader[records.call] & ~case.beside & (records.offset >= 0)).nonzero()[0].tolist():
        value = case.view.values.value(int(records.value[row]))
        yield case.key(records.key[row]), (int(records.offset[row]), value, int(records.call[row]))


def _is_quiet(case: Case, group: Group, key: Any, ended: int) -> bool:
    """Return whether fetches came back empty long after anything could have happened."""
    span = case.phases.span("drain", 0)
    healed_ns = 0 if span is None else span[0]
    disturbed = [fetch.span for fetch in group.fetches if fetch.may_hide(key) or _gave(fetch, key)]
    disturbed += [ack.span for place, acks in group.acks.items() if place[0] == key for ack in acks]
    disturbed = sorted((*disturbed, *group.ended), key=lambda span: span.begin_row)
    wait_ns = max((fetch.lock_ns or 0 for fetch in group.fetches), default=0) + SETTLED_NS
    quiet = 0
    last_ns, next_ = healed_ns, 0
    for fetch in sorted(group.fetches, key=lambda fetch: fetch.span.done_row):
        while next_ < len(disturbed) and disturbed[next_].begin_row < fetch.span.done_row:
            last_ns = max(last_ns, disturbed[next_].done_ns)
            next_ += 1
        is_after = case.view.index[fetch.span.begin_row] > ended and fetch.span.begin_ns >= last_ns + wait_ns
        if is_after and fetch.is_ok and fetch.asked(key) and not any(records for _, records in fetch.said.records):
            quiet += 1
    return quiet >= QUIET


def _gave(fetch: Fetch, key: Any) -> bool:
    return any(shown == key and records for shown, records in fetch.said.records)


def _judge(
    case: Case,
    findings: Findings,
    group: Group,
    at: tuple[Any, tuple[int, Any, int]],
    limit: int,
) -> None:
    key, (offset, value, reader) = at
    place: Place = (key, offset)
    given, acks = group.deliveries.get(place, []), group.acks.get(place, [])
    if any(ack.kind in FINAL and ack.type != TYPE_FAIL for ack in acks):
        return
    used = max((one.count for one in given), default=0)
    unseen = group.hiding(key).before(NEVER)  # so many may have been used up without a member that was shown the record
    if used + unseen >= limit:
        return
    ops = [case.view.op(reader)]
    if not given:
        what = "was given to no member"
    else:
        last = given[-1]
        ops = [case.view.op(last.span.call), *(case.view.op(ack.span.call) for ack in acks[-1:]), *ops]
        what = f"was given in {case.name(last.span.call)}, is not done with, and was not given again"
    findings.add(
        LOST,
        ops,
        f"Offset {offset} of {key} ({value!r}), which {case.name(reader)} read, {what}; members of share group "
        f"{group.name!r} asked until nothing came any more.",
        key=key,
        offset=offset,
        value=value,
    )
