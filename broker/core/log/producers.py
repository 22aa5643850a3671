"""Producer state of one log: who wrote what last, which transactions are open, up to where the log is stable.

Per producer id: epoch, the last five batches (a retry finds its first answer there), the first offset of the open
transaction, the epoch of the coordinator that wrote the last marker. The state is a function of the log: recovery and
truncation rebuild it from a snapshot plus the batch headers behind it. Kafka: ProducerStateManager, ProducerAppendInfo,
ProducerStateEntry.

    check   (leader only)  raises Refused, or returns the batch that this one repeats
    append  (both)         notes a data batch, opens the transaction
    end     (both)         notes a marker, closes the transaction

A closed transaction still holds the last stable offset back until the high watermark passes its marker.
"""

from __future__ import annotations

import msgspec

from broker.core.errors import Code, Refused
from broker.core.log.aborted import AbortedTransaction
from broker.wire.batch import NO_PRODUCER_EPOCH, NO_SEQUENCE, BatchHeader, next_sequence

REMEMBERED_BATCHES = 5
"""As in Kafka: a client has at most five requests in flight per connection."""

V2 = 2
"""The version of transactions (KIP-890) whose end raises the epoch: their markers carry the risen one."""


class Written(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A batch that was appended."""

    base_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    timestamp: int


class Producer(msgspec.Struct, array_like=True):
    """What the log knows of one producer id."""

    producer_id: int
    epoch: int = NO_PRODUCER_EPOCH
    coordinator_epoch: int = -1
    last_timestamp: int = -1
    first_offset: int | None = None
    """First offset of the open transaction."""
    batches: list[Written] = []

    @property
    def last_sequence(self) -> int:
        """Sequence of the last remembered batch."""
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE


class Guard:
    """Stands for a question to the coordinator about a transaction of this epoch; `v2`: its end raises the epoch.

    Equal to itself alone, also when the state of the log has been rebuilt meanwhile.
    """

    __slots__ = ("epoch", "v2")

    def __init__(self, epoch: int, *, v2: bool) -> None:
        self.epoch, self.v2 = epoch, v2


class _Snapshot(msgspec.Struct):
    epoch: int
    producers: list[Producer]
    unreplicated: list[tuple[int, int]]
    raised: dict[int, int] = {}


class Producers:
    """State of all producers of one log."""

    __slots__ = ("_closed", "_guards", "_open", "_producers", "_raised", "first_unstable")

    def __init__(self) -> None:
        self._producers: dict[int, Producer] = {}
        self._open: dict[int, int] = {}  # producer id -> first offset; insertion order is offset order
        self._closed: list[tuple[int, int]] = []  # (first offset, marker offset), marker not known to be replicated
        self._raised: dict[int, int] = {}  # producer id -> what raised its epoch last, not known to be replicated
        self.first_unstable: int | None = None
        """First offset of the earliest transaction that is open, or closed by a marker not yet replicated."""
        self._guards: dict[int, set[Guard]] = {}  # producer id -> those of the questions that are on their way

    def __len__(self) -> int:
        return len(self._producers)

    def get(self, producer_id: int) -> Producer | None:
        """Return the producer's state."""
        return self._producers.get(producer_id)

    def all(self) -> list[Producer]:
        """Return all states by producer id."""
        return [self._producers[producer_id] for producer_id in sorted(self._producers)]

    # What a leader asks before it appends.

    def check(self, header: BatchHeader, *, strict_start: bool = False) -> Written | None:
        """Return the batch that `header` repeats, None when it is new and in order; raise Refused otherwise.

        `strict_start`: an unknown producer must begin at sequence 0 (transaction protocol v2).
        """
        producer = self._producers.get(header.producer_id)
        if producer is None:
            if strict_start and header.base_sequence != 0:
                message = f"producer {header.producer_id} is unknown and starts at sequence {header.base_sequence}"
                raise Refused(Code.OUT_OF_ORDER_SEQUENCE_NUMBER, message)
            return None
        if header.producer_epoch == producer.epoch:
            for written in producer.batches:
                if written.base_sequence == header.base_sequence and written.last_sequence == header.last_sequence:
                    return written
        self._check_epoch(producer, header.producer_epoch)
        if not self.accepts_sequence(producer, header):
            message = (
                f"producer {producer.producer_id} epoch {header.producer_epoch}: sequence {header.base_sequence} "
                f"after {producer.last_sequence} (epoch {producer.epoch})"
            )
            raise Refused(Code.OUT_OF_ORDER_SEQUENCE_NUMBER, message)
        if producer.first_offset is not None and not header.is_transactional:
            raise Refused(Code.INVALID_TXN_STATE, f"producer {producer.producer_id} is inside a transaction")
        return None

    def accepts_sequence(self, producer: Producer, header: BatchHeader) -> bool:
        """Return whether the sequence follows: at the producer's next number, or at 0 with a new epoch."""
        if header.producer_epoch != producer.epoch:
            return header.base_sequence == 0 or producer.epoch == NO_PRODUCER_EPOCH
        return header.base_sequence == next_sequence(producer.last_sequence)  # 0 after a marker's new epoch

    def check_marker(self, header: BatchHeader, coordinator_epoch: int, version: int = 0) -> None:
        """Raise Refused when the marker comes from an old producer epoch or a deposed coordinator.

        From transaction version 2 on its epoch is higher than that of the transaction that it ends: one that is open
        with the marker's own epoch is the next, and the marker comes a second time (KIP-1228).
        """
        producer = self._producers.get(header.producer_id)
        if producer is None:
            return
        self._check_epoch(producer, header.producer_epoch)
        if version >= V2 and producer.first_offset is not None and header.producer_epoch == producer.epoch:
            message = f"producer {producer.producer_id}: a marker of epoch {producer.epoch} inside its next transaction"
            raise Refused(Code.INVALID_PRODUCER_EPOCH, message)
        if coordinator_epoch < producer.coordinator_epoch:
            message = f"coordinator epoch {coordinator_epoch} is older than {producer.coordinator_epoch}"
            raise Refused(Code.TRANSACTION_COORDINATOR_FENCED, message)

    def _check_epoch(self, producer: Producer, epoch: int) -> None:
        if epoch < producer.epoch:
            message = f"producer {producer.producer_id}: epoch {epoch} is older than {producer.epoch}"
            raise Refused(Code.INVALID_PRODUCER_EPOCH, message)

    # Verification (KIP-890): a guard proves that no marker came between the coordinator's answer and the append.

    def is_open(self, producer_id: int, epoch: int) -> bool:
        """Return whether the producer has an open transaction of this epoch here.

        One of an older epoch is over, only its marker is not here yet: nothing of the next may fall into it.
        """
        return producer_id in self._open and self._producers[producer_id].epoch == epoch

    def start_verification(self, producer_id: int, epoch: int, *, v2: bool) -> Guard:
        """Return the guard to present when the coordinator has answered."""
        guard = Guard(epoch, v2=v2)
        self._guards.setdefault(producer_id, set()).add(guard)
        return guard

    def end_verification(self, producer_id: int, guard: Guard) -> Code:
        """Take the guard back; return what stands against the transaction, whatever the coordinator has said.

        Nothing, while no marker of it came, or when its first batch came before. Kafka keeps guards of producers that
        never go on until they expire; here each goes with its question.
        """
        guards = self._guards.get(producer_id, set())
        stood = guard in guards
        guards.discard(guard)
        if not guards:
            self._guards.pop(producer_id, None)
        if stood or self.is_open(producer_id, guard.epoch):
            return Code.NONE
        producer = self._producers.get(producer_id)
        is_older = producer is not None and guard.epoch < producer.epoch
        return Code.INVALID_PRODUCER_EPOCH if is_older else Code.INVALID_TXN_STATE

    def _end_guards(self, producer_id: int, epoch: int) -> None:
        """A marker came. One of protocol v2 has the epoch of the next transaction: what asks for that stands."""
        standing = {guard for guard in self._guards.pop(producer_id, ()) if guard.v2 and guard.epoch == epoch}
        if standing:
            self._guards[producer_id] = standing

    # What both leader and follower note.

    def append(self, header: BatchHeader, base_offset: int) -> None:
        """Note a data batch of a producer, at its final offset."""
        producer = self._producers.get(header.producer_id)
        if producer is None:
            producer = self._producers[header.producer_id] = Producer(header.producer_id)
        if header.producer_epoch != producer.epoch:
            self._raise_epoch(producer, header.producer_epoch, base_offset)
        last_offset = base_offset + header.last_offset_delta
        written = Written(header.base_sequence, header.last_sequence, base_offset, last_offset, header.max_timestamp)
        producer.batches = [*producer.batches[1 - REMEMBERED_BATCHES :], written]
        producer.last_timestamp = header.max_timestamp
        if header.is_transactional and producer.first_offset is None:
            producer.first_offset = base_offset
            self._open[header.producer_id] = base_offset
            self._find_first_unstable()
            self._guards.pop(header.producer_id, None)

    def end(
        self, header: BatchHeader, offset: int, coordinator_epoch: int, *, commit: bool
    ) -> AbortedTransaction | None:
        """Note a marker at `offset`; return the entry for the aborted index if it aborted something."""
        producer_id = header.producer_id
        producer = self._producers.get(producer_id)
        if producer is None:
            producer = self._producers[producer_id] = Producer(producer_id)
        if header.producer_epoch != producer.epoch:
            self._raise_epoch(producer, header.producer_epoch, offset)
        producer.coordinator_epoch = coordinator_epoch
        producer.last_timestamp = header.max_timestamp
        self._end_guards(producer_id, header.producer_epoch)
        first = producer.first_offset
        if first is None:
            return None
        producer.first_offset = None
        del self._open[producer_id]
        stable = next(iter(self._open.values()), offset + 1)
        self._closed.append((first, offset))
        self._find_first_unstable()
        return None if commit else AbortedTransaction(producer_id, first, offset, stable)

    def _raise_epoch(self, producer: Producer, epoch: int, offset: int) -> None:
        producer.epoch = epoch
        producer.batches = []
        self._raised[producer.producer_id] = offset

    def may_fall_back(self, producer_id: int) -> bool:
        """Return whether the producer has an epoch that may be cut off: then it is who it was before."""
        return producer_id in self._raised

    # Stability, expiry, snapshots.

    def _find_first_unstable(self) -> None:
        first = next(iter(self._open.values()), None)
        for start, _ in self._closed:
            if first is None or start < first:
                first = start
        self.first_unstable = first

    def replicated(self, high_watermark: int) -> None:
        """Forget closed transactions whose markers lie below the high watermark, and risen epochs that lie there."""
        if self._raised:
            self._raised = {one: offset for one, offset in self._raised.items() if offset >= high_watermark}
        if self._closed:
            self._closed = [closed for closed in self._closed if closed[1] >= high_watermark]
            self._find_first_unstable()

    def expire(self, now_ms: int, expiration_ms: int) -> int:
        """Forget producers that were silent too long, never one with an open transaction; return how many."""
        gone = [p.producer_id for p in self._producers.values() if self.is_expired(p, now_ms, expiration_ms)]
        for producer_id in gone:
            del self._producers[producer_id]
        return len(gone)

    def is_expired(self, producer: Producer, now_ms: int, expiration_ms: int) -> bool:
        """Return whether the producer may be forgotten."""
        return producer.first_offset is None and now_ms - producer.last_timestamp >= expiration_ms

    def dump(self, epoch: int) -> bytes:
        """Return a snapshot file; `epoch` is the leader epoch of the last record that the state knows."""
        return msgspec.json.encode(_Snapshot(epoch, self.all(), self._closed, self._raised))

    @classmethod
    def load(cls, data: bytes) -> tuple[int, Producers]:
        """Return the epoch and the state of a snapshot; raises msgspec.MsgspecError on a damaged file."""
        snapshot = msgspec.json.decode(data, type=_Snapshot)
        producers = cls()
        producers._producers = {p.producer_id: p for p in snapshot.producers}
        opened = sorted((p.first_offset, p.producer_id) for p in snapshot.producers if p.first_offset is not None)
        producers._open = {producer_id: first for first, producer_id in opened}
        producers._closed = list(snapshot.unreplicated)
        producers._raised = snapshot.raised
        producers._find_first_unstable()
        return snapshot.epoch, producers
