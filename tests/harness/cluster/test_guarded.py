"""Clusters that want TLS, SASL or both: probes, clients and whole runs get in, and who does not is told why at once."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from broker.wire.apis import Api
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse
from harness import store
from harness.cli import guarded
from harness.cluster import remote
from harness.cluster.api import ClusterError, ClusterSpec, UsageError
from harness.cluster.existing import ExistingCluster, from_handles
from harness.cluster.observer import observer_of
from harness.cluster.probe import Probe
from harness.cluster.remote import RemoteCluster
from harness.credentials import Credentials
from harness.history import OK, read_lines
from harness.scenario import Commands
from tests.broker.io.certificates import Authority
from tests.broker.io.process import NodeProcess, until
from tests.broker.io.test_security import Guarded
from workloads.share import NODES

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240)]

WITHIN_S = 30.0
AT_ONCE_S = 10.0
SECRET = "pass, word=ü"
MECHANISMS = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
USER = "al,i=ce"
PASSWORDS = {"THEIR_SECRET": SECRET, "ADMIN_SECRET": "admin-secret", "WRONG_SECRET": "wrong-word"}
ALONE = {
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    **NODES,
}
JAAS = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_admin="admin-secret";'


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"))


def served(node):
    node.start()
    try:
        yield node
    finally:
        node.kill()


def keys(authority, name):
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": authority.store(name),
        "ssl.truststore.location": authority.trusted,
    }


@pytest.fixture(scope="module")
def with_sasl(authority, tmp_path_factory):
    """A node with SASL_SSL and a user of each mechanism."""
    node = Guarded(
        tmp_path_factory.mktemp("sasl"),
        **ALONE,
        **keys(authority, "sasl"),
        **{
            "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.client.plain.sasl.jaas.config": JAAS,
        },
    )
    for one in served(node):
        known = {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(authority.trusted),
            "sasl.mechanism": "PLAIN",
            "sasl.username": "admin",
            "sasl.password": "admin-secret",
        }
        admin = AdminClient({"bootstrap.servers": one.address, **known})
        for kind in MECHANISMS.values():
            user = UserScramCredentialUpsertion(USER, ScramCredentialInfo(kind, 4096), SECRET.encode())
            for done in admin.alter_user_scram_credentials([user]).values():
                done.result(WITHIN_S)
        switch_shares_on(one, Credentials.among(known))
        yield one


def switch_shares_on(node, credentials):
    level = FeatureUpdateKey(feature="share.version", max_version_level=1, upgrade_type=1)
    wanted = UpdateFeaturesRequest(timeout_ms=10_000, feature_updates=(level,))
    with Probe("127.0.0.1", node.port, WITHIN_S, credentials=credentials) as probe:
        assert not probe.ask_once(wanted, UpdateFeaturesResponse, WITHIN_S).error_code
        until(lambda: Api.SHARE_GROUP_HEARTBEAT in probe.api_versions(), what="share groups")


@pytest.fixture(scope="module")
def with_tls(authority, tmp_path_factory):
    """A node with SSL that wants a client's certificate."""
    security = {"listener.security.protocol.map": "CLIENT:SSL,CONTROLLER:PLAINTEXT", "ssl.client.auth": "required"}
    yield from served(Guarded(tmp_path_factory.mktemp("tls"), **ALONE, **keys(authority, "tls"), **security))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    yield from served(NodeProcess(tmp_path_factory.mktemp("plain"), **ALONE))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in PASSWORDS.items():
        monkeypatch.setenv(name, value)


def by_sasl(authority, mechanism="SCRAM-SHA-512", user=USER, password="env:THEIR_SECRET"):
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(authority.trusted),
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
    }


def by_certificate(authority):
    own = str(authority.store("client"))
    files = {"ssl.certificate.location": own, "ssl.key.location": own}
    return {"security.protocol": "ssl", "ssl.ca.location": str(authority.trusted), **files}


def cluster(node, client_config):
    return ExistingCluster(ClusterSpec("theirs", Path(), bootstrap=node.address, client_config=client_config))


def come_up(node, client_config):
    """Return the cluster when all that looks at it has got in."""
    one = cluster(node, client_config)
    one.up()
    assert [node.name for node in one.nodes()] == ["n1"]
    assert observer_of(one).controller() == "n1"
    assert [node.address for node in from_handles(json.loads(json.dumps(one.describe()))).nodes()] == [node.address]
    return one


@pytest.mark.parametrize(
    ("mechanism", "user", "password"),
    [*((name, USER, "env:THEIR_SECRET") for name in MECHANISMS), ("PLAIN", "admin", "env:ADMIN_SECRET")],
)
def test_a_probe_gets_in_by_each_mechanism(with_sasl, authority, mechanism, user, password):
    told = come_up(with_sasl, by_sasl(authority, mechanism, user, password)).describe()
    assert SECRET not in json.dumps(told, ensure_ascii=False)
    assert "admin-secret" not in json.dumps(told)


def test_a_probe_gets_in_by_certificate(with_tls, authority):
    assert come_up(with_tls, by_certificate(authority)).nodes()


def test_who_heals_a_cluster_that_commands_break_gets_in_by_its_handles(with_sasl, authority):
    spec = ClusterSpec("theirs", Path(), bootstrap=with_sasl.address, client_config=by_sasl(authority))
    broken = RemoteCluster(dataclasses.replace(spec, commands=Commands(kill="true", start="true")))
    broken.up()
    found = remote.from_handles(json.loads(json.dumps(broken.describe())))
    with Probe("127.0.0.1", with_sasl.port, WITHIN_S, credentials=found.credentials()) as probe:
        assert probe.metadata(()).brokers


def test_a_connection_that_is_replaced_proves_itself_again(with_sasl, authority):
    host, port = "127.0.0.1", with_sasl.port
    with Probe(host, port, WITHIN_S, credentials=Credentials.of(by_sasl(authority))) as probe:
        assert probe.metadata(()).brokers
        assert probe._socket is not None
        probe._socket.shutdown(2)
        assert probe.metadata(()).brokers


def test_a_name_that_the_certificate_does_not_have_is_refused_unless_allowed(authority, tmp_path):
    elsewhere = {**keys(authority, "here"), "ssl.keystore.location": authority.store("there", host="127.0.0.9")}
    protocols = {"listener.security.protocol.map": "CLIENT:SSL,CONTROLLER:PLAINTEXT"}
    known = {"security.protocol": "SSL", "ssl.ca.location": str(authority.trusted)}
    for node in served(Guarded(tmp_path / "node", **elsewhere, **protocols)):
        with pytest.raises(UsageError, match=r"its certificate is not trusted: .*127\.0\.0\.1"):
            cluster(node, known).up()
        come_up(node, {**known, "ssl.endpoint.identification.algorithm": "none"})
        come_up(node, {"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"})


def options(client_config):
    return [part for name, value in client_config.items() for part in ("--client-config", f"{name}={value}")]


def refused(node, client_config, results, capsys):
    """Return the one line that a run says which does not get in."""
    began = time.monotonic()
    arguments = ["run", "--cluster", "existing", "--bootstrap", node.address, "--results", str(results)]
    assert guarded([*arguments, *options(client_config)]) == 254
    assert time.monotonic() - began < AT_ONCE_S
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for path in results.rglob("*"):
        assert path.is_dir() or "wrong-word" not in path.read_text(errors="replace")
    return said


@pytest.mark.parametrize(("mechanism", "user"), [("SCRAM-SHA-256", USER), ("PLAIN", "admin")])
def test_a_wrong_password_is_one_line(with_sasl, authority, tmp_path, capsys, mechanism, user):
    said = refused(with_sasl, by_sasl(authority, mechanism, user, "env:WRONG_SECRET"), tmp_path, capsys)
    assert f"SASL {mechanism} as {user}: SASL_AUTHENTICATION_FAILED" in said
    assert "wrong-word" not in said


def test_a_wrong_authority_is_one_line(with_sasl, authority, other_authority, tmp_path, capsys):
    given = by_sasl(authority) | {"ssl.ca.location": str(other_authority.trusted)}
    assert "its certificate is not trusted" in refused(with_sasl, given, tmp_path, capsys)


def test_a_missing_certificate_is_one_line(with_tls, authority, tmp_path, capsys):
    given = {"security.protocol": "SSL", "ssl.ca.location": str(authority.trusted)}
    assert "certificate required" in refused(with_tls, given, tmp_path, capsys)


def test_plain_text_to_tls_is_one_line(with_tls, tmp_path, capsys):
    assert "does it want TLS or SASL? see --client-config" in refused(with_tls, {}, tmp_path, capsys)


def test_tls_alone_where_sasl_is_wanted_too_is_one_line(with_sasl, authority, tmp_path, capsys):
    given = {"security.protocol": "SSL", "ssl.ca.location": str(authority.trusted)}
    assert "does it want SASL? see --client-config" in refused(with_sasl, given, tmp_path, capsys)


def test_tls_to_plain_text_is_one_line(plain, authority, tmp_path, capsys):
    given = {"security.protocol": "SSL", "ssl.ca.location": str(authority.trusted)}
    said = refused(plain, given, tmp_path, capsys)
    assert "TLS: the node closed the connection; is that what its listener speaks?" in said


def test_sasl_where_there_is_none_is_one_line(plain, authority, tmp_path, capsys):
    given = by_sasl(authority) | {"security.protocol": "SASL_PLAINTEXT"}
    del given["ssl.ca.location"]
    assert "ILLEGAL_SASL_STATE, it takes no SASL" in refused(plain, given, tmp_path, capsys)


def test_a_mechanism_that_is_off_is_told_with_those_that_are_on(authority, tmp_path, capsys):
    protocols = {"listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"}
    given = by_sasl(authority) | {"security.protocol": "SASL_PLAINTEXT"}
    del given["ssl.ca.location"]
    for node in served(Guarded(tmp_path / "node", **protocols, **{"sasl.enabled.mechanisms": "SCRAM-SHA-256"})):
        said = refused(node, given, tmp_path / "results", capsys)
        assert "UNSUPPORTED_SASL_MECHANISM, it takes SCRAM-SHA-256" in said
        assert "does it want TLS or SASL?" in refused(node, {}, tmp_path / "results", capsys)


def test_a_variable_that_is_gone_is_told_to_who_heals(with_sasl, authority, monkeypatch):
    handles = cluster(with_sasl, by_sasl(authority)).describe()
    monkeypatch.delenv("THEIR_SECRET")
    with pytest.raises(ClusterError, match="env:THEIR_SECRET: the environment has no THEIR_SECRET"):
        from_handles(handles)


def started(node, client_config, folder, *more):
    """Start a short run."""
    arguments = ["--cluster", "existing", "--bootstrap", node.address, "--results", str(folder), "--name", "guarded"]
    shape = ["--replication", "1", "--min-isr", "1", "--time-limit", "4", "--concurrency", "4", "--seed", "5"]
    command = [sys.executable, "-m", "harness", "run", *arguments, *shape, *options(client_config), *more]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=os.environ | PASSWORDS, **streams), folder


@pytest.fixture(scope="module")
def runs(with_sasl, with_tls, authority, tmp_path_factory):
    """All runs, side by side: they wait most of their time, in the final reads of a share group for 22 s."""
    by_scram = by_sasl(authority, "SCRAM-SHA-256")
    asked = {
        "txn, SASL": (with_sasl, by_sasl(authority), "--workload", "txn", "--sub-via", "assign,subscribe"),
        "txn, TLS": (with_tls, by_certificate(authority), "--workload", "txn"),
        "groups": (with_sasl, by_scram, "--workload", "groups"),
        "share": (with_sasl, by_sasl(authority), "--workload", "share"),
    }
    all_ = {
        name: started(node, given, tmp_path_factory.mktemp("run"), *more)
        for name, (node, given, *more) in asked.items()
    }
    yield all_
    for process, _ in all_.values():
        process.kill()
        process.communicate()


def ended(run):
    """Return the folder and the operations of a run, which was valid."""
    process, folder = run
    said, _ = process.communicate(timeout=200)
    found = (folder / "guarded" / "latest").resolve()
    assert process.returncode == 0, said
    assert SECRET not in said
    for path in found.rglob("*"):
        assert path.is_dir() or SECRET not in path.read_text(errors="replace"), path
    with (found / store.HISTORY).open("rb") as lines:
        ops = list(read_lines(lines, name="history"))
    assert [op for op in ops if op.type == OK and str(op.process).startswith("probe/")], "probes got in, too"
    return found, ops


def test_transactions_are_judged_behind_sasl_and_tls(runs):
    folder, ops = ended(runs["txn, SASL"])
    assert sum(op.type == OK and op.f == "txn" for op in ops) > 20
    scenario = json.loads((folder / store.SCENARIO).read_text())
    assert scenario["client_config"]["sasl.password"] == "env:THEIR_SECRET"
    assert "--client-config sasl.password=env:THEIR_SECRET" in (folder / store.REPORT).read_text()


def test_transactions_are_judged_behind_tls(runs):
    _, ops = ended(runs["txn, TLS"])
    assert sum(op.type == OK and op.f == "txn" for op in ops) > 20


def test_groups_are_judged_behind_sasl_and_tls(runs):
    _, ops = ended(runs["groups"])
    assert sum(op.type == OK and op.f == "poll" for op in ops) > 5
    assert sum(op.type == OK and op.f == "committed" for op in ops) > 5, "the nodes said who coordinates"


def test_share_groups_are_judged_behind_sasl_and_tls(runs):
    _, ops = ended(runs["share"])
    assert sum(op.type == OK and op.f == "share-fetch" for op in ops) > 5
