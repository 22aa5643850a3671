"""What comes to transactions by time: open for too long, they are aborted; their ids, unused for too long, forgotten.

An id is forgotten when nothing has changed for `transactional.id.expiration.ms` and nothing of it is on its way: a
tombstone is written, and once that is replicated the next producer of this name begins with a producer id of its own.
An old one that comes back hears that nobody knows its id. Kafka: TransactionCoordinator.abortTimedOutTransactions,
TransactionStateManager.removeExpiredTransactionalIds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from broker.core.config import BrokerConfig
from broker.core.errors import Code, Refused
from broker.core.ready import Outbox
from broker.core.replication.replicas import Replicas
from broker.core.transaction import state
from broker.core.transaction.shard import Entry, Shard
from broker.core.transaction.state import State, Transaction

_IDLE = frozenset({State.EMPTY, State.COMPLETE_COMMIT, State.COMPLETE_ABORT})


class Change(Protocol):
    """How the coordinator writes a new value."""

    def __call__(
        self, shard: Shard, entry: Entry, value: Transaction, now_ms: int, done: Callable[[Code], None]
    ) -> None:
        """Write; raises Refused."""
        ...


class Sweeper:
    """See the module."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: Replicas,
        out: Outbox,
        *,
        change: Change,
        retry: Callable[[Entry, int], None],
    ) -> None:
        self._config, self._replicas, self._out = config, replicas, out
        self._change, self._retry = change, retry

    def sweep(self, shards: Iterable[Shard], unsaved: Collection[Entry], now_ms: int) -> int:
        """Look at all ids of these partitions; `unsaved` are those whose newest state is not in the log yet.

        Return when to look again: at the next time-out of what is open, at the latest after the configured interval.
        (Kafka waits for the interval. Clients that wait for an abandoned transaction give up at that time, too.)
        """
        next_ms = now_ms + self._config.transaction_sweep_ms
        for shard in shards:
            if not shard.log.is_loaded:
                continue
            for entry in list(shard.entries.values()):
                value = entry.value
                if value is None or entry.busy:
                    continue
                try:
                    if value.state is State.ONGOING:
                        timeout_at_ms = value.start_ms + value.timeout_ms - self._replicas.skew_ms
                        if timeout_at_ms > now_ms:
                            next_ms = min(next_ms, timeout_at_ms)
                        else:
                            self._abort(shard, entry, value, now_ms)
                    elif entry not in unsaved and self._is_unused(entry, value, now_ms):
                        self._forget(shard, entry, value.id, now_ms)
                except Refused:
                    break  # the next sweep tries again
        return next_ms

    def _is_unused(self, entry: Entry, value: Transaction, now_ms: int) -> bool:
        unused_ms = self._replicas.wall_ms(now_ms) - entry.changed_ms
        return value.state in _IDLE and not entry.waiting and unused_ms >= self._config.transactional_id_expiration_ms

    def _abort(self, shard: Shard, entry: Entry, value: Transaction, now_ms: int) -> None:
        self._change(shard, entry, state.timed_out(value), now_ms, lambda _: None)
        who = f"{value.id!r} (producer {value.producer_id}, epoch {value.epoch})"
        self._out.warnings.append(
            f"{who}: the transaction was open for {self._replicas.wall_ms(now_ms) - value.start_ms} ms: aborted"
        )

    def _forget(self, shard: Shard, entry: Entry, name: str, now_ms: int) -> None:
        def written(code: Code) -> None:
            entry.busy = False
            if code is not Code.NOT_LEADER_OR_FOLLOWER:
                entry.value = None  # whoever has come meanwhile begins anew, or hears that nobody knows the id
                if not entry.waiting:
                    shard.entries.pop(name, None)
            self._retry(entry, self._replicas.now_ms)

        entry.busy = True
        try:
            shard.forget(name, now_ms, written)
        except Refused:
            entry.busy = False
            raise
        self._replicas.appended(shard.log.replica, now_ms)
