"""A cluster that somebody else runs: looked at in bounded time, never touched."""

import socket
import time

import pytest

from harness.cluster import existing
from harness.cluster.api import ClusterError, ClusterSpec, Killable, Logged, Partitionable, Pausable, UsageError
from harness.cluster.existing import ExistingCluster
from tests.harness.cluster.fake_cluster import View, cluster_of

VIEW = View(brokers=(1,), controller=(1, 1))


def spec(bootstrap, **more):
    return ClusterSpec(name="theirs", folder=None, bootstrap=bootstrap, **more)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_brokers_come_from_the_cluster_and_powers_from_nowhere():
    with cluster_of({"n1": View(), "n2": View(), "n3": View()}) as served:
        cluster = ExistingCluster(spec(served.bootstrap()))
        cluster.up()
    assert [(node.name, node.id, node.address) for node in cluster.nodes()] == [
        (node.name, node.id, node.address) for node in served.nodes()
    ]
    assert all(node.roles == {"broker"} for node in cluster.nodes())
    assert cluster.bootstrap() == served.bootstrap()
    assert cluster.describe()["cluster-id"] == "fake"
    assert not isinstance(cluster, Killable | Pausable | Partitionable | Logged)
    cluster.down()


def test_voters_that_are_no_brokers_are_nodes_too():
    view = View(brokers=(1,), controller=(9, 1), voters={9: 1})
    with cluster_of({"n1": view}) as served:
        cluster = ExistingCluster(spec(served.bootstrap()))
        cluster.up()
    assert [(node.name, *node.roles) for node in cluster.nodes()] == [("n1", "broker"), ("n9", "controller")]


def test_a_broker_that_was_away_is_found_when_it_is_back(monkeypatch):
    monkeypatch.setattr(existing, "LOOK_EVERY_S", 0.0)
    view = View(brokers=(1,), controller=(1, 1), voters={1: 1, 2: 1})
    with cluster_of({"n1": view, "n2": View(silent=True)}) as served:
        cluster = ExistingCluster(spec(served.nodes()[0].address))
        cluster.up()
        assert [(node.name, *node.roles) for node in cluster.nodes()] == [("n1", "broker"), ("n2", "controller")]
        view.brokers = (1, 2)
        assert [(node.name, node.address, *node.roles) for node in cluster.nodes()] == [
            ("n1", served.nodes()[0].address, "broker"),
            ("n2", served.nodes()[1].address, "broker"),
        ]
        view.silent = True
        assert len(cluster.nodes()) == 2, "what is known stays"


def test_one_address_that_answers_is_enough():
    with cluster_of({"n1": VIEW}) as served:
        cluster = ExistingCluster(spec(f"127.0.0.1:{closed_port()}, {served.bootstrap()}"))
        cluster.up()
        assert [node.name for node in cluster.nodes()] == ["n1"]


def test_nobody_at_the_address_is_one_line_at_once():
    cluster = ExistingCluster(spec(f"127.0.0.1:{closed_port()}"))
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"no Kafka answers at --bootstrap 127.0.0.1") as refused:
        cluster.up()
    assert time.monotonic() - began < existing.TIMEOUT_S
    assert "\n" not in str(refused.value)


def test_silence_ends_within_the_bound(monkeypatch):
    monkeypatch.setattr(existing, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(existing, "BOUND_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        cluster = ExistingCluster(spec(",".join([address] * 9)))
        began = time.monotonic()
        with pytest.raises(UsageError, match="no answer within"):
            cluster.up()
        assert time.monotonic() - began < 5


def test_a_cluster_that_advertises_what_nobody_reaches_is_told_so():
    with cluster_of({"n1": VIEW}) as served:
        entrance = served.nodes()[0].address
        (node,) = served.nodes()
        served.list[0] = type(node)(node.name, node.id, f"127.0.0.1:{closed_port()}")
        cluster = ExistingCluster(spec(entrance))
        with pytest.raises(UsageError, match="no broker does under the address that it advertises"):
            cluster.up()


@pytest.mark.parametrize("bootstrap", ["localhost", "host:port", "a:1,b", ":9092"])
def test_a_bootstrap_that_is_no_address_is_named(bootstrap):
    with pytest.raises(UsageError, match="--bootstrap must be host:port"):
        ExistingCluster(spec(bootstrap))


def test_it_needs_a_bootstrap_and_takes_no_configuration():
    with pytest.raises(UsageError, match="needs --bootstrap"):
        ExistingCluster(spec(None))
    with pytest.raises(UsageError, match="--broker-config"):
        ExistingCluster(spec("localhost:9092", broker_config={"a": "b"}))


def test_it_is_found_again_by_its_description():
    with cluster_of({"n1": VIEW}) as served:
        cluster = ExistingCluster(spec(served.bootstrap()))
        cluster.up()
        found = existing.from_handles(cluster.describe())
        assert list(found.nodes()) == list(cluster.nodes())
        existing.remove(cluster.describe())
        description = cluster.describe()
    with pytest.raises(ClusterError, match="no Kafka answers"):
        existing.from_handles(description)
