"""What every test stands on: which engines this machine has, the order of tests, and the one seed of a session.

Engines. A test marked `docker`, `jvm` or `browser` is skipped, with the reason, where the engine is missing. Where
HARNESS_REQUIRE_DOCKER=1 (JVM, BROWSER) is set, every skip of such a test is a failure instead: CI can't lose them
silently.

Order. Tests that start Apache Kafka's processes carry one xdist group, those that start containers or our own nodes
another one. A worker has each of the groups, so that there are never more than two clusters; what needs none fills the
time of all. Within each part pytest-randomly shuffles. Tests marked `long` are for `make test-long`.

Seed. Hypothesis takes the seed of pytest-randomly; one number, printed with the command on failure, repeats both.

Time. pytest-timeout works in Python: a call into C that never returns stops it too. Each test therefore has a watchdog,
which is written in C and ends the worker GRACE_S after the test's time-out: the traceback of every thread is printed,
pytest-xdist reports the test, and another worker goes on. A session that is ended from outside (SIGTERM) still prints
what failed, and which tests were running and for how long.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import shutil
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.core
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from harness.cluster import distribution, engine, image
from harness.cluster.api import UsageError

pytest_plugins = ["pytester"]

VERSION = "4.1.1"
SHOWN_COMMANDS = 10
GRACE_S = 60.0
"""What a test has to take its clusters down: after its time-out, and after it failed."""
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ON_MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

# A deadline per example would make a busy machine fail the tests; pytest-timeout bounds each test as a whole.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")


def _lacks_docker() -> str | None:
    try:
        with contextlib.closing(engine.connect()) as client:
            engine.compose_command()
            # No test pulls: what an engine lacks is told, and whoever runs the tests chooses where it comes from.
            there = any(image.present(client, f"{name}:{VERSION}") for name in (image.OURS, image.OFFICIAL))
    except UsageError as error:
        return str(error)
    return None if there else f"no image of Apache Kafka {VERSION} (compose/image/build.sh, or docker pull)"


def _lacks_jvm() -> str | None:
    try:
        distribution.find_java(VERSION)
        if distribution.unpacked(VERSION) or (distribution.cache_folder() / f"kafka-{VERSION}").is_dir():
            return None
    except UsageError as error:
        return str(error)
    return f"the jars of Apache Kafka {VERSION} are not in the cache (make jars)"


def _lacks_browser() -> str | None:
    return None if find_chromium() else "no Chromium found"


def _lacks_shared() -> str | None:
    return None if SHARED.is_dir() else "no folder ../shared/data beside the checkout"


LACKS: dict[str, Callable[[], str | None]] = {
    "docker": functools.cache(_lacks_docker),
    "jvm": functools.cache(_lacks_jvm),
    "browser": functools.cache(_lacks_browser),
    "shared": functools.cache(_lacks_shared),
}
GROUPS = {"jvm": ("jvm",), "nodes": ("docker", "embedded")}
"""What runs one after another, and the marks that say so; what has both marks is of the first."""


def find_chromium() -> str | None:
    """Return the command of a Chromium or Chrome on this machine."""
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return found
    return str(CHROMIUM_ON_MACOS) if CHROMIUM_ON_MACOS.exists() else None


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, for tests marked `browser`."""
    found = find_chromium()
    assert found is not None, "mark the test with pytest.mark.browser"
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published histories with verdicts, for tests marked `shared`."""
    return SHARED


_running = pytest.StashKey["Running"]()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(running := Running())
    config.stash[_running] = running
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # begun with `&` or nohup: what tests start would ignore it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = getattr(config.option, "randomly_seed", None)
    if isinstance(seed, int) and hypothesis.core.global_force_seed is None:
        hypothesis.core.global_force_seed = seed


def _end(*_: object) -> None:
    raise KeyboardInterrupt("ended from outside (SIGTERM)")


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests of clusters wait more than they work."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("shared") and _lacks_shared():  # else pytest would say "empty parameter set"
            item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "skip"]
    yield
    items.sort(
        key=lambda item: _group(item) is None
    )  # after the shuffling: the groups are the longest, and begin first


def _group(item: pytest.Item) -> str | None:
    """Return the group of a test that starts a cluster."""
    for group, marks in GROUPS.items():
        if any(item.get_closest_marker(mark) for mark in marks):
            return group
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, lacks in LACKS.items():
        if item.get_closest_marker(name) and (reason := lacks()):
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        for name in LACKS:
            variable = f"HARNESS_REQUIRE_{name.upper()}"
            if item.get_closest_marker(name) and os.environ.get(variable) == "1":
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
                report.outcome = "failed"
                report.longrepr = f"{variable}=1, but the test was skipped. {reason}"
    return report


class Running:
    """Notes which tests run; with pytest-xdist the main process hears it from the workers."""

    def __init__(self) -> None:
        """Begin with none."""
        self.since: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.since[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.since.pop(nodeid, None)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, Any, Any]:
    """Set the watchdog together with the time-out that it backs."""
    _watch(item, settings.timeout + GRACE_S)
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Watch over the rest of a test that failed: both time-outs end with the failure."""
    if isinstance(node, pytest.Item) and not node.config.getvalue("usepdb"):
        _watch(node, GRACE_S)


def pytest_runtest_logfinish() -> None:
    faulthandler.cancel_dump_traceback_later()


def _watch(item: pytest.Item, seconds: float) -> None:
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])


@pytest.hookimpl(wrapper=True)
def pytest_timeout_cancel_timer() -> Generator[None, Any, Any]:
    faulthandler.cancel_dump_traceback_later()
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print which tests never ended, and the command that repeats what failed, with its seed."""
    if since := config.stash[_running].since:
        terminalreporter.section("still running")
        for name, began in since.items():
            terminalreporter.write_line(f"{name}, for {time.monotonic() - began:.0f} s")
    broken = [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]
    names = list(
        dict.fromkeys(
            functools.reduce(lambda name, group: name.removesuffix(f"@{group}"), GROUPS, report.nodeid)
            for report in broken
            if "::" in report.nodeid
        )
    )
    if not names:
        return
    seed = getattr(config.option, "randomly_seed", 0)
    terminalreporter.section("repeat")
    for name in names[:SHOWN_COMMANDS]:
        terminalreporter.write_line(f".venv/bin/python -m pytest -n 0 --randomly-seed={seed} '{name}'")
    if len(names) > SHOWN_COMMANDS:
        terminalreporter.write_line(f"… and {len(names) - SHOWN_COMMANDS} more")
