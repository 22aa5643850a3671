"""What an orderly stop lets a node claim when it starts again, and what takes the claim away."""

from __future__ import annotations

from broker.core.errors import Code
from broker.core.ready import DropLog
from tests.broker.core.test_broker import cluster, contents, create, healthy, produced


def test_a_node_whose_partition_has_gone_since_its_orderly_stop_claims_no_clean_past():
    network = cluster()
    key = create(network)
    assert produced(network, key, b"x").error_code == Code.NONE
    assert network.run(until=lambda: healthy(network))
    node = network.nodes[2]
    node.lifecycle.stop()
    assert network.run(until=lambda: node.is_stopped, limit_ms=1000)
    network.run(5)
    network.crash(2)
    network.disks[2].write(DropLog("t-0"))
    network.start(2)
    assert network.nodes[2].lifecycle._previous_epoch == -1
    assert network.run(until=lambda: healthy(network), limit_ms=3000)
    assert contents(network, key) == {0: b"x"}
