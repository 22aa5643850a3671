"""Bugs of share groups: what is written, who has what, what comes back, what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from broker.bugs.planting import Replacement
from broker.core.errors import Code, Refused
from broker.core.log.aborted import AbortedTransaction
from broker.core.share import reading
from broker.core.share.fetching import ShareFetching
from broker.core.share.leading import Done, Leading, Led
from broker.core.share.partition import RENEW, Acknowledgement, Mark, Run, SharePartition, State
from broker.core.storage import Storage
from broker.wire.messages.fetch import Region
from broker.wire.messages.share_fetch import ShareFetchRequest


def share_ack_before_write() -> tuple[Replacement, ...]:
    """An acknowledgement is answered when the leader has noted it; the write follows, if the leader lives on."""
    save = Leading.save

    def save_later(self: Leading, led: Led, done: Done, now_ms: int) -> None:
        done(Code.NONE)
        save(self, led, lambda _: None, now_ms)

    return (Replacement(Leading, "save", save_later),)


def share_record_given_to_two() -> tuple[Replacement, ...]:
    """A record that a member has is as free as one that nobody has."""

    def is_free(self: Run) -> bool:
        return self.state in {State.AVAILABLE, State.ACQUIRED} and self.mark is Mark.NONE

    return (Replacement(Run, "is_free", property(is_free)),)


def share_released_record_forgotten() -> tuple[Replacement, ...]:
    """What is released, or whose lock runs out, is archived, however seldom it was delivered."""

    def release(self: SharePartition, run: Run) -> None:
        self._change(run, State.ARCHIVED, run.count)

    return (Replacement(SharePartition, "_release", release),)


def share_aborted_records_given() -> tuple[Replacement, ...]:
    """A read_committed group is given the records of aborted transactions."""

    def none(_storage: Storage, _region: Region, _aborted: list[AbortedTransaction]) -> Iterable[tuple[int, int]]:
        return ()

    return (Replacement(reading, "_aborted", none),)


def share_late_ack_taken() -> tuple[Replacement, ...]:
    """What a record's former holder says of it counts, whoever has it by now."""

    def check(self: SharePartition, _member: str, first: int, last: int, _now_ms: int) -> None:
        if last >= self.end or any(run.state is not State.ACQUIRED for run in self._between(first, last)):
            raise Refused(Code.INVALID_RECORD_STATE, f"{first} to {last} are not acquired")

    return (Replacement(SharePartition, "_check", check),)


def share_piggybacked_ack_dropped() -> tuple[Replacement, ...]:
    """Acknowledgements that come with a ShareFetch are answered, and not taken."""
    fetch = ShareFetching.fetch

    def answer_only(
        _session: Any, _place: Any, _batches: Any, settle: Callable[[Code, str], None], _now_ms: int
    ) -> None:
        settle(Code.NONE, "")

    def fetch_deaf(self: ShareFetching, request_id: object, ask: ShareFetchRequest, now_ms: int) -> None:
        vars(self)["_take"] = answer_only
        try:
            fetch(self, request_id, ask, now_ms)
        finally:
            del vars(self)["_take"]

    return (Replacement(ShareFetching, "fetch", fetch_deaf),)


def share_renewal_forgotten() -> tuple[Replacement, ...]:
    """A lock that is renewed runs out as if it were not."""
    acknowledge = SharePartition.acknowledge

    def forget(self: SharePartition, member: str, acks: Sequence[Acknowledgement], now_ms: int, until_ms: int) -> bool:
        return acknowledge(self, member, [ack for ack in acks if RENEW not in ack.types], now_ms, until_ms)

    return (Replacement(SharePartition, "acknowledge", forget),)


def share_limit_ignored() -> tuple[Replacement, ...]:
    """A record is given again however often it was given."""

    def release(self: SharePartition, run: Run) -> None:
        self._change(run, State.AVAILABLE, run.count)

    return (Replacement(SharePartition, "_release", release),)
