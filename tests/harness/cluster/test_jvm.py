"""Apache Kafka as local JVMs, beyond the contract of clusters: roles, versions, and what a killed harness leaves."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.cluster import jvm, jvm_node, pids, ports
from harness.cluster.api import ClusterError, ClusterSpec, UsageError
from harness.cluster.jvm import JvmCluster
from harness.cluster.observer import ClusterObserver, holds
from harness.cluster.probe import Probe, split_address
from harness.cluster.questions import NodeAnswers
from tests.harness.left_running import ports_of

pytestmark = [pytest.mark.jvm, pytest.mark.timeout(300)]

WITHIN_S = 90.0
CUT_SHORT = """
import json, sys
from pathlib import Path
from harness.cluster.api import ClusterSpec
from harness.cluster.jvm import JvmCluster
cluster = JvmCluster(ClusterSpec(name="cut-short", folder=Path(sys.argv[1]), nodes=1))
print(json.dumps(cluster.describe()), flush=True)
cluster.up()
"""


def until(condition, within_s=WITHIN_S):
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        pause.wait(0.05)
    return True


@pytest.fixture
def made(tmp_path):
    """Make clusters that are taken down at the end."""
    clusters = []

    def make(**spec):
        try:
            cluster = JvmCluster(ClusterSpec(name="test", folder=tmp_path / f"cluster{len(clusters)}", **spec))
        except UsageError as error:
            pytest.skip(str(error))
        clusters.append(cluster)
        return cluster

    yield make
    for cluster in clusters:
        cluster.down()


def test_isolated_controllers_lead_the_quorum_and_survive_one_of_them(made):
    cluster = made(nodes=1, controllers=3)
    cluster.up()
    observer = ClusterObserver(cluster, timeout_s=5)
    before = observer.controller()
    assert before in {"c1", "c2", "c3"}
    assert all(holds(NodeAnswers(node.name), observer, cluster) for node in cluster.nodes())
    cluster.kill(before)
    until(lambda: observer.controller() not in {None, before})
    assert not holds(NodeAnswers(before), observer, cluster)
    cluster.start(before)
    until(lambda: holds(NodeAnswers(before), observer, cluster))


@pytest.mark.parametrize(("version", "adds_voters"), [("3.7.1", False), ("4.4.0", True)])
def test_the_oldest_and_the_newest_line_run_and_are_asked_in_their_own_versions(made, version, adds_voters):
    cluster = made(nodes=1, version=version)
    cluster.up()
    (node,) = cluster.nodes()
    with Probe(*split_address(node.address), timeout_s=5) as probe:
        assert probe.metadata().cluster_id == cluster.describe()["cluster-id"]
        assert probe.describe_quorum().leader_id == node.id
        assert (80 in probe.api_versions()) is adds_voters, "AddRaftVoter came with 3.9"


def test_what_a_harness_killed_in_mid_start_leaves_is_removed_by_its_handles(tmp_path):
    harness = subprocess.Popen(
        [sys.executable, "-c", CUT_SHORT, str(tmp_path / "cluster")],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with harness:
        description = json.loads(harness.stdout.readline())
        handles = description["handles"]
        mark = jvm_node.mark(handles["cluster_id"], "")
        until(lambda: pids.marked(mark))
        harness.kill()
    assert pids.marked(mark), "a node outlives its harness"
    taken = [port for roles in handles["ports"].values() for port in roles.values()]
    assert ports_of(tmp_path / "cluster") >= set(taken)
    assert not any(ports.free(port) for port in taken)
    jvm.remove(description)
    assert not pids.marked(mark)
    assert not (tmp_path / "cluster").exists()
    assert ports_of(tmp_path / "cluster") == set()


def test_a_start_that_failed_keeps_the_logs_that_its_error_names(made, tmp_path):
    cluster = made(nodes=1, broker_config={"num.io.threads": "none"})
    with pytest.raises(ClusterError, match=r"n1 died: .*num\.io\.threads.*n1/server\.log"):
        cluster.up()
    cluster.down()
    assert (tmp_path / "cluster0" / "n1" / "server.log").is_file()
    assert not (tmp_path / "cluster0" / "n1" / "data").exists()
    assert not pids.marked(jvm_node.mark(cluster.describe()["cluster-id"], ""))


def test_two_clusters_do_not_share_a_folder_or_a_port(made, tmp_path):
    one, other = made(nodes=2), made(nodes=2)
    assert not set(one.bootstrap().split(",")) & set(other.bootstrap().split(","))
    with pytest.raises(UsageError, match="another cluster lives in"):
        JvmCluster(ClusterSpec(name="third", folder=tmp_path / "cluster0"))


def test_down_touches_nothing_that_is_not_its_own(made, tmp_path):
    cluster = made(nodes=1)
    (tmp_path / "cluster0" / "notes.txt").write_text("mine")
    cluster.down()
    assert [file.name for file in (tmp_path / "cluster0").iterdir()] == ["notes.txt"]
