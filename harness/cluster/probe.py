"""A raw, synchronous client of one node: what librdkafka does not tell (quorum, coordinators, epochs, LSO and HW).

One connection, opened when first needed, one request at a time, the highest versions that both sides speak. Every call
ends within `timeout_s`, connecting included: the deadline is one for the whole call. Any failure is a `ProbeError` that
names API and address; it closes the connection, and the next call opens another. A connection that the node closed
between two calls (it was restarted) is replaced once, silently, within the same deadline.

With credentials a connection begins with what they ask for: the handshake of TLS, SaslHandshake and the mechanism's
messages in SaslAuthenticate (KIP-152). A node that is there and does not let us in is an `AccessError`.

A probe belongs to one thread at a time.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.errors import WireError, error_name
from broker.wire.frame import LENGTH, frame, payload_size
from broker.wire.header import read_response_header
from broker.wire.message import Request, Response
from broker.wire.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignableTopic,
)
from broker.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from broker.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
)
from broker.wire.messages.create_topics import CreateTopicsResponse
from broker.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
)
from broker.wire.messages.describe_quorum import DescribeQuorumRequest, DescribeQuorumResponse, PartitionData
from broker.wire.messages.elect_leaders import ElectLeadersRequest, ElectLeadersResponse, TopicPartitions
from broker.wire.messages.fetch import FetchResponse
from broker.wire.messages.find_coordinator import (
    GROUP,
    SHARE,
    TRANSACTION,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from broker.wire.messages.list_offsets import (
    EARLIEST,
    LATEST,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopic,
)
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from broker.wire.messages.offset_for_leader_epoch import OffsetForLeaderEpochResponse
from broker.wire.messages.produce import ProduceResponse
from broker.wire.messages.sasl_authenticate import SaslAuthenticateRequest, SaslAuthenticateResponse
from broker.wire.messages.sasl_handshake import SaslHandshakeRequest, SaslHandshakeResponse
from harness.cluster.sasl import SaslError, conversation
from harness.credentials import NO_CREDENTIALS, Credentials, said

__all__ = [
    "EARLIEST",
    "LATEST",
    "READ_COMMITTED",
    "READ_UNCOMMITTED",
    "Api",
    "MetadataResponse",
    "PartitionData",
    "Probe",
    "ProbeError",
    "Request",
    "error_name",
    "split_address",
]

R = TypeVar("R", bound=Response)

CLIENT_ID: Final = "kafka-harness-probe"
DEFAULT_TIMEOUT_S: Final = 1.0
"""A live node answers within milliseconds; a paused one never does, and somebody waits for us."""
MAX_RESPONSE_BYTES: Final = 16 * 1024 * 1024
"""Metadata of some ten thousand partitions; more is not an answer that a probe asks for."""
FIRST_VERSION: Final = 3
"""Of ApiVersions, the one request whose version can't be negotiated; since Kafka 2.4."""
SASL_HANDSHAKE_VERSION, SASL_AUTHENTICATE_VERSION = 1, 0
"""Since Kafka 1.0. Later ones serve who authenticates again (KIP-368); a probe's connection is replaced instead."""
ELECTION_NOT_NEEDED: Final = 84
"""The replica leads already."""
OF_TOPIC, OF_BROKER = 2, 4
"""Kinds of what has settings."""
_SET, _DELETE = 0, 1
COORDINATOR_KINDS: Final = {"group": GROUP, "transaction": TRANSACTION, "share": SHARE}


ANSWERS: Final[Mapping[Api, type[Response]]] = {
    kind.api: kind
    for kind in (
        MetadataResponse,
        ListOffsetsResponse,
        DescribeQuorumResponse,
        OffsetForLeaderEpochResponse,
        FetchResponse,
        CreateTopicsResponse,
        ProduceResponse,
    )
}
"""What `ask` may ask for."""


class ProbeError(Exception):
    """The node did not answer, or not with what was asked for."""


class AccessError(ProbeError):
    """The node is there, but TLS or SASL did not come about."""


class UnsentError(ProbeError):
    """Nothing was sent: there was no connection, or the node does not offer what was to be asked."""


class Probe:
    """Asks one node. Every method raises ProbeError when there is no answer within the time-out."""

    def __init__(
        self,
        host: str,
        port: int,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        """Connect later, when something is asked."""
        codec.prepare()
        self.address = f"{host}:{port}"
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._credentials = credentials
        self._socket: socket.socket | None = None
        self._versions: dict[int, tuple[int, int]] = {}
        self._ids = itertools.count(1)

    def api_versions(self) -> dict[int, tuple[int, int]]:
        """Return {API key: (lowest, highest version)} of the node."""
        answer = self._call(ApiVersionsRequest(**_SOFTWARE), ApiVersionsResponse)
        return {one.api_key: (one.min_version, one.max_version) for one in answer.api_keys}

    def metadata(self, topics: Sequence[str] | None = None) -> MetadataResponse:
        """Return live brokers, leaders, epochs, ISRs and topic ids as this node knows them; None asks about all."""
        wanted = None if topics is None else tuple(MetadataRequestTopic(name=name) for name in topics)
        return self._call(MetadataRequest(topics=wanted, allow_auto_topic_creation=False), MetadataResponse)

    def describe_quorum(self) -> PartitionData:
        """Return the metadata quorum: its leader (the active controller), its epoch, and the voters' log ends."""
        answer = self._call(DescribeQuorumRequest(), DescribeQuorumResponse)
        self._refuse(answer.error_code, answer.error_message, answer.api)
        partition = next((part for topic in answer.topics for part in topic.partitions), None)
        if partition is None:
            raise ProbeError(f"{answer.api.name} to {self.address}: an answer without the quorum's partition")
        self._refuse(partition.error_code, partition.error_message, answer.api)
        return partition

    def find_coordinator(self, kind: str, name: str) -> int:
        """Return the node id of the coordinator; kind: "group", "transaction", "share" (`group:topic id:partition`)."""
        key_type = COORDINATOR_KINDS[kind]
        _, highest = self._negotiated(Api.FIND_COORDINATOR, deadline := time.monotonic() + self._timeout_s)
        if highest < 4:  # KIP-699
            request = FindCoordinatorRequest(key=name, key_type=key_type)
        else:
            request = FindCoordinatorRequest(coordinator_keys=(name,), key_type=key_type)
        answer = self._call(request, FindCoordinatorResponse, deadline)
        self._refuse(answer.error_code, answer.error_message, answer.api)
        if highest < 4:
            return answer.node_id
        for one in answer.coordinators:
            self._refuse(one.error_code, one.error_message, answer.api)
            return one.node_id
        raise ProbeError(f"{answer.api.name} to {self.address}: an answer without a coordinator")

    def list_offsets(
        self, partitions: Iterable[tuple[str, int]], *, isolation_level: int, timestamp: int = LATEST
    ) -> dict[tuple[str, int], ListOffsetsPartitionResponse]:
        """Return offset and leader epoch by (topic, partition); ask the leader. Partitions may carry an error_code.

        isolation_level: READ_UNCOMMITTED gives the high watermark, READ_COMMITTED the last stable offset.
        timestamp: LATEST, EARLIEST (`broker.wire.messages.list_offsets`), or milliseconds.
        """
        by_topic: dict[str, list[ListOffsetsPartition]] = {}
        for topic, index in partitions:
            by_topic.setdefault(topic, []).append(ListOffsetsPartition(partition_index=index, timestamp=timestamp))
        topics = tuple(ListOffsetsTopic(name=name, partitions=tuple(parts)) for name, parts in by_topic.items())
        answer = self._call(ListOffsetsRequest(isolation_level=isolation_level, topics=topics), ListOffsetsResponse)
        return {(topic.name, part.partition_index): part for topic in answer.topics for part in topic.partitions}

    def elect_preferred(self, topic: str, partitions: Sequence[int]) -> str:
        """Ask for the partitions' first replicas as leaders; return "" when they lead, else the name of an error."""
        wanted = (TopicPartitions(topic=topic, partitions=tuple(partitions)),)
        timeout_ms = int(self._timeout_s * 1000)
        answer = self._call(ElectLeadersRequest(topic_partitions=wanted, timeout_ms=timeout_ms), ElectLeadersResponse)
        codes = [answer.error_code]
        codes += [part.error_code for one in answer.replica_election_results for part in one.partition_result]
        code = next((code for code in codes if code not in {0, ELECTION_NOT_NEEDED}), 0)
        return error_name(code) if code else ""

    def reassign(self, topic: str, index: int, replicas: Sequence[int]) -> str:
        """Ask that the partition be moved to these nodes; return "" when that has begun, else the name of an error."""
        part = ReassignablePartition(partition_index=index, replicas=tuple(replicas))
        request = AlterPartitionReassignmentsRequest(
            timeout_ms=int(self._timeout_s * 1000), topics=(ReassignableTopic(name=topic, partitions=(part,)),)
        )
        answer = self._call(request, AlterPartitionReassignmentsResponse)
        codes = [answer.error_code, *(part.error_code for one in answer.responses for part in one.partitions)]
        code = next(filter(None, codes), 0)
        return error_name(code) if code else ""

    def configure(self, kind: int, name: str, setting: str, value: str | None) -> str:
        """Ask for a dynamic setting of a topic or a broker ("": all), None: for none of its own.

        Return "" when the controller has taken it, else the name of an error.
        """
        config = AlterableConfig(name=setting, config_operation=_DELETE if value is None else _SET, value=value)
        resource = AlterConfigsResource(resource_type=kind, resource_name=name, configs=(config,))
        answer = self._call(IncrementalAlterConfigsRequest(resources=(resource,)), IncrementalAlterConfigsResponse)
        code = next((one.error_code for one in answer.responses if one.error_code), 0)
        return error_name(code) if code else ""

    def setting(self, kind: int, name: str, setting: str) -> DescribeConfigsResourceResult:
        """Return what holds of a setting of a topic, or of the node itself (its id), and what that overrides."""
        resource = DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=(setting,))
        answer = self._call(
            DescribeConfigsRequest(resources=(resource,), include_synonyms=True), DescribeConfigsResponse
        )
        for result in answer.results:
            self._refuse(result.error_code, result.error_message, answer.api)
            for config in result.configs:
                return config
        raise ProbeError(f"{answer.api.name} to {self.address}: it knows no setting {setting}")

    def add_partitions(self, topic: str, count: int) -> str:
        """Ask for a topic of so many partitions; return "" when the controller has made them, else an error's name."""
        request = CreatePartitionsRequest(
            topics=(CreatePartitionsTopic(name=topic, count=count),), timeout_ms=int(self._timeout_s * 1000)
        )
        code = next((one.error_code for one in self._call(request, CreatePartitionsResponse).results), 0)
        return error_name(code) if code else ""

    def ask(self, request: Request) -> Any:
        """Return the answer to any request of `ANSWERS`, as it is."""
        return self._call(request, ANSWERS[request.api])

    def ask_once(self, request: Request, kind: type[R], timeout_s: float) -> R:
        """Return the answer to a request that must not be sent twice; raises UnsentError where it was not sent."""
        deadline = time.monotonic() + timeout_s
        try:
            self._negotiated(request.api, deadline)
        except (OSError, WireError, ProbeError) as error:
            self.close()
            raise UnsentError(f"{request.api.name} to {self.address}: {error}") from error
        try:
            return self._exchange(request, kind, deadline)
        except (OSError, WireError) as error:
            self.close()
            raise self._failed(request.api, error) from error

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._versions = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, request: Request, kind: type[R], deadline: float | None = None) -> R:
        """Ask, with the version negotiated; one new connection if the node has closed the old one."""
        deadline = deadline or time.monotonic() + self._timeout_s
        reused = self._socket is not None
        try:
            return self._exchange(request, kind, deadline)
        except (OSError, WireError) as error:
            self.close()
            if not reused or isinstance(error, (TimeoutError, WireError)):
                raise self._failed(request.api, error) from error
        try:
            return self._exchange(request, kind, deadline)
        except (OSError, WireError) as error:
            self.close()
            raise self._failed(request.api, error) from error

    def _exchange(self, request: Request, kind: type[R], deadline: float) -> R:
        version = FIRST_VERSION
        if request.api is not Api.API_VERSIONS:
            _, version = self._negotiated(request.api, deadline)
        return self._answer(self._connected(deadline), request, kind, version, deadline)

    def _answer(self, connection: socket.socket, request: Request, kind: type[R], version: int, deadline: float) -> R:
        correlation_id = next(self._ids)
        payload = codec.encode_request(request, version, correlation_id=correlation_id, client_id=CLIENT_ID)
        connection.settimeout(_left(deadline))
        connection.sendall(frame(payload))
        size = payload_size(_receive(connection, LENGTH.size, deadline), MAX_RESPONSE_BYTES)
        answer = _receive(connection, size, deadline)
        answered_id, _ = read_response_header(answer, request.api, version)
        if answered_id != correlation_id:
            raise WireError(f"the answer has correlation id {answered_id}, {correlation_id} was asked")
        return codec.decode_response(kind, version, answer)[1]

    def _negotiated(self, api: Api, deadline: float) -> tuple[int, int]:
        """Return the lowest and the highest version that both sides speak; asks the node once per connection."""
        if self._socket is None or not self._versions:
            answer = self._call(ApiVersionsRequest(**_SOFTWARE), ApiVersionsResponse, deadline)
            self._refuse(answer.error_code, None, Api.API_VERSIONS)
            self._versions = {one.api_key: (one.min_version, one.max_version) for one in answer.api_keys}
        theirs = self._versions.get(api)
        if theirs is None:
            raise ProbeError(f"{api.name} to {self.address}: the node does not offer it")
        ours = codec.versions(api)
        lowest, highest = max(ours[0], theirs[0]), min(ours[1], theirs[1])
        if lowest > highest:
            raise ProbeError(f"{api.name} to {self.address}: it speaks versions {theirs}, we {ours}")
        return lowest, highest

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((self._host, self._port), timeout=_left(deadline))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                if self._credentials.is_encrypted:
                    self._socket = self._encrypted(self._socket, deadline)
                if self._credentials.sasl is not None:
                    self._authenticate(self._socket, self._credentials.sasl, deadline)
            except AccessError:
                self.close()
                raise
        return self._socket

    def _encrypted(self, connection: socket.socket, deadline: float) -> ssl.SSLSocket:
        secure = self._credentials.tls().wrap_socket(
            connection, server_hostname=self._host, do_handshake_on_connect=False
        )
        try:
            secure.settimeout(_left(deadline))
            secure.do_handshake()
        except ssl.SSLCertVerificationError as error:
            secure.close()
            raise AccessError(f"{self.address}: its certificate is not trusted: {said(error)}") from error
        except OSError as error:
            secure.close()
            raise self._shut("TLS", error) from error
        return secure

    def _authenticate(self, connection: socket.socket, sasl: tuple[str, str, str], deadline: float) -> None:
        mechanism, user, password = sasl
        what = f"SASL {mechanism} as {user}"
        try:
            first = SaslHandshakeRequest(mechanism=mechanism)
            offer = self._answer(connection, first, SaslHandshakeResponse, SASL_HANDSHAKE_VERSION, deadline)
            if offer.error_code:
                offered = f"it takes {', '.join(offer.mechanisms)}" if offer.mechanisms else "it takes no SASL"
                raise AccessError(f"{self.address}: {what}: {error_name(offer.error_code)}, {offered}")
            talk = conversation(mechanism, user, password)
            message = next(talk)
            while True:
                request = SaslAuthenticateRequest(auth_bytes=message)
                answer = self._answer(
                    connection, request, SaslAuthenticateResponse, SASL_AUTHENTICATE_VERSION, deadline
                )
                if answer.error_code:
                    told = f": {answer.error_message}" if answer.error_message else ""
                    raise AccessError(f"{self.address}: {what}: {error_name(answer.error_code)}{told}")
                message = talk.send(answer.auth_bytes)
        except StopIteration:
            return
        except SaslError as error:
            raise AccessError(f"{self.address}: {what}: {error}") from error
        except (OSError, WireError) as error:
            raise self._shut(what, error) from error

    def _shut(self, what: str, error: OSError | WireError) -> AccessError:
        told = said(error) if isinstance(error, OSError) else str(error)
        if isinstance(error, TimeoutError):
            told = f"no answer within {self._timeout_s:g} s"
        return AccessError(f"{self.address}: {what}: {told}; is that what its listener speaks?")

    def _refuse(self, code: int, message: str | None, api: Api) -> None:
        if code != 0:
            said = f": {message}" if message else ""
            raise ProbeError(f"{api.name} to {self.address}: {error_name(code)}{said}")

    def _failed(self, api: Api, error: Exception) -> ProbeError:
        if isinstance(error, TimeoutError):
            return ProbeError(f"{api.name} to {self.address}: no answer within {self._timeout_s:g} s")
        if isinstance(error, ssl.SSLError):  # with TLS 1.3 a client learns only now that its certificate is refused
            return AccessError(f"{api.name} to {self.address}: TLS: {said(error)}")
        return ProbeError(f"{api.name} to {self.address}: {error}")


_SOFTWARE: Final = {"client_software_name": CLIENT_ID, "client_software_version": "1"}


def is_shut(error: ProbeError) -> bool:
    """Return whether somebody listens there who does not understand us."""
    cause = error.__cause__
    return isinstance(cause, ConnectionError | WireError) and not isinstance(cause, ConnectionRefusedError)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of host:port; ValueError when it is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"not host:port: {address!r}")
    return host.strip("[]"), int(port)


def _left(deadline: float) -> float:
    """Return the seconds until the deadline; TimeoutError when none are left."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        connection.settimeout(_left(deadline))
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the node closed the connection")
        data += chunk
    return bytes(data)
