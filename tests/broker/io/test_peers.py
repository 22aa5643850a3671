"""Requests between nodes: every token is answered once, whatever becomes of the connection."""

import asyncio
import struct

import pytest

from broker.core.ready import PeerFailed, PeerReply, PeerRequest
from broker.io.peers import Peers
from broker.io.served import SERVED
from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.frame import frame
from broker.wire.header import read_request_header
from broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from broker.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from broker.wire.messages.fetch import FetchRequest, ReplicaState
from harness.cluster import ports

WITHIN_S = 10.0


class Peer:
    """Node 2, as far as a test wants it: `answer` maps a request's header and message to a frame, or to nothing."""

    def __init__(self, answer):
        self.answer, self.asked, self.connections = answer, [], 0

    async def __call__(self, reader, writer):
        self.connections += 1
        try:
            while True:
                payload = await reader.readexactly(struct.unpack(">i", await reader.readexactly(4))[0])
                header = read_request_header(payload)
                message = codec.decode_body(SERVED[header.api_key].request, header.version, payload, header.body_at)
                self.asked.append(message)
                data = self.answer(header)
                if data is None:
                    return
                writer.write(data)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def heartbeat(header):
    return frame(
        codec.encode_response(
            BrokerHeartbeatResponse(is_caught_up=True), header.version, correlation_id=header.correlation_id
        )
    )


def talking(answer, scenario):
    async def run():
        (port,) = ports.choose(1)
        peer = Peer(answer)
        events = asyncio.Queue()
        peers = Peers(1, {2: ("127.0.0.1", port)}, events.put_nowait)
        server = None if answer is None else await asyncio.start_server(peer, "127.0.0.1", port)
        try:
            await asyncio.wait_for(scenario(peers, events, peer), WITHIN_S)
        finally:
            peers.close()
            await asyncio.sleep(0.01)
            if server is not None:
                server.close()

    asyncio.run(run())


def beat(token, timeout_ms=5000, channel=3):
    return PeerRequest(token, 2, channel, BrokerHeartbeatRequest(broker_id=1), timeout_ms)


def test_answers_find_their_tokens_over_one_connection_per_channel():
    async def scenario(peers, events, peer):
        for token in (5, 6, 7):
            peers.send(beat(token))
        got = [await events.get() for _ in range(3)]
        assert got == [PeerReply(token, BrokerHeartbeatResponse(is_caught_up=True)) for token in (5, 6, 7)]
        assert peer.connections == 1
        peers.send(beat(8, channel=0))
        assert await events.get() == PeerReply(8, BrokerHeartbeatResponse(is_caught_up=True))
        assert peer.connections == 2

    talking(heartbeat, scenario)


def test_all_that_wait_fail_when_the_connection_breaks_and_the_next_gets_a_new_one():
    answers = iter([lambda _: None, heartbeat, heartbeat, heartbeat])

    async def scenario(peers, events, peer):
        peers.send(beat(1))
        peers.send(beat(2))
        assert {(await events.get()).token, (await events.get()).token} == {1, 2}
        peers.send(beat(3))
        assert await events.get() == PeerReply(3, BrokerHeartbeatResponse(is_caught_up=True))
        assert peer.connections == 3, "the one that broke, a look at the door, and a new one"

    def answer(header):
        return next(answers)(header)

    talking(answer, scenario)


def test_a_peer_that_is_not_there_fails_the_request():
    async def scenario(peers, events, _peer):
        peers.send(beat(1))
        assert await events.get() == PeerFailed(1, gone=2)
        peers.send(PeerRequest(2, 99, 0, BrokerHeartbeatRequest(), 1000))
        assert await events.get() == PeerFailed(2), "nobody knows node 99"

    talking(None, scenario)


def test_a_connection_that_nobody_takes_further_says_that_the_peer_is_gone():
    """The harness's links accept in the place of a node, and reset what they can't pass on."""

    async def scenario(peers, events, _peer):
        peers.send(beat(1))
        assert await events.get() == PeerFailed(1, gone=2)

    async def run():
        (port,) = ports.choose(1)
        events = asyncio.Queue()
        peers = Peers(1, {2: ("127.0.0.1", port)}, events.put_nowait)
        server = await asyncio.start_server(lambda _, writer: writer.transport.abort(), "127.0.0.1", port)
        try:
            await asyncio.wait_for(scenario(peers, events, None), WITHIN_S)
        finally:
            peers.close()
            server.close()

    asyncio.run(run())


def test_a_living_peer_that_breaks_a_connection_is_not_gone():
    async def scenario(peers, events, _peer):
        peers.send(beat(1))
        assert await events.get() == PeerFailed(1)

    talking(lambda _: None, scenario)


def test_a_peer_that_does_not_answer_in_time_fails_the_request():
    async def scenario(peers, events, _peer):
        peers.send(beat(1, timeout_ms=50))
        assert await events.get() == PeerFailed(1)

    talking(lambda _: b"", scenario)


@pytest.mark.parametrize("answer", [b"\xff\xff\xff\xff", frame(b"\0\0\0\x63no answer to this"), frame(b"\0")])
def test_garbage_from_a_peer_fails_the_request(answer):
    async def scenario(peers, events, _peer):
        peers.send(beat(1))
        assert await events.get() == PeerFailed(1)

    talking(lambda _: answer, scenario)


def test_a_forwarded_request_goes_out_in_the_newest_version_that_can_carry_it():
    async def scenario(peers, events, peer):
        message = DeleteTopicsRequest(topic_names=("t",), timeout_ms=5)
        peers.send(PeerRequest(1, 2, 4, message, 5000))
        assert isinstance(await events.get(), PeerReply)
        assert peer.asked == [message]
        peers.send(PeerRequest(2, 2, 1, FetchRequest(replica_id=1, replica_state=ReplicaState(replica_id=1)), 300))
        assert await events.get() == PeerFailed(2)
        assert peer.asked[-1].replica_state.replica_id == 1

    def answer(header):
        if header.api_key != Api.DELETE_TOPICS:
            return None
        assert header.version == 5, "version 6 names topics otherwise"
        return frame(
            codec.encode_response(DeleteTopicsResponse(), header.version, correlation_id=header.correlation_id)
        )

    talking(answer, scenario)
