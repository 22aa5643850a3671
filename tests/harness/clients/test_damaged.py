"""A byte that changed inside a batch, on every disk that has it: readers tell it, whatever the codec."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from broker.wire import batch
from checkers.judge import judge
from harness.clients.confluent import ConfluentClients
from harness.clients.packing import CODECS
from harness.scenario import Scenario
from harness.testing import Kafka
from tests.harness.clients.conftest import op, polled

pytestmark = pytest.mark.embedded

BEHIND = 200
"""The byte that changes lies so far before the end of its batch: in the middle of a value."""

POLLS = 100


def clients(kafka, codec):
    shape = {"topics": 1, "partitions": len(CODECS), "replication": 1, "min_isr": 1, "nodes": 1}
    return ConfluentClients(
        Scenario(workload="send-poll", compression=codec, value_size="2000", **shape), kafka.bootstrap
    )


def damage(path):
    """Change a byte of the second of a log's batches."""
    content = bytearray(path.read_bytes())
    position, header = [*batch.parse(content)][1]
    content[position + header.size - BEHIND] ^= 0x10
    path.write_bytes(content)
    return header.compression


def test_readers_tell_that_a_record_is_not_what_was_sent(tmp_path):
    history = []

    def do(client, *what):
        """Invoke, note both ends, return the completion."""
        invocation = op(*what)
        for one in (invocation, client.invoke(invocation)):
            history.append(replace(one, index=len(history), time=len(history)))
        return history[-1]

    with Kafka("embedded", nodes=1, folder=tmp_path / "kafka") as kafka:
        topic = kafka.create_topic("t0", partitions=len(CODECS))
        keys = [f"{topic}/{partition}" for partition in range(len(CODECS))]
        for process, codec in enumerate(CODECS):
            client = clients(kafka, codec).open(process, time.monotonic_ns)
            for v in range(3):
                assert do(client, "send", [["send", keys[process], v]], process).type == "ok"
            client.close()
        kafka.stop("n1")
        logs = [next(tmp_path.glob(f"kafka/**/{key.replace('/', '-')}/*.log")) for key in keys]
        assert [damage(log) for log in logs] == list(range(len(CODECS)))
        kafka.start("n1")
        for process, codec in enumerate(CODECS):
            client = clients(kafka, codec).open(process, time.monotonic_ns)
            do(client, "assign", [keys[process]], process)
            for _ in range(POLLS):
                seen = polled(do(client, "poll", [["poll"]], process))
                if any(record[0] >= 1 for records in seen.values() for record in records):
                    break
            client.close()
        for process, codec in enumerate(CODECS):
            client = clients(kafka, codec).open(process, time.monotonic_ns)
            scan = client.invoke(op("scan", keys[process], process))
            client.close()
            ((key, records),) = scan.value[0][1]
            assert (
                key,
                [record[0] for record in records if isinstance(record[-1], dict) and "altered" in record[-1]],
            ) == (keys[process], [1])
    found = judge(history).verdict_json()["anomalies"]["record-altered"]
    assert {(one["key"], one["offset"]) for one in found["examples"]} == {(key, 1) for key in keys}
    assert found["count"] == len(CODECS)
