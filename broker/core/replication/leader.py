"""What a partition's leader knows of its replicas: who is in sync, how far all have come (Kafka: Partition, Replica).

    ISR          as the controller last confirmed it
    maximal ISR  with those who are being added: the high watermark waits for them already, since the controller may
                 have added them although its answer has not come
    high watermark = the least log end over the maximal ISR and the eligible replicas that have caught up; it stands
                 still while the ISR is smaller than min(min.insync.replicas, replication factor), for every acks

A follower is in sync while it was at the leader's end within `replica.lag.time.max.ms`. It joins when it has reached
the high watermark and the start of this epoch, and is alive in the same registration with which it fetches (KIP-903).
One wish for another ISR is on its way at a time; a wish without an answer is repeated, never forgotten.
"""

from __future__ import annotations

import msgspec

from broker.core.log.partition_log import PartitionLog
from broker.core.metadata.records import PartitionState


class Follower(msgspec.Struct):
    """One other replica. Its log end is -1 until it has fetched in this epoch."""

    end: int = -1
    start: int = -1
    broker_epoch: int = -1
    caught_up_ms: int = -1
    fetched_ms: int = -1
    leader_end_then: int = -1
    horizon: int = 0
    """It builds its log anew, from ours: below this it lacks nothing that we had forgotten when it began."""


class Wish(msgspec.Struct, frozen=True):
    """An ISR that the controller is asked for: ids with the registration epochs in which they caught up."""

    isr: tuple[tuple[int, int], ...]
    partition_epoch: int


class Leader:
    """Leadership of one partition in one leader epoch."""

    def __init__(self, node_id: int, state: PartitionState, log: PartitionLog, now_ms: int) -> None:
        self.epoch = state.leader_epoch
        self.epoch_start = log.end
        self.state = state
        self.wish: Wish | None = None
        self._node_id, self._log = node_id, log
        self.followers = {r: Follower(caught_up_ms=now_ms) for r in state.replicas if r != node_id}
        log.cut_horizon()  # the log ends above that, but where acknowledged records were lost
        log.start_epoch(self.epoch)

    @property
    def maximal_isr(self) -> tuple[int, ...]:
        """The confirmed ISR and whoever may have been added."""
        if self.wish is None:
            return self.state.isr
        return tuple(dict.fromkeys((*self.state.isr, *(replica for replica, _ in self.wish.isr))))

    def update(self, state: PartitionState, now_ms: int) -> None:
        """Take over a newer state of the same leader epoch; a wish based on an older one is void."""
        if state.partition_epoch <= self.state.partition_epoch:
            return
        self.state = state
        self.wish = None
        kept = self.followers
        self.followers = {r: kept.get(r) or Follower(caught_up_ms=now_ms) for r in state.replicas if r != self._node_id}

    def has_min_isr(self, min_isr: int) -> bool:
        """Return whether enough replicas are in sync."""
        in_sync = len(self.state.isr)
        return in_sync >= min_isr or in_sync >= len(self.state.replicas)

    def fetched(self, replica: int, broker_epoch: int, offset: int, now_ms: int) -> None:
        """Note that a follower has everything below `offset`."""
        follower = self.followers[replica]
        if offset >= self._log.end:
            follower.caught_up_ms = now_ms
        elif offset >= follower.leader_end_then >= 0:
            follower.caught_up_ms = max(follower.caught_up_ms, follower.fetched_ms)
        follower.end = offset
        follower.broker_epoch = broker_epoch
        follower.leader_end_then = self._log.end
        follower.fetched_ms = now_ms

    def can_follow(self, replica: int, offset: int, *, is_empty: bool) -> bool:
        """Return whether a follower whose log ends at `offset` can be brought up to date from ours.

        Below our horizon we may have forgotten deletions of what it still holds: then it must begin anew, empty, and we
        remember that it did. While it fetches, nothing more is forgotten that it lacks (`fetched_by_all`).
        """
        horizon = self._log.cleaned.horizon
        if offset >= horizon:
            return True
        follower = self.followers[replica]
        if is_empty:
            follower.horizon = horizon
        return follower.horizon >= horizon

    def fetched_by_all(self, lag_ms: int, now_ms: int) -> int:
        """Return the offset below which all followers that have fetched lately have everything."""
        ends = (f.end for f in self.followers.values() if f.fetched_ms >= 0 and now_ms - f.fetched_ms <= lag_ms)
        return max(0, min(ends, default=self._log.end))

    def is_in_sync(self, replica: int, lag_ms: int, now_ms: int) -> bool:
        """Return whether the follower kept up lately."""
        follower = self.followers[replica]
        return follower.end == self._log.end or now_ms - follower.caught_up_ms <= lag_ms

    def high_watermark(self, min_isr: int, eligible: dict[int, int], lag_ms: int, now_ms: int) -> int:
        """Return how far all that count have come; see the module. `eligible`: live nodes and their epochs."""
        if not self.has_min_isr(min_isr):
            return self._log.high_watermark
        lowest = self._log.end
        if not self.followers:
            return lowest
        maximal = self.maximal_isr
        for replica, follower in self.followers.items():
            if follower.end >= lowest:
                continue
            joining = replica not in maximal and self.is_eligible(replica, eligible)
            if replica in maximal or (joining and self.is_in_sync(replica, lag_ms, now_ms)):
                lowest = max(follower.end, 0)
        return lowest

    def is_eligible(self, replica: int, eligible: dict[int, int]) -> bool:
        """Return whether the follower fetches in a registration that is alive."""
        follower = self.followers[replica]
        return follower.end >= 0 and eligible.get(replica) == follower.broker_epoch

    def may_join(self, replica: int, eligible: dict[int, int]) -> bool:
        """Return whether a follower outside of the ISR should be in it."""
        if replica in self.state.isr or replica not in self.followers:
            return False
        end = self.followers[replica].end
        return end >= max(self._log.high_watermark, self.epoch_start) and self.is_eligible(replica, eligible)

    def joined(self, replica: int) -> tuple[int, ...]:
        """Return the ISR with a follower added, in the replicas' order."""
        return tuple(r for r in self.state.replicas if r in self.state.isr or r == replica)

    def shrunk(self, lag_ms: int, now_ms: int) -> tuple[int, ...]:
        """Return the ISR without the followers that fell behind."""
        return tuple(r for r in self.state.isr if r == self._node_id or self.is_in_sync(r, lag_ms, now_ms))

    def want(self, isr: tuple[int, ...], broker_epoch: int) -> Wish:
        """Wish for an ISR, on the ground of the present state."""
        epochs = {r: f.broker_epoch for r, f in self.followers.items()}
        epochs[self._node_id] = broker_epoch
        self.wish = Wish(tuple((replica, epochs[replica]) for replica in isr), self.state.partition_epoch)
        return self.wish
