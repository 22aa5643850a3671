"""What a request costs our broker with more partitions, more connections, and a longer log; how long recovery takes.

    python -m bench.broker.scale [--partitions 1000] [--connections 200] [--gigabytes 10] [--requests 4000]

Produce requests of one small batch, five on their way, to one partition of a node. The CPU time per request is what
counts: it does not depend on what else the machine does, as far as that is possible. Recovery: the node is killed with
SIGKILL and started; the time is that from its start to its first answer. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.broker import loads
from bench.broker.targets import EMBEDDED, Target, running
from broker.wire import batch, codec
from broker.wire.frame import frame
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from harness.cluster.ports import LOOPBACK
from harness.cluster.processes import EmbeddedCluster

VERSION = 10
DEPTH = 5
RECORD_BYTES = 1024


def request(topic: str) -> bytes:
    """Return the frame of a Produce request of one batch of 100 bytes."""
    data = bytes(batch.build(bytes(100), count=1, base_timestamp=1, max_timestamp=1))
    partition = PartitionProduceData(index=0, records=data)
    message = ProduceRequest(
        acks=-1, timeout_ms=30_000, topic_data=(TopicProduceData(name=topic, partition_data=(partition,)),)
    )
    return frame(codec.encode_request(message, VERSION, correlation_id=1, client_id="scale"))


def cost(target: Target, topic: str, requests: int, connections: list[socket.socket]) -> dict[str, float]:
    """Send requests over the connections in turn; return how many a second, and the broker's CPU time for each."""
    data = request(topic)
    files = [one.makefile("rb") for one in connections]

    def one_round(connection: int) -> None:
        connections[connection].sendall(data * DEPTH)
        for _ in range(DEPTH):
            files[connection].read(struct.unpack(">i", files[connection].read(4))[0])

    one_round(0)
    cpu_s, began = target.cpu_s(), time.monotonic()
    for number in range(requests // DEPTH):
        one_round(number % len(connections))
    took = time.monotonic() - began
    return {"per_s": round(requests / took), "cpu_us": round((target.cpu_s() - cpu_s) / requests * 1e6, 1)}


def tell(what: str, amount: float, **figures: float) -> None:
    """Print a line."""
    print(json.dumps({"bench": "broker-scale", "what": what, "amount": amount, **figures}), flush=True)


def recovery_s(cluster: EmbeddedCluster, target: Target) -> float:
    """Kill the node and start it; return the seconds to its first answer."""
    cluster.kill("n1")
    began = time.monotonic()
    cluster.start("n1")
    took = loads.first_ack(target.bootstrap, 1, began)["s"]
    pid = cluster.pid("n1")
    target.pids[:] = [] if pid is None else [pid]
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=4000)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-scale-")))
        target = stack.enter_context(running(EMBEDDED, 1, folder, kfake=None, links=False))
        loads.first_ack(target.bootstrap, 1, time.monotonic())
        target.starting.join()
        port = int(target.bootstrap.rpartition(":")[2])

        def connect() -> socket.socket:
            one = stack.enter_context(socket.create_connection((LOOPBACK, port)))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return one

        topic = loads.create(target.bootstrap, 1, 1)
        first = [connect()]
        tell("partitions", 1, **cost(target, topic, options.requests, first))
        loads.create(target.bootstrap, options.partitions, 1)
        tell("partitions", options.partitions, **cost(target, topic, options.requests, first))
        many = [connect() for _ in range(options.connections)]
        tell("connections", 1, **cost(target, topic, options.requests, first))
        tell("connections", options.connections, **cost(target, topic, options.requests, many))
        tell("gigabytes", 0, **cost(target, topic, options.requests, first))
        records = int(options.gigabytes * 1e9) // RECORD_BYTES
        loads.produce(target.bootstrap, topic, size=RECORD_BYTES, partitions=1, seconds=600, records=records)
        tell("gigabytes", options.gigabytes, **cost(target, topic, options.requests, first))
        assert isinstance(target.cluster, EmbeddedCluster)
        tell("recovery", options.gigabytes, s=round(recovery_s(target.cluster, target), 2))


if __name__ == "__main__":
    main()
