"""The probe's client: what one node says, ok with HISTORY.md's fields, or fail; never an exception."""

import pytest

from harness.clients import probe
from harness.clients.probe import ProbeClients
from harness.history import FAIL, INVOKE, OK, Op
from tests.harness.cluster.fake_cluster import View, cluster_of

KEY = "t0/1"


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    monkeypatch.setattr(probe, "TIMEOUT_S", 20.0)  # nobody is silent here: a busy machine shall not matter


def ask(cluster, api, key=KEY):
    client = ProbeClients(cluster.nodes()[0], cluster).open("probe/n1", lambda: 0)
    try:
        return client.invoke(Op(process="probe/n1", type=INVOKE, f="probe", value={"api": api, "key": key}))
    finally:
        client.close()


def test_metadata_tells_leader_epoch_and_isr_as_names():
    with cluster_of({"n1": View(partitions={KEY: (2, 7, (2, 1))}), "n2": View()}) as cluster:
        answer = ask(cluster, "Metadata")
    assert (answer.type, answer.process, answer.f) == (OK, "probe/n1", "probe")
    assert answer.value == {"api": "Metadata", "key": KEY, "leader": "n2", "epoch": 7, "isr": ["n2", "n1"]}


def test_no_leader_is_null_and_a_stranger_is_told_by_its_id():
    with cluster_of({"n1": View(partitions={KEY: (-1, 7, (9,))})}) as cluster:
        answer = ask(cluster, "Metadata")
    assert (answer.value["leader"], answer.value["isr"]) == (None, ["id9"])


def test_offsets_tell_lso_hw_log_start_and_epoch():
    with cluster_of({"n1": View(ends={KEY: (5, 9)})}) as cluster:
        answer = ask(cluster, "ListOffsets")
    assert answer.type == OK
    assert answer.value == {"api": "ListOffsets", "key": KEY, "lso": 5, "hw": 9, "log-start": 0, "epoch": 4}


def test_a_node_that_does_not_lead_is_a_fail_with_kafkas_name():
    with cluster_of({"n1": View()}) as cluster:
        answer = ask(cluster, "ListOffsets")
    assert answer.type == FAIL
    assert "NOT_LEADER_OR_FOLLOWER" in answer.error["message"]


def test_an_unknown_partition_and_an_unknown_api_are_fails():
    with cluster_of({"n1": View()}) as cluster:
        assert ask(cluster, "Metadata").type == FAIL
        assert ask(cluster, "Gossip").error["name"] == "UNKNOWN_API"


def test_a_dead_node_is_a_fail():
    with cluster_of({"n1": View()}) as cluster:
        pass
    answer = ask(cluster, "Metadata")
    assert answer.type == FAIL
    assert "refused" in answer.error["message"]
