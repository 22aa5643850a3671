"""What a member of a share group may never be given, and when.

`share-redelivery`          an accepted or rejected record is given to somebody again. An acknowledgement is answered
                            when it is written to the share coordinator, and every later leader reads it there
                            (SharePartition.acknowledge, .maybeInitialize)
`share-double-acquisition`  a record is given to somebody while it is somebody else's, or twice in one answer, or an
                            acknowledgement is taken of who has it no more (SharePartition.acknowledgeBatchRecords)
`share-delivery-count`      a count below one, above the limit, that no number of deliveries explains, or that did not
                            rise although the record was released (InFlightState.tryUpdateState)
`share-uncommitted-read`    a read_committed group is given a record of a transaction that was aborted, or that nobody
                            had asked to commit yet (SharePartition.maybeFilterAbortedTransactionalAcquiredRecords)
`share-phantom`             a record that nobody sent, or another one than everybody else reads at its offset

That a record is acquired stands in the memory of one leader, and nowhere else: with the leader it is gone, and a leader
that does not know yet that it was deposed gives records away that its successor has given, or knows to be done. So who
says that something is given twice has to show that both leaders knew of one another:

* A lock does not run out before its time, whoever leads: if a member's acknowledgement is taken within it, and nobody
  else said anything of the record, then nobody else had the record in between; but of a former leader that served the
  key before, and does not know yet that it was deposed.
* A lock that was renewed in time (KIP-1222) runs from then on. A deposed leader renews, too, as nothing is written: a
  renewal makes a lock longer, but proves nothing of who leads.
* While a record is one member's, as its own acknowledgement within the lock proves, its leader takes nobody else's. A
  leader that came later may answer both without an error and without effect, if somebody finished the record elsewhere:
  it must be the same node, and no fault may have deposed it.
* A delivery count is one more than the times that the record was given up: by an acknowledgement, with its lock, or
  with a session that was closed (Kafka 4.1 takes those off again, 4.2 does not), as one is when its connection is lost.
  A leader that has forgotten something counts less, never more. So where one node counts further, nobody asked another
  one for it, and no fault deposes a leader, the delivery before was given up.
* An acknowledgement that is answered in time, within the lock of its delivery, was written. A later one may have been
  of no effect (`Group.in_time`).
* After an acknowledgement, a delivery counts as that of a leader which must know of it if it comes from the same node;
  or after the cluster has healed; or if its own acknowledgement was taken, too, and no fault was there that leaves a
  deposed leader alive (any but a kill).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from checkers.case import Case
from checkers.findings import Findings
from checkers.log_view import COMMIT_NEVER, TYPE_FAIL, TYPE_INFO, TYPE_OK
from checkers.share.table import (
    FINAL,
    NEVER,
    RELEASE,
    Ack,
    Delivery,
    Group,
    Place,
    Span,
    groups_of,
)

REDELIVERY, DOUBLE, COUNT = "share-redelivery", "share-double-acquisition", "share-delivery-count"
UNCOMMITTED, PHANTOM = "share-uncommitted-read", "share-phantom"
CLASSES = (REDELIVERY, DOUBLE, COUNT, UNCOMMITTED, PHANTOM)


def deliveries(case: Case, findings: Findings) -> None:
    """Report what is wrong with what members were given."""
    groups = groups_of(case)
    if not groups or not case.view.has_invocations:
        findings.not_checked.extend(CLASSES)
        return
    if case.options.clocks_differ:  # how long a lock holds is not known then
        findings.not_checked.extend((REDELIVERY, DOUBLE, COUNT))
    drain = case.phases.row("drain")
    begun = [one.span.begin_row for group in groups for given in group.deliveries.values() for one in given]
    if case.phases.ours and not any(drain is None or row < drain for row in begun):
        findings.vacuous.append("No record was given to a share group before the final reads.")
    values = _values_read(case)
    where = {(place[0], value): place for place, (value, _) in values.items()}
    senders = _senders(case)
    for group in groups:
        for place, given in group.deliveries.items():
            if not case.options.clocks_differ:
                _redeliveries(case, findings, group, place, given)
                _doubles(case, findings, group, place, given)
                _counts(case, findings, group, place, given)
            _contents(case, findings, place, given, senders, values, where)


# Who must know.


def _must_know(case: Case, group: Group, place: Place, given: Delivery, before: Ack) -> bool:
    """Return whether who gave the record must know of an acknowledgement that was answered before."""
    if before.node is not None and given.fetch.said.node == before.node:
        return True
    if case.view.index[given.span.begin_row] > group.drained:
        return True
    taken = [ack.span.done_ns for ack, about in group.in_time(place) if about is given]
    return bool(taken) and case.phases.ours and not group.deposed.meet(before.span.begin_ns, min(taken))


# Classes.


def _redeliveries(case: Case, findings: Findings, group: Group, place: Place, given: list[Delivery]) -> None:
    done = [ack for ack, _ in group.in_time(place) if ack.kind in FINAL]
    for one in given if done else ():
        before = [ack for ack in done if ack.span.done_row < one.span.begin_row]
        known = max(
            (ack for ack in before if _must_know(case, group, place, one, ack)),
            key=lambda ack: ack.span.done_row,
            default=None,
        )
        if known is not None:
            findings.add(
                REDELIVERY,
                [case.view.op(known.span.call), case.view.op(one.span.call)],
                f"{case.name(known.span.call)} {known.kind}ed offset {place[1]} of {place[0]}, and was answered; "
                f"{_gave(case, place, one)} later.",
                key=place[0],
                offset=place[1],
                value=one.value,
            )


class _Holding(NamedTuple):
    """A delivery, and its member's acknowledgement of it that was answered within the lock."""

    place: Place
    first: Delivery
    ack: Ack

    def encloses(self, span: Span) -> bool:
        """Return whether a call began after the delivery and ended before the acknowledgement."""
        return self.first.span.done_row < span.begin_row and span.done_row < self.ack.span.begin_row

    def overlaps(self, span: Span) -> bool:
        """Return whether a call may have been done between the two."""
        return self.first.span.begin_row < span.done_row and span.begin_row < self.ack.span.done_row


def _doubles(case: Case, findings: Findings, group: Group, place: Place, given: list[Delivery]) -> None:
    """Report what another member got, or acknowledged, between a delivery and its acknowledgement within the lock.

    And what one answer holds twice: it is acquired when the first of the two is.
    """
    for one, again in pairwise(given):
        if one.fetch is again.fetch:
            findings.add(
                DOUBLE,
                [case.view.op(one.span.call)],
                f"{_gave(case, place, one)} twice in one answer, as deliveries {one.count} and {again.count}.",
                key=place[0],
                offset=place[1],
                count=again.count,
            )
    for ack, first in group.in_time(place):
        held = _Holding(place, first, ack)
        if group.hiding(place[0]).of_process(ack.span.process, first.span.begin_row, ack.span.done_row):
            continue
        said = [one for one in group.acks[place] if one is not ack and one.span.begin_row < ack.span.done_row]
        finished = [one for one in said if one.kind in FINAL and one.type != TYPE_FAIL]
        others = [one for one in said if held.overlaps(one.span) and not _renews(one, ack)]
        if not finished and not others:
            _given_between(case, findings, group, held, given)
        elif len(others) == 1 and all(one is others[0] for one in finished):
            _taken_between(case, findings, group, held, others[0])


def _renews(one: Ack, ack: Ack) -> bool:
    """Return whether one is a renewal of what another acknowledgement is about."""
    return not one.gives_up and one.span.process == ack.span.process


def _given_between(case: Case, findings: Findings, group: Group, held: _Holding, given: list[Delivery]) -> None:
    for one in given:
        between = held.encloses(one.span) and one.span.process != held.ack.span.process
        if between and not _unaware(case, group, held, one):
            what = f"{_gave(case, held.place, one)} while it was the former's"
            _double(case, findings, held, one.span, what)


def _unaware(case: Case, group: Group, held: _Holding, one: Delivery) -> bool:
    """Return whether a former leader may have given the record, not knowing that another one has given it away.

    It remembers what it served before that; who comes to lead afterwards reads anew, and then the acknowledgement of
    what the other one gave is refused.
    """
    node, begin_ns, end_ns = one.fetch.said.node, held.first.span.begin_ns, held.ack.span.done_ns
    if node is not None and node == held.first.fetch.said.node:
        return False
    if case.phases.ours and not group.deposed.meet(begin_ns, end_ns):
        return False
    key, given_row = held.place[0], held.first.span.done_row
    served = group.served(key)
    is_former = any(served.get(each, NEVER) < given_row for each in (node, None))
    return node is None or held.first.fetch.said.node is None or is_former


def _taken_between(case: Case, findings: Findings, group: Group, held: _Holding, other: Ack) -> None:
    """Report an acknowledgement that was taken of a former holder, by the node that had given the record to another."""
    about, node = group.about(held.place, other), held.first.fetch.said.node
    is_former = about is not None and about.span.done_row < held.first.span.begin_row
    is_taken = other.type == TYPE_OK and other.gives_up and held.encloses(other.span)
    is_same = node is not None and node == other.node == held.ack.node
    begin_ns, end_ns = held.first.span.begin_ns, held.ack.span.done_ns
    if is_former and is_taken and is_same and case.phases.ours and not group.deposed.meet(begin_ns, end_ns):
        what = f"{case.name(other.span.call)} said {other.kind} of it for a former holder, and was answered"
        _double(case, findings, held, other.span, what)


def _double(case: Case, findings: Findings, held: _Holding, span: Span, what: str) -> None:
    """Report what somebody else got or said in a call."""
    first, ack = held.first, held.ack
    findings.add(
        DOUBLE,
        [case.view.op(first.span.call), case.view.op(span.call), case.view.op(ack.span.call)],
        f"{_gave(case, held.place, first)}; {what}; the acknowledgement {case.name(ack.span.call)} of the former was "
        f"taken afterwards, within the {_lock_s(first)} s of its lock.",
        key=held.place[0],
        offset=held.place[1],
    )


def _counts(case: Case, findings: Findings, group: Group, place: Place, given: list[Delivery]) -> None:
    limit = case.options.share_delivery_limit
    for one in given:
        wrong, name, ops = "", COUNT, [case.view.op(one.span.call)]
        if one.count < 1:
            wrong = "deliveries are counted from 1"
        elif limit is not None and one.count > limit:
            wrong = f"a record is given up after {limit} deliveries"
        elif one.count > 1 and (others := _unexplained(group, place, one)) is not None:
            wrong = f"no more than {len(others)} deliveries can have come before"
            held = [other for other in others if other.fetch.lock_ns is not None]
            if len(others) >= one.count - 1 and held:
                name, last = DOUBLE, held[-1]
                ops = [case.view.op(last.span.call), *ops]
                wrong = (
                    f"{_gave(case, place, last)}, whose lock runs for {_lock_s(last)} s, and nobody has given up "
                    "so many deliveries by then"
                )
        elif one.count > 1 and (holder := _holder(case, group, place, one)) is not None:
            name, ops = DOUBLE, [case.view.op(holder.span.call), *ops]
            wrong = (
                f"{_gave(case, place, holder)} as delivery {holder.count} by the same node, nothing of the key was "
                "asked elsewhere, and its lock and its session lasted longer"
            )
        elif (low := _released(case, group, place, one)) is not None:
            ops = [case.view.op(low[0].span.call), *ops]
            wrong = f"{case.name(low[0].span.call)} had released it, and was answered, after delivery {low[1]}"
        if wrong:
            findings.add(
                name,
                ops,
                f"{_gave(case, place, one)} as delivery {one.count}: {wrong}.",
                key=place[0],
                offset=place[1],
                count=one.count,
            )


def _unexplained(group: Group, place: Place, one: Delivery) -> list[Delivery] | None:
    """Return the deliveries that were begun before, if the count can't be the number of those given up; else None.

    One that nobody was shown may have been given up. Another was if its member said something of it, its lock may be
    over, or its session is not known to have gone on.
    """
    end, acks = one.span.done_row, group.acks.get(place, ())
    hidden = group.hiding(place[0]).before(end)
    others = [other for other in group.deliveries[place] if other is not one and other.span.begin_row < end]
    gone = sum(
        group.held_until_ns(place, other, end) <= one.span.done_ns
        or not group.went_on(other, end)
        or any(ack.gives_up and ack.span.process == other.span.process and ack.span.begin_row < end for ack in acks)
        for other in others
    )
    return others if one.count - 1 > hidden + gone else None


def _holder(case: Case, group: Group, place: Place, one: Delivery) -> Delivery | None:
    """Return a delivery that must have been given up for another one of a higher count by the same node, but was not.

    Unless there was another leader in between: none that anybody could have been given the record by, and no fault that
    deposes one.
    """
    end = one.span.done_row
    for other in group.deliveries[place]:
        is_before = other.span.done_row < one.span.begin_row and other.count < one.count
        if (
            is_before
            and other.fetch.said.node is not None
            and other.fetch.said.node == one.fetch.said.node
            and group.held_until_ns(place, other, end) > one.span.done_ns
            and group.went_on(other, end)
            and not any(
                ack.gives_up and ack.span.process == other.span.process and ack.span.begin_row < end
                for ack in group.acks.get(place, ())
            )
            and not _elsewhere(group, place, other, one)
            and case.phases.ours
            and not group.deposed.meet(other.span.begin_ns, one.span.done_ns)
        ):
            return other
    return None


def _elsewhere(group: Group, place: Place, first: Delivery, last: Delivery) -> bool:
    """Return whether somebody may have been given the record by another node during two deliveries."""
    node, begin, end = first.fetch.said.node, first.span.begin_row, last.span.done_row
    return group.hiding(place[0]).elsewhere(node, begin, end) or any(
        one.fetch.said.node != node and begin < one.span.done_row and one.span.begin_row < end
        for one in group.deliveries[place]
    )


def _released(case: Case, group: Group, place: Place, one: Delivery) -> tuple[Ack, int] | None:
    """Return the release before a delivery that it must know of, and the count of what was released."""
    before = [
        (ack, about.count)
        for ack, about in group.in_time(place)
        if ack.kind == RELEASE and ack.span.done_row < one.span.begin_row
    ]
    known = [(ack, count) for ack, count in before if count >= one.count and _must_know(case, group, place, one, ack)]
    return max(known, key=lambda each: each[1], default=None)


def _contents(  # noqa: PLR0917  a record against what is known of it
    case: Case,
    findings: Findings,
    place: Place,
    given: list[Delivery],
    senders: dict[tuple[Any, int], list[int]],
    values: dict[Place, tuple[int, int]],
    where: dict[Place, Place],
) -> None:
    view = case.view
    for one in given:
        value = view.values.code(one.value)
        calls = senders.get((place[0], value), [])
        known = values.get(place)
        if known is not None and known[0] != value:
            findings.add(
                PHANTOM,
                [view.op(known[1]), view.op(one.span.call)],
                f"{_gave(case, place, one)}: {one.value!r}. {case.name(known[1])} read "
                f"{view.values.value(known[0])!r} there.",
                key=place[0],
                offset=place[1],
                value=one.value,
            )
        elif known is None and _is_read_over(case, place) and (elsewhere := where.get((place[0], value))) is not None:
            findings.add(
                PHANTOM,
                [view.op(values[elsewhere][1]), view.op(one.span.call)],
                f"{_gave(case, place, one)}: {one.value!r}. {case.name(values[elsewhere][1])} read it at offset "
                f"{elsewhere[1]}, and nobody read anything at {place[1]} in the end.",
                key=place[0],
                offset=place[1],
                value=one.value,
            )
        elif not calls and not case.options.topics_existed and not view.first_index:
            findings.add(
                PHANTOM,
                [view.op(one.span.call)],
                f"{_gave(case, place, one)}: {one.value!r}, which no operation ever sent.",
                key=place[0],
                offset=place[1],
                value=one.value,
            )
        elif calls and (why := _why_uncommitted(case, one, calls)):
            findings.add(
                UNCOMMITTED,
                [view.op(calls[-1]), view.op(one.span.call)],
                f"{_gave(case, place, one)}: {one.value!r}, which {case.name(calls[-1])} {why}.",
                key=place[0],
                offset=place[1],
                value=one.value,
            )


def _is_read_over(case: Case, place: Place) -> bool:
    """Return whether the complete final read came past a place; what it did not show there is not there."""
    drain = case.phases.drains.get(place[0])
    return drain is not None and drain.complete and place[1] < (drain.end or 0) and not case.options.forgets


def _why_uncommitted(case: Case, one: Delivery, calls: list[int]) -> str:
    """Return why nobody may have been given the record by then, "" where somebody may."""
    table = case.view.calls
    if len(calls) > 1:
        return ""
    call = calls[0]
    commit, is_txn = int(table.commit_time[call]), table.f[call] == case.view.kinds.get("txn")
    if is_txn and one.fetch.said.isolation != "read_committed":
        return ""
    if table.type[call] == TYPE_FAIL:
        return "certainly did not commit (it failed)" if is_txn else "certainly did not send (it failed)"
    if table.type[call] == TYPE_INFO and commit == COMMIT_NEVER:
        return "never tried to commit"
    if 0 <= one.span.done_ns < commit:
        return f"tried to commit {(commit - one.span.done_ns) / 1e6:.6g} ms later"
    return ""


def _senders(case: Case) -> dict[tuple[Any, int], list[int]]:
    """Return by key and value's code the calls that sent it."""
    sends, found = case.view.sends, dict[tuple[Any, int], list[int]]()
    for call, key, value in zip(sends.call.tolist(), sends.key.tolist(), sends.value.tolist(), strict=True):
        found.setdefault((case.key(key), value), []).append(call)
    return found


def _values_read(case: Case) -> dict[Place, tuple[int, int]]:
    """Return by place what ok consumers read there, and one call that did."""
    records = case.view.records
    return {
        (case.key(key), offset): (value, call)
        for key, offset, value, call, is_ok in zip(
            records.key.tolist(),
            records.offset.tolist(),
            records.value.tolist(),
            records.call.tolist(),
            case.reader_is_ok.tolist(),
            strict=True,
        )
        if is_ok and offset >= 0
    }


# Words.


def _gave(case: Case, place: Place, one: Delivery) -> str:
    return f"{case.name(one.span.call)} was given offset {place[1]} of {place[0]}"


def _lock_s(one: Delivery) -> str:
    assert one.fetch.lock_ns is not None
    return f"{one.fetch.lock_ns / 1e9:g}"
