"""The contract of clusters whose nodes lose power, and whose disks fail: on every provider that has them.

One cluster of three nodes per provider serves all tests; each leaves it whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from harness.cluster.actions import Start
from harness.cluster.api import ClusterError, Disked, Powered
from harness.cluster.compose import ComposeCluster
from harness.cluster.disks import FULL_DISKS
from harness.cluster.observer import ClusterObserver, holds
from harness.cluster.questions import FullIsr, LeaderElected
from nemesis.actions import undo
from tests.contracts.test_cluster import WITHIN_S, start, until

pytestmark = pytest.mark.timeout(300)

LOCAL = [pytest.param("embedded", marks=pytest.mark.embedded), pytest.param("jvm", marks=pytest.mark.jvm)]
powered = pytest.mark.parametrize(
    "shared", [*LOCAL, pytest.param("compose", marks=pytest.mark.docker)], indirect=True, scope="module"
)
disked = pytest.mark.parametrize("shared", LOCAL, indirect=True, scope="module")
RECORDS = 40
LOSSY, SYNCED = "lossy", "synced"


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    cluster = start(request.param, tmp_path_factory.mktemp(request.param))
    try:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
        settings = {"min.insync.replicas": "2"}
        topics = [
            NewTopic(LOSSY, 1, 3, config=settings),
            NewTopic(SYNCED, 1, 3, config=settings | {"flush.messages": "1"}),
        ]
        for created in admin.create_topics(topics).values():
            created.result(WITHIN_S)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def cluster(shared: Any) -> Any:
    whole(shared)
    return shared


def whole(cluster: Any) -> None:
    observer = ClusterObserver(cluster, [LOSSY, SYNCED])
    assert until(lambda: holds(FullIsr(), observer, cluster))


def leader(cluster: Any, topic: str) -> str:
    observer = ClusterObserver(cluster, [topic])
    assert until(lambda: holds(LeaderElected(f"{topic}/0"), observer, cluster))
    name = observer.partitions([f"{topic}/0"])[0].leader
    assert name is not None
    return name


def write(cluster: Any, *topics: str) -> None:
    refused: list[Any] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap(), "acks": "all", "linger.ms": 0, "log_level": 0})
    for number in range(RECORDS):
        for topic in topics:
            producer.produce(topic, str(number), partition=0, on_delivery=lambda error, _: refused.append(error))
        producer.flush(WITHIN_S)  # batch after batch
    assert refused == [None] * RECORDS * len(topics)


def end_of(consumer: Consumer, partition: TopicPartition) -> int:
    """Return the high watermark, as soon as whoever is asked leads: the test before may have moved that."""
    found: list[int] = []

    def is_told() -> bool:
        try:
            found.append(consumer.get_watermark_offsets(partition, WITHIN_S)[1])
        except KafkaException:
            consumer.list_topics(partition.topic, WITHIN_S)
        return bool(found)

    assert until(is_told)
    return found[0]


def read(cluster: Any, topic: str) -> list[str]:
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap(), "group.id": "none", "log_level": 0})
    try:
        partition = TopicPartition(topic, 0, 0)
        end = end_of(consumer, partition)
        consumer.assign([partition])
        return [message.value().decode() for message in consumer.consume(end, WITHIN_S)]
    finally:
        consumer.close()


def sizes(cluster: Any, node: str) -> dict[str, int]:
    """Return how many bytes a dead node, or a living one on this machine, has of each topic."""
    if isinstance(cluster, ComposeCluster):
        said = cluster.volumes().run(node, "stat -c '%s %n' */*.log", "look")
        lines = [line.split() for line in said.splitlines()]
        return {topic: sum(int(size) for size, name in lines if f"{topic}-0/" in name) for topic in (LOSSY, SYNCED)}
    data = Path(cluster.describe()["handles"]["folder"]) / node / "data"
    return {
        topic: sum(file.stat().st_size for file in (data / f"{topic}-0").glob("*.log")) for topic in (LOSSY, SYNCED)
    }


@powered
def test_a_node_without_power_loses_what_it_had_not_synced_and_the_cluster_nothing(cluster: Any) -> None:
    assert isinstance(cluster, Powered)
    before = {topic: read(cluster, topic) for topic in (LOSSY, SYNCED)}
    write(cluster, LOSSY, SYNCED)
    node = leader(cluster, LOSSY)
    had, lost = sizes(cluster, node), cluster.bytes_lost(node)
    cluster.blackout(node)
    assert cluster.pid(node) is None
    left = sizes(cluster, node)
    assert left[LOSSY] < had[LOSSY]
    assert left[SYNCED] == had[SYNCED] > 0
    taken = Counter(cluster.bytes_lost(node)) - Counter(lost)
    assert taken[f"{LOSSY}/0"] == had[LOSSY] - left[LOSSY]
    assert taken[f"{SYNCED}/0"] == 0
    assert until(lambda: holds(LeaderElected(f"{LOSSY}/0", frozenset({node})), ClusterObserver(cluster), cluster))
    cluster.start(node)
    whole(cluster)
    for topic, values in before.items():
        assert read(cluster, topic) == [*values, *map(str, range(RECORDS))]


@powered
def test_all_nodes_without_power_keep_what_they_had_synced(cluster: Any) -> None:
    before = read(cluster, SYNCED)
    write(cluster, SYNCED)
    nodes = [node.name for node in cluster.nodes()]
    for node in nodes:
        cluster.blackout(node)
    for node in nodes:
        cluster.start(node)
    whole(cluster)
    assert read(cluster, SYNCED) == [*before, *map(str, range(RECORDS))]


@disked
@pytest.mark.skipif(not FULL_DISKS, reason="a disk can be filled on Linux only")
def test_a_node_whose_disk_is_full_ends_with_the_next_write_and_starts_with_room(cluster: Any) -> None:
    assert isinstance(cluster, Disked)
    before = read(cluster, LOSSY)
    node = leader(cluster, LOSSY)
    cluster.fill(node)
    write(cluster, LOSSY)
    assert until(lambda: cluster.pid(node) is None)
    assert leader(cluster, LOSSY) != node
    cluster.start(node)
    whole(cluster)
    assert set(map(str, range(RECORDS))) <= set(read(cluster, LOSSY)[len(before) :])
    cluster.fill(node)
    assert cluster.full(node)
    assert undo(Start(node), cluster)
    assert not cluster.full(node)
    write(cluster, LOSSY)
    cluster.kill(node)
    with pytest.raises(ClusterError, match="is not running: its disk can't be filled"):
        cluster.fill(node)
    cluster.start(node)


@disked
def test_a_byte_that_rots_is_found_by_its_node_and_fetched_again(cluster: Any) -> None:
    write(cluster, LOSSY)
    before = read(cluster, LOSSY)
    node = next(one.name for one in cluster.nodes() if one.name != leader(cluster, LOSSY))
    had, rotten = sizes(cluster, node)[LOSSY], cluster.rotten(node)
    cluster.rot(node, f"{LOSSY}/0")
    assert cluster.pid(node) is None
    assert cluster.rotten(node) == rotten + 1
    assert sizes(cluster, node)[LOSSY] == had
    cluster.start(node)
    whole(cluster)
    assert read(cluster, LOSSY) == before
    cluster.rot(node, "no-such-topic/0")
    assert cluster.rotten(node) == rotten + 1
    cluster.start(node)
