"""One client object's contact with the cluster: a connection to each node that it talks to, and metadata.

A request that stays without an answer costs its connection (as librdkafka's socket.max.fails=1): everything in flight
on it fails with it, and a retry goes over a new one, where it may overtake the old request. What is lost makes the
client ask for metadata. Nodes that refuse are left alone for a while, longer each time.

Tasks that a client begins belong to its contact object: `close` ends them, whatever they wait for, and closes the
connections. What was sent by then still arrives.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from broker.sim.client.config import ClientConfig
from broker.sim.client.errors import TIMED_OUT, TRANSPORT, ClientError
from broker.sim.client.metadata import Leader, Metadata, Partition
from broker.sim.connections import Connection, ConnectionLostError, Network
from broker.sim.loop import MS_NS, Future, Loop, Task, TimedOutError
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic

T = TypeVar("T")

METADATA_VERSION = 12
MIN_WAIT_MS = 1.0
MAX_ASKED = 3
"""Nodes that one refresh asks before it counts as failed; the next one begins with others."""


class _Link:
    """What there is to one node."""

    __slots__ = ("connecting", "connection", "error", "failures", "not_before_ms")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.connecting: Task[Connection | None] | None = None
        self.error = ""
        self.failures = 0
        self.not_before_ms = 0


class Contact:
    """See the module."""

    def __init__(self, loop: Loop, network: Network, config: ClientConfig) -> None:
        """Prepare; nothing connects yet."""
        self.loop, self.config = loop, config
        self.metadata = Metadata(config.bootstrap)
        self.is_closed = False
        self._network = network
        self._rng = loop.random("clients")
        self._links: dict[tuple[int, str], _Link] = {}
        self._topics: dict[str, None] = {}
        self._tasks: dict[Task[Any], None] = {}
        self._refreshing: Task[bool] | None = None
        self._refreshed_ms = -config.metadata_max_age_ms

    # Tasks.

    def spawn(self, coro: Coroutine[Any, Any, T], name: str = "") -> Task[T]:
        """Begin a task that ends with this client at the latest."""
        task = self.loop.spawn(coro, name)
        self._tasks[task] = None
        task.when_done(lambda: self._tasks.pop(task, None))
        return task

    def close(self) -> None:
        """End all tasks, close all connections; nothing is awaited."""
        if self.is_closed:
            return
        self.is_closed = True
        for task in list(self._tasks):
            task.cancel()
        for link in self._links.values():
            if link.connection is not None:
                link.connection.close()

    def backoff_ms(self, attempt: int) -> float:
        """Return how long to wait before attempt number `attempt` (from 1) is made again, with jitter."""
        longest = min(self.config.retry_backoff_ms << min(attempt - 1, 16), self.config.retry_backoff_max_ms)
        return longest * self._rng.uniform(0.8, 1.2)

    # Requests.

    async def call(
        self, node: int, message: Any, version: int, timeout_ms: float | None = None, channel: str = ""
    ) -> Any:
        """Ask a node; raises ClientError _TRANSPORT or _TIMED_OUT, after either the request may have been executed.

        Each channel is a connection of its own: answers come in order, so what waits long at the node needs one.
        """
        wait_ms = self.config.request_timeout_ms if timeout_ms is None else timeout_ms
        until_ns = self.loop.now_ns + int(wait_ms * MS_NS)
        link = self._links.get((node, channel))
        if link is not None and link.connection is not None and link.connection.is_open:
            connection = link.connection
        else:
            connection = await self._connected(node, channel, wait_ms)
        try:
            left_ms = max((until_ns - self.loop.now_ns) / MS_NS, MIN_WAIT_MS)
            return await connection.call(message, version=version, timeout_ms=left_ms)
        except TimedOutError:
            self._lost((node, channel), connection)
            error = ClientError(TIMED_OUT, f"node {node} did not answer {type(message).__name__}", retriable=True)
        except ConnectionLostError as lost:
            self._lost((node, channel), connection)
            error = ClientError(TRANSPORT, str(lost), retriable=True)
        raise error

    async def reach(self, node: int) -> None:
        """Connect to a node, if there is no connection; raises ClientError when it can't be: nothing was sent."""
        await self._connected(node, "", self.config.request_timeout_ms)

    async def tell(self, node: int, message: Any, version: int) -> None:
        """Send a request that has no answer; raises ClientError _TRANSPORT when there is no connection."""
        (await self._connected(node, "", self.config.request_timeout_ms)).send(message, version, None)

    def _lost(self, place: tuple[int, str], connection: Connection) -> None:
        connection.close()
        link = self._links[place]
        if link.connection is connection:
            link.connection = None
        self.refresh()

    async def _connected(self, node: int, channel: str, timeout_ms: float) -> Connection:
        link = self._links.get((node, channel))
        if link is None:
            link = self._links[node, channel] = _Link()
        if link.connection is not None:
            if link.connection.is_open:
                return link.connection
            link.connection = None
            self.refresh()
        if link.connecting is None:
            link.connecting = self.spawn(self._connect(node, link), f"{self.config.client_id} to n{node}")
        try:
            connection = await self.loop.within(link.connecting, timeout_ms)
        except TimedOutError:
            raise ClientError(TIMED_OUT, f"no connection to node {node} in time", retriable=True) from None
        if connection is None:
            raise ClientError(TRANSPORT, link.error, retriable=True)
        return connection

    async def _connect(self, node: int, link: _Link) -> Connection | None:
        """Connect, after the pause that a failure asks for; None when that fails: nobody may be waiting any more."""
        try:
            if link.not_before_ms > self.loop.now_ms:
                await self.loop.sleep(link.not_before_ms - self.loop.now_ms)
            connection = await self._network.connect(
                self.config.client_id, node, timeout_ms=self.config.connect_timeout_ms
            )
        except ConnectionLostError as error:
            config = self.config
            pause = min(config.reconnect_backoff_ms << min(link.failures, 16), config.reconnect_backoff_max_ms)
            link.failures += 1
            link.not_before_ms = self.loop.now_ms + int(pause * self._rng.uniform(0.75, 1.25))
            link.error = str(error)
            self.refresh()
            return None
        finally:
            link.connecting = None
        if self.is_closed:
            connection.close()
        link.connection, link.failures = connection, 0
        return connection

    # Metadata.

    def refresh(self) -> Task[bool]:
        """Ask for metadata, if nobody is asking already; the task says whether a node answered, and never fails."""
        if self._refreshing is None or self._refreshing.done:
            self._refreshing = self.spawn(self._refresh(), f"{self.config.client_id} metadata")
        return self._refreshing

    async def _refresh(self) -> bool:
        pause_ms = self._refreshed_ms + self.config.retry_backoff_ms - self.loop.now_ms
        if pause_ms > 0:
            await self.loop.sleep(pause_ms)
        topics = tuple(MetadataRequestTopic(name=name) for name in self._topics)
        ask = MetadataRequest(topics=topics, allow_auto_topic_creation=False)
        for node in self._candidates()[:MAX_ASKED]:
            try:
                answer = await self.call(node, ask, METADATA_VERSION, self.config.metadata_timeout_ms)
            except ClientError:
                continue
            finally:
                self._refreshed_ms = self.loop.now_ms
            self.metadata.merge(answer)
            return True
        return False

    def any_node(self) -> int:
        """Return a node to ask what any node can answer."""
        return self._candidates()[0]

    def _candidates(self) -> list[int]:
        """Return all nodes that are known in random order, those that just refused at the end.

        A node that is connected is not preferred: it may be one that is cut off from the others.
        """
        now_ms, links = self.loop.now_ms, self._links

        def fails(node: int) -> bool:
            link = links.get((node, ""))
            return link is not None and link.connection is None and link.not_before_ms > now_ms

        nodes = list(dict.fromkeys((*self.metadata.nodes, *self.config.bootstrap)))
        self._rng.shuffle(nodes)
        return sorted(nodes, key=fails)

    def watch(self, topic: str) -> None:
        """Ask for this topic, too, from now on."""
        self._topics.setdefault(topic)

    def known_leader(self, key: Partition) -> Leader | None:
        """Return the leader if it is known; else, or when what is known is old, metadata is asked for."""
        self.watch(key[0])
        found = self.metadata.leaders.get(key)
        if found is None or found.node < 0:
            self.refresh()
            return None
        if self.loop.now_ms - self._refreshed_ms > self.config.metadata_max_age_ms:
            self.refresh()
        return found

    async def leader(self, key: Partition, deadline_ms: float) -> Leader:
        """Return the leader as soon as one is known; raises ClientError _TIMED_OUT."""
        while (found := self.known_leader(key)) is None:
            await self.until(self.refresh(), deadline_ms)
        return found

    async def until(self, future: Future[T], deadline_ms: float) -> T:
        """Await a future to a deadline; raises ClientError _TIMED_OUT."""
        try:
            return await self.loop.within(future, max(deadline_ms - self.loop.now_ms, 0))
        except TimedOutError:
            raise ClientError(TIMED_OUT, "the deadline passed", retriable=True) from None
