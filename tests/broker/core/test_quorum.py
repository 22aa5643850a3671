"""The metadata quorum under lost and late messages, cuts, crashes and power losses; what Raft promises holds."""

from __future__ import annotations

import random

import msgspec
import pytest

from broker.core.quorum.metadata_log import MetadataLog
from broker.core.quorum.quorum import Quorum
from broker.core.quorum.state import QuorumConfig, Role
from broker.core.ready import Outbox, PeerFailed, PeerReply, Reply, Request, Tick
from broker.sim.disk import Disk
from broker.wire import batch, record
from broker.wire.messages.fetch import FetchRequest
from broker.wire.messages.fetch_snapshot import FetchSnapshotRequest
from broker.wire.messages.quorum import (
    BeginPartition,
    BeginQuorumEpochRequest,
    BeginTopic,
    EndQuorumEpochRequest,
    QuorumAnswer,
    QuorumAnswerTopic,
    VoteRequest,
    VoteResponse,
)
from tests.broker.network import Network


class Machine:
    """A state machine that remembers what was committed."""

    def __init__(self):
        self.values, self.leading = [], None

    def committed(self, entry, now_ms):
        self.values.extend((entry.epoch, value) for value in entry.values)

    def restored(self, snapshot, now_ms):
        self.values = [tuple(pair) for pair in msgspec.json.decode(snapshot.data, type=list[tuple[int, bytes]])]

    def dump(self):
        return msgspec.json.encode(self.values)

    def leads(self, epoch, now_ms):
        self.leading = epoch

    def follows(self, leader_id, epoch, now_ms):
        self.leading = None


class Node:
    """A quorum and nothing else, behind `step`."""

    def __init__(self, config, disk, seed, now_ms):
        self.out, self.machine = Outbox(), Machine()
        self.quorum = Quorum(config, disk, self.out, rng=random.Random(seed), listener=self.machine, now_ms=now_ms)
        self.quorum.start(now_ms)

    def step(self, event, now_ms):
        quorum = self.quorum
        match event:
            case Request(request_id, VoteRequest() as message):
                self.out.replies.append(Reply(request_id, quorum.vote(message, now_ms)))
            case Request(request_id, BeginQuorumEpochRequest() as message):
                self.out.replies.append(Reply(request_id, quorum.begin_epoch(message, now_ms)))
            case Request(request_id, EndQuorumEpochRequest() as message):
                self.out.replies.append(Reply(request_id, quorum.end_epoch(message, now_ms)))
            case Request(request_id, FetchRequest() as message):
                quorum.fetch(request_id, message, now_ms)
            case Request(request_id, FetchSnapshotRequest() as message):
                self.out.replies.append(Reply(request_id, quorum.fetch_snapshot(message, now_ms)))
            case Request(request_id, bytes() as value):
                if quorum.is_leader:
                    quorum.append([value], now_ms)
            case PeerReply(token, message):
                quorum.answered(token, message, now_ms)
            case PeerFailed(token, gone):
                quorum.failed(token, now_ms)
                quorum.gone(gone, now_ms)
            case Tick():
                quorum.tick(now_ms)
        return self.out.take(max(quorum.deadline_ms, now_ms + 1))


class Invariants:
    """One leader per epoch; what was once committed is never lost and everywhere the same."""

    def __init__(self):
        self.leaders, self.committed = {}, []

    def __call__(self, network):
        for node_id, node in network.nodes.items():
            quorum = node.quorum
            if quorum.is_leader:
                assert self.leaders.setdefault(quorum.epoch, node_id) == node_id, f"two leaders in epoch {quorum.epoch}"
            values = node.machine.values
            common = min(len(values), len(self.committed))
            assert values[:common] == self.committed[:common], f"node {node_id} committed something else"
            self.committed.extend(values[common:])


def make(voters, **settings):
    def start(node_id, disk, seed, now_ms):
        times = {"election_timeout_ms": 100, "fetch_timeout_ms": 200, **settings}
        config = QuorumConfig(node_id=node_id, voters=voters, **times)
        return Node(config, disk, seed, now_ms)

    return start


def leader(network):
    leading = [(node.quorum.epoch, n) for n, node in network.nodes.items() if node.quorum.is_leader]
    return max(leading)[1] if leading else None


def settled(network):
    """Return whether all nodes follow one leader and have applied the same."""
    who = leader(network)
    if who is None:
        return False
    states = {
        (n.quorum.epoch, n.quorum.leader_id, n.quorum.high_watermark, n.quorum.metadata.end)
        for n in network.nodes.values()
    }
    return states == {
        (
            network.nodes[who].quorum.epoch,
            who,
            network.nodes[who].quorum.metadata.end,
            network.nodes[who].quorum.metadata.end,
        )
    }


def test_one_node_leads_itself_at_once():
    network = Network([1], make((1,)), seed=1)
    assert network.run(until=lambda: settled(network), limit_ms=500)
    network.send(1, b"x")
    assert network.run(until=lambda: network.nodes[1].machine.values, limit_ms=500)
    epoch = network.nodes[1].quorum.epoch
    network.crash(1)
    network.start(1)
    assert network.run(until=lambda: network.nodes[1].machine.values == [(epoch, b"x")], limit_ms=500)
    assert network.nodes[1].quorum.epoch == epoch + 1


@pytest.mark.parametrize("size", [3, 5])
def test_a_quorum_elects_commits_and_survives_its_leader(size):
    voters = tuple(range(1, size + 1))
    network = Network(voters, make(voters), seed=size, check=Invariants())
    assert network.run(until=lambda: settled(network))
    first = leader(network)
    network.send(first, b"x")
    assert network.run(until=lambda: all(n.machine.values for n in network.nodes.values()))
    network.crash(first)
    assert network.run(until=lambda: leader(network) not in {None, first}, limit_ms=2000)
    network.start(first)
    assert network.run(until=lambda: settled(network))
    assert [value for _, value in network.nodes[first].machine.values] == [b"x"]


def test_a_follower_that_was_cut_off_does_not_raise_the_epoch():
    network = Network((1, 2, 3), make((1, 2, 3)), seed=5, check=Invariants())
    assert network.run(until=lambda: settled(network))
    who = leader(network)
    epoch = network.nodes[who].quorum.epoch
    lone = next(n for n in (1, 2, 3) if n != who)
    for other in (1, 2, 3):
        network.cut(lone, other)
        network.cut(other, lone)
    network.run(3000)
    network.heal()
    assert network.run(until=lambda: settled(network))
    assert (leader(network), network.nodes[who].quorum.epoch) == (who, epoch)


def test_a_leader_without_a_majority_resigns():
    network = Network((1, 2, 3), make((1, 2, 3)), seed=6, check=Invariants())
    assert network.run(until=lambda: settled(network))
    who = leader(network)
    for other in {1, 2, 3} - {who}:
        network.cut(who, other)
        network.cut(other, who)
    assert network.run(until=lambda: not network.nodes[who].quorum.is_leader, limit_ms=1000)


def test_a_dead_leader_is_not_waited_for():
    voters = (1, 2, 3)
    network = Network(voters, make(voters, fetch_timeout_ms=20_000), seed=8, check=Invariants())
    assert network.run(until=lambda: settled(network))
    who = leader(network)
    network.crash(who)
    assert network.run(until=lambda: leader(network) not in {None, who}, limit_ms=2000)


def test_a_leader_that_does_not_answer_is_not_taken_for_dead():
    voters = (1, 2, 3)
    network = Network(voters, make(voters, fetch_timeout_ms=20_000), seed=8, check=Invariants())
    assert network.run(until=lambda: settled(network))
    who = leader(network)
    epoch = network.nodes[who].quorum.epoch
    for other in {1, 2, 3} - {who}:
        network.cut(other, who)
    network.run(5000)
    assert [node.quorum.epoch for node in network.nodes.values()] == [epoch] * 3


def test_who_hears_of_the_winner_before_the_answers_to_its_own_candidacy_follows_at_once():
    node = make((1, 2, 3))(1, Disk(), 7, 0)
    now_ms = 1000
    asked = {request.peer: request for request in node.step(Tick(), now_ms).requests}  # pre-votes
    epoch = node.quorum.epoch

    def answer(peer, *, granted, leader_id=-1):
        given = QuorumAnswer(leader_id=leader_id, leader_epoch=node.quorum.epoch, vote_granted=granted)
        message = VoteResponse(topics=(QuorumAnswerTopic(partitions=(given,)),))
        return node.step(PeerReply(asked[peer].token, message), now_ms).requests

    asked = {request.peer: request for request in answer(3, granted=True)}
    assert (node.quorum.role, node.quorum.epoch) == (Role.CANDIDATE, epoch + 1)
    begin = BeginPartition(leader_id=2, leader_epoch=epoch + 1)
    request = BeginQuorumEpochRequest(topics=(BeginTopic(partitions=(begin,)),))
    fetches = node.step(Request("begin", request), now_ms).requests
    assert node.quorum.role is Role.FOLLOWER
    fetches += answer(2, granted=False, leader_id=2)
    assert [type(request.message) for request in fetches if request.peer == 2] == [FetchRequest]


def test_a_resigning_leader_hands_over_before_any_time_out():
    network = Network((1, 2, 3), make((1, 2, 3)), seed=7, check=Invariants())
    assert network.run(until=lambda: settled(network))
    who = leader(network)
    network.nodes[who].quorum.resign(network.now_ms)
    network.step(who, Tick())
    assert network.run(until=lambda: leader(network) not in {None, who}, limit_ms=100)


def test_a_follower_behind_the_log_start_gets_a_snapshot():
    network = Network(
        (1, 2, 3), make((1, 2, 3), snapshot_every_bytes=2000, fetch_max_bytes=700), seed=8, check=Invariants()
    )
    assert network.run(until=lambda: settled(network))
    lone = next(n for n in (1, 2, 3) if n != leader(network))
    network.crash(lone)
    for number in range(60):
        network.send(leader(network), b"%d" % number)
        network.run(5)
    assert network.nodes[leader(network)].quorum.metadata.log.start > 0
    network.start(lone)
    assert network.run(until=lambda: settled(network), limit_ms=5000)
    assert len(network.nodes[lone].machine.values) == 60
    assert network.nodes[lone].quorum.metadata.log.start > 0


@pytest.mark.parametrize("seed", range(30))
def test_nothing_committed_is_lost_whatever_happens(seed):
    rng = random.Random(seed)
    size = rng.choice([3, 3, 5])
    voters = tuple(range(1, size + 1))
    settings = {"snapshot_every_bytes": rng.choice([1500, 1 << 20]), "fetch_max_bytes": rng.choice([400, 1 << 20])}
    check = Invariants()
    network = Network(voters, make(voters, **settings), seed, check, drop=rng.choice([0, 0.02, 0.1]))
    sent = 0
    for _ in range(40):
        action = rng.random()
        down = [n for n in voters if n not in network.nodes]
        up = sorted(network.nodes)
        if action < 0.15 and up:
            network.crash(rng.choice(up), power=rng.random() < 0.7)
        elif action < 0.35 and down:
            network.start(rng.choice(down))
        elif action < 0.45:
            network.cut(*rng.sample(voters, 2))
        elif action < 0.6:
            network.heal()
        for _ in range(rng.randint(0, 4)):
            sent += 1
            if up := sorted(network.nodes):
                network.send(leader(network) or rng.choice(up), b"%d" % sent)
        network.run(rng.randint(1, 300))
    network.heal()
    network.drop = 0
    for node in voters:
        if node not in network.nodes:
            network.start(node)
    assert network.run(until=lambda: settled(network), limit_ms=20_000)
    assert len(check.committed) <= sent
    assert all(node.machine.values == check.committed for node in network.nodes.values())
    assert network.nodes[leader(network)].quorum.role is Role.LEADER


def test_seeds_make_progress():
    network = Network((1, 2, 3), make((1, 2, 3)), seed=3, check=Invariants(), drop=0.05)
    for number in range(50):
        network.run(20)
        network.send(leader(network) or 1, b"%d" % number)
    network.drop = 0
    assert network.run(until=lambda: settled(network))
    assert len(network.nodes[1].machine.values) > 10


def test_metadata_before_a_damaged_batch_of_an_answer_are_applied():
    disk, out = Disk(), Outbox()
    log = MetadataLog(disk, out)
    batches = []
    for offset, value in enumerate((b"one", b"two")):
        data = record.batch_of([(None, value)], timestamp_ms=0)
        batch.patch(data, 0, offset, 1)
        batches.append(bytes(data))
    damaged = bytearray(batches[0] + batches[1])
    damaged[-1] ^= 0xFF
    with pytest.raises(batch.CorruptBatchError):
        log.append_fetched(damaged)
    assert log.end == 1
    ready = out.take(None)
    assert ready.sync == ["__cluster_metadata-0"], "the next fetch says that it is durable"
    log.append_fetched(batches[1])
    log.log.advance_high_watermark(2)
    assert [entry.values for entry in log.take_committed()] == [(b"one",), (b"two",)]
