"""One transactional id: its states, and what every request does to them. Pure: old value in, new value out, or Refused.

                 init                add partitions          end                      markers written
    (nothing) ---------> EMPTY ---------------------> ONGOING ------> PREPARE_COMMIT ----------------> COMPLETE_COMMIT
                           ^                           ^   |--------> PREPARE_ABORT  ----------------> COMPLETE_ABORT
                           |___________ init __________|___________________ add partitions _________________|

Protocol v1: the epoch rises when a producer initialises. Protocol v2 (KIP-890): it rises with every end, too, so that
nothing of an old transaction can fall into the next; the markers carry the risen epoch, and `version` 2: partitions
refuse one that comes again when the next transaction, which has that epoch too, is open (KIP-1228). Near the last epoch
(32,767) the producer id changes instead: a v1 producer's at its next init, a v2 producer's when its transaction has
completed.

Whoever takes over an ongoing transaction (another producer's init, the time-out) aborts it with a risen epoch: the old
producer is fenced from that moment on. Kafka: TransactionMetadata, TransactionCoordinator.
"""

from __future__ import annotations

import enum

import msgspec

from broker.core.errors import Code, Refused
from broker.core.log.producers import V2

LAST_EPOCH = 32767
"""Only markers may carry it: it is the fence of the epoch before it."""
Place = tuple[str, int]
"""Topic name and partition index."""


class State(enum.StrEnum):
    """See the module."""

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"

    @property
    def is_prepared(self) -> bool:
        """Whether it is decided, and markers are being written."""
        return self is State.PREPARE_COMMIT or self is State.PREPARE_ABORT


FROM: dict[State, frozenset[State]] = {
    State.EMPTY: frozenset({State.EMPTY, State.COMPLETE_COMMIT, State.COMPLETE_ABORT}),
    State.ONGOING: frozenset({State.EMPTY, State.ONGOING, State.COMPLETE_COMMIT, State.COMPLETE_ABORT}),
    State.PREPARE_COMMIT: frozenset({State.ONGOING}),
    State.PREPARE_ABORT: frozenset({State.ONGOING, State.EMPTY, State.COMPLETE_COMMIT, State.COMPLETE_ABORT}),
    State.COMPLETE_COMMIT: frozenset({State.PREPARE_COMMIT}),
    State.COMPLETE_ABORT: frozenset({State.PREPARE_ABORT}),
}
"""The transitions that exist: new state -> old states."""


class Transaction(msgspec.Struct, frozen=True, kw_only=True):
    """A transactional id and its newest transaction. `next_producer_id` replaces the id at completion."""

    id: str
    producer_id: int
    epoch: int
    timeout_ms: int
    state: State = State.EMPTY
    last_epoch: int = -1
    previous_producer_id: int = -1
    next_producer_id: int = -1
    partitions: tuple[Place, ...] = ()
    start_ms: int = -1
    version: int = 0
    """What the markers of its last end say: 2 by protocol v2."""

    def to(self, state: State, **fields: object) -> Transaction:
        """Return the next value; the transition must exist."""
        assert self.state in FROM[state], f"{self.id}: {self.state} -> {state}"
        return msgspec.structs.replace(self, state=state, **fields)

    @property
    def is_exhausted(self) -> bool:
        """Whether no producer may get a higher epoch of this id."""
        return self.epoch >= LAST_EPOCH - 1


class Init(msgspec.Struct, frozen=True):
    """What a producer that initialises shows: (-1, -1) unless it wants its own epoch bumped (KIP-360)."""

    producer_id: int
    epoch: int
    timeout_ms: int


def init(old: Transaction, ask: Init, new_id: int) -> Transaction:
    """Return the value with the identity for a producer that initialises; PREPARE_ABORT if it must abort first.

    An id that nobody has, or that was forgotten, is given to whoever comes, also to who shows an identity (KIP-360).
    """
    if old.epoch < 0:
        ask = Init(-1, -1, ask.timeout_ms)
    _check_identity(old, ask)
    if old.state.is_prepared:
        raise Refused(Code.CONCURRENT_TRANSACTIONS, f"{old.id}: the last transaction is being completed")
    if old.state is State.ONGOING:
        return fence(old)
    fresh = {"partitions": (), "start_ms": -1, "timeout_ms": ask.timeout_ms}
    if ask.epoch >= 0 and ask.epoch != old.epoch:  # a retry: its bump was already done
        return old.to(State.EMPTY, **fresh)
    last = old.epoch if ask.epoch >= 0 else -1
    if old.is_exhausted:
        return old.to(
            State.EMPTY, producer_id=new_id, epoch=0, last_epoch=last, previous_producer_id=old.producer_id, **fresh
        )
    return old.to(State.EMPTY, epoch=old.epoch + 1, last_epoch=last, **fresh)


def _check_identity(old: Transaction, ask: Init) -> None:
    if ask.producer_id < 0:
        return
    mine = ask.producer_id == old.producer_id and ask.epoch in {old.epoch, old.last_epoch}
    if not mine and not _has_moved(old, ask.producer_id, ask.epoch):
        raise Refused(Code.PRODUCER_FENCED, f"{old.id}: {ask.producer_id}/{ask.epoch} is not the newest producer")


def _has_moved(old: Transaction, producer_id: int, epoch: int) -> bool:
    """Return whether the producer that shows this got the newest producer id itself, and may not have heard of it.

    One that somebody else has replaced shows the same id, but `last_epoch` does not know it.
    """
    is_last = epoch == old.last_epoch >= LAST_EPOCH - 1
    return is_last and producer_id == old.previous_producer_id and old.epoch == 0


def fence(old: Transaction) -> Transaction:
    """Return the abort of an ongoing transaction under a risen epoch: its producer can't go on."""
    return old.to(State.PREPARE_ABORT, epoch=min(old.epoch + 1, LAST_EPOCH), last_epoch=-1)


def timed_out(old: Transaction) -> Transaction:
    """Return what becomes of a transaction that was open for longer than its time-out: it is aborted."""
    return fence(old)


def _check(old: Transaction, producer_id: int, epoch: int) -> None:
    if producer_id != old.producer_id:
        raise Refused(Code.INVALID_PRODUCER_ID_MAPPING, f"{old.id} belongs to producer {old.producer_id}")
    if epoch != old.epoch:
        raise Refused(Code.PRODUCER_FENCED, f"{old.id}: epoch {epoch}, the newest is {old.epoch}")


def add(old: Transaction, producer_id: int, epoch: int, places: tuple[Place, ...], now_ms: int) -> Transaction:
    """Return the transaction with partitions added; the old value itself if it has them all."""
    _check(old, producer_id, epoch)
    if old.state.is_prepared:
        raise Refused(Code.CONCURRENT_TRANSACTIONS, f"{old.id}: the last transaction is being completed")
    if old.state is State.ONGOING:
        if set(places) <= set(old.partitions):
            return old
        return old.to(State.ONGOING, partitions=tuple(dict.fromkeys((*old.partitions, *places))))
    return old.to(State.ONGOING, partitions=tuple(dict.fromkeys(places)), start_ms=now_ms)


def verify(old: Transaction, producer_id: int, epoch: int, places: tuple[Place, ...]) -> None:
    """Raise Refused unless the transaction is ongoing and has these partitions."""
    _check(old, producer_id, epoch)
    if old.state.is_prepared:
        raise Refused(Code.CONCURRENT_TRANSACTIONS, f"{old.id}: the last transaction is being completed")
    if old.state is not State.ONGOING or not set(places) <= set(old.partitions):
        raise Refused(Code.TRANSACTION_ABORTABLE, f"{places} are not part of an ongoing transaction of {old.id}")


class End(msgspec.Struct, frozen=True):
    """A producer's wish to end its transaction; `v2`: by protocol v2."""

    producer_id: int
    epoch: int
    commit: bool
    v2: bool


def end(old: Transaction, ask: End, new_id: int, now_ms: int) -> Transaction:
    """Return the decided transaction; the old value itself if the request repeats one that is complete."""
    wanted, complete, other = (
        (State.PREPARE_COMMIT, State.COMPLETE_COMMIT, State.COMPLETE_ABORT)
        if ask.commit
        else (State.PREPARE_ABORT, State.COMPLETE_ABORT, State.COMPLETE_COMMIT)
    )
    repeats = ask.v2 and _is_repeat(old, ask)
    if not repeats:
        _check(old, ask.producer_id, ask.epoch)
    if old.state is wanted:
        raise Refused(Code.CONCURRENT_TRANSACTIONS, f"{old.id}: the transaction is being completed")
    if old.state is complete and (repeats or not ask.v2):
        return old
    if old.state is State.ONGOING and not repeats:
        return _prepare(old, wanted, ask, new_id)
    abort_of_nothing = ask.v2 and not ask.commit and not repeats
    if abort_of_nothing and old.state in {State.EMPTY, complete, other}:
        return _prepare(msgspec.structs.replace(old, partitions=(), start_ms=now_ms), wanted, ask, new_id)
    raise Refused(
        Code.INVALID_TXN_STATE, f"{old.id} is {old.state.value}: nothing to {'commit' if ask.commit else 'abort'}"
    )


def _is_repeat(old: Transaction, ask: End) -> bool:
    bumped = ask.producer_id == old.producer_id and ask.epoch == old.last_epoch == old.epoch - 1
    return bumped or _has_moved(old, ask.producer_id, ask.epoch)


def _prepare(old: Transaction, wanted: State, ask: End, new_id: int) -> Transaction:
    if not ask.v2:
        return old.to(wanted, version=0)
    next_id = new_id if old.is_exhausted else -1
    return old.to(wanted, epoch=old.epoch + 1, last_epoch=old.epoch, next_producer_id=next_id, version=V2)


def complete(old: Transaction) -> Transaction:
    """Return the transaction whose markers are all written; with its new producer id if the epochs ran out."""
    state = State.COMPLETE_COMMIT if old.state is State.PREPARE_COMMIT else State.COMPLETE_ABORT
    done = old.to(state, partitions=(), start_ms=-1)
    if old.next_producer_id < 0:
        return done
    return msgspec.structs.replace(
        done,
        producer_id=old.next_producer_id,
        epoch=0,
        previous_producer_id=old.producer_id,
        next_producer_id=-1,
    )
