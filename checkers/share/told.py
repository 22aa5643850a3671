"""Whether a history tells all that the members of share groups were given: who acknowledges a record was given it.

A member that says something of a record which no answer of the history gave it, and is answered without an error, was
given it by an answer that is told in part, or not at all. That is no fault of Kafka's, but what members were given is
then not known, and the verdict is at best `unknown`. A request of its own without an answer may have brought it.
"""

from __future__ import annotations

from checkers.case import Case
from checkers.findings import Findings
from checkers.log_view import TYPE_OK
from checkers.share.table import groups_of


def told_in_full(case: Case, findings: Findings) -> None:
    """Say which acknowledgements are about records that were given to somebody else, or to nobody."""
    for group in groups_of(case):
        unseen = [
            (place, ack)
            for place, acks in group.acks.items()
            for ack in acks
            if ack.type == TYPE_OK
            and group.about(place, ack) is None
            and not group.hiding(place[0]).of_process(ack.span.process, -1, ack.span.begin_row)
        ]
        if unseen:
            (key, offset), ack = min(unseen, key=lambda each: each[1].span.begin_row)
            findings.reasons.append(
                f"{case.name(ack.span.call)} said {ack.kind} of offset {offset} of {key} and was answered, but the "
                f"history does not tell that the member was given it ({len(unseen)} such acknowledgements in group "
                f"{group.name!r}): what else is missing is not known."
            )
