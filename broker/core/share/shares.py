"""Share groups on one node: the share coordinator, and the share partitions of what the node leads, joined.

All of it is off, and costs nothing, until the feature `share.version` is 1.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.config import BrokerConfig
from broker.core.metadata.image import Image
from broker.core.ready import Outbox, Request
from broker.core.replication.replica import Key
from broker.core.replication.replicas import Replicas
from broker.core.share.coordinator import TOPIC, ShareCoordinator
from broker.core.share.fetching import ShareFetching
from broker.core.share.leading import Leading
from broker.core.share.persister import Persister
from broker.core.storage import Storage
from broker.core.transaction import locator
from broker.wire.messages.create_topics import CreateTopicsRequest


class Shares:
    """See the module. `create` asks for the coordinator's topic."""

    def __init__(
        self,
        config: BrokerConfig,
        replicas: Replicas,
        storage: Storage,
        out: Outbox,
        *,
        image: Callable[[], Image],
        create: Callable[[CreateTopicsRequest, int], None],
    ) -> None:
        self.is_on = False
        self._replicas = replicas
        self.coordinator = ShareCoordinator(config, replicas, storage, out, image=image)
        self.persister = Persister(
            config, out, image=image, create=lambda now_ms: create(locator.wanted(config, TOPIC), now_ms)
        )
        self.leading = Leading(config, replicas, storage, self.persister, image=image, freed=self._freed)
        self.fetching = ShareFetching(config, replicas, storage, out, self.leading, image=image)

    def switch(self, *, on: bool) -> None:
        """Switch share groups on or off; nobody is left without an answer."""
        if on == self.is_on:
            return
        self.is_on = self.persister.is_on = on
        self._replicas.watch = self.fetching.watch if on else None
        if not on:
            self.fetching.stop()
            self.leading.stop()
            self.persister.stop()

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        return min(
            self.coordinator.deadline_ms,
            self.persister.deadline_ms,
            self.leading.deadline_ms,
            self.fetching.deadline_ms,
        )

    def tick(self, now_ms: int) -> None:
        """Do what is due, at the end of every step."""
        self.coordinator.tick(now_ms)
        self.persister.tick(now_ms)
        self.leading.tick(now_ms)
        self.fetching.tick(now_ms)
        self.fetching.flush(now_ms)

    def _freed(self, place: Key) -> None:
        self.fetching.wake(place)

    def moved(self, place: Key) -> None:
        """The partition's state in the metadata has changed."""
        self.leading.moved(place)

    def fetch(self, request: Request, now_ms: int) -> None:
        """Answer a ShareFetch."""
        self.fetching.fetch(request.id, request.message, now_ms)

    def acknowledge(self, request: Request, now_ms: int) -> None:
        """Answer a ShareAcknowledge."""
        self.fetching.acknowledge(request.id, request.message, now_ms)

    def state(self, request: Request, now_ms: int) -> None:
        """Answer what share coordinators are asked."""
        self.coordinator.handle(request.id, request.message, now_ms)
