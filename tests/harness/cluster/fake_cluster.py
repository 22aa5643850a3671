"""A cluster of fake nodes: each tells its own view, so that tests can make them disagree."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from broker.wire.apis import Api
from broker.wire.messages.describe_quorum import DescribeQuorumResponse, PartitionData, ReplicaState, TopicData
from broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from broker.wire.messages.list_offsets import (
    READ_COMMITTED,
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from broker.wire.messages.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from broker.wire.primitives import NO_UUID
from harness.cluster.api import Node
from tests.harness.cluster.fake_node import FakeNode

NOT_LEADER = 6


@dataclass
class View:
    """What one node believes."""

    partitions: dict[str, tuple[int, int, tuple[int, ...]]] = field(default_factory=dict)
    """key: (leader, epoch, isr); replicas are 1, 2, 3; topics that begin with __ are internal."""
    brokers: tuple[int, ...] = (1, 2, 3)
    controller: tuple[int, int] | None = (1, 1)
    """(node id, epoch); None: no answer."""
    voters: dict[int, int] = field(default_factory=dict)
    """Time of the last fetch by voter."""
    coordinator: int = 1
    found: set[str] = field(default_factory=set)
    """What its coordinator was asked for."""
    ids: dict[str, bytes] = field(default_factory=dict)
    """Of topics; zeros where it says none."""
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    """key: (LSO, HW), for what it leads."""
    silent: bool = False
    cluster_id: str = "fake"


class FakeCluster:
    """Satisfies Cluster and Killable (a dead node has no pid) as far as observers look."""

    def __init__(self, nodes: list[Node]) -> None:
        self.name = "fake"
        self.list = nodes
        self.dead: set[str] = set()

    def nodes(self):
        return self.list

    def bootstrap(self):
        return ",".join(node.address for node in self.list)

    def up(self):
        pass

    def down(self):
        pass

    def describe(self):
        return {}

    def kill(self, node):
        self.dead.add(node)

    def start(self, node):
        self.dead.discard(node)

    def pid(self, node):
        return None if node in self.dead else 1


@contextmanager
def cluster_of(views: dict[str, View], controllers: tuple[int, ...] = ()) -> Iterator[FakeCluster]:
    """Serve each view as a node of that name; node ids count from 1; controllers are not served."""
    with ExitStack() as stack:
        nodes = []
        for number, (name, view) in enumerate(views.items(), 1):
            served = stack.enter_context(FakeNode(_answers(view, nodes)))
            nodes.append(Node(name, number, served.address))
        nodes += [Node(f"c{one}", one, "", frozenset({"controller"})) for one in controllers]
        yield FakeCluster(nodes)


def _answers(view: View, nodes: list[Node]):
    def unless_silent(answer):
        return lambda request: None if view.silent else answer(request)

    return {
        Api.METADATA: unless_silent(lambda request: _metadata(view, request, nodes)),
        Api.DESCRIBE_QUORUM: unless_silent(lambda _: _quorum(view)),
        Api.FIND_COORDINATOR: unless_silent(lambda request: _coordinators(view, request)),
        Api.LIST_OFFSETS: unless_silent(lambda request: _offsets(view, request)),
    }


def _coordinators(view, request):
    view.found |= set(request.coordinator_keys)
    return FindCoordinatorResponse(
        coordinators=tuple(Coordinator(key=key, node_id=view.coordinator) for key in request.coordinator_keys)
    )


def _metadata(view, request, nodes):
    wanted = None if request.topics is None else {topic.name for topic in request.topics}
    topics: dict[str, list[MetadataResponsePartition]] = {}
    for key, (leader, epoch, isr) in view.partitions.items():
        topic, _, index = key.rpartition("/")
        if wanted is None or topic in wanted:
            topics.setdefault(topic, []).append(
                MetadataResponsePartition(
                    partition_index=int(index),
                    leader_id=leader,
                    leader_epoch=epoch,
                    isr_nodes=isr,
                    replica_nodes=(1, 2, 3),
                )
            )
    addresses = {node.id: node.address.rpartition(":") for node in nodes if node.address}
    return MetadataResponse(
        cluster_id=view.cluster_id,
        brokers=tuple(
            MetadataResponseBroker(node_id=one, host=addresses[one][0], port=int(addresses[one][2]))
            for one in view.brokers
            if one in addresses
        ),
        topics=tuple(
            MetadataResponseTopic(
                name=name,
                topic_id=view.ids.get(name, NO_UUID),
                partitions=tuple(parts),
                is_internal=name.startswith("__"),
            )
            for name, parts in topics.items()
        ),
    )


def _quorum(view):
    if view.controller is None:
        return None
    leader, epoch = view.controller
    voters = tuple(
        ReplicaState(replica_id=voter, log_end_offset=1, last_fetch_timestamp=time_ms)
        for voter, time_ms in view.voters.items()
    )
    partition = PartitionData(leader_id=leader, leader_epoch=epoch, current_voters=voters)
    return DescribeQuorumResponse(topics=(TopicData(partitions=(partition,)),))


def _offsets(view, request):
    def part(topic, asked):
        ends = view.ends.get(f"{topic}/{asked.partition_index}")
        if ends is None:
            return ListOffsetsPartitionResponse(partition_index=asked.partition_index, error_code=NOT_LEADER)
        offset = ends[0] if request.isolation_level == READ_COMMITTED else ends[1]
        return ListOffsetsPartitionResponse(
            partition_index=asked.partition_index, offset=0 if asked.timestamp == -2 else offset, leader_epoch=4
        )

    return ListOffsetsResponse(
        topics=tuple(
            ListOffsetsTopicResponse(
                name=topic.name, partitions=tuple(part(topic.name, one) for one in topic.partitions)
            )
            for topic in request.topics
        )
    )
