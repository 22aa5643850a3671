"""A cluster of our own nodes, beyond the contract of clusters: speed, and what a killed harness leaves."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from harness.cluster import pids, ports, processes
from harness.cluster.api import (
    CLIENTS,
    ClusterError,
    ClusterSpec,
    Killable,
    Logged,
    Partitionable,
    Pausable,
    Shapeable,
    UsageError,
)
from harness.cluster.observer import ClusterObserver
from harness.cluster.probe import Probe, ProbeError, split_address
from harness.cluster.processes import EmbeddedCluster
from tests.harness.left_running import ports_of

WITHIN_S = 60.0
CUT_SHORT = """
import json, sys
from pathlib import Path
from harness.cluster.api import ClusterSpec
from harness.cluster.processes import EmbeddedCluster
cluster = EmbeddedCluster(ClusterSpec(name="cut-short", folder=Path(sys.argv[1]), nodes=2))
print(json.dumps(cluster.describe()), flush=True)
cluster.up()
"""


def until(condition, within_s=WITHIN_S):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        signal.sigtimedwait([], 0.02)
    return True


@pytest.fixture
def made(tmp_path):
    """Make clusters that are taken down at the end."""
    clusters = []

    def make(**spec):
        cluster = EmbeddedCluster(ClusterSpec(name="test", folder=tmp_path / f"cluster{len(clusters)}", **spec))
        clusters.append(cluster)
        return cluster

    yield make
    for cluster in clusters:
        cluster.down()


def test_it_has_every_power(made):
    cluster = made()
    assert all(isinstance(cluster, power) for power in (Killable, Pausable, Partitionable, Shapeable, Logged))


def test_without_links_nodes_and_clients_meet_directly_and_nothing_can_be_cut(made, tmp_path):
    cluster = made(nodes=3, links=False)
    cluster.up()
    assert "has no effect" not in (tmp_path / "cluster0" / "n1" / "server.log").read_text()
    assert pids.marked(f"harness.wires={cluster.describe()['cluster-id']}") == []
    own = cluster.describe()["handles"]["ports"]
    assert cluster.bootstrap() == ",".join(f"127.0.0.1:{one['broker']}" for one in own.values())
    for act in (cluster.cut, cluster.join, cluster.dropped, cluster.smooth, cluster.shaped):
        with pytest.raises(ClusterError, match="--no-links"):
            act("n1", "n2")
    again = processes.from_handles(json.loads(json.dumps(cluster.describe())))
    assert again.bootstrap() == cluster.bootstrap()


def test_links_are_slow_lossy_or_cut_from_clients_and_whole_again(made):
    cluster = made(nodes=2)
    cluster.up()
    # One after the other: where every request is lost, nothing comes back that could be late.
    for source, target, delay_s, loss in (("n1", "n2", 0.02, 0.0), ("n2", "n1", 0.0, 1.0)):
        cluster.shape(source, target, delay_s, loss)
        until(lambda source=source, target=target: cluster.shaped(source, target))
        cluster.smooth(source, target)
        assert cluster.shaped(source, target) == 0
    cluster.cut(CLIENTS, "n1")
    with pytest.raises(ProbeError), Probe(*split_address(cluster.nodes()[0].address), timeout_s=0.5) as probe:
        probe.metadata()
    assert cluster.dropped(CLIENTS, "n1") > 0
    cluster.join(CLIENTS, "n1")
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
    for created in admin.create_topics([NewTopic("t", 1, 2)]).values():
        created.result(WITHIN_S)
    with pytest.raises(ClusterError, match="n9"):
        cluster.shape("n1", "n9", 0.0, 0.5)


def test_a_killed_leader_is_replaced_and_its_successor_acknowledges_the_next_record(made):
    cluster = made()
    cluster.up()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
    for created in admin.create_topics([NewTopic("t", 1, 3, config={"min.insync.replicas": "2"})]).values():
        created.result(WITHIN_S)
    observer = ClusterObserver(cluster, ["t"])
    until(observer.full_isr)
    (state,) = observer.partitions(["t/0"])
    acked = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap(), "acks": "all", "log_level": 0})
    producer.produce("t", b"before", on_delivery=lambda error, _: acked.append(error))
    assert producer.flush(WITHIN_S) == 0
    cluster.kill(state.leader)
    producer.produce("t", b"after", on_delivery=lambda error, _: acked.append(error))
    assert producer.flush(WITHIN_S) == 0
    assert acked == [None, None]
    assert observer.partitions(["t/0"])[0].leader not in {None, state.leader}
    cluster.start(state.leader)
    until(observer.full_isr)


def test_controllers_of_their_own_hold_nothing_and_what_they_decide_outlives_them(made):
    cluster = made(nodes=2, controllers=1)
    assert [sorted(node.roles) for node in cluster.nodes()] == [["broker"], ["broker"], ["controller"]]
    assert len(cluster.bootstrap().split(",")) == 2
    cluster.up()
    assert processes.from_handles(json.loads(json.dumps(cluster.describe()))).nodes() == cluster.nodes()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
    for created in admin.create_topics([NewTopic("t", 2, 2)]).values():
        created.result(WITHIN_S)
    observer = ClusterObserver(cluster, ["t"])
    until(observer.full_isr)
    cluster.kill("c1")
    acked = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap(), "acks": "all", "log_level": 0})
    producer.produce("t", b"without", on_delivery=lambda error, _: acked.append(error))
    assert producer.flush(WITHIN_S) == 0
    cluster.start("c1")
    assert acked == [None]

    def created():
        try:
            admin.create_topics([NewTopic("u", 1, 2)])["u"].result(WITHIN_S)
        except KafkaException as error:
            return error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
        return True

    until(created)
    until(ClusterObserver(cluster, ["t", "u"]).full_isr)


def test_what_a_harness_killed_in_mid_start_leaves_is_removed_by_its_handles(tmp_path):
    harness = subprocess.Popen(
        [sys.executable, "-c", CUT_SHORT, str(tmp_path / "cluster")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with harness:
        description = json.loads(harness.stdout.readline())
        handles = description["handles"]
        marks = (f"harness.node={handles['cluster_id']}/", f"harness.wires={handles['cluster_id']}")
        until(lambda: all(pids.marked(mark) for mark in marks))
        harness.kill()
    assert all(pids.marked(mark) for mark in marks), "nodes and wires outlive their harness"
    taken = [handles["control"], *(port for roles in handles["ports"].values() for port in roles.values())]
    assert ports_of(tmp_path / "cluster") >= set(taken)
    assert not any(ports.free(port) for port in taken)
    processes.remove(description)
    assert not any(pids.marked(mark) for mark in marks)
    assert not (tmp_path / "cluster").exists()
    assert ports_of(tmp_path / "cluster") == set()


def test_a_start_that_failed_keeps_the_logs(made, tmp_path):
    cluster = made(nodes=1, broker_config={"broker.session.timeout.ms": "soon"})
    with pytest.raises(UsageError, match=r"--broker-config broker\.session\.timeout\.ms=soon: it must be a whole"):
        cluster.up()
    cluster.down()
    assert (tmp_path / "cluster0" / "n1" / "server.log").is_file()
    assert not (tmp_path / "cluster0" / "n1" / "data").exists()


def test_what_it_can_not_do_is_refused_before_anything_runs(made, tmp_path):
    made(nodes=1)
    with pytest.raises(UsageError, match="another cluster lives in"):
        EmbeddedCluster(ClusterSpec(name="third", folder=tmp_path / "cluster0"))


def test_links_that_are_gone_are_a_cluster_error(made):
    cluster = made(nodes=2)
    with pytest.raises(ClusterError, match="links do not answer"):
        cluster.cut("n1", "n2")
    with pytest.raises(ClusterError, match="no node 'n9'"):
        cluster.cut("n1", "n9")


def test_links_that_end_during_a_run_are_laid_to_the_harness(made):
    cluster = made(nodes=1)
    cluster.up()
    cluster.check_carried()
    carrier = cluster._carrier
    carrier.kill()
    carrier.wait(WITHIN_S)
    with pytest.raises(ClusterError, match="no failure of the cluster"):
        cluster.check_carried()
