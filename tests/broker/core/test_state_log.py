"""What a coordinator writes is replicated at once: its followers' waiting fetches are answered by the write."""

from broker.core.errors import Code
from tests.broker.core.test_broker import cluster, create
from tests.broker.core.test_group_coordinator import commit, committed

WAIT_MS = 400


def test_a_committed_offset_does_not_wait_for_a_follower_to_ask_again():
    network = cluster(3, 1, replica_fetch_wait_ms=WAIT_MS, replica_lag_ms=10 * WAIT_MS, offsets_partitions=1)
    create(network)
    assert commit(network, 1) == Code.NONE
    network.run(2 * WAIT_MS)
    took = []
    for offset in range(2, 12):
        began = network.now_ms
        assert commit(network, offset) == Code.NONE
        took.append(network.now_ms - began)
    assert max(took) < WAIT_MS / 2
    assert committed(network) == 11
