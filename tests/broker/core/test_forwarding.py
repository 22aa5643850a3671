"""What a client asks of the controller waits until there is one: an election is not its business."""

from __future__ import annotations

import pytest

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.forwarding import Forwarding
from broker.core.ready import Outbox
from broker.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from tests.broker.core.test_broker import cluster, healthy

ASKED = CreateTopicsRequest(topics=(CreatableTopic(name="x", num_partitions=1, replication_factor=3),))
REFUSED = CreateTopicsResponse(topics=(CreatableTopicResult(name="x", error_code=Code.NOT_CONTROLLER),))
MADE = CreateTopicsResponse(topics=(CreatableTopicResult(name="x"),))
TIMEOUT_MS, BACKOFF_MS = 1000, 50


class Node:
    """A forwarder whose quorum is led by `leader`, and what it has sent and answered."""

    def __init__(self, leader):
        self.leader, self.out = leader, Outbox()
        config = BrokerConfig(node_id=1, voters=(1, 2, 3), request_timeout_ms=TIMEOUT_MS, retry_backoff_ms=BACKOFF_MS)
        self.forwarding = Forwarding(config, self.out, controller=lambda: self.leader)

    def sent(self):
        requests, self.out.requests = self.out.requests, []
        return [(request.peer, request.token) for request in requests]

    def answers(self):
        replies, self.out.replies = self.out.replies, []
        return [(reply.id, reply.message) for reply in replies]


def test_a_request_goes_to_the_leader_and_its_answer_back():
    node = Node(2)
    node.forwarding.ask("a", ASKED, 0)
    [(peer, token)] = node.sent()
    assert peer == 2
    assert node.forwarding.owns(token)
    node.forwarding.answered(token, MADE, 5)
    assert node.answers() == [("a", MADE)]
    assert not node.forwarding.owns(token)


def test_while_nobody_leads_it_waits():
    node = Node(-1)
    node.forwarding.ask("a", ASKED, 0)
    assert node.sent() == []
    assert node.forwarding.deadline_ms == TIMEOUT_MS
    node.leader = 3
    assert node.forwarding.deadline_ms == 0
    node.forwarding.tick(200)
    [(peer, token)] = node.sent()
    assert peer == 3
    node.forwarding.answered(token, MADE, 205)
    assert node.answers() == [("a", MADE)]


@pytest.mark.parametrize("refused", [True, False], ids=["leads no more", "does not answer"])
def test_what_a_node_could_not_do_another_one_is_asked_for(refused):
    node = Node(2)
    node.forwarding.ask("a", ASKED, 0)
    [(_, token)] = node.sent()
    if refused:
        node.forwarding.answered(token, REFUSED, 10)
    else:
        node.forwarding.failed(token, 10)
    node.leader = 3
    node.forwarding.tick(10 + BACKOFF_MS - 1)
    assert node.sent() == []
    assert node.forwarding.deadline_ms == 10 + BACKOFF_MS
    node.forwarding.tick(10 + BACKOFF_MS)
    assert [peer for peer, _ in node.sent()] == [3]
    assert node.answers() == []


def test_it_is_refused_when_its_time_is_over():
    node = Node(-1)
    node.forwarding.ask("a", ASKED, 0)
    node.forwarding.tick(TIMEOUT_MS - 1)
    assert node.answers() == []
    node.forwarding.tick(TIMEOUT_MS)
    assert node.answers() == [("a", REFUSED)]
    node.leader = 2
    node.forwarding.tick(TIMEOUT_MS + 1)
    assert node.sent() == []


@pytest.mark.parametrize("seed", range(4))
def test_a_topic_is_made_although_the_controller_died_just_now(seed):
    network = cluster(3, seed)
    assert network.run(until=lambda: healthy(network))
    controller = next(node for node, broker in network.nodes.items() if broker.controller is not None)
    other = next(node for node in network.nodes if node != controller)
    network.crash(controller)
    request_id = network.send(other, ASKED)
    assert network.run(until=lambda: request_id in network.client_replies)
    assert network.client_replies[request_id].topics[0].error_code == Code.NONE
