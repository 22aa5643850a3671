"""The pytest plugin: the fixtures `kafka` and `kafka_run`, the marker `kafka`, and the options of both.

One cluster of each kind that is asked for serves all tests of a session (of a worker, with pytest-xdist); a test gets
topics of its own, and whatever it broke is whole again before the next one. A cluster that can't be made whole is the
error of the test that left it so, and the next test gets another. `@pytest.mark.kafka(...)` asks for another kind: its
arguments are those of `harness.testing.Kafka`, and `fresh=True` for a cluster that no other test gets.

pytest loads this module in every session: it imports nothing slow until a fixture is used.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from harness.testing import Kafka, Verdict

MARK: Final = "kafka"
MOST: Final = 2
"""Kinds of shared clusters that are up at once: a node takes some 35 MB, one of Apache Kafka 150 MB."""
_ARGUMENTS: Final = (
    "cluster",
    "nodes",
    "controllers",
    "broker_config",
    "kafka_version",
    "upgrade_to",
    "image",
    "bug",
    "clocks",
    "fresh",
)
_kafka: Final = pytest.StashKey["Kafka"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say on which Kafka tests run."""
    group = parser.getgroup(MARK, "Kafka clusters with faults")
    group.addoption(
        "--kafka-cluster",
        default="embedded",
        metavar="NAME",
        help="what `kafka` and `kafka_run` run on: embedded (our own broker), jvm or compose (Apache Kafka)",
    )
    group.addoption("--kafka-version", metavar="V", help="the version of Apache Kafka (jvm, compose)")


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    arguments = ", ".join(f"{name}=" for name in _ARGUMENTS)
    told = f"{MARK}({arguments}): which cluster the fixture `kafka` is; see harness.testing.Kafka"
    config.addinivalue_line("markers", told)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of a failed test what was done to its cluster, and what the nodes said last."""
    report = yield
    kafka = item.stash.get(_kafka, None)
    if report.failed and kafka is not None:
        report.sections += _told(kafka)
    return report


class Clusters:
    """The clusters of a session. At most `MOST` are shared; the one that was not used for longest goes first."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        """Begin with none; `new_folder` makes one for each."""
        self._new_folder = new_folder
        self._shared: dict[str, Kafka] = {}

    def take(self, *, fresh: bool, **arguments: Any) -> Kafka:
        """Return a cluster that is up, another test's of the same arguments unless `fresh`."""
        if fresh:
            return self._start(arguments)
        kind = json.dumps(arguments, sort_keys=True)
        kafka = self._shared.pop(kind, None)
        if kafka is None:
            while len(self._shared) >= MOST:
                self._shared.pop(next(iter(self._shared))).close()
            kafka = self._start(arguments)
        self._shared[kind] = kafka
        return kafka

    def give_back(self, kafka: Kafka) -> None:
        """Make the cluster as new for the next test; take it down if nobody shares it, or if that fails."""
        kind = next((kind for kind, shared in self._shared.items() if shared is kafka), None)
        if kind is None:
            kafka.close()
            return
        with ExitStack() as failed:
            failed.callback(lambda: self._shared.pop(kind).close())
            kafka.reset()
            failed.pop_all()

    def close(self) -> None:
        """Take all of them down."""
        with ExitStack() as stack:
            for kafka in self._shared.values():
                stack.callback(kafka.close)
            self._shared.clear()

    def _start(self, arguments: dict[str, Any]) -> Kafka:
        from harness.testing import Kafka  # noqa: PLC0415

        return Kafka(**arguments, folder=self._new_folder()).__enter__()  # `close` is its exit


@pytest.fixture(scope="session")
def _kafka_clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clusters]:
    clusters = Clusters(lambda: tmp_path_factory.mktemp("kafka"))
    yield clusters
    clusters.close()


@pytest.fixture
def kafka(request: pytest.FixtureRequest, _kafka_clusters: Clusters) -> Iterator[Kafka]:
    """A Kafka cluster to test against, and to break: see `harness.testing.Kafka`.

    Topics are the test's own, and what it breaks is healed after it.
    """
    from harness.cluster.api import ClusterError, UsageError  # noqa: PLC0415

    with _failing("no Kafka cluster", ClusterError, UsageError):
        kafka = _kafka_clusters.take(**_asked(request))
    request.node.stash[_kafka] = kafka
    yield kafka
    with _failing("the cluster could not be made whole after this test", ClusterError, TimeoutError):
        _kafka_clusters.give_back(kafka)


@pytest.fixture
def kafka_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Verdict]:
    """`harness run` as a function (`harness.testing.run`), on `--kafka-cluster`; kept in pytest's temporary folder."""
    from harness.testing import run  # noqa: PLC0415

    return functools.partial(run, results=tmp_path_factory.getbasetemp() / "kafka-runs", **_options(request.config))


@contextmanager
def _failing(what: str, *errors: type[Exception]) -> Iterator[None]:
    """Turn errors whose message says it all into a failure without traces."""
    try:
        yield
    except errors as error:
        raise pytest.fail.Exception(f"{what}: {error}", pytrace=False) from None


def _options(config: pytest.Config) -> dict[str, Any]:
    asked = {"cluster": config.getoption("--kafka-cluster"), "kafka_version": config.getoption("--kafka-version")}
    return {name: value for name, value in asked.items() if value is not None}


def _asked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the arguments of the test's cluster: its own mark's, then those of its class and module, the options'."""
    asked = {"fresh": False, **_options(request.config)}
    for mark in reversed(list(request.node.iter_markers(MARK))):
        unknown = sorted(mark.kwargs.keys() - set(_ARGUMENTS))
        if unknown or mark.args:
            pytest.fail(
                f"pytest.mark.{MARK} takes {', '.join(_ARGUMENTS)} by name, not {', '.join(unknown) or mark.args}",
                pytrace=False,
            )
        asked |= mark.kwargs
    return asked


def _told(kafka: Kafka) -> list[tuple[str, str]]:
    """Return sections of a report: the cluster, what was done to it, each node's last lines."""
    from harness.cluster.api import ClusterError  # noqa: PLC0415

    lines = [f"{kafka.scenario.cluster} cluster in {kafka.folder}", *(f"{fault}" for fault in kafka.faults())]
    sections = [("Kafka", "\n".join(lines))]
    try:
        sections += [(f"Kafka, last lines of {log}", said) for log, said in kafka.last_words().items() if said]
    except (ClusterError, OSError) as error:  # the report of the failure matters more
        sections.append(("Kafka, logs", f"not to be had: {error}"))
    return sections
