"""Members of share groups for tests in whole clusters: they do what clients do, one request at a time."""

from __future__ import annotations

from broker.core.errors import Code
from broker.wire import batch, record
from broker.wire.messages.find_coordinator import FindCoordinatorRequest
from broker.wire.messages.share_acknowledge import AcknowledgePartition, AcknowledgeTopic, ShareAcknowledgeRequest
from broker.wire.messages.share_fetch import (
    AcknowledgementBatch,
    FetchPartition,
    FetchTopic,
    ShareFetchRequest,
)
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from tests.broker.core.test_broker import cluster, create, image, produced

ACCEPT, RELEASE, REJECT, RENEW = 1, 2, 3, 4
MOVING = {Code.NOT_COORDINATOR, Code.COORDINATOR_LOAD_IN_PROGRESS, Code.COORDINATOR_NOT_AVAILABLE}


def ready(size=3, partitions=1, *, reset="earliest", seed=1, **settings):
    """A cluster with share groups, and the topic "t"."""
    network = cluster(
        size,
        seed,
        **{
            "share_enable": True,
            "share_session_timeout_ms": 3000,
            "share_heartbeat_interval_ms": 300,
            "share_record_lock_ms": 2000,
            "share_partitions": 2,
            "share_replication_factor": size,
            "share_min_isr": 1,
            "offsets_partitions": 2,
            "offsets_replication_factor": size,
            **settings,
        },
    )
    create(network, "t", partitions=partitions, factor=size)
    if reset:
        configure(network, "g", **{"share.auto.offset.reset": reset})
    return network


def configure(network, group, **values):
    from broker.wire.messages.incremental_alter_configs import (  # noqa: PLC0415 - names that collide
        AlterableConfig,
        AlterConfigsResource,
        IncrementalAlterConfigsRequest,
    )

    resource = AlterConfigsResource(
        resource_type=32,
        resource_name=group,
        configs=tuple(AlterableConfig(name=name, value=value) for name, value in values.items()),
    )
    answer = call(network, min(network.nodes), IncrementalAlterConfigsRequest(resources=(resource,)))
    assert answer.responses[0].error_code == Code.NONE, answer
    network.run(
        until=lambda: all(values.items() <= n.image.config("group", group).items() for n in network.nodes.values())
    )


def call(network, node, message, version=0, limit_ms=30_000):
    request_id = network.send(node, message, version=version)
    network.run(until=lambda: request_id in network.client_replies or node not in network.nodes, limit_ms=limit_ms)
    return network.client_replies.get(request_id)


def coordinator(network, key, kind=0):
    for _ in range(200):
        answer = call(network, min(network.nodes), FindCoordinatorRequest(key_type=kind, coordinator_keys=(key,)))
        if answer is not None and answer.coordinators[0].error_code == Code.NONE:
            return answer.coordinators[0].node_id
        network.run(50)
    raise AssertionError("no coordinator")


def ask(network, message, group="g", version=1):
    """Ask the group's coordinator, again while it moves or loads."""
    for _ in range(200):
        answer = call(network, coordinator(network, group), message, version)
        if answer is not None and getattr(answer, "error_code", Code.NONE) not in MOVING:
            return answer
        network.run(50)
    raise AssertionError("nobody coordinates")


def leader(network, place):
    state = image(network).partition(*place)
    return -1 if state is None else state.leader


class Member:
    """One member; `got` holds (offset, delivery count) of what it has and has not acknowledged, by place."""

    def __init__(self, network, name="m", group="g", topics=("t",)):
        self.network, self.id, self.group, self.topics = network, name, group, topics
        self.epoch, self.assigned = 0, []
        self.sessions = {}
        self.known = {}
        self.got = {}

    # Membership.

    def beat(self, **changed):
        message = ShareGroupHeartbeatRequest(
            **{
                "group_id": self.group,
                "member_id": self.id,
                "member_epoch": self.epoch,
                "subscribed_topic_names": tuple(self.topics) if self.epoch == 0 else None,
                **changed,
            }
        )
        answer = ask(self.network, message, self.group)
        if answer.error_code == Code.NONE:
            self.epoch = max(0, answer.member_epoch)
            if answer.assignment is not None:
                topics = answer.assignment.topic_partitions
                self.assigned = [(topic.topic_id.hex(), index) for topic in topics for index in topic.partitions]
        return answer.error_code

    def join(self, *, places=1):
        """Beat until something is assigned."""
        for _ in range(200):
            assert self.beat() == Code.NONE
            if len(self.assigned) >= places:
                return self
            self.network.run(50)
        raise AssertionError(f"assigned {self.assigned}")

    def leave(self):
        return self.beat(member_epoch=-1)

    # Records.

    def fetch(self, place, acks=(), *, epoch=None, max_records=500, wait_ms=0, node=None, **what):
        """One ShareFetch to the leader; return the partition's answer, or the error code of the whole one."""
        node = leader(self.network, place) if node is None else node
        turn = self.sessions.get(node, 0) if epoch is None else epoch
        ask_for = FetchPartition(partition_index=place[1], acknowledgement_batches=batches(acks))
        message = ShareFetchRequest(
            **{
                "group_id": self.group,
                "member_id": self.id,
                "share_session_epoch": turn,
                "max_wait_ms": wait_ms,
                "min_bytes": 1,
                "max_bytes": 1 << 20,
                "max_records": max_records,
                "batch_size": 100,
                "topics": (FetchTopic(topic_id=bytes.fromhex(place[0]), partitions=(ask_for,)),),
                **what,
            }
        )
        answer = call(self.network, node, message, 2)
        if answer is None:
            self.sessions.pop(node, None)
            return None
        if answer.error_code:
            self.sessions.pop(node, None)
            return answer.error_code
        self.sessions[node] = turn + 1
        found = [
            data
            for topic in answer.responses
            if topic.topic_id.hex() == place[0]
            for data in topic.partitions
            if data.partition_index == place[1]
        ]
        return found[0] if found else None

    def take(self, place, **what):
        """Fetch until there is something; return [(offset, value, delivery count)]."""
        for _ in range(300):
            data = self.fetch(place, **what)
            if data is not None and not isinstance(data, int) and data.acquired_records:
                return records(data)
            self.network.run(20)
        raise AssertionError(f"nothing to get: {data}")

    def acknowledge(self, place, acks, *, epoch=None, node=None, **what):
        """One ShareAcknowledge; return the partition's error code, or that of the whole answer."""
        node = leader(self.network, place) if node is None else node
        turn = self.sessions.get(node, 0) if epoch is None else epoch
        ask_for = AcknowledgePartition(partition_index=place[1], acknowledgement_batches=batches(acks))
        message = ShareAcknowledgeRequest(
            group_id=self.group,
            member_id=self.id,
            share_session_epoch=turn,
            topics=(AcknowledgeTopic(topic_id=bytes.fromhex(place[0]), partitions=(ask_for,)),),
            **what,
        )
        answer = call(self.network, node, message, 2)
        if answer is None:
            return None
        if answer.error_code:
            return answer.error_code
        self.sessions[node] = turn + 1
        return answer.responses[0].partitions[0].error_code


def batches(acks):
    return tuple(
        AcknowledgementBatch(first_offset=first, last_offset=last, acknowledge_types=(kind,))
        for first, last, kind in acks
    )


def records(data):
    """The records that were acquired: (offset, value, delivery count)."""
    counts = {
        offset: one.delivery_count
        for one in data.acquired_records
        for offset in range(one.first_offset, one.last_offset + 1)
    }
    return [
        (item.offset, item.value, counts[item.offset])
        for position, header in batch.parse(data.records or b"")
        if not header.is_control
        for item in record.decode(data.records, position, header)
        if item.offset in counts
    ]


def deaf(network):
    """No share coordinator answers until the returned function is called."""
    for node in network.nodes.values():
        node.shares.coordinator.handle = lambda *_: None

    def hears():
        for node in network.nodes.values():
            del node.shares.coordinator.handle

    return hears


def place_of(network, index=0):
    return image(network).topic_ids["t"], index


def filled(network, count=10, index=0, first=0):
    place = place_of(network, index)
    for number in range(first, first + count):
        assert produced(network, place, b"v%d" % number).error_code == Code.NONE
    return place


def offsets(got):
    return [(offset, count) for offset, _, count in got]
