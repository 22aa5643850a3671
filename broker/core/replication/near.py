"""Which replica a consumer should read from: one in its own rack (KIP-392; Kafka: RackAwareReplicaSelector).

The leader says so in its answer, without records; the consumer then asks the follower, which serves what it knows to be
committed. A consumer without a rack, or in the leader's, stays with the leader.
"""

from __future__ import annotations

from broker.core.metadata.image import Image
from broker.core.replication.leader import Leader

STAY = -1


def nearest(image: Image, node_id: int, rack: str, leader: Leader, offset: int) -> int:
    """Return the replica in the rack that is in sync, alive, has the offset, and is furthest; STAY for none."""
    if not rack or _rack(image, node_id) == rack:
        return STAY
    fit = [
        (leader.followers[replica].end, -replica)
        for replica in leader.state.isr
        if replica in leader.followers
        and image.is_active(replica)
        and _rack(image, replica) == rack
        and leader.followers[replica].end >= offset
    ]
    return -max(fit)[1] if fit else STAY


def _rack(image: Image, node_id: int) -> str | None:
    broker = image.brokers.get(node_id)
    return None if broker is None else broker.rack
