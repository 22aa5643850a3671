"""How many operations a second confluent-kafka clients sustain, one a thread, each send awaiting its delivery report.

    python -m bench.driver_client [--seconds 5] [--threads 10] [--bootstrap HOST:PORT]
                                  [--compression mixed] [--value-size 128-16384]

Without --bootstrap the brokers are librdkafka's mock cluster in this process: one thread of C that costs little, so the
figures are those of our clients. Prints one JSON line for each kind of operation:
`send` (one record, no transaction), `txn` (two records in a transaction), `poll` (records a second, read back), each by
bare clients, and `send` again through the interpreter with its history on disk.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer
from msgspec.structs import replace

from harness.clients.confluent import ConfluentClient, ConfluentClients
from harness.combinators import TimeLimit
from harness.generator import Context, Repeat, clients, invoke
from harness.history import INVOKE, OK, HistoryWriter, Op
from harness.interpreter import Interpreter
from harness.random import Rng
from harness.scenario import Scenario

BROKERS = 3
PARTITIONS = 4
"""What the mock cluster gives a topic that is asked for."""
METADATA_S = 10.0
SCENARIO = Scenario(topics=1, partitions=PARTITIONS, replication=1, min_isr=1)

Work = Callable[[ConfluentClient, int, int], tuple[int, bool]]
"""(client, process, count) -> (things done, ok)."""


def send(client: ConfluentClient, process: int, count: int) -> tuple[int, bool]:
    value = [["send", f"t0/{count % PARTITIONS}", count]]
    return 1, client.invoke(Op(process=process, type=INVOKE, f="send", value=value)).type == OK


def txn(client: ConfluentClient, process: int, count: int) -> tuple[int, bool]:
    value = [["send", f"t0/{(count + i) % PARTITIONS}", 2 * count + i] for i in range(2)]
    return 1, client.invoke(Op(process=process, type=INVOKE, f="txn", value=value)).type == OK


def poll(client: ConfluentClient, process: int, count: int) -> tuple[int, bool]:
    if count == 0:
        keys = [f"t0/{partition}" for partition in range(PARTITIONS)]
        client.invoke(Op(process=process, type=INVOKE, f="assign", value=keys))
    done = client.invoke(Op(process=process, type=INVOKE, f="poll", value=[["poll"]]))
    return sum(len(records) for _, records in done.value[0][1]), done.type == OK


def measure(name: str, work: Work, factory: ConfluentClients, threads: int, seconds: float) -> dict[str, object]:
    """Run `work` in all threads for so long, after one warm-up op each."""
    ready = threading.Barrier(threads + 1)
    latencies: list[list[float]] = [[] for _ in range(threads)]
    done, failed = [0] * threads, [0] * threads
    stop = threading.Event()

    def run(thread: int) -> None:
        client = factory.open(thread, time.monotonic_ns)
        work(client, thread, 0)
        ready.wait()
        for count in itertools.count(1):
            if stop.is_set():
                break
            begun = time.perf_counter()
            things, ok = work(client, thread, count * threads + thread)
            latencies[thread].append(time.perf_counter() - begun)
            done[thread] += things
            failed[thread] += not ok
        client.close()

    workers = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    begun, cpu = time.monotonic(), time.process_time()
    stop.wait(seconds)
    stop.set()
    took, cpu = time.monotonic() - begun, time.process_time() - cpu
    for worker in workers:
        worker.join()
    ordered = sorted(itertools.chain(*latencies))
    return {
        "bench": "driver_client",
        "kind": name,
        "threads": threads,
        "per_s": round(sum(done) / took),
        "not_ok": sum(failed),
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
        "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 2),
        "cpu_per_s": round(cpu / took, 2),
    }


def through_the_interpreter(factory: ConfluentClients, threads: int, seconds: float) -> dict[str, object]:
    """Send through the scheduler, with every op in a history on disk."""
    oks = 0

    def make(count: int, rng: Rng, ctx: Context) -> tuple[Op, Rng]:
        return invoke(ctx, "send", [["send", f"t0/{count % PARTITIONS}", count]]), rng

    with tempfile.TemporaryDirectory() as folder, HistoryWriter(Path(folder) / "history.jsonl") as writer:

        def record(op: Op) -> None:
            nonlocal oks
            writer.append(op)
            oks += op.type == OK

        generator = TimeLimit(int(seconds * 1e9), clients(Repeat(make, Rng(1))))
        Interpreter(generator, threads, factory, {}, record).run()
    return {
        "bench": "driver_client",
        "kind": "send through the interpreter",
        "threads": threads,
        "per_s": round(oks / seconds),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=10)
    parser.add_argument("--compression", default=SCENARIO.compression, help="as of `harness run`")
    parser.add_argument("--value-size", default=SCENARIO.value_size, help="as of `harness run`")
    parser.add_argument("--bootstrap", help="a real cluster with a topic t0 of 4 partitions, instead of the mock one")
    arguments = parser.parse_args()
    keeper, bootstrap = None, arguments.bootstrap
    if bootstrap is None:
        keeper = Producer({"bootstrap.servers": "", "test.mock.num.brokers": BROKERS, "log_level": 0})
        metadata = keeper.list_topics("t0", METADATA_S)
        bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())
    packed = {"compression": arguments.compression, "value_size": arguments.value_size}
    factory = ConfluentClients(replace(SCENARIO, **packed), bootstrap)
    kinds: tuple[tuple[str, Work], ...] = (("send", send), ("txn", txn), ("poll", poll))
    for name, work in kinds:
        figures = measure(name, work, factory, arguments.threads, arguments.seconds)
        print(json.dumps(figures | packed | {"cores": os.cpu_count(), "mock": keeper is not None}), flush=True)
    figures = through_the_interpreter(factory, arguments.threads, arguments.seconds)
    print(json.dumps(figures | packed | {"cores": os.cpu_count(), "mock": keeper is not None}), flush=True)


if __name__ == "__main__":
    main()
