"""The figures that Apache Kafka's tools print are read; what is none of theirs is told, not taken for a figure."""

import threading

import pytest

from bench.broker.kafka_tools import Tools
from bench.broker.loads import FailedError
from bench.broker.targets import Target

PRODUCED = (
    "120332 records sent, 24000.1 records/sec (23.44 MB/sec), 900.1 ms avg latency, 1200.0 ms max latency.\n"
    "800000 records sent, 35440.6 records/sec (34.61 MB/sec), 827.15 ms avg latency, 1510.00 ms max latency, "
    "723 ms 50th, 1223 ms 95th, 1370 ms 99th, 1499 ms 99.9th.\n"
)
SYNCED = "0\t12.3\n1000\t1.1\nAvg latency: 2.3311 ms\nPercentiles: 50th = 1, 99th = 8, 99.9th = 23\n"


@pytest.fixture
def tools(tmp_path):
    """Make tools whose Java prints that and ends so."""

    def make(text, status=0):
        (tmp_path / "said").write_text(text)
        java = tmp_path / "java"
        java.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\ncat {tmp_path}/said\nexit {status}\n')
        java.chmod(0o755)
        return Tools(str(java), tmp_path)

    return make


TARGET = Target("embedded", "here:1", [], threading.Thread())


def test_the_last_line_of_the_producer_counts(tools, tmp_path):
    assert tools(PRODUCED).produce(TARGET, "t", 100, 9) == {"rec_s": 35440.6, "mean_ms": 827.15, "p99_ms": 1370.0}
    called = (tmp_path / "called").read_text()
    assert "ProducerPerformance --topic t --num-records 9 --record-size 100 --throughput -1" in called
    assert "bootstrap.servers=here:1" in called


def test_latencies_of_single_records_are_read(tools):
    assert tools(SYNCED).sync(TARGET, "t", 9) == {"mean_ms": 2.3311, "p50_ms": 1.0, "p99_ms": 8.0}


@pytest.mark.parametrize(("text", "status"), [("Exception in thread main\n", 0), (PRODUCED, 1), ("", 0)])
def test_what_is_no_figure_is_a_failure(tools, text, status):
    for ask in (lambda tool: tool.produce(TARGET, "t", 100, 9), lambda tool: tool.sync(TARGET, "t", 9)):
        with pytest.raises(FailedError):
            ask(tools(text, status))
