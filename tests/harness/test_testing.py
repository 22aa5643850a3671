"""`harness.testing` without pytest's fixtures: a cluster that is broken and healed, a run as something to assert."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from harness import store
from harness.cluster import group
from harness.cluster.api import ClusterError, UsageError
from harness.cluster.disks import FULL_DISKS
from harness.cluster.jvm import JvmCluster
from harness.cluster.questions import FullIsr
from harness.process import guardian
from harness.testing import Kafka, run
from tests.harness.left_running import nothing_runs, processes_of

WITHIN_S = 30


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    folder = tmp_path_factory.mktemp("kafka")
    with Kafka(folder=folder, clocks=True) as kafka:
        yield kafka
    assert not processes_of(folder)
    assert not store.is_abandoned(folder)
    assert sorted(path.name for path in (folder / store.NODES).iterdir()) == ["n1", "n2", "n3"]


@pytest.fixture
def kafka(shared: Kafka) -> Iterator[Kafka]:
    yield shared
    shared.reset()


@pytest.mark.embedded
def test_a_dead_leader_has_a_successor_and_comes_back(kafka: Kafka) -> None:
    topic = kafka.create_topic("orders", partitions=2)
    before = kafka.leader(topic, 1)
    kafka.kill(before)
    assert kafka.leader(topic, 1) != before
    kafka.start(before)
    kafka.wait_until(FullIsr())
    assert before in kafka.partition(topic, 1).isr


@pytest.mark.embedded
def test_a_healed_cluster_is_led_as_before_and_its_coordinators_are_too(kafka: Kafka) -> None:
    """Else what a test does next would depend on what was done before."""
    topic = kafka.create_topic("orders", partitions=3)
    group = kafka.name("billing")
    before = [kafka.leader(topic, number) for number in range(3)]
    coordinator = kafka.coordinator("group", group)
    for node in (before[0], coordinator):
        led = [kafka.leader(topic, number) for number in range(3)]
        kafka.kill(node)
        kafka.start(node)
        kafka.wait_until(FullIsr())
        assert [kafka.leader(topic, number) for number in range(3)] != led == before
        kafka.heal()
    assert [kafka.leader(topic, number) for number in range(3)] == before
    assert kafka.coordinator("group", group) == coordinator


@pytest.mark.embedded
def test_an_isolated_leader_is_told_apart_from_its_successor(kafka: Kafka) -> None:
    topic = kafka.create_topic()
    before = kafka.leader(topic)
    kafka.isolate(before)
    assert kafka.leader(topic, other_than=[before]) != before
    assert len(kafka.faults()) == 4
    assert "cut" in kafka.faults()[0]


@pytest.mark.embedded
def test_another_replica_leads_in_order_and_the_order_is_put_back(kafka: Kafka) -> None:
    topic = kafka.create_topic("orders", partitions=2)
    before, beside = kafka.partition(topic), kafka.partition(topic, 1)
    first = kafka.move_leader(topic)
    assert first == kafka.leader(topic) == kafka.partition(topic).replicas[0] != before.leader
    assert kafka.move_leader(topic, to=before.leader) == kafka.leader(topic) == before.leader
    assert kafka.partition(topic, 1) == beside
    with pytest.raises(UsageError, match=f"{topic}/0: {before.leader} can't be made leader: n"):
        kafka.move_leader(topic, to=before.leader)
    kafka.kill(first)
    with pytest.raises(UsageError, match=f"{first} can't be made leader"):
        kafka.move_leader(topic, to=first)
    kafka.start(first)
    kafka.move_leader(topic)
    kafka.heal()
    assert kafka.partition(topic).replicas == before.replicas
    assert kafka.leader(topic) == before.leader


@pytest.mark.embedded
def test_a_partition_lies_where_it_was_moved_until_it_is_healed(kafka: Kafka) -> None:
    topic = kafka.create_topic("orders", replication=2)
    before = kafka.partition(topic)
    (free,) = set(kafka.nodes) - set(before.replicas)
    kafka.reassign(topic, to=[free, before.replicas[1]])
    assert kafka.partition(topic).replicas == (free, before.replicas[1])
    assert kafka.leader(topic) in {free, before.replicas[1]}
    kafka.reassign(topic, to=[free])
    assert kafka.leader(topic) == free
    assert f"reassign {topic}/0 {free}" in kafka.faults()[1]
    assert len(kafka.faults()) == 2
    kafka.kill(free)  # it has the only replica: nobody can move it before it is back
    kafka.heal()
    healed = kafka.partition(topic)
    assert (healed.replicas, set(healed.isr)) == (before.replicas, set(before.replicas))
    assert kafka.faults() == ()


@pytest.mark.embedded
@pytest.mark.parametrize("to", [[], ["n1", "n1"], ["n1", "n9"]])
def test_a_partition_that_could_not_lie_there_is_not_moved(kafka: Kafka, to: list[str]) -> None:
    topic = kafka.create_topic()
    with pytest.raises(UsageError, match=r"can't lie on .*: n1, n2, n3 can"):
        kafka.reassign(topic, to=to)
    assert kafka.faults() == ()


@pytest.mark.embedded
def test_a_moved_partition_of_a_topic_that_is_deleted_is_not_waited_for(kafka: Kafka) -> None:
    topic = kafka.create_topic(replication=1)
    (lies,) = kafka.partition(topic).replicas
    kafka.reassign(topic, to=[next(node for node in kafka.nodes if node != lies)])
    kafka.reset()
    with pytest.raises(TimeoutError):
        kafka.leader(topic, timeout_s=0.1)


@pytest.mark.embedded
@pytest.mark.parametrize("kind", ["group", "transaction"])
def test_a_coordinator_is_moved_and_killed_and_the_next_one_is_found(kafka: Kafka, kind: str) -> None:
    name = kafka.name("billing")
    before = kafka.coordinator(kind, name)
    topic, partition = kafka.keeper(kind, name)
    assert topic == {"group": "__consumer_offsets", "transaction": "__transaction_state"}[kind]
    placed = kafka.partition(topic, partition).replicas
    assert kafka.leader(topic, partition) == before
    moved = kafka.move_leader(topic, partition)
    assert kafka.coordinator(kind, name, other_than=[before]) == moved != before
    kafka.kill(moved)
    assert kafka.coordinator(kind, name, other_than=[moved]) != moved
    with pytest.raises(TimeoutError, match=f"a coordinator of {kind} {name}: not within 0.1 s"):
        kafka.coordinator(kind, name, other_than=kafka.nodes, timeout_s=0.1)
    kafka.reset()
    assert kafka.partition(topic, partition).replicas == placed


@pytest.mark.embedded
def test_whatever_was_done_is_healed_and_topics_are_gone(kafka: Kafka) -> None:
    topic = kafka.create_topic("orders", exact=True)
    assert topic == "orders"
    kafka.shape("clients", "n1", delay_s=0.05)
    kafka.cut("n1", "n2")
    kafka.pause("n2")
    kafka.kill("n1")
    os.kill(kafka.cluster.pid("n3"), signal.SIGKILL)  # type: ignore[attr-defined]  # by the test itself
    kafka.reset()
    assert kafka.faults() == ()
    assert all(kafka._runs(node) for node in kafka.nodes)
    assert kafka.cluster.shaped("clients", "n1") == 0  # type: ignore[attr-defined]
    again = kafka.create_topic("orders", exact=True)  # it would exist
    assert set(kafka.partition(again).isr) == set(kafka.nodes)


@pytest.mark.embedded
def test_a_node_is_stopped_in_order_and_killed_if_it_is_frozen(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    kafka.stop("n1")
    assert not kafka._runs("n1")
    assert [fault.split(" ", 2)[2] for fault in kafka.faults()] == ["stop n1"]
    monkeypatch.setattr(group, "STOP_S", 0.1)
    kafka.pause("n2")
    kafka.stop("n2")
    assert kafka.cluster.pid("n2") is None  # type: ignore[attr-defined]


@pytest.mark.embedded
def test_a_topic_is_made_while_a_node_is_dead(kafka: Kafka) -> None:
    kafka.kill("n2")
    topic = kafka.create_topic(partitions=3)
    assert "n2" not in {kafka.leader(topic, number) for number in range(3)}


@pytest.mark.embedded
def test_names_are_given_out_once_and_what_cannot_be_is_refused(kafka: Kafka) -> None:
    assert kafka.create_topic("a") != kafka.create_topic("a")
    assert kafka.name("group") != kafka.name("group")
    with pytest.raises(UsageError, match="has not so many brokers"):
        kafka.create_topic(replication=4)
    with pytest.raises(UsageError, match="no node n9: there are n1, n2, n3"):
        kafka.kill("n9")
    with pytest.raises(ClusterError):
        kafka.cut("n1", "n1")
    assert kafka.faults() == ()
    with pytest.raises(TimeoutError, match=r"absent/0: not within 0.1 s: nobody leads it"):
        kafka.leader("absent", timeout_s=0.1)


@pytest.mark.embedded
def test_topics_whose_deletion_fails_on_the_way_are_deleted_again(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, answers = kafka._admin, ["fails", "passes"]

    class Flaky:
        def __init__(self) -> None:
            self.real = real()

        def delete_topics(self, names: list[str], **options: float) -> dict[str, Future[None]]:
            if answers.pop(0) == "passes":
                return self.real.delete_topics(names, **options)
            failed: Future[None] = Future()
            failed.set_exception(KafkaException(KafkaError(KafkaError._TRANSPORT)))
            return dict.fromkeys(names, failed)

    topic = kafka.create_topic()
    monkeypatch.setattr(kafka, "_admin", Flaky)
    kafka.delete_topics()
    assert answers == []
    # A node that has not heard of it yet may still be asked.
    kafka._await(lambda: "told" if kafka._observer.partitions((f"{topic}/0",)) else None, f"{topic}'s end", WITHIN_S)
    assert not kafka._observer.partitions((f"{topic}/0",))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"cluster": "existing"}, "no cluster 'existing' to test on: there are embedded, jvm, compose"),
        ({"nodes": 0}, r"nodes"),
        ({"bug": "no-such"}, "unknown bug 'no-such'"),
        ({"cluster": "compose", "clocks": True}, "the clocks of a cluster of compose can't be set"),
        ({"upgrade_to": "4.2.0"}, "upgrade_to='4.2.0' needs a cluster of jvm, not of embedded"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(asked: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Kafka(**asked)  # type: ignore[arg-type]


@pytest.mark.embedded
def test_a_cluster_of_one_version_cannot_be_upgraded(kafka: Kafka) -> None:
    with pytest.raises(UsageError, match="n1 can't be brought to another version: there is embedded"):
        kafka.upgrade("n1")
    assert kafka.faults() == ()


@pytest.mark.jvm
def test_a_node_is_upgraded_keeps_its_records_and_is_taken_back_for_the_next_test(tmp_path: Path) -> None:
    def records() -> int:
        consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "any"})
        try:
            return consumer.get_watermark_offsets(TopicPartition(topic, 0), WITHIN_S)[1]
        finally:
            consumer.close()

    with Kafka("jvm", nodes=1, kafka_version="3.7.1", upgrade_to="4.1.1", folder=tmp_path / "kafka") as kafka:
        assert isinstance(kafka.cluster, JvmCluster)
        topic = kafka.create_topic(exact=True)
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        for number, version in enumerate(("3.7.1", "4.1.1", "3.7.1", "4.1.1")):
            if number:
                kafka.upgrade("n1", to=version)
            assert kafka.cluster.running_version("n1") == version
            producer.produce(topic, b"v", partition=0)
            assert producer.flush(WITHIN_S) == 0
            assert records() == number + 1
        with pytest.raises(UsageError, match=r"n1 can't be brought to 9.9.9: there is 3.7.1, 4.1.1"):
            kafka.upgrade("n1", to="9.9.9")
        assert "install n1 4.1.1" in kafka.faults()[-1]
        kafka.reset()
        assert kafka.cluster.running_version("n1") == "3.7.1"
        assert kafka.faults() == ()


@pytest.mark.embedded
def test_a_script_that_fails_is_told_where_the_logs_are_and_one_that_does_not_leaves_no_folder() -> None:
    with Kafka(nodes=1, broker_config={"log.retention.ms": 1000}) as kafka:
        assert kafka.controller() == "n1"
    assert not kafka.folder.exists()
    with pytest.raises(ZeroDivisionError) as error, Kafka(nodes=1) as kafka:
        raise ZeroDivisionError
    assert error.value.__notes__ == [f"the nodes' logs are in {kafka.folder / store.NODES}"]
    assert (kafka.folder / store.NODES / "n1" / "server.log").exists()
    assert not processes_of(kafka.folder)


KILLED = """
import sys
from pathlib import Path
from harness.testing import Kafka
with Kafka(nodes=1, folder=Path(sys.argv[1])) as kafka:
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.embedded
def test_a_process_that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], **pipes) as owner:  # type: ignore[call-overload]
        assert owner.stdout.readline() == b"up\n"
        assert len(processes_of(tmp_path)) == 4  # its owner, node, links and guardian
        owner.send_signal(signal.SIGKILL)
    assert nothing_runs(tmp_path)
    assert not store.is_abandoned(tmp_path)
    assert "removed its embedded cluster" in (tmp_path / store.LOG).read_text()


def test_a_verdict_is_true_only_if_it_is_valid_and_tells_its_proof(tmp_path: Path) -> None:
    few = {"cluster": "simulated", "results": tmp_path, "seed": 7}
    good = run("send-poll", nemesis="kill-leader", **few)
    assert good.valid, good
    assert good
    lost = run("send-poll", nemesis="kill-leader", bug="ack-before-replication", **few)
    assert not lost.valid
    assert not lost
    assert lost.word == "invalid"
    assert lost.anomalies["lost-write"] >= 1
    assert "lost-write" in lost
    assert "no ok poll ever returned it" in lost
    assert str(lost.folder / store.REPORT) in lost
    idle = run("send-poll", nemesis="kill-leader", time_limit_s=1.0, fault_interval_s=99.0, **few)
    assert (idle.word, bool(idle)) == ("vacuous", False)
    assert repr(idle) == f"<vacuous run in {idle.folder}>"
    assert not processes_of(tmp_path)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"nemesys": "kill-leader"}, "there is no nemesys to choose, only workload, "),
        ({"scripted": True}, "there is no scripted"),
        ({"nodes": "3"}, r"Expected `int`, got `str` - at `\$.nodes`"),
        ({"acks": "1"}, "acks"),
        ({"nemesis": "no-such"}, "no-such"),
    ],
)
def test_a_run_that_cannot_be_is_refused(tmp_path: Path, fields: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        run(results=tmp_path, **fields)
    assert guardian._KEPT == [], "there is nothing to guard"


@pytest.mark.embedded
def test_a_lost_answer_makes_an_idempotent_producer_ask_again_and_nothing_twice(kafka: Kafka) -> None:
    topic = kafka.create_topic()
    node = kafka.leader(topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "log_level": 0})
    told: list[object] = []
    producer.produce(topic, b"first", on_delivery=lambda error, _: told.append(error))
    assert producer.flush(WITHIN_S) == 0
    kafka.lose_answers(node, "Produce")
    producer.produce(topic, b"second", on_delivery=lambda error, _: told.append(error))
    assert producer.flush(WITHIN_S) == 0
    assert (told, kafka.leader(topic)) == ([None, None], node)
    assert kafka.intercepted(node) == 1
    assert kafka.faults()[-1].endswith(f"intercept {node} the answers to 1 request: Produce")
    kafka.release(node)
    assert kafka.intercepted(node) == 0
    assert end_of(kafka, topic) == 2


@pytest.mark.embedded
def test_a_late_request_reaches_its_node_after_its_retry_and_a_stranger_is_none(kafka: Kafka) -> None:
    topic = kafka.create_topic()
    node = kafka.leader(topic)
    plain = {"bootstrap.servers": kafka.bootstrap, "enable.idempotence": False, "log_level": 0}
    producer = Producer(plain)
    producer.produce(topic, b"first")
    assert producer.flush(WITHIN_S) == 0
    kafka.delay_requests(node, "Produce", late_s=60)
    producer.produce(topic, b"second")
    assert producer.flush(WITHIN_S) == 0, "the retry got through"
    assert end_of(kafka, topic) == 2
    kafka.heal()
    kafka._await(lambda: None if end_of(kafka, topic) == 3 else "two records", "the late one", WITHIN_S)
    assert kafka.intercepted(node) == 0
    with pytest.raises(UsageError, match="no API Fetsch to intercept: there are Produce, "):
        kafka.lose_answers(node, "Fetsch")


@pytest.mark.embedded
def test_a_leader_dates_records_by_a_wrong_clock_until_it_is_set_right_or_healed(kafka: Kafka) -> None:
    topic = kafka.create_topic(config={"message.timestamp.type": "LogAppendTime"})
    node = kafka.leader(topic)
    right = (-5_000, 5_000)
    assert right[0] < append_time_ms(kafka, topic) - time.time() * 1000 < right[1]
    for mend in (lambda: kafka.unskew(node), kafka.heal):
        kafka.skew(node, offset_s=-60)
        assert kafka.faults()[-1].endswith(f"skew {node} by -60 s")
        assert append_time_ms(kafka, topic) - time.time() * 1000 < -55_000
        mend()
        assert right[0] < append_time_ms(kafka, topic) - time.time() * 1000 < right[1]
    kafka.skew(node, offset_s=60, every_s=0.05)
    deadline, seen = time.monotonic() + WITHIN_S, set()
    while len(seen) < 2 and time.monotonic() < deadline:
        seen.add(append_time_ms(kafka, topic) - time.time() * 1000 > 30_000)
    assert seen == {True, False}


def append_time_ms(kafka: Kafka, topic: str) -> int:
    """The time that the leader of partition 0 gives to a record."""
    told: list[int] = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": 1, "log_level": 0})
    producer.produce(topic, b"x", partition=0, on_delivery=lambda _, sent: told.append(sent.timestamp()[1]))
    assert producer.flush(WITHIN_S) == 0
    return told[0]


@pytest.mark.embedded
def test_nodes_lose_power_and_their_disks_fail(kafka: Kafka) -> None:
    topic = kafka.create_topic(config={"min.insync.replicas": "2"})
    node = kafka.leader(topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "log_level": 0})
    producer.produce(topic, b"first")
    assert producer.flush(WITHIN_S) == 0
    kafka.lose_power(node)
    kafka.leader(topic, other_than=[node])
    kafka.rot(next(other for other in kafka.partition(topic).replicas if other != node), topic)
    assert kafka.faults()[0].split(" s ")[1] == f"blackout {node}"
    kafka.heal()
    assert end_of(kafka, topic) == 1
    if FULL_DISKS:
        kafka.fill_disk(node)
        kafka.heal()
        producer.produce(topic, b"second")
        assert producer.flush(WITHIN_S) == 0
        assert end_of(kafka, topic) == 2


def end_of(kafka: Kafka, topic: str) -> int:
    """The end of partition 0, as its leader says."""
    return kafka._observer.end_offsets((f"{topic}/0",))[f"{topic}/0"][1]
