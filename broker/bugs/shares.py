"""Bugs of share groups: what is written, who has what, what comes back, what is shown."""

from __future__ import annotations

from collections.abc import Iterable

from broker.bugs.planting import Replacement
from broker.core.errors import Code
from broker.core.log.aborted import AbortedTransaction
from broker.core.share import reading
from broker.core.share.leading import Done, Leading, Led
from broker.core.share.partition import Mark, Run, SharePartition, State
from broker.core.storage import Storage
from broker.wire.messages.fetch import Region


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
