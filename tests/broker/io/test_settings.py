"""Kafka's own properties make a node, or a complaint that names the property."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.io.properties import SettingsError, parse
from broker.io.settings import format_folder, settings
from harness.cluster.properties import render


@pytest.fixture
def given_(tmp_path):
    values = {
        "node.id": "2",
        "process.roles": "broker,controller",
        "listeners": "CLIENT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
        "advertised.listeners": "CLIENT://127.0.0.1:19092",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": "1@127.0.0.1:9193,2@127.0.0.1:9093,3@127.0.0.1:9293",
        "log.dirs": str(tmp_path / "data"),
        "broker.session.timeout.ms": "600",
        "min.insync.replicas": "2",
        "harness.peer.3": "127.0.0.1:7003",
    }
    format_folder(values, "the-cluster")
    return values


def test_kafkas_names_reach_the_core(given_):
    node = settings(given_)
    assert (node.core.node_id, node.core.voters, node.core.cluster_id) == (2, (1, 2, 3), "the-cluster")
    assert node.core.session_timeout_ms == 600
    assert node.core.heartbeat_interval_ms == 2000, "Kafka's default"
    assert [(one.name, one.host, one.port) for one in node.core.endpoints] == [
        ("CLIENT", "127.0.0.1", 19092),
        ("CONTROLLER", "127.0.0.1", 9093),
    ]
    assert (node.client_address, node.node_address) == (("127.0.0.1", 9092), ("127.0.0.1", 9093))
    assert node.core.properties["min.insync.replicas"] == "2"
    assert node.unknown == ()


def test_a_peer_is_reached_through_its_link_and_else_where_it_listens(given_):
    assert settings(given_).peers == {1: ("127.0.0.1", 9193), 3: ("127.0.0.1", 7003)}


def test_a_controller_has_one_door_and_a_broker_has_one_for_nodes_too(given_):
    voter = settings(given_ | {"process.roles": "controller", "listeners": "CONTROLLER://127.0.0.1:9093"})
    assert (voter.client_address, voter.node_address) == (None, ("127.0.0.1", 9093))
    assert (voter.core.is_broker, voter.core.endpoints) == (False, ())
    alone = given_ | {"process.roles": "broker", "controller.quorum.voters": "1@127.0.0.1:9193"}
    with pytest.raises(SettingsError, match=r"inter\.broker\.listener\.name"):
        settings(alone | {"listeners": "CLIENT://127.0.0.1:9092"})
    holder = settings(
        alone
        | {"listeners": "CLIENT://127.0.0.1:9092,NODES://127.0.0.1:9094", "inter.broker.listener.name": "NODES"}
        | {"harness.peer.3": "127.0.0.1:7003"}
    )
    assert (holder.client_address, holder.node_address) == (("127.0.0.1", 9092), ("127.0.0.1", 9094))
    assert [one.port for one in holder.core.endpoints] == [19092, 9094]
    assert holder.peers == {1: ("127.0.0.1", 9193), 3: ("127.0.0.1", 7003)}, "a link to one that does not vote"


def test_an_unknown_property_is_reported_and_has_no_effect(given_):
    assert settings(given_ | {"no.such.thing": "1"}).unknown == ("no.such.thing",)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("node.id", "two", "node.id=two: it must be a whole number"),
        ("node.id", None, "node.id is missing"),
        ("node.id", "7", "node.id=7 is not among"),
        ("process.roles", "broker", "votes nothing and is among"),
        ("process.roles", "broker,broker", "broker, controller, or both"),
        ("process.roles", "observer", "broker, controller, or both"),
        ("process.roles", "controller", "serves no clients at .'CLIENT'"),
        ("listeners", "CLIENT://127.0.0.1:9092", "CONTROLLER .* is missing"),
        ("listeners", "127.0.0.1:9092", "NAME://host:port"),
        ("listeners", "CLIENT://:9092,CONTROLLER://127.0.0.1:9093", "is not host:port"),
        ("advertised.listeners", "OTHER://127.0.0.1:1", "the listener CLIENT is missing"),
        ("controller.quorum.voters", "1=127.0.0.1:9093", "id@host:port"),
        ("broker.session.timeout.ms", "0", "at least 1"),
        ("num.network.threads", "many", "num.network.threads=many"),
        ("log.dirs", "a,b", "one folder"),
        ("harness.peer.3", "nowhere", "harness.peer.3"),
    ],
)
def test_a_wrong_property_is_named(given_, name, value, says):
    values = {key: text for key, text in (given_ | {name: value}).items() if text is not None}
    with pytest.raises(SettingsError, match=says):
        settings(values)


def test_a_folder_of_another_node_or_of_none_is_refused(given_, tmp_path):
    (tmp_path / "data" / "meta.properties").write_text("node.id=1\ncluster.id=x\n")
    with pytest.raises(SettingsError, match=r"is of node\.id=1"):
        settings(given_)
    with pytest.raises(SettingsError, match="format the folder first"):
        settings(given_ | {"log.dirs": str(tmp_path / "empty")})
    with pytest.raises(SettingsError, match="exists already"):
        format_folder(given_, "another")


TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=0x1FFFF, exclude_categories=["Cs"]), max_size=12)


@given(st.dictionaries(TEXT.filter(bool), TEXT, max_size=5))
def test_a_properties_file_reads_back_as_it_was_written(values):
    assert parse(render(values)) == values


def test_a_properties_file_has_comments_and_long_lines():
    text = "# no\n! no\n\n a = 1\nb:2\nc 3\nd=x\\\n   y\n"
    assert parse(text) == {"a": "1", "b": "2", "c": "3", "d": "xy"}


def test_a_bug_is_planted_by_its_name_and_an_unknown_one_refused(given_):
    assert settings(given_).bug == ""
    assert settings(given_ | {"harness.bug": "lso-ignored"}).bug == "lso-ignored"
    with pytest.raises(SettingsError, match=r"harness\.bug=no-such"):
        settings(given_ | {"harness.bug": "no-such"})
