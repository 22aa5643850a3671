"""A cluster that commands break and mend: what is run, what is believed, and what becomes of a command that fails."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from harness.cluster import remote
from harness.cluster.actions import Resume, Start
from harness.cluster.api import (
    ClusterError,
    ClusterSpec,
    Killable,
    Partitionable,
    Pausable,
    Stoppable,
    UsageError,
)
from harness.cluster.remote import RemoteCluster, from_handles, powers_of
from harness.scenario import Commands
from nemesis.actions import undo
from tests.harness.cluster.fake_cluster import View, cluster_of

HERE = "127.0.0.1"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def commands(folder, **more):
    """Return commands for which a node is a file: it runs where that is there, and is paused where its mark is."""
    node, mark = f"{folder}/{{node}}", f"{folder}/{{node}}.paused"
    said = f"echo $0 {{node}} {{id}} {{host}} {{port}} >> {folder}/log"
    of_link = f"{{source}} {{source_id}} {{source_host}} {{target}} {{target_id}} {{target_host}} >> {folder}/log"
    given = {
        "kill": f"rm {node}; {said.replace('$0', 'kill')}",
        "start": f"touch {node}; {said.replace('$0', 'start')}",
        "stop": f"rm -f {node}",
        "running": f"test -e {node} && echo pid 4711",
        "pause": f"touch {mark}",
        "resume": f"rm -f {mark}",
        "paused": f"test -e {mark}",
        "cut": f"echo cut {of_link}",
        "join": f"echo join {of_link}",
        "dropped": "echo 12 packets of {source_host}",
        "hosts": {"2": "second.example"},
    }
    return Commands(**given | more)


def up(folder, **more):
    """Return a cluster of three nodes that is up, and runs by its files."""
    for node in ("n1", "n2", "n3"):
        (folder / node).touch()
    with cluster_of({"n1": View(), "n2": View(), "n3": View()}) as served:
        cluster = RemoteCluster(
            ClusterSpec(name="theirs", folder=folder, bootstrap=served.bootstrap(), commands=commands(folder, **more))
        )
        cluster.up()
    return cluster


def test_a_node_is_killed_and_started_by_the_commands_that_name_it(tmp_path, log):
    cluster = up(tmp_path)
    assert isinstance(cluster, Killable)
    assert isinstance(cluster, Stoppable)
    port = cluster.nodes()[1].address.split(":")[1]
    cluster.kill("n2")
    assert not (tmp_path / "n2").exists()
    assert [cluster.pid(node) is None for node in ("n1", "n2", "n3")] == [False, True, False]
    cluster.start("n2")
    assert cluster.pid("n2") is not None
    assert log.read_text().splitlines() == [f"{what} n2 2 second.example {port}" for what in ("kill", "start")]
    cluster.stop("n3")
    assert cluster.pid("n3") is None


def test_what_runs_on_after_its_kill_is_no_dead_node(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "GONE_S", 0.3)
    cluster = up(tmp_path, kill="true", stop="true")
    with pytest.raises(ClusterError, match=r"n1 still runs 0.3 s after `true`"):
        cluster.kill("n1")
    cluster.stop("n1")
    assert cluster.pid("n1") is not None


def test_without_a_command_that_says_it_a_node_runs_whose_port_is_open(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "GONE_S", 0.3)
    folder = tmp_path / "files"
    folder.mkdir()
    with cluster_of({"n1": View()}) as served:
        given = commands(folder, kill="true", running="")
        cluster = RemoteCluster(ClusterSpec(name="theirs", folder=folder, bootstrap=served.bootstrap(), commands=given))
        cluster.up()
        with pytest.raises(ClusterError, match="n1 still runs"):
            cluster.kill("n1")
    cluster.kill("n1")  # its port is closed now
    assert cluster.pid("n1") is None


def test_a_pause_is_believed_only_where_the_node_is_said_to_be_paused(tmp_path):
    cluster = up(tmp_path)
    assert isinstance(cluster, Pausable)
    cluster.pause("n1")
    assert [cluster.paused(node) for node in ("n1", "n2")] == [True, False]
    cluster.resume("n1")
    assert not cluster.paused("n1")
    with pytest.raises(ClusterError, match="n1 is not paused, says `false`"):
        up(tmp_path, paused="false").pause("n1")


def test_links_are_cut_and_joined_by_name_id_and_host_of_both_ends(tmp_path, log):
    cluster = up(tmp_path)
    assert isinstance(cluster, Partitionable)
    cluster.cut("n1", "n2")
    assert cluster.dropped("n1", "n2") == 12
    cluster.join("n1", "n2")
    assert log.read_text().splitlines() == [f"{what} n1 1 {HERE} n2 2 second.example" for what in ("cut", "join")]
    with pytest.raises(ClusterError, match="printed no number for n1 to n2: 'none"):
        up(tmp_path, dropped="echo none").dropped("n1", "n2")


@pytest.mark.parametrize(
    ("kill", "told"),
    [
        ("echo no such pod >&2; exit 7", r"kill: `.*` ended with status 7: no such pod"),
        ("exit 1", r"kill: `exit 1` ended with status 1: it said nothing"),
        ("sleep 20", r"kill: `sleep 20` did not end within 0.2 s"),
    ],
)
def test_a_command_that_fails_is_told_with_what_it_said(kill, told, tmp_path):
    cluster = up(tmp_path, kill=kill, timeout_s=0.2)
    with pytest.raises(ClusterError, match=told):
        cluster.kill("n1")
    assert cluster.pid("n1") is None, "it may be dead: who heals starts it"
    assert undo(Start("n1"), cluster)
    assert cluster.pid("n1") is not None


def test_whether_a_node_runs_is_unknown_where_the_command_can_not_say(tmp_path):
    cluster = up(tmp_path, running="echo connection refused >&2; exit 255")
    with pytest.raises(ClusterError, match=r"running: .* ended with status 255: connection refused"):
        cluster.kill("n1")
    assert not (tmp_path / "n1").exists()
    assert undo(Start("n1"), cluster), "it is dead, though nobody could say so"
    assert (tmp_path / "n1").exists()


def test_a_node_whose_pause_failed_is_resumed_all_the_same(tmp_path):
    cluster = up(tmp_path, pause=f"touch {tmp_path}/{{node}}.paused; exit 3")
    with pytest.raises(ClusterError, match="ended with status 3"):
        cluster.pause("n1")
    assert undo(Resume("n1"), cluster)
    assert not (tmp_path / "n1.paused").exists()


def test_other_words_in_braces_are_the_shells(tmp_path, log):
    cluster = up(tmp_path, start=f"echo a b | awk '{{print $2}}' >> {tmp_path}/log; touch {tmp_path}/{{node}}")
    cluster.start("n1")
    assert log.read_text() == "b\n"


def test_another_process_asks_before_it_says_what_runs_and_resumes_in_doubt(tmp_path):
    cluster = up(tmp_path)
    cluster.kill("n1")
    cluster.pause("n2")
    described = json.loads(json.dumps(cluster.describe()))
    assert described["provider"] == "remote"
    found = from_handles(described)  # no broker answers any more: it must be healed all the same
    assert [found.pid(node) for node in ("n1", "n2", "n3")] == [None, 4711, 4711]
    assert [found.paused(node) for node in ("n1", "n2")] == [False, True]
    found.start("n1")
    assert (tmp_path / "n1").exists()
    described["commands"]["paused"] = ""
    assert from_handles(described).paused("n3"), "to resume it does no harm"


def test_a_node_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ClusterError, match=r"no node 'n9': there are n1, n2, n3"):
        up(tmp_path).kill("n9")


@pytest.mark.parametrize(
    ("given", "powers"),
    [
        ({}, set()),
        ({"kill": "k", "start": "s"}, {"kill"}),
        ({"kill": "k"}, set()),
        ({"start": "s", "stop": "s"}, {"stop"}),
        ({"pause": "p", "resume": "r"}, {"pause"}),
        ({"cut": "c", "join": "j"}, set()),
        ({"cut": "c", "join": "j", "dropped": "d"}, {"partition"}),
    ],
)
def test_a_power_takes_all_of_its_commands(given, powers):
    assert powers_of(Commands(**given)) == powers


def test_a_cluster_without_commands_is_refused():
    with pytest.raises(UsageError, match="--commands FILE"):
        RemoteCluster(ClusterSpec(name="theirs", folder=Path(), bootstrap="127.0.0.1:1"))


def test_commands_are_plain_data():
    given = commands(Path("f"))
    assert msgspec.convert(msgspec.to_builtins(given), Commands) == given
