"""The network of our own clients: nodes by id, at the addresses that brokers tell, one TCP connection for each contact.

Satisfies `broker.sim.connections`. Nodes of the bootstrap have negative ids, as in other clients, until an answer
says which they are. A request has the version that the client asks for, or the node's highest where that is lower: the
client says nothing that the versions between could not carry.
"""

from __future__ import annotations

import errno
import itertools
import selectors
import socket
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from broker.sim.connections import Connection, ConnectionLostError
from broker.sim.loop import Future, TimedOutError
from broker.sim.network import CONNECT_TIMEOUT_MS
from broker.wire import codec
from broker.wire.errors import WireError
from broker.wire.frame import Frames, frame
from broker.wire.header import read_response_header
from broker.wire.message import Request, Response
from broker.wire.messages.add_offsets_to_txn import AddOffsetsToTxnResponse
from broker.wire.messages.add_partitions_to_txn import AddPartitionsToTxnResponse
from broker.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from broker.wire.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from broker.wire.messages.delete_records import DeleteRecordsResponse
from broker.wire.messages.end_txn import EndTxnResponse
from broker.wire.messages.fetch import FetchResponse
from broker.wire.messages.find_coordinator import FindCoordinatorResponse
from broker.wire.messages.heartbeat import HeartbeatResponse
from broker.wire.messages.init_producer_id import InitProducerIdResponse
from broker.wire.messages.join_group import JoinGroupResponse
from broker.wire.messages.leave_group import LeaveGroupResponse
from broker.wire.messages.list_offsets import ListOffsetsResponse
from broker.wire.messages.metadata import MetadataResponse
from broker.wire.messages.offset_commit import OffsetCommitResponse
from broker.wire.messages.offset_fetch import OffsetFetchResponse
from broker.wire.messages.produce import ProduceResponse
from broker.wire.messages.share_acknowledge import ShareAcknowledgeResponse
from broker.wire.messages.share_fetch import ShareFetchResponse
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatResponse
from broker.wire.messages.sync_group import SyncGroupResponse
from broker.wire.messages.txn_offset_commit import TxnOffsetCommitResponse
from harness.clients.native.loop import RealLoop
from harness.cluster.probe import split_address

ANSWERS: Final = {
    kind.api: kind
    for kind in (
        AddOffsetsToTxnResponse,
        AddPartitionsToTxnResponse,
        ApiVersionsResponse,
        ConsumerGroupHeartbeatResponse,
        DeleteRecordsResponse,
        EndTxnResponse,
        FetchResponse,
        FindCoordinatorResponse,
        HeartbeatResponse,
        InitProducerIdResponse,
        JoinGroupResponse,
        LeaveGroupResponse,
        ListOffsetsResponse,
        MetadataResponse,
        OffsetCommitResponse,
        OffsetFetchResponse,
        ProduceResponse,
        ShareAcknowledgeResponse,
        ShareFetchResponse,
        ShareGroupHeartbeatResponse,
        SyncGroupResponse,
        TxnOffsetCommitResponse,
    )
}
SOFTWARE: Final = {"client_software_name": "kafka-harness", "client_software_version": "1"}
FIRST_VERSION: Final = 3
"""Of ApiVersions, which can't be negotiated; since Kafka 2.4."""
MAX_RESPONSE_BYTES: Final = 256 * 1024 * 1024
_RECEIVED_BYTES: Final = 1 << 18


class Sockets:
    """See the module."""

    def __init__(self, loop: RealLoop, bootstrap: str) -> None:
        """Prepare; bootstrap: host:port, with commas between several."""
        codec.prepare()
        self.loop = loop
        self.addresses = {-1 - at: split_address(address.strip()) for at, address in enumerate(bootstrap.split(","))}
        self.bootstrap = tuple(self.addresses)

    async def connect(self, client: str, node_id: int, *, timeout_ms: float = CONNECT_TIMEOUT_MS) -> Connection:
        """Return a connection to a node that has said which versions it takes.

        Raises ConnectionLostError when it is refused or nobody answers.
        """
        address = self.addresses.get(node_id)
        if address is None:
            raise ConnectionLostError(f"no address of node {node_id} is known")
        connection = TcpConnection(self, client, node_id)
        try:
            await self.loop.within(connection.open(address), timeout_ms)
            await connection.negotiate(timeout_ms)
        except TimedOutError:
            connection.lost("nobody answers")
            raise ConnectionLostError(f"node {node_id} does not answer") from None
        return connection

    def learn(self, answer: Response) -> None:
        """Take from an answer where nodes are."""
        if isinstance(answer, MetadataResponse):
            for broker in answer.brokers:
                self.addresses[broker.node_id] = broker.host, broker.port
        elif isinstance(answer, FindCoordinatorResponse):
            for one in answer.coordinators:
                if not one.error_code:
                    self.addresses[one.node_id] = one.host, one.port


class TcpConnection(Connection):
    """One connection, of use once it is open and has negotiated."""

    def __init__(self, sockets: Sockets, client: str, node_id: int) -> None:
        super().__init__(sockets.loop, node_id, is_open=False)
        self._sockets, self._loop, self._client = sockets, sockets.loop, client
        self._socket: socket.socket | None = None
        self._opened: Future[None] = sockets.loop.future()
        self._ids = itertools.count(1)
        self._versions: dict[int, int] = {}
        self._waiting: deque[tuple[int, type[Response], int, Callable[[Any | None], None]]] = deque()
        self._out = bytearray()
        self._frames = Frames(MAX_RESPONSE_BYTES)

    # How it comes about.

    def open(self, address: tuple[str, int]) -> Future[None]:
        """Begin to connect; the future fails with ConnectionLostError."""
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0]
            self._socket = connection = socket.socket(family, kind, protocol)
            connection.settimeout(0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = connection.connect_ex(place)
        except OSError as error:
            self.lost(str(error))
            return self._opened
        if code not in {0, errno.EINPROGRESS}:
            self.lost(errno.errorcode.get(code, str(code)))
        else:
            self._loop.watch(connection, selectors.EVENT_WRITE, self._connected)
        return self._opened

    def _connected(self, _: int) -> None:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.lost(errno.errorcode.get(code, str(code)))
            return
        self.is_open = True
        self._loop.watch(self._socket, selectors.EVENT_READ, self._ready)
        self._opened.set(None)

    async def negotiate(self, timeout_ms: float) -> None:
        """Ask which versions the node takes; raises ConnectionLostError, TimedOutError."""
        request = ApiVersionsRequest(**SOFTWARE)
        answer: ApiVersionsResponse = await self.call(request, version=FIRST_VERSION, timeout_ms=timeout_ms)
        if answer.error_code:
            self.lost("it does not say which versions it takes")
            raise ConnectionLostError(f"node {self.node_id} does not say which versions it takes")
        self._versions = {one.api_key: one.max_version for one in answer.api_keys}

    # What a client does with it.

    def send(self, message: Request, version: int, on_reply: Callable[[Any | None], None] | None) -> None:
        """As every connection does."""
        if not self.is_open:
            if on_reply is not None:
                self._loop.soon(partial(on_reply, None))
            return
        version = min(version, self._versions.get(message.api, version))
        number = next(self._ids)
        if on_reply is not None:
            self._waiting.append((number, ANSWERS[message.api], version, on_reply))
        payload = codec.encode_request(message, version, correlation_id=number, client_id=self._client)
        self._out += frame(payload)
        self._write()

    def close(self) -> None:
        """Close; what was sent still arrives as far as the socket took it."""
        self.lost("closed")

    def lost(self, why: str) -> None:
        """The connection is gone: all that waits fails."""
        self.is_open = False
        if self._socket is not None:
            self._loop.forget(self._socket)
            self._socket.close()
            self._socket = None
        self._opened.fail(ConnectionLostError(f"node {self.node_id}: {why}"))
        waiting, self._waiting = self._waiting, deque()
        for *_, on_reply in waiting:
            self._loop.soon(partial(on_reply, None))

    # Bytes.

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
        if events & selectors.EVENT_READ and self._socket is not None:
            self._read()

    def _write(self) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lost(str(error))
            return
        del self._out[:sent]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._loop.watch(self._socket, events, self._ready)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            received = self._socket.recv(_RECEIVED_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(str(error))
            return
        if not received:
            self.lost("the node closed it")
            return
        try:
            for payload in self._frames.feed(received):
                self._take(payload)
        except WireError as error:
            self.lost(str(error))

    def _take(self, payload: bytes) -> None:
        """Give an answer to whom it belongs. Raises WireError."""
        if not self._waiting:
            return  # the connection was given up meanwhile
        number, kind, version, on_reply = self._waiting[0]
        answered, at = read_response_header(payload, kind.api, version)
        if answered != number:
            raise WireError(f"the answer has correlation id {answered}, {number} was asked")
        answer = codec.decode_body(kind, version, payload, at)
        self._waiting.popleft()
        self._sockets.learn(answer)
        on_reply(answer)
