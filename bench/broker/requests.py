"""What each request of a transaction takes without a client's timers: three raw requests, one after the other.

    python -m bench.broker.requests [--nodes 1] [--targets embedded,kfake] [--count 5000] [--kfake FOLDER]

AddPartitionsToTxn, Produce (10 records of 100 B) and EndTxn go out as frames made before, each when the last is
answered, in the versions that librdkafka speaks. Prints a JSON line per target: median microseconds per request, and
the CPU time of all brokers per transaction.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import TypeVar

from bench.broker import loads
from bench.broker.targets import EMBEDDED, KFAKE, Target, running
from broker.wire import codec, record
from broker.wire.frame import LENGTH, frame
from broker.wire.message import Request, Response
from broker.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopic,
)
from broker.wire.messages.end_txn import EndTxnRequest, EndTxnResponse
from broker.wire.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from broker.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from broker.wire.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData

NAME = "bench"
RECORDS = 10
WARM_UP = 200
"""Transactions before the clock counts."""
WAIT_S = 0.1
R = TypeVar("R", bound=Response)


class Raw:
    """One connection, one request at a time."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=loads.TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, data: bytes) -> bytes:
        """Send a frame; return the payload that comes back."""
        self._socket.sendall(data)
        answer = self._more(b"")
        while len(answer) < LENGTH.size or len(answer) < LENGTH.size + LENGTH.unpack_from(answer)[0]:
            answer = self._more(answer)
        return answer[LENGTH.size :]

    def _more(self, before: bytes) -> bytes:
        data = self._socket.recv(1 << 16)
        if not data:
            raise loads.FailedError("the broker closed the connection")
        return before + data

    def ask(self, request: Request, version: int, kind: type[R]) -> R:
        """Return the answer to a request."""
        return codec.decode_response(kind, version, self.exchange(_framed(request, version)))[1]


def _framed(request: Request, version: int) -> bytes:
    return frame(codec.encode_request(request, version, correlation_id=1, client_id=NAME))


def _produce(topic: str, identity: tuple[int, int], number: int) -> bytes:
    data = record.batch_of(
        [(b"%d" % index, bytes(100)) for index in range(RECORDS)],
        timestamp_ms=int(time.time() * 1000),
        producer_id=identity[0],
        producer_epoch=identity[1],
        base_sequence=number * RECORDS,
        transactional=True,
    )
    part = TopicProduceData(name=topic, partition_data=(PartitionProduceData(index=0, records=bytes(data)),))
    request = ProduceRequest(transactional_id=NAME, acks=-1, timeout_ms=30_000, topic_data=(part,))
    return _framed(request, 10)


def measure(target: Target, nodes: int, count: int) -> dict[str, float]:
    """Return the medians in us, and the brokers' CPU time per transaction."""
    topic = loads.create(target.bootstrap, 1, nodes)
    first = Raw(target.bootstrap.split(",")[0])
    deadline = time.monotonic() + loads.TIMEOUT_S
    while (found := first.ask(FindCoordinatorRequest(key_type=1, key=NAME), 2, FindCoordinatorResponse)).error_code:
        if time.monotonic() > deadline:
            raise loads.FailedError(f"no coordinator: {found}")
        time.sleep(WAIT_S)
    metadata = first.ask(MetadataRequest(topics=(MetadataRequestTopic(name=topic),)), 8, MetadataResponse)
    addresses = {broker.node_id: f"{broker.host}:{broker.port}" for broker in metadata.brokers}
    coordinator, leader = Raw(addresses[found.node_id]), Raw(addresses[metadata.topics[0].partitions[0].leader_id])
    begin = InitProducerIdRequest(transactional_id=NAME, transaction_timeout_ms=60_000)
    while (began := coordinator.ask(begin, 2, InitProducerIdResponse)).error_code:
        if time.monotonic() > deadline:
            raise loads.FailedError(f"no producer id: {began}")
        time.sleep(WAIT_S)
    identity = (began.producer_id, began.producer_epoch)
    add = _framed(
        AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=NAME,
            v3_and_below_producer_id=identity[0],
            v3_and_below_producer_epoch=identity[1],
            v3_and_below_topics=(AddPartitionsToTxnTopic(name=topic, partitions=(0,)),),
        ),
        0,
    )
    end = EndTxnRequest(transactional_id=NAME, producer_id=identity[0], producer_epoch=identity[1], committed=True)
    ended = _framed(end, 1)
    taken: dict[str, list[float]] = {"add_us": [], "produce_us": [], "end_us": []}
    cpu_s = 0.0
    for number in range(-WARM_UP, count):
        if number == 0:
            cpu_s = target.cpu_s()
        written = _produce(topic, identity, number + WARM_UP)
        answers = []
        for name, connection, data in zip(
            taken, (coordinator, leader, coordinator), (add, written, ended), strict=True
        ):
            start = time.perf_counter()
            answers.append(connection.exchange(data))
            if number >= 0:
                taken[name].append((time.perf_counter() - start) * 1e6)
        _check(answers)
    cpu_us = (target.cpu_s() - cpu_s) / count * 1e6
    return {name: statistics.median(values) for name, values in taken.items()} | {"cpu_us": cpu_us}


def _check(answers: list[bytes]) -> None:
    """Raise FailedError unless all three are good."""
    added = codec.decode_response(AddPartitionsToTxnResponse, 0, answers[0])[1]
    produced = codec.decode_response(ProduceResponse, 10, answers[1])[1]
    ended = codec.decode_response(EndTxnResponse, 1, answers[2])[1]
    codes = (
        added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code,
        produced.responses[0].partition_responses[0].error_code,
        ended.error_code,
    )
    if any(codes):
        raise loads.FailedError(f"a transaction failed with the codes {codes}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--targets", default=f"{EMBEDDED},{KFAKE}")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--kfake", type=Path, help="the folder with kfake's main.go and go.mod, to be built once")
    options = parser.parse_args()
    for name in options.targets.split(","):
        with (
            tempfile.TemporaryDirectory(prefix="bench-broker-") as folder,
            running(name, options.nodes, Path(folder), kfake=options.kfake, links=False) as target,
        ):
            loads.first_ack(target.bootstrap, options.nodes, time.monotonic())
            target.starting.join()
            figures = {key: round(value) for key, value in measure(target, options.nodes, options.count).items()}
            line = {"bench": "requests", "nodes": options.nodes, "target": name, **figures}
            print(json.dumps(line | {"load": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
