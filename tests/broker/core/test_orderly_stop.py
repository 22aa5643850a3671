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


def test_a_node_that_loses_power_before_its_last_sync_claims_no_clean_past():
    network = cluster()
    key = create(network)
    for number in range(5):
        assert produced(network, key, b"%d" % number).error_code == Code.NONE
    assert network.run(until=lambda: healthy(network))
    node, disk = network.nodes[2], network.disks[2]
    disk.perform = lambda ready: disk.write_all(ready.writes)  # the sync that follows the writes never comes
    node.lifecycle.stop()
    assert network.run(until=lambda: node.is_stopped, limit_ms=1000)
    disk.crash(None)
    del disk.perform
    network.crash(2, power=False)
    network.start(2)
    kept = network.nodes[2].replicas._found["t-0"][1].end if "t-0" in network.nodes[2].replicas._found else 0
    assert kept == 5 or network.nodes[2].lifecycle._previous_epoch == -1
