"""Keys judged in processes or on a cluster have the verdict that they have here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from checkers import queue, sharding
from checkers.judge import judge
from checkers.options import CheckOptions
from harness import parallel
from harness.cli import guarded
from harness.cluster.api import UsageError
from harness.history import Op, write
from tests.checkers.kafka_model import run

WITHIN_S = 60


def registers(keys):
    ops = []
    for key in range(keys):
        for type_, f, value in [
            ("invoke", "write", 1),
            ("ok", "write", 1),
            ("invoke", "cas", [1, 2]),
            ("ok", "cas", [1, 2]),
            ("invoke", "read", None),
            ("ok", "read", 1 if key == 5 else 2),
        ]:
            at = len(ops)
            ops.append(Op(process=key, type=type_, f=f, value=value, index=at, time=at, extra={"key": f"k{key}"}))
    return ops


def told(judgement):
    out = judgement.verdict_json()
    del out["seconds"]
    return out


def where_it_ran(part):
    return part, os.getpid()


@pytest.fixture(scope="module")
def scheduler():
    """A cluster inside this process: a scheduler and a worker on loopback."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", protocol="inproc://"
    ) as cluster:
        yield cluster


def test_processes_return_results_in_order_and_are_not_this_one():
    results = parallel.Processes(2).map(where_it_ran, [lambda n=n: n for n in range(7)])
    assert [part for part, _ in results] == list(range(7))
    assert os.getpid() not in {pid for _, pid in results}


def test_failure_in_a_process_is_raised_here_and_the_next_map_works():
    processes = parallel.Processes(2)
    with pytest.raises(ZeroDivisionError):
        processes.map(lambda part: 1 // part, [lambda: 1, lambda: 0])
    assert processes.map(lambda part: part, [lambda: 1, lambda: 2]) == [1, 2]


def test_keys_judged_in_processes_have_the_same_verdict(tmp_path, capsys):
    write(tmp_path / "h.jsonl", registers(8))
    arguments = ["check", str(tmp_path / "h.jsonl"), "--workload", "cas-register", "--json"]
    assert guarded([*arguments, "--jobs", "2"]) == 1
    apart = json.loads(capsys.readouterr().out)
    assert guarded(arguments) == 1
    here = json.loads(capsys.readouterr().out)
    assert apart["anomalies"] == here["anomalies"]
    assert here["anomalies"]["nonlinearizable"]["count"] == 1


def test_shards_judged_in_processes_have_the_same_verdict(monkeypatch):
    monkeypatch.setattr(queue, "shards", lambda case, width: sharding.shards(case, width, rows=20, least=1))
    ops = max((run(seed).ops for seed in range(12)), key=len)
    assert told(judge(ops, CheckOptions(), parallel.Processes(2))) == told(judge(ops))


def test_keys_judged_on_a_cluster_have_the_same_verdict(scheduler):
    ops, options = registers(8), CheckOptions(workload="cas-register")
    with parallel.mapper(1, scheduler.scheduler_address) as mapper:
        assert mapper.width == 2
        assert told(judge(ops, options, mapper)) == told(judge(ops, options))


def test_shards_judged_on_a_cluster_have_the_same_verdict(scheduler, monkeypatch):
    monkeypatch.setattr(queue, "shards", lambda case, width: sharding.shards(case, width, rows=20, least=1))
    ops = max((run(seed).ops for seed in range(12)), key=len)
    with parallel.mapper(1, scheduler.scheduler_address) as mapper:
        assert told(judge(ops, CheckOptions(), mapper)) == told(judge(ops))


def test_without_dask_one_line_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    write(tmp_path / "h.jsonl", registers(2))
    assert guarded(["check", str(tmp_path / "h.jsonl"), "--dask", "tcp://127.0.0.1:9"]) == 254
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "kafka-harness[dask]" in said


def test_address_where_nothing_answers_is_refused(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "CONNECT_S", 0.2)
    with pytest.raises(UsageError, match="no scheduler answers"), parallel.mapper(1, "tcp://127.0.0.1:9"):
        pass


def test_what_takes_a_connection_and_is_no_scheduler_is_not_waited_for(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(parallel, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageError, match="no scheduler answers"), parallel.mapper(1, address):
            pass


@pytest.mark.parametrize("address", ["foo", "tls://127.0.0.1:9"])
def test_an_address_that_is_none_is_one_line_to_the_end_of_the_process(tmp_path, address):
    pytest.importorskip("distributed")
    write(tmp_path / "h.jsonl", registers(2))
    command = [sys.executable, "-m", "harness", "check", str(tmp_path / "h.jsonl"), "--dask", address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert done.returncode == 254
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"harness: --dask {address}: no scheduler answers there")
