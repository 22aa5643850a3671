"""What compaction costs those who produce: one node of our broker, keyed records, with and without a busy cleaner.

    python -m bench.cleaning [--seconds 8] [--rounds 3] [--size 100]

Each round produces for so many seconds to a compacted topic whose log is being compacted all the time (segments of 2
MiB, every key written again and again), then to one that never is, on a fresh node each. One JSON line per measurement;
the last line holds the ratio of the medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

KEYS = 20_000
READY_S = 30.0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def node(backoff_ms: int) -> Iterator[str]:
    """Run one node; yield its address."""
    clients, nodes = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.properties"
        path.write_text(
            "\n".join(
                (
                    "node.id=1",
                    f"listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{nodes}",
                    f"controller.quorum.voters=1@127.0.0.1:{nodes}",
                    f"log.dirs={folder}/data",
                    f"log.cleaner.backoff.ms={backoff_ms}",
                )
            )
        )
        command = [sys.executable, "-m", "broker", "--config", str(path)]
        subprocess.run([*command, f"--format={secrets.token_urlsafe(16)}"], check=True, capture_output=True)
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            yield f"127.0.0.1:{clients}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(READY_S)


def measure(seconds: float, size: int, *, cleaning: bool) -> dict[str, object]:
    """Produce for a while; return the rate and how much the log shrank."""
    with node(100 if cleaning else 10**9) as address:
        admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
        deadline = time.monotonic() + READY_S
        while True:
            try:
                admin.list_topics(timeout=1)
                break
            except Exception:
                if time.monotonic() > deadline:
                    raise
        settings = {
            "cleanup.policy": "compact",
            "segment.bytes": str(2 << 20),
            "min.cleanable.dirty.ratio": "0.01",
        }
        admin.create_topics([NewTopic("t", 1, 1, config=settings)])["t"].result(READY_S)
        producer = Producer({"bootstrap.servers": address, "linger.ms": 5, "log_level": 0})
        value, sent, acked = b"v" * size, 0, 0

        def told(error: object, _: object) -> None:
            nonlocal acked
            acked += error is None

        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            for _ in range(100):
                try:
                    producer.produce("t", value, b"k%d" % (sent % KEYS), on_delivery=told)
                    sent += 1
                except BufferError:
                    producer.poll(0.05)
            producer.poll(0)
        producer.flush(READY_S)
        rate = acked / (time.monotonic() - begun)
    return {"cleaning": cleaning, "records_per_s": round(rate), "size": size}


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=100)
    given = parser.parse_args()
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(given.rounds):
        for cleaning in (True, False):
            found = measure(given.seconds, given.size, cleaning=cleaning)
            rates[cleaning].append(float(str(found["records_per_s"])))
            print(json.dumps(found), flush=True)
    ratio = statistics.median(rates[True]) / statistics.median(rates[False])
    print(json.dumps({"ratio": round(ratio, 3)}))


if __name__ == "__main__":
    main()
