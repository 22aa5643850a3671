"""The contract of `Clocked`, on every provider whose nodes' clocks can be wrong: the node itself says what time it is.

One node of each: nothing here is about others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import catalog
from harness.cluster import faketime
from harness.cluster.api import Clocked, ClusterError
from harness.generator import SECOND_NS
from nemesis.actions import powers
from tests.contracts.test_cluster import description, provider_of, start, until

pytestmark = pytest.mark.timeout(300)

NODE = "n1"
JUMP_MS = 30_000
SLOW_MS = 5_000
"""What an answer on a busy machine may hide, and a jump never reaches."""
PROVIDERS = [
    pytest.param("simulated"),
    pytest.param("embedded", marks=pytest.mark.embedded),
    pytest.param("jvm", marks=pytest.mark.jvm),
]


@pytest.fixture(scope="module", params=PROVIDERS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    cluster = start(request.param, tmp_path_factory.mktemp(request.param), nodes=1, clocks=True)
    try:
        yield cluster
    finally:
        cluster.down()


def within(cluster: Any, condition: Callable[[], object]) -> bool:
    """Wait for the condition, on the cluster's own time."""
    if (world := getattr(cluster, "world", None)) is None:
        return until(condition)
    return bool(world.loop.run_until(world.loop.now_ns + 60 * SECOND_NS, condition))


def shows(cluster: Any, offset_ms: int) -> bool:
    def is_off() -> bool:
        off_ms = cluster.clock_off_ms(NODE)
        return off_ms is not None and abs(off_ms - offset_ms) < SLOW_MS

    return within(cluster, is_off)


@pytest.fixture
def cluster(shared: Any) -> Iterator[Any]:
    assert shows(shared, 0), "a test before left the clock wrong"
    yield shared
    shared.start(NODE)
    shared.unskew(NODE)


def test_its_clocks_are_a_power_of_it(cluster: Any) -> None:
    assert isinstance(cluster, Clocked)
    assert "clock" in powers(type(cluster))


@pytest.mark.parametrize("offset_ms", [JUMP_MS, -JUMP_MS])
def test_a_jump_shows_the_process_goes_on_and_the_clock_is_set_right(cluster: Any, offset_ms: int) -> None:
    pid = cluster.pid(NODE)
    cluster.skew(NODE, offset_ms)
    cluster.skew(NODE, offset_ms)
    assert shows(cluster, offset_ms)
    assert cluster.pid(NODE) == pid
    cluster.unskew(NODE)
    cluster.unskew(NODE)
    assert shows(cluster, 0)


def test_a_strobe_shows_both_again_and_again(cluster: Any) -> None:
    cluster.skew(NODE, JUMP_MS, 100)
    assert all(shows(cluster, offset_ms) for offset_ms in (JUMP_MS, 0, JUMP_MS, 0))
    cluster.unskew(NODE)
    assert shows(cluster, 0)


def test_a_node_that_is_started_again_has_the_clock_that_was_set(cluster: Any) -> None:
    cluster.skew(NODE, JUMP_MS)
    cluster.kill(NODE)
    assert cluster.clock_off_ms(NODE) is None
    cluster.start(NODE)
    assert shows(cluster, JUMP_MS)
    cluster.kill(NODE)
    cluster.unskew(NODE)
    cluster.start(NODE)
    assert shows(cluster, 0)


@pytest.mark.parametrize("shared", PROVIDERS[1:], indirect=True, scope="module")
def test_another_process_sets_the_clock_right(cluster: Any) -> None:
    cluster.skew(NODE, JUMP_MS)
    assert shows(cluster, JUMP_MS)
    other: Any = provider_of(cluster).from_handles(description(cluster))
    other.unskew(NODE)
    assert shows(cluster, 0)


def test_a_node_that_does_not_exist_is_named(cluster: Any) -> None:
    for wrong in (lambda: cluster.skew("n9", 1), lambda: cluster.unskew("n9")):
        with pytest.raises(ClusterError, match="n9"):
            wrong()


@pytest.mark.jvm
@pytest.mark.skipif(faketime.missing() is not None, reason="needs libfaketime")
def test_down_leaves_nothing_in_shared_memory(tmp_path: Any) -> None:
    cluster = start("jvm", tmp_path, nodes=1, clocks=True)
    pids = [cluster.pid(NODE)]
    cluster.kill(NODE)
    cluster.start(NODE)
    pids.append(cluster.pid(NODE))
    names = [name.format(pid) for pid in pids for name in ("faketime_shm_{}", "sem.faketime_sem_{}")]
    said = json.loads(json.dumps(cluster.describe()))
    catalog.provider("jvm").remove(said)
    cluster.down()
    assert not [name for name in names if (faketime.SHARED / name).exists()]
