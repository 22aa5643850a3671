"""A small deterministic cluster: virtual clock, messages in random order and late, cuts, crashes with power loss.

A node is anything with `step(event, now_ms) -> Ready`. Requests between two nodes on one channel keep their order;
everything else is drawn from the seed. After every step `check` is called.
"""

from __future__ import annotations

import heapq
import itertools
import random

import msgspec

from broker.core.ready import PeerFailed, PeerReply, Request, Tick
from broker.sim.disk import Disk
from broker.wire.messages.fetch import FetchResponse, Region
from broker.wire.messages.share_fetch import ShareFetchResponse


class Network:
    """`make(node_id, disk, seed, now_ms)` starts a node; `check(network)` asserts what must always hold."""

    def __init__(self, node_ids, make, seed, check=lambda network: None, *, drop=0.0):
        self.rng = random.Random(seed)
        self.make, self.check, self.drop = make, check, drop
        self.now_ms = 1_000_000
        self.disks = {node: Disk() for node in node_ids}
        self.nodes = {}
        self.cuts = set()
        self.client_replies = {}
        self.may_describe = None  # which topics clients may see; None: all
        self.acks = {}
        self._incarnation = dict.fromkeys(node_ids, 0)
        self._queue = []
        self._order = itertools.count()
        self._last = {}
        self._wake = {}
        self.steps = 0
        for node in node_ids:
            self.start(node)

    # Faults.

    def start(self, node):
        self._incarnation[node] += 1
        self.nodes[node] = self.make(node, self.disks[node], self.rng.randrange(1 << 30), self.now_ms)
        self.step(node, Tick())

    def crash(self, node, *, power=True):
        del self.nodes[node]
        self._incarnation[node] += 1
        self._wake.pop(node, None)
        self.disks[node].crash(self.rng, power=power)

    def cut(self, one, other):
        self.cuts.add((one, other))

    def heal(self):
        self.cuts.clear()

    # Time.

    def later(self, delay_ms, what, order=None):
        at = self.now_ms + delay_ms
        if order is not None:
            at = max(at, self._last.get(order, 0))
            self._last[order] = at
        heapq.heappush(self._queue, (at, next(self._order), what))

    def run(self, duration_ms=None, until=lambda: False, limit_ms=120_000):
        """Run for a while, or until a condition holds; return whether it does."""
        end = self.now_ms + (limit_ms if duration_ms is None else duration_ms)
        while not (duration_ms is None and until()):
            at = self._queue[0][0] if self._queue else 1 << 62
            wake = min(self._wake.items(), key=lambda item: (item[1], item[0]), default=(None, 1 << 62))
            if min(at, wake[1]) > end:
                self.now_ms = end
                return duration_ms is not None or until()
            if at <= wake[1]:
                self.now_ms = max(self.now_ms, at)
                heapq.heappop(self._queue)[2]()
            else:
                self.now_ms = max(self.now_ms, wake[1])
                self.step(wake[0], Tick())
        return True

    # Messages.

    def send(self, node, message, client="c", version=0):
        """Send a client's request; the answer appears in `client_replies` under the returned id."""
        request_id = ("client", next(self._order))
        self.later(
            self.rng.randrange(3),
            lambda: self.deliver(
                node, Request(request_id, message, client, version=version, may_describe=self.may_describe)
            ),
        )
        return request_id

    def deliver(self, node, event):
        if node in self.nodes:
            self.step(node, event)

    def step(self, node, event):
        ready = self.nodes[node].step(event, self.now_ms)
        disk = self.disks[node]
        disk.perform(ready)
        for reply in ready.replies:
            self._reply(node, reply)
        for request in ready.requests:
            self._request(node, request)
        if ready.wake_at_ms is None:
            self._wake.pop(node, None)
        else:
            self._wake[node] = max(ready.wake_at_ms, self.now_ms + (not isinstance(event, Tick) and 0))
        self.steps += 1
        self.check(self)

    def _request(self, node, request):
        incarnation = self._incarnation[node]
        peer_incarnation = self._incarnation.get(request.peer)
        order = (node, request.peer, request.channel)
        if (node, request.peer) in self.cuts or self.rng.random() < self.drop:
            self.later(min(request.timeout_ms, 300), lambda: self._fail(node, incarnation, request.token))
            return

        def arrive():
            if request.peer in self.nodes and self._incarnation[request.peer] == peer_incarnation:
                request_id = ("peer", node, incarnation, request.token, request.peer)
                self.step(request.peer, Request(request_id, request.message, f"node-{node}", internal=True))
            else:
                self._fail(node, incarnation, request.token, gone=-1 if request.peer in self.nodes else request.peer)

        self.later(self.rng.randrange(8), arrive, order)
        self.later(request.timeout_ms, lambda: self._fail(node, incarnation, request.token))

    def _reply(self, node, reply):
        message = self._resolve(node, reply.message)
        if reply.id[0] == "client":
            assert reply.id not in self.client_replies, "answered twice"
            self.client_replies[reply.id] = message
            return
        _, to, incarnation, token, _ = reply.id
        if (node, to) in self.cuts or self.rng.random() < self.drop:
            return
        self.later(self.rng.randrange(8), lambda: self._answer(to, incarnation, PeerReply(token, message)))

    def _answer(self, to, incarnation, event):
        answered = self.__dict__.setdefault("_answered", set())
        if to in self.nodes and self._incarnation[to] == incarnation and (to, incarnation, event.token) not in answered:
            answered.add((to, incarnation, event.token))
            self.step(to, event)
            _reuse_buffers(event)

    def _fail(self, node, incarnation, token, gone=-1):
        self._answer(node, incarnation, PeerFailed(token, gone))

    def _resolve(self, node, message):
        """Turn regions into bytes, as a driver's socket does."""
        if not isinstance(message, FetchResponse | ShareFetchResponse):
            return message

        def partition(data):
            if isinstance(data.records, Region):
                received = memoryview(bytearray(self.disks[node].fetch(data.records)))
                return msgspec.structs.replace(data, records=received)
            return data

        responses = tuple(
            msgspec.structs.replace(topic, partitions=tuple(map(partition, topic.partitions)))
            for topic in message.responses
        )
        return msgspec.structs.replace(message, responses=responses)


def _reuse_buffers(event):
    """A driver receives what comes next where the answer's records were: a step must have taken all it needs."""
    message = getattr(event, "message", None)
    if isinstance(message, FetchResponse):
        for topic in message.responses:
            for data in topic.partitions:
                if data.records:
                    data.records[:] = b"\xff" * len(data.records)
