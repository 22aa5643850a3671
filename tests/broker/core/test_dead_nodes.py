"""A node whose process has ended is replaced at once; nobody waits for its session."""

import pytest

from tests.broker.core.test_broker import cluster, controller, create, image, newest_leader, produced


@pytest.mark.parametrize("victim", ["controller", "leader"])
def test_a_dead_node_is_replaced_long_before_its_session_ends(victim):
    times = {"session_timeout_ms": 60_000, "fetch_timeout_ms": 60_000}
    network = cluster(seed=4, **times)
    key = create(network)
    assert produced(network, key, b"a")
    doomed = controller(network) if victim == "controller" else newest_leader(network, key)[0]
    network.crash(doomed)
    assert network.run(until=lambda: controller(network) not in {None, doomed}, limit_ms=3000)
    assert network.run(until=lambda: newest_leader(network, key)[0] is not None, limit_ms=3000)
    assert produced(network, key, b"b")
    assert image(network).brokers[doomed].fenced
