"""A node for unit tests: a TCP server on loopback that answers framed requests from a table."""

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.frame import Frames, frame
from broker.wire.header import RequestHeader, read_request_header
from broker.wire.message import Request, Response
from broker.wire.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from broker.wire.messages.describe_quorum import DescribeQuorumRequest
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.list_offsets import ListOffsetsRequest
from broker.wire.messages.metadata import MetadataRequest

REQUESTS: Mapping[int, type[Request]] = {
    kind.api: kind
    for kind in (ApiVersionsRequest, DescribeQuorumRequest, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest)
}
VERSIONS = {Api.METADATA: (0, 12), Api.DESCRIBE_QUORUM: (0, 1), Api.FIND_COORDINATOR: (0, 4), Api.LIST_OFFSETS: (1, 8)}
"""What 3.7.1 speaks, near enough."""

Answer = Callable[[Any], Response | bytes | None]
"""What is answered to a request: a message, raw bytes to put on the wire, or None for silence."""


class FakeNode:
    """Serves until closed. `answers` by API; ApiVersions is answered from `versions` unless it is in there."""

    def __init__(self, answers: Mapping[Api, Answer], versions: Mapping[Api, tuple[int, int]] = VERSIONS) -> None:
        self.answers = dict(answers)
        self.versions = dict(versions)
        self.asked: list[RequestHeader] = []
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._server.getsockname()
        self.address = f"{self.host}:{self.port}"
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def drop_connections(self) -> None:
        """Close what is open, as a restarted node does."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.drop_connections()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        frames = Frames()
        with connection:
            while True:
                try:
                    data = connection.recv(65536)
                    if not data:
                        return
                    for payload in frames.feed(data):
                        reply = self._reply(payload)
                        if reply is not None:
                            connection.sendall(reply)
                except OSError:
                    return

    def _reply(self, payload: bytes) -> bytes | None:
        header = read_request_header(payload)
        self.asked.append(header)
        api = Api(header.api_key)
        request = codec.decode_body(REQUESTS[api], header.version, payload, header.body_at)
        if api in self.answers:
            answer = self.answers[api](request)
        else:
            assert api is Api.API_VERSIONS, api
            answer = ApiVersionsResponse(
                api_keys=tuple(
                    ApiVersion(api_key=key, min_version=low, max_version=high)
                    for key, (low, high) in self.versions.items()
                )
            )
        if answer is None or isinstance(answer, bytes):
            return answer
        return frame(codec.encode_response(answer, header.version, correlation_id=header.correlation_id))
