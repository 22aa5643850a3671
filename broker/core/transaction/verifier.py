"""A partition leader asks the transaction coordinator before a producer's first batch of a transaction (KIP-890).

A v1 producer has added the partition itself: the leader only verifies it, so that a late batch can't open a transaction
that nobody will ever end. A v2 producer leaves the adding to the leader. Either way one request per first batch;
batches that follow in the open transaction need none. What stands against it is translated into what the producer
understands: while the coordinator can't be asked it hears NOT_ENOUGH_REPLICAS (and tries again), and INVALID_TXN_STATE
when the partition is not part of its transaction. A coordinator on this node is asked without a message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.core.ready import Outbox
from broker.core.transaction.coordinator import TOPIC
from broker.core.transaction.state import Place
from broker.core.transaction.transaction_hash import partition_for
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)

CHANNEL = 6
"""A verification may wait for the coordinator's log; nothing else should wait behind it."""
_TRANSLATED = {
    Code.COORDINATOR_LOAD_IN_PROGRESS: Code.NOT_ENOUGH_REPLICAS,
    Code.COORDINATOR_NOT_AVAILABLE: Code.NOT_ENOUGH_REPLICAS,
    Code.NOT_COORDINATOR: Code.NOT_ENOUGH_REPLICAS,
    Code.CONCURRENT_TRANSACTIONS: Code.NOT_ENOUGH_REPLICAS,
    Code.TRANSACTION_ABORTABLE: Code.INVALID_TXN_STATE,
    Code.PRODUCER_FENCED: Code.INVALID_PRODUCER_EPOCH,
}

Done = Callable[[Code, int], None]


class Coordinator(Protocol):
    """The coordinator on this node."""

    def verify(self, name: str, identity: tuple[int, int], places: tuple[Place, ...], now_ms: int) -> Code:
        """Return what stands against writing to the partitions in the producer's transaction."""
        ...

    def join(
        self,
        name: str,
        identity: tuple[int, int],
        place: Place,
        done: Callable[[Code], None],
        now_ms: int,
        *,
        add: bool,
    ) -> None:
        """Add or verify a partition; `done` gets the code, once."""
        ...


class Verifier:
    """See the module. `now`: the time of the present step."""

    def __init__(
        self,
        config: BrokerConfig,
        out: Outbox,
        *,
        image: Callable[[], Image],
        coordinator: Coordinator,
        now: Callable[[], int],
    ) -> None:
        self._config, self._out, self._image, self._here, self._now = config, out, image, coordinator, now
        self._flights: dict[int, Done] = {}

    def ask(self, name: str, identity: tuple[int, int], place: Place, done: Done, now_ms: int, *, add: bool) -> None:
        """Add or verify a partition; `done` gets the code for the producer, and the time."""
        node = self._coordinator_of(name)
        if node < 0:
            done(Code.NOT_ENOUGH_REPLICAS, now_ms)
            return
        if node == self._config.node_id:

            def joined(code: Code) -> None:
                done(_TRANSLATED.get(code, code), self._now())

            self._here.join(name, identity, place, joined, now_ms, add=add)
            return
        ask = AddPartitionsToTxnTransaction(
            transactional_id=name,
            producer_id=identity[0],
            producer_epoch=identity[1],
            verify_only=not add,
            topics=(AddPartitionsToTxnTopic(name=place[0], partitions=(place[1],)),),
        )
        request = AddPartitionsToTxnRequest(transactions=(ask,))
        self._flights[self._out.request(node, CHANNEL, request, self._config.request_timeout_ms)] = done

    def here(self, name: str, identity: tuple[int, int], place: Place) -> Code | None:
        """Return what `done` of `ask` would get of a coordinator on this node; None: another one must be asked."""
        if self._coordinator_of(name) != self._config.node_id:
            return None
        code = self._here.verify(name, identity, (place,), self._now())
        return _TRANSLATED.get(code, code)

    def _coordinator_of(self, name: str) -> int:
        """Return the node that coordinates the transactional id, -1 when none does."""
        topic = self._image().topic(TOPIC)
        state = None if topic is None else topic.partitions.get(partition_for(name, len(topic.partitions)))
        return -1 if state is None else state.leader

    def owns(self, token: int) -> bool:
        """Return whether the request is ours."""
        return token in self._flights

    def answered(self, token: int, response: AddPartitionsToTxnResponse, now_ms: int) -> None:
        """Tell who waits."""
        codes = [
            partition.partition_error_code
            for transaction in response.results_by_transaction
            for topic in transaction.topic_results
            for partition in topic.results_by_partition
        ]
        code = Code(response.error_code or (codes[0] if codes else Code.UNKNOWN_SERVER_ERROR))
        self._flights.pop(token)(_TRANSLATED.get(code, code), now_ms)

    def failed(self, token: int, now_ms: int) -> None:
        """Nobody answered: the producer shall try again."""
        self._flights.pop(token)(Code.NOT_ENOUGH_REPLICAS, now_ms)
