"""Share groups while nodes die and links break: what is confirmed stays so, and nothing is passed over.

A leader that was deposed and has not heard of it may deliver what others have accepted since, as in Kafka: nothing is
written when records are delivered. What is acknowledged to it is refused. So only the newest leader is held to its word.
"""

from __future__ import annotations

import random

import pytest

from broker.core.errors import Code
from broker.wire.messages.share_acknowledge import AcknowledgePartition, AcknowledgeTopic, ShareAcknowledgeRequest
from broker.wire.messages.share_fetch import FetchPartition, FetchTopic, ShareFetchRequest
from tests.broker.core.share_members import ACCEPT, RELEASE, Member, batches, leader, ready
from tests.broker.core.test_broker import controller, healthy, image, produce, running

LOCK_MS = 2000
PATIENCE_MS = 12_000
"""Longer than a leader asks a share coordinator."""


def leadership(network, place):
    """Who leads, and in which epoch, as the newest metadata say."""
    state = image(network).partition(*place)
    return state.leader, state.leader_epoch


class Restless:
    """A member that asks one thing at a time and goes on when it is answered, or no answer can come."""

    def __init__(self, network, name, rng, book):
        self.network, self.id, self.rng, self.book = network, name, rng, book
        self.sessions, self.held = {}, {}
        self.asked = self.since = None

    def act(self, places):
        """Look for the answer; without an open question, ask the next one."""
        if self.asked is not None:
            self.hear()
        if self.asked is None and self.network.nodes:
            self.ask(self.rng.choice(places))

    def ask(self, place):
        node = leader(self.network, place)
        if node not in self.network.nodes or self.rng.random() < 0.05:
            node = self.rng.choice(sorted(self.network.nodes))
        turn = self.sessions.get(node, 0)
        acks = []
        if turn:
            chosen = [offset for offset in sorted(self.held.get(place, ())) if self.rng.random() < 0.7]
            acks = [(offset, offset, self.rng.choice([ACCEPT, ACCEPT, ACCEPT, RELEASE])) for offset in chosen]
        if acks and self.rng.random() < 0.4:
            one = AcknowledgePartition(partition_index=place[1], acknowledgement_batches=batches(acks))
            message = ShareAcknowledgeRequest(
                group_id="g",
                member_id=self.id,
                share_session_epoch=turn if self.rng.random() < 0.9 else -1,
                topics=(AcknowledgeTopic(topic_id=bytes.fromhex(place[0]), partitions=(one,)),),
            )
        else:
            one = FetchPartition(partition_index=place[1], acknowledgement_batches=batches(acks))
            message = ShareFetchRequest(
                group_id="g",
                member_id=self.id,
                share_session_epoch=turn,
                max_wait_ms=self.rng.choice([0, 200]),
                min_bytes=1,
                max_bytes=1 << 20,
                max_records=self.rng.choice([1, 5, 50]),
                batch_size=10,
                share_acquire_mode=self.rng.randrange(2),
                topics=(FetchTopic(topic_id=bytes.fromhex(place[0]), partitions=(one,)),),
            )
        self.since = leadership(self.network, place)
        self.asked = self.network.send(node, message, version=2), self.network.now_ms, node, place, acks, message
        for offset, _, _ in acks:
            self.held[place].discard(offset)

    def hear(self):
        request_id, at_ms, node, place, acks, message = self.asked
        answer = self.network.client_replies.get(request_id)
        if answer is None:
            if self.network.now_ms - at_ms > PATIENCE_MS:
                self.asked = None
                self.sessions.pop(node, None)
                self.settle(place, acks, None)
            return
        self.asked = None
        if answer.error_code:
            self.sessions.pop(node, None)
            return
        turn = message.share_session_epoch
        self.sessions[node] = turn + 1
        if turn < 0:
            self.sessions.pop(node)
        for topic in answer.responses:
            for data in topic.partitions:
                at = topic.topic_id.hex(), data.partition_index
                if isinstance(message, ShareAcknowledgeRequest):
                    self.settle(at, acks, data.error_code)
                    continue
                if at == place and acks:
                    self.settle(at, acks, data.acknowledge_error_code)
                for one in data.acquired_records:
                    is_newest = leadership(self.network, at) == self.since and self.since[0] == node
                    self.get(at, range(one.first_offset, one.last_offset + 1), is_newest=is_newest)

    def settle(self, place, acks, code):
        accepted = {(place, offset) for offset, _, kind in acks if kind == ACCEPT}
        if code == Code.NONE:
            self.book.confirmed |= accepted
        elif code != Code.INVALID_RECORD_STATE:
            self.book.unknown |= accepted

    def get(self, place, offsets, *, is_newest):
        for offset in offsets:
            comes_again = is_newest and (place, offset) in self.book.confirmed
            assert not comes_again, f"{offset} of {place} was accepted, and comes again"
            self.held.setdefault(place, set()).add(offset)


class Book:
    """What was confirmed to whoever accepted it, and what may have been accepted."""

    def __init__(self):
        self.confirmed, self.unknown = set(), set()


def is_whole(network):
    """All nodes run, all replicas are in sync, and what leaders have is committed."""
    if not running(network) or controller(network) is None:
        return False
    for state in image(network).partitions():
        replica = network.nodes[state.leader].replicas.get((state.topic_id, state.index)) if state.leader >= 0 else None
        if replica is None or replica.leader is None or sorted(state.isr) != sorted(state.replicas):
            return False
        if replica.log.high_watermark < replica.log.end:
            return False
    return True


@pytest.mark.parametrize("seed", range(8))
def test_nothing_accepted_comes_again_and_nothing_is_passed_over(seed):
    rng = random.Random(seed)
    power = rng.random() < 0.3
    network = ready(
        partitions=2,
        seed=seed,
        share_max_deliveries=10_000,
        share_min_isr=2,
        share_max_locks=rng.choice([7, 2000]),
        share_updates_per_snapshot=rng.choice([3, 500]),
        share_prune_interval_ms=rng.choice([500, 300_000]),
        properties={"log.flush.interval.messages": "1"} if power else {},
    )
    places = [(image(network).topic_ids["t"], index) for index in range(2)]
    Member(network, "first").join(places=2)  # from now on there are states
    book, nodes = Book(), tuple(network.disks)
    members = [Restless(network, f"m{number}", rng, book) for number in range(3)]
    sent = {}
    for _ in range(60):
        action = rng.random()
        up, down = sorted(network.nodes), [node for node in nodes if node not in network.nodes]
        if action < 0.08 and len(up) == len(nodes) and healthy(network):
            network.crash(rng.choice(up), power=power)
        elif action < 0.3 and down:
            network.start(rng.choice(down))
        elif action < 0.35:
            network.cut(*rng.sample(nodes, 2))
        elif action < 0.6:
            network.heal()
        for _ in range(rng.randrange(3)):
            place = rng.choice(places)
            sent[produce(network, place, b"x", acks=-1)] = place
        for member in members:
            member.act(places)
        network.run(rng.randint(1, 300))
    network.heal()
    for node in nodes:
        if node not in network.nodes:
            network.start(node)
    assert network.run(until=lambda: is_whole(network), limit_ms=30_000)
    network.run(PATIENCE_MS + LOCK_MS)
    for member in members:
        member.hear() if member.asked else None
    drain(network, places, book)
    written = {
        (place, network.client_replies[request_id].responses[0].partition_responses[0].base_offset)
        for request_id, place in sent.items()
        if request_id in network.client_replies
        and not network.client_replies[request_id].responses[0].partition_responses[0].error_code
    }
    assert len(written) > 10
    assert not written - book.confirmed - book.unknown, "was passed over"


def drain(network, places, book):
    """One member takes all that is left."""
    last = Member(network, "last")
    for place in places:
        for _ in range(200):
            data = last.fetch(place)
            if data is None or isinstance(data, int) or not data.acquired_records:
                led = [one for node in network.nodes.values() for one in node.shares.leading if one.place == place]
                if led and led[0].partition is not None and not led[0].partition.runs:
                    break
                network.run(100)
                continue
            for one in data.acquired_records:
                for offset in range(one.first_offset, one.last_offset + 1):
                    assert (place, offset) not in book.confirmed, f"{offset} of {place} was accepted, and comes again"
                assert last.acknowledge(place, [(one.first_offset, one.last_offset, ACCEPT)]) == Code.NONE
                book.confirmed |= {(place, offset) for offset in range(one.first_offset, one.last_offset + 1)}
