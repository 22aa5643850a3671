"""The pytest plugin, in sessions of its own: clean clusters for each test, what a failure shows, and what is left."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cluster.distribution import cache_folder
from harness.pytest_plugin import _ARGUMENTS, Clusters
from harness.testing import Kafka
from tests.harness.left_running import processes_of

ROOT = Path(__file__).resolve().parents[2]
CACHE = cache_folder()
"""pytester's sessions have a home of their own, but ports are reserved in one place, and modules compiled once."""
QUIET = ("-p", "no:cacheprovider", "-p", "no:randomly", "-ra")

Session = Callable[..., pytest.RunResult]


@pytest.fixture
def command(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A session of pytest in a folder of its own, where all of its temporary files are."""
    monkeypatch.setenv("KAFKA_HARNESS_CACHE", str(CACHE))
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:  # it is no worker of ours
        monkeypatch.delenv(name)
    return [sys.executable, "-m", "pytest", f"--basetemp={pytester.path / 'temporary'}", *QUIET]


@pytest.fixture
def session(pytester: pytest.Pytester, command: list[str]) -> Session:
    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        result = pytester.run(*command, *arguments)
        assert not processes_of(pytester.path)
        return result

    return run


BREAKING = """
    import pytest

    seen = set()

    def is_whole(kafka):
        topic = kafka.create_topic("orders", partitions=3)
        seen.add((kafka.bootstrap, topic))
        return all(set(kafka.partition(topic, number).isr) == set(kafka.nodes) for number in range(3))

    def test_that_kills_everything(kafka):
        assert is_whole(kafka)
        for node in kafka.nodes:
            kafka.kill(node)

    def test_that_fails(kafka):
        assert is_whole(kafka)
        kafka.isolate("n1")
        kafka.pause("n2")
        assert kafka.nodes == ()

    def test_that_comes_after(kafka):
        assert is_whole(kafka)
        assert len({bootstrap for bootstrap, _ in seen}) == 1
        assert len({topic for _, topic in seen}) == 3

    @pytest.mark.kafka(nodes=1, broker_config={"message.max.bytes": 2000}, fresh=True)
    def test_of_another(kafka):
        assert is_whole(kafka)
        assert kafka.nodes == ("n1",)
        assert kafka.scenario.broker_config == {"message.max.bytes": "2000"}
"""


@pytest.mark.embedded
def test_each_test_finds_a_whole_cluster_and_a_failure_shows_what_was_done_to_it(
    session: Session, pytester: pytest.Pytester
) -> None:
    result = session(BREAKING)
    result.assert_outcomes(passed=3, failed=1)
    lines = result.outlines
    folder = pytester.path / "temporary" / "kafka0"
    assert f"embedded cluster in {folder}" in lines
    assert [line for line in lines if re.fullmatch(r"\d+\.\d\d s (cut n1 n[23]|cut n[23] n1|pause n2)", line)]
    assert not [line for line in lines if re.fullmatch(r"\d+\.\d\d s kill n\d", line)], "another test did that"
    for node in ("n1", "n2", "n3"):
        assert any(f"Kafka, last lines of {node}/server.log" in line for line in lines)
        assert (folder / "nodes" / node / "server.log").exists()
    assert any("Kafka Server started" in line for line in lines)


REFUSED = """
    import pytest

    @pytest.mark.kafka(nodez=1)
    def test_of_a_word_that_is_none(kafka):
        assert kafka

    @pytest.mark.kafka(nodes=1, broker_config={"no.such.setting": 1})
    def test_of_a_setting_that_is_none(kafka):
        assert kafka

    @pytest.mark.kafka(cluster="simulated")
    def test_of_a_cluster_that_is_none(kafka):
        assert kafka
"""


@pytest.mark.embedded
def test_what_cannot_be_asked_for_is_an_error_in_one_line(session: Session) -> None:
    result = session(REFUSED)
    result.assert_outcomes(errors=3)
    assert not [line for line in result.outlines if line.startswith(("Traceback", ">", "E "))]
    for told in (
        "pytest.mark.kafka takes cluster, nodes, *, fresh by name, not nodez",
        "no Kafka cluster: --broker-config no.such.setting: our own broker has no such property*",
        "no Kafka cluster: no cluster 'simulated' to test on: there are embedded, jvm, compose",
    ):
        result.stdout.fnmatch_lines([told])


def test_the_mark_takes_what_a_cluster_can_be_and_whether_it_is_fresh() -> None:
    assert {*_ARGUMENTS} - {"fresh"} == inspect.signature(Kafka).parameters.keys() - {"folder"}


class FakeKafka:
    """A cluster that only says whether it is up."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.is_up, self.resets = error, True, 0

    def reset(self) -> None:
        self.resets += 1
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.is_up = False


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clusters:
    monkeypatch.setattr(Clusters, "_start", lambda *_: FakeKafka())
    return Clusters(lambda: tmp_path)


def test_a_cluster_is_shared_by_those_who_ask_for_the_same_and_the_oldest_goes_first(clusters: Clusters) -> None:
    one, two = (clusters.take(fresh=False, nodes=nodes) for nodes in (1, 2))
    for kafka in (one, two):
        clusters.give_back(kafka)
    assert clusters.take(fresh=False, nodes=1) is one
    three = clusters.take(fresh=False, nodes=3)
    assert [kafka.is_up for kafka in (one, two, three)] == [True, False, True]
    own = clusters.take(fresh=True, nodes=1)
    assert own is not one
    clusters.give_back(own)
    assert (own.is_up, own.resets, one.resets) == (False, 0, 1)
    clusters.close()
    assert not one.is_up
    assert not three.is_up


def test_a_cluster_that_cannot_be_made_whole_is_no_other_test_s(clusters: Clusters) -> None:
    kafka = clusters.take(fresh=False, nodes=1)
    kafka.error = TimeoutError("not every replica is in sync")
    with pytest.raises(TimeoutError):
        clusters.give_back(kafka)
    assert not kafka.is_up
    assert clusters.take(fresh=False, nodes=1) is not kafka


PARALLEL = """
    import pytest

    pytestmark = pytest.mark.kafka(nodes=1)

    @pytest.mark.parametrize("number", range(2))
    def test_of_a_worker(kafka, number, worker_id):
        kafka.create_topic()
        kafka.kill("n1")
        print(f"{worker_id} has", kafka.bootstrap)
"""


@pytest.mark.embedded
def test_each_worker_of_xdist_has_a_cluster_of_its_own(session: Session) -> None:
    result = session(PARALLEL, "-n", "2", "-rP")
    result.assert_outcomes(passed=2)
    had = dict(re.findall(r"(gw\d) has (127\.0\.0\.1:\d+)", "\n".join(result.outlines)))
    assert len(set(had.values())) == 2


WAITING = """
    import threading

    import pytest

    @pytest.mark.kafka(nodes=1)
    def test_that_waits(kafka):
        kafka.pause("n1")
        print("waits", flush=True)
        threading.Event().wait(100)
"""


@pytest.mark.embedded
def test_an_interrupted_session_leaves_nothing_running(pytester: pytest.Pytester, command: list[str]) -> None:
    pytester.makepyfile(WAITING)
    with subprocess.Popen([*command, "-s"], stdout=subprocess.PIPE, text=True, cwd=pytester.path) as running:
        assert any("waits" in line for line in running.stdout)
        assert processes_of(pytester.path / "temporary")
        running.send_signal(signal.SIGINT)
        told = running.stdout.read()
    assert running.returncode == pytest.ExitCode.INTERRUPTED, told
    assert not processes_of(pytester.path / "temporary")


LOSING = """
    def test_that_all_is_well(kafka_run):
        lossy = {"cluster": "simulated", "bug": "ack-before-replication"}
        verdict = kafka_run("send-poll", nemesis="kill-leader", seed=7, **lossy)
        assert verdict.valid, verdict
"""


def test_a_run_is_something_to_assert_and_its_failure_shows_the_proof(session: Session) -> None:
    result = session(LOSING)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*INVALID*", "*lost-write*", "*repeat*harness run --workload send-poll*--seed 7*"])
    assert any("report.html" in line and "kafka-runs" in line for line in result.outlines)


def test_a_session_that_uses_none_of_it_imports_none_of_it_and_one_goes_without(session: Session) -> None:
    source = """
        import sys

        import pytest

        @pytest.mark.kafka
        def test_of_something_else():
            assert "harness.pytest_plugin" in sys.modules
            slow = {"harness.testing", "harness.cluster.api", "confluent_kafka", "numpy", "msgspec", "rich"}
            assert slow & sys.modules.keys() == set()
    """
    session(source, "--strict-markers", "--kafka-cluster", "jvm", "--kafka-version", "3.7.1").assert_outcomes(passed=1)
    source = "def test(request):\n    assert not request.config.pluginmanager.has_plugin('kafka-harness')\n"
    session(source, "-p", "no:kafka-harness").assert_outcomes(passed=1)


@pytest.mark.embedded
def test_the_example_of_the_documentation_passes(session: Session) -> None:
    first, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)
    assert "def test_no_order_is_lost_when_a_leader_dies(kafka)" in first
    session(first).assert_outcomes(passed=1)
