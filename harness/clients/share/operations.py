"""The operations of a share group's member, from invocation to completion, whoever performs the steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

from harness.clients.errors import FailedError
from harness.clients.share.asking import Steps
from harness.clients.share.member import FETCH_WAIT_MS, FetchLostError, ShareMember, member_id_of
from harness.history import OK, SHARE_ACKNOWLEDGE, SHARE_FETCH, SHARE_LEAVE, Op
from harness.outcome import outcome
from harness.scenario import Scenario, share_group_of, topic_names

KINDS: Final = (SHARE_FETCH, SHARE_ACKNOWLEDGE, SHARE_LEAVE)


class ShareMembers:
    """One process's memberships: a new one after each that was left."""

    def __init__(self, scenario: Scenario, name: str, now_ms: Callable[[], float]) -> None:
        """Prepare. name: what no other process of the run has; now_ms: a clock."""
        self._scenario, self._name, self._now_ms = scenario, name, now_ms
        self._lives, self._sessions = 0, itertools.count()
        self._member = self._new()

    def _new(self) -> ShareMember:
        self._lives += 1
        id_ = member_id_of(f"{self._name} {self._lives}")
        topics = topic_names(self._scenario)
        return ShareMember(share_group_of(self._scenario), id_, topics, self._now_ms, self._sessions)

    def perform(self, op: Op, deadline_ms: float) -> Steps[Op]:
        """Perform an operation of KINDS; return its completion."""
        group = share_group_of(self._scenario)
        value: dict[str, Any] = dict(op.value or {})
        try:
            if op.f == SHARE_FETCH:
                wait_ms = value.get("wait-ms", FETCH_WAIT_MS)
                said = value.get("acknowledge", ())
                value = yield from self._member.fetch(value["records-max"], wait_ms, deadline_ms, said)
                value["isolation"] = self._scenario.isolation
            elif op.f == SHARE_ACKNOWLEDGE:
                value |= yield from self._member.acknowledge(value["key"], value["records"])
            else:
                member, self._member = self._member, self._new()
                yield from member.leave()
        except FetchLostError as lost:
            type_ = outcome(lost.failure, retries=False)
            return op.completed(type_, value=lost.told, error=lost.failure.to_history(), group=group)
        except FailedError as failed:
            if op.f == SHARE_FETCH:
                value = {"keys": [], **{name: value[name] for name in ("acknowledge",) if name in value}}
            error = failed.failure.to_history()
            return op.completed(outcome(failed.failure, retries=False), value=value, error=error, group=group)
        return op.completed(OK, value=value, group=group)
