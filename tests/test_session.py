"""What tests/conftest.py promises of a session: skips that can't hide, clusters last and alone, a command to repeat."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MARKERS = "docker jvm browser shared embedded"
ENGINES = """
    import pytest

    @pytest.mark.docker
    def test_of_a_cluster():
        assert True

    def test_of_a_function():
        assert True
"""

Session = Callable[..., pytest.RunResult]


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Run tests in a folder of their own, under our conftest, on a machine without a Docker engine."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    for name in MARKERS.split():
        monkeypatch.delenv(f"HARNESS_REQUIRE_{name.upper()}", raising=False)
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:  # it is no worker of ours
        monkeypatch.delenv(name)
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers =\n" + "".join(f"  {name}: an engine\n" for name in MARKERS.split()))

    def run(source: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(source)
        return pytester.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", *arguments)

    return run


def test_a_missing_engine_skips_its_tests_and_says_what_is_missing(session: Session) -> None:
    result = session(ENGINES)
    result.assert_outcomes(passed=1, skipped=1)
    assert "Docker" in next(line for line in result.outlines if line.startswith("SKIPPED"))


def test_a_skip_of_a_required_engine_is_a_failure(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_REQUIRE_DOCKER", "1")
    result = session(ENGINES)
    result.assert_outcomes(passed=1, errors=1)
    assert result.ret == 1
    assert any("HARNESS_REQUIRE_DOCKER=1, but the test was skipped" in line for line in result.outlines)


MIXTURE = """
    import pytest

    @pytest.mark.docker
    @pytest.mark.parametrize("number", range(4))
    def test_of_a_cluster(number):
        assert number < 4

    @pytest.mark.parametrize("number", range(8))
    def test_of_a_function(number):
        assert number < 8

    @pytest.mark.embedded
    @pytest.mark.parametrize("number", range(3))
    def test_of_a_node(number):
        assert number < 3
"""


def test_tests_that_start_clusters_come_first(session: Session) -> None:
    lines = session(MIXTURE, "-n", "0", "-v", "-p", "randomly").outlines
    order = [found[1] for line in lines if (found := re.search(r"::test_of_a_(cluster|function|node)\[\d\] \w", line))]
    assert sorted(order[:7]) == ["cluster"] * 4 + ["node"] * 3
    assert order[7:] == ["function"] * 8


def test_tests_that_start_clusters_share_one_worker(session: Session) -> None:
    lines = session(MIXTURE, "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-v").outlines
    clusters = [found[1] for line in lines if (found := re.search(r"\[(gw\d)\].*SKIPPED.*test_of_a_cluster", line))]
    assert len(clusters) == 4
    nodes = [found[1] for line in lines if (found := re.search(r"\[(gw\d)\].*PASSED.*test_of_a_node", line))]
    assert len(nodes) == 3
    assert len({*clusters, *nodes}) == 1, "containers and our own nodes are of one group"


def test_a_failure_prints_the_command_with_the_seed_that_repeats_it(session: Session) -> None:
    result = session("def test_of_a_bug():\n    assert 1 == 2\n", "-p", "randomly", "--randomly-seed=7")
    result.assert_outcomes(failed=1)
    assert any(re.search(r"--randomly-seed=7 .*::test_of_a_bug'$", line) for line in result.outlines)
    assert re.fullmatch(r"=+ 1 failed in .* =+", result.outlines[-1])


HANGING = """
    import collections
    import itertools
    import pytest

    def wait_in_c_with_the_lock_of_python():
        collections.deque(itertools.repeat(None), maxlen=0)

    @pytest.mark.timeout(1)
    def test_that_hangs():
        wait_in_c_with_the_lock_of_python()

    @pytest.fixture
    def stuck():
        yield
        wait_in_c_with_the_lock_of_python()

    def test_that_fails_and_then_hangs(stuck):
        assert False

    @pytest.mark.parametrize("number", range(4))
    def test_that_passes(number):
        assert number < 4
"""


@pytest.mark.parametrize("name", ["test_that_hangs", "test_that_fails_and_then_hangs"])
def test_a_call_that_never_returns_ends_its_worker_and_nothing_else(
    session: Session, pytester: pytest.Pytester, name: str
) -> None:
    own = (ROOT / "tests" / "conftest.py").read_text()
    pytester.makeconftest(own.replace("GRACE_S = 60.0", "GRACE_S = 1.0"))
    result = session(HANGING, "-n", "2", "-k", f"{name} or passes")
    assert result.ret == 1
    assert any("wait_in_c_with_the_lock_of_python" in line for line in result.errlines), "no traceback"
    assert any(line.startswith("FAILED") and name in line for line in result.outlines)
    assert "4 passed" in result.outlines[-1]


ENDED = """

def pytest_runtest_logstart(nodeid):
    if nodeid.endswith("test_that_waits") and "PYTEST_XDIST_WORKER" not in os.environ:
        os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_session_that_is_ended_names_the_tests_that_still_run(session: Session, pytester: pytest.Pytester) -> None:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text() + ENDED)
    source = """
        import threading

        def test_that_fails():
            assert False

        def test_that_waits():
            threading.Event().wait(100)
    """
    result = session(source, "-n", "1", "-p", "no:randomly")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*still running*", "*test_that_waits, for * s", "FAILED *test_that_fails*"])
