"""Runs of a soak in processes, here and on a Dask cluster: their rows and folders come back, whatever becomes of them."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import store
from harness.cli import guarded
from harness.cluster.api import UsageError
from harness.options import scenario_of
from harness.process.apart import Apart
from harness.process.exits import BROKEN, STOPPED
from harness.scenario import Scenario
from harness.soak import crew
from harness.soak.command import bases, soak
from harness.soak.crew import Job, supervised, token
from harness.soak.soak import SOAK

WITHIN_S = 60
SHORT = ["--cluster", "simulated", "--time-limit", "2", "--rate", "60", "--nemesis", "none", "--duration", "0.1s"]


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """Processes of a test's own, of which none is left behind."""
    with closing(Apart()) as processes:
        monkeypatch.setattr(crew, "_of_this_worker", processes)
        yield processes


@pytest.fixture(scope="module")
def scheduler():
    """A cluster inside this process: a scheduler and a worker on loopback."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0", protocol="inproc://"
    ) as cluster:
        yield cluster.scheduler_address


def rows_of(results):
    return [json.loads(line) for line in (results / "soak" / store.LATEST / SOAK).read_text().splitlines()]


def folder_of(results, row):
    return results / "soak" / store.LATEST / row["folder"]


def of_this_thread():
    """Stands for `commit`: another one on a worker, which is a thread here."""
    return "mine" if threading.current_thread() is threading.main_thread() else "theirs"


def interrupted(*_):
    """Stands for a run that Ctrl-C ends before it is one."""
    raise KeyboardInterrupt


def killed(*_):
    """Stands for a run that takes its process along."""
    signal.raise_signal(signal.SIGKILL)


def test_a_soak_makes_the_runs_that_harness_run_makes(tmp_path, capsys):
    asked = ["--workload", "share", "--cluster", "simulated", "--time-limit", "2", "--nemesis", "none", "--seed", "3"]
    assert guarded(["run", *asked, "--results", str(tmp_path / "run"), "--json"]) in {0, 2}
    assert guarded(["soak", *asked, "--duration", "0.1s", "--results", str(tmp_path)]) in {0, 2}
    (row,) = rows_of(tmp_path)
    made = store.read_scenario(folder_of(tmp_path, row))
    assert made == store.read_scenario(tmp_path / "run" / store.LATEST)
    assert made.broker_config["group.share.delivery.count.limit"] == "10"
    history = (folder_of(tmp_path, row) / store.HISTORY).read_bytes()
    assert history == (tmp_path / "run" / store.LATEST / store.HISTORY).read_bytes()
    assert "1 run: " in capsys.readouterr().out


def test_options_of_a_run_reach_the_runs_side_by_side(tmp_path, capsys):
    asked = ["--concurrency", "4", "--topic-config", "segment.bytes=1024", "--workload", "send-poll,txn"]
    assert guarded(["soak", *SHORT, *asked, "--jobs", "2", "--results", str(tmp_path)]) in {0, 2}
    rows = rows_of(tmp_path)
    assert {(row["seed"], row["workload"]) for row in rows} == {(1, "send-poll"), (2, "txn")}
    for row in rows:
        made = store.read_scenario(folder_of(tmp_path, row))
        assert (made.concurrency, made.topic_config["segment.bytes"], made.rate) == (4, "1024", 60.0)
    assert "go on      with --seed 3" in capsys.readouterr().out


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_soak_that_is_told_to_end_tells_what_it_found(tmp_path, stop):
    asked = ["--cluster", "simulated", "--no-swarm", "--time-limit", "10", "--nemesis", "none", "--duration", "1h"]
    command = [sys.executable, "-m", "harness", "soak", *asked, "--results", str(tmp_path)]
    rows = tmp_path / "soak" / store.LATEST / SOAK
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as soak:
        deadline = time.monotonic() + WITHIN_S
        while not (rows.exists() and rows.read_text()):
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)
        soak.send_signal(stop)
        told, said = soak.communicate(timeout=WITHIN_S)
    assert "\nends early: " in told
    assert f"go on      with --seed {len(rows_of(tmp_path)) + 1}" in told
    assert said == ""
    assert soak.returncode in {0, 2, 130}, "130: it was in its set-up"


def test_a_run_that_takes_its_process_along_is_a_broken_row_and_is_healed(apart, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "make", killed)
    job = Job(Scenario(seed=7, cluster="simulated"), tmp_path, token(tmp_path), keeps=True)
    left = tmp_path / job.name / "stamp"
    left.mkdir(parents=True)
    store.write_json(left / store.SCENARIO, job.scenario)
    store.write_json(left / store.OWNER, store.Owner(pid=1, started="never", done=False))
    row = supervised(apart, job, tmp_path)
    assert (row.status, row.valid, row.folder) == (BROKEN, None, f"{job.name}/stamp")
    assert "SIGKILL" in row.why
    assert store.read_as(left / store.OWNER, store.Owner).done


def test_a_run_that_is_interrupted_before_it_begins_is_a_stopped_row(apart, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "make", interrupted)
    row = supervised(apart, Job(Scenario(seed=7), tmp_path, token(tmp_path), keeps=True), tmp_path)
    assert (row.status, row.valid, row.folder) == (STOPPED, None, None)


def test_a_folder_that_is_too_large_to_travel_stays_where_its_row_says(scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "_sees", lambda _: False)
    monkeypatch.setattr("harness.soak.travel.MOST_BYTES", 10)
    guarded(["soak", *SHORT, "--jobs", "1", "--dask", scheduler, "--results", str(tmp_path)])
    (row,) = rows_of(tmp_path)
    assert row["folder"] is None
    stays = Path(row["why"].partition("it stays in ")[2].partition(" there")[0])
    assert (stays / store.HISTORY).exists()
    shutil.rmtree(stays.parents[1])


@pytest.mark.parametrize("is_shared", [True, False])
def test_runs_on_a_cluster_come_back_with_their_folders(scheduler, tmp_path, monkeypatch, capsys, is_shared):
    if not is_shared:
        monkeypatch.setattr(crew, "_sees", lambda _: False)
    assert guarded(["soak", *SHORT, "--dask", scheduler, "--results", str(tmp_path)]) in {0, 2}
    rows = rows_of(tmp_path)
    assert len(rows) == 2, "as many as the worker has threads"
    for row in rows:
        assert row["worker"]
        assert row["valid"] is not None
        assert (folder_of(tmp_path, row) / store.HISTORY).stat().st_size
        assert store.read_scenario(folder_of(tmp_path, row)).seed == row["seed"]
    assert "2 at a time" in capsys.readouterr().out


def test_valid_runs_that_nobody_keeps_do_not_travel(scheduler, tmp_path, monkeypatch):
    monkeypatch.setattr(crew, "_sees", lambda _: False)
    asked = [*SHORT, "--time-limit", "10", "--no-swarm", "--keep", "0", "--jobs", "1"]
    assert guarded(["soak", *asked, "--dask", scheduler, "--results", str(tmp_path)]) == 0
    assert [row["folder"] for row in rows_of(tmp_path)] == [None]


def test_a_worker_with_another_harness_is_refused_before_anything_runs(scheduler, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crew, "commit", of_this_thread)
    assert guarded(["soak", *SHORT, "--dask", scheduler, "--results", str(tmp_path)]) == 254
    said = capsys.readouterr()
    assert "has the harness of commit theirs, the caller that of mine" in said.err
    assert (said.err.count("\n"), said.out, list(tmp_path.iterdir())) == (1, "", [])


def test_a_scheduler_that_is_not_there_is_one_line_before_anything_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("distributed")
    monkeypatch.setattr("harness.parallel.CONNECT_S", 0.2)
    assert guarded(["soak", *SHORT, "--dask", "tcp://127.0.0.1:9", "--results", str(tmp_path)]) == 254
    said = capsys.readouterr()
    assert "no scheduler answers" in said.err
    assert (said.err.count("\n"), said.out, list(tmp_path.iterdir())) == (1, "", [])


class FarCluster:
    """Stands for a distributed.Client."""

    def __init__(self):
        self.status, self.threads = "running", {"w1": 4}

    def get_executor(self, **_):
        return self

    def nthreads(self):
        return self.threads

    def run(self, *_):
        raise OSError("nobody answers")

    shutdown = run


def test_a_lost_scheduler_and_workers_that_stay_away_are_told_and_raise_nothing(tmp_path, monkeypatch):
    client = FarCluster()
    far = crew.Remote(client, "tcp://far:1", tmp_path, jobs=3, keeps=True)
    clock_s = itertools.count(far._checked_s + 30, 30)
    monkeypatch.setattr(crew, "time", SimpleNamespace(monotonic=lambda: next(clock_s)))
    assert (far.trouble(), far.width) == (None, 3)
    client.threads = {"w1": 1}
    assert (far.trouble(), far.width) == (None, 1)
    client.threads = {}
    assert (far.trouble(), far.trouble(), far.width) == (None, None, 0)
    assert far.trouble() == "the Dask scheduler at tcp://far:1 has had no workers for 60 s"
    client.status = "connecting"
    assert far.trouble() == "the connection to the Dask scheduler at tcp://far:1 is lost"
    far.interrupt()
    far.close()


def test_apache_kafka_is_soaked_in_each_version_and_the_others_once():
    found = bases(["jvm", "simulated", "compose"], ["3.7.1", "4.1.1"], [])
    assert [(one["cluster"], one["kafka_version"]) for one in found] == [
        ("jvm", "3.7.1"),
        ("jvm", "4.1.1"),
        ("simulated", "4.1.1"),
        ("compose", "3.7.1"),
        ("compose", "4.1.1"),
    ]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"controllers": 3}, "--controllers 3 has no effect on --cluster simulated"),
        ({"broker_config": {"foo": "1"}}, "--broker-config foo: our own broker has no such property"),
        ({"broker_config": {"num.partitions": "x"}}, "--broker-config num.partitions=x: it must be a whole number"),
    ],
)
def test_what_would_break_every_run_is_refused_before_the_first(given, named, tmp_path):
    def make(**fields):
        return scenario_of(**given, cluster=fields["cluster"], seed=fields["seed"])

    with pytest.raises(UsageError, match=named):
        soak(
            make,
            duration="1h",
            clusters=["simulated"],
            workloads=["txn"],
            nemeses=["none"],
            versions=["4.1.1"],
            images=[],
            seed=1,
            jobs=None,
            dask=None,
            keep=0,
            max_disk_gb=1.0,
            results=tmp_path,
        )
    assert not list(tmp_path.iterdir())


def test_images_have_the_version_that_is_told_of_them():
    one = bases(["compose"], ["4.1.1"], ["a:1", "b:2"])
    each = bases(["compose"], ["3.7.1", "4.1.1"], ["a:1", "b:2"])
    assert [(base["image"], base["kafka_version"]) for base in one] == [("a:1", "4.1.1"), ("b:2", "4.1.1")]
    assert [(base["image"], base["kafka_version"]) for base in each] == [("a:1", "3.7.1"), ("b:2", "4.1.1")]
    with pytest.raises(UsageError, match="--kafka-version has no effect on --cluster simulated,embedded"):
        bases(["simulated", "embedded"], ["3.7.1"], [])
    with pytest.raises(UsageError, match="--image has no effect on --cluster jvm"):
        bases(["jvm"], ["3.7.1"], ["a:1"])
    with pytest.raises(UsageError, match="--image names 2, --kafka-version 3"):
        bases(["compose"], ["1", "2", "3"], ["a:1", "b:2"])
