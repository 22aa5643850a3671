"""How long nobody can write after the leader of a partition was killed, on three of our nodes with links.

    python -m bench.broker.failover [--kills 7]

One producer (acks=all) writes a record as soon as the last one is acknowledged. The partition's leader is killed with
SIGKILL; the time is that from the kill to the next acknowledgement. Then the node is started, and the next kill waits
until it is back in the ISR. Prints a JSON line: median and worst, apart for kills that took the controller too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Producer

from bench.broker import loads
from bench.broker.targets import EMBEDDED, running
from broker.wire.messages.metadata import MetadataResponsePartition
from harness.cluster.probe import Probe, ProbeError, split_address
from harness.cluster.processes import EmbeddedCluster

NODES = 3
BOUND_S = 30.0
"""For a failover, and for a node to come back: a machine that is that slow measures nothing."""
LOOK_S = 0.002
REST_S = 0.5
QUICK = {
    "linger.ms": 0,
    "retry.backoff.ms": 20,
    "retry.backoff.max.ms": 50,
    "reconnect.backoff.ms": 10,
    "reconnect.backoff.max.ms": 50,
}


class Writer(threading.Thread):
    """Writes until told to stop; `acked_s` is when a record was last acknowledged."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(daemon=True)
        self.acked_s, self.is_over = time.monotonic(), False
        self.topic = topic
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "log_level": 0, **QUICK})

    def run(self) -> None:
        """Write."""
        while not self.is_over:
            self._producer.produce(self.topic, b"x", partition=0)
            if not self._producer.flush(BOUND_S):
                self.acked_s = time.monotonic()


def partition(cluster: EmbeddedCluster, topic: str) -> tuple[MetadataResponsePartition, int]:
    """Return the only partition as some node tells it, and who leads the quorum. Raises ProbeError."""
    last = ProbeError("no node answers")
    for node in cluster.nodes():
        try:
            with Probe(*split_address(node.address)) as probe:
                return probe.metadata((topic,)).topics[0].partitions[0], probe.describe_quorum().leader_id
        except (ProbeError, IndexError) as error:
            last = ProbeError(str(error))
    raise last


def one_kill(cluster: EmbeddedCluster, topic: str, writer: Writer) -> tuple[float, bool]:
    """Kill the leader; return the seconds until something was acknowledged, and whether it was the controller."""
    state, controller = partition(cluster, topic)
    name = f"n{state.leader_id}"
    cluster.kill(name)
    killed_s = time.monotonic()
    _until(lambda: writer.acked_s > killed_s)
    took = writer.acked_s - killed_s
    time.sleep(REST_S)
    cluster.start(name)
    _until(lambda: _whole(cluster, topic))
    time.sleep(REST_S)
    return took, controller == state.leader_id


def _whole(cluster: EmbeddedCluster, topic: str) -> bool:
    try:
        return len(partition(cluster, topic)[0].isr_nodes) == NODES
    except ProbeError:
        return False


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not holds():
        if time.monotonic() > deadline:
            raise loads.FailedError(f"nothing after {BOUND_S:g} s")
        time.sleep(LOOK_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=7)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-failover-")))
        target = stack.enter_context(running(EMBEDDED, NODES, folder, kfake=None, links=True))
        target.starting.join()
        cluster = target.cluster
        assert isinstance(cluster, EmbeddedCluster)
        writer = Writer(target.bootstrap, loads.create(target.bootstrap, 1, NODES))
        writer.start()
        time.sleep(REST_S)
        found = [one_kill(cluster, writer.topic, writer) for _ in range(options.kills)]
        writer.is_over = True
        writer.join(BOUND_S)
    rows = {"all": [took for took, _ in found]}
    rows["controller_too"] = [took for took, too in found if too]
    figures = {
        name: {"median_s": round(statistics.median(took), 3), "worst_s": round(max(took), 3)}
        for name, took in rows.items()
        if took
    }
    print(json.dumps({"bench": "failover", "kills": len(found), **figures}))


if __name__ == "__main__":
    main()
