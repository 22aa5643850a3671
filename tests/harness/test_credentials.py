"""How clients get in: what can't work is refused by name, and no secret is ever told."""

import json
import ssl
from pathlib import Path

import msgspec
import pytest

from harness import options
from harness.clients import settings
from harness.cluster.api import UsageError
from harness.credentials import Credentials
from harness.report.command import repeat_command
from harness.scenario import Scenario
from tests.broker.io.certificates import Authority

SASL = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "SCRAM-SHA-256",
    "sasl.username": "alice",
    "sasl.password": "env:ALICE",
}
THEIRS = {"cluster": "existing", "bootstrap": "127.0.0.1:9"}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("ALICE", "very-secret")


def test_a_secret_is_looked_up_when_it_is_used_and_kept_nowhere(tmp_path):
    made = options.scenario_of(**THEIRS, client_config=SASL)
    assert made.client_config == SASL
    kept = msgspec.json.encode(made).decode() + repeat_command(made, tmp_path)
    assert "very-secret" not in kept
    assert "--client-config sasl.password=env:ALICE" in kept
    for made_with in (
        settings.common(made, "127.0.0.1:9", "c"),
        settings.producer(made, "127.0.0.1:9", "c", "id"),
        settings.consumer(made, "127.0.0.1:9", "c", "read_committed"),
    ):
        assert made_with["sasl.password"] == "very-secret"
        assert made_with["security.protocol"] == "SASL_PLAINTEXT"
    credentials = Credentials.of(made.client_config)
    assert credentials.sasl == ("SCRAM-SHA-256", "alice", "very-secret")
    assert Credentials.among(settings.common(made, "127.0.0.1:9", "c")).sasl == credentials.sasl
    assert "very-secret" not in repr(credentials)


def test_a_scenario_survives_its_file():
    made = options.scenario_of(**THEIRS, client_config=SASL)
    assert msgspec.convert(json.loads(msgspec.json.encode(made)), Scenario) == made


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sasl.password": "very-secret"}, "sasl.password is a secret: give it as sasl.password=env:NAME"),
        ({"sasl.pasword": "very-secret"}, "sasl.pasword: it is not one of security.protocol"),
        ({"sasl.password": "env:NOBODY"}, "env:NOBODY: the environment has no NOBODY"),
        ({"sasl.password": "env:"}, "the environment has no variable without a name"),
        ({"sasl.mechanism": "GSSAPI"}, "sasl.mechanism: .*PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        ({"sasl.mechanism": None}, "sasl.mechanism: with SASL_PLAINTEXT it has to be PLAIN"),
        ({"sasl.mechanisms": "PLAIN"}, "sasl.mechanism and sasl.mechanisms are the same"),
        ({"sasl.username": None}, "needs --client-config sasl.username"),
        ({"sasl.password": None}, "needs --client-config sasl.password=env:NAME"),
        ({"security.protocol": "TLS"}, "security.protocol: it may be PLAINTEXT, SSL"),
        ({"security.protocol": None}, "sasl.mechanism has no effect without --client-config security.protocol"),
        ({"ssl.ca.location": "some.pem"}, "ssl.ca.location has no effect without .*=SSL"),
    ],
)
def test_what_can_not_work_is_refused_and_no_value_repeated(changed, why):
    given = {name: value for name, value in (SASL | changed).items() if value is not None}
    with pytest.raises(UsageError, match=why) as refused:
        options.scenario_of(**THEIRS, client_config=given)
    assert "very-secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"ssl.ca.location": "nowhere.pem"}, "ssl.ca.location: there is no file nowhere.pem"),
        ({"ssl.certificate.location": "c.pem", "ssl.key.location": "k.pem"}, "there is no file c.pem"),
        ({"ssl.certificate.location": "c.pem"}, "ssl.certificate.location needs --client-config ssl.key.location"),
        ({"ssl.key.location": "k.pem"}, "ssl.key.location needs --client-config ssl.certificate.location"),
        ({"ssl.key.password": "very-secret"}, "ssl.key.password is a secret"),
        ({"ssl.endpoint.identification.algorithm": ""}, "it may be https or none"),
        ({"enable.ssl.certificate.verification": "no"}, "it may be true or false"),
        ({"ssl.ca.location": "broken.pem"}, "ssl.ca.location: broken.pem can't be used"),
    ],
)
def test_files_are_looked_at_before_the_run(given, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken.pem").write_text("no certificate")
    with pytest.raises(UsageError, match=why) as refused:
        options.scenario_of(**THEIRS, client_config={"security.protocol": "SSL", **given})
    assert "very-secret" not in str(refused.value)


def test_a_key_with_a_password_is_read_with_the_right_one_only(tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    store, locked = authority.store("client"), tmp_path / "locked.key"
    authority._run("rsa", "-aes256", "-passout", "pass:very-secret", "-in", store, "-out", locked)
    given = {
        "security.protocol": "ssl",
        "ssl.ca.location": str(authority.trusted),
        "ssl.certificate.location": str(store),
        "ssl.key.location": str(locked),
    }
    opened = {**given, "ssl.key.password": "env:ALICE"}
    assert Credentials.of(options.scenario_of(**THEIRS, client_config=opened).client_config).tls().check_hostname
    with pytest.raises(UsageError, match=r"ssl.key.location: .* can't be used"):
        options.scenario_of(**THEIRS, client_config=given)
    monkeypatch.setenv("ALICE", "wrong-word")
    with pytest.raises(UsageError, match="can't be used") as refused:
        options.scenario_of(**THEIRS, client_config=opened)
    assert "wrong-word" not in str(refused.value)


def test_checks_are_off_only_where_that_is_asked_for():
    safe = Credentials.of({"security.protocol": "SSL"}).tls()
    assert (safe.verify_mode, safe.check_hostname) == (ssl.CERT_REQUIRED, True)
    any_name = Credentials.of({"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"}).tls()
    assert (any_name.verify_mode, any_name.check_hostname) == (ssl.CERT_REQUIRED, False)
    anybody = Credentials.of({"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"}).tls()
    assert (anybody.verify_mode, anybody.check_hostname) == (ssl.CERT_NONE, False)


@pytest.mark.parametrize("cluster", ["embedded", "jvm", "compose", "simulated"])
def test_clusters_of_the_harness_take_none(cluster):
    with pytest.raises(UsageError, match="--client-config belongs to --cluster existing or remote") as refused:
        options.scenario_of(cluster=cluster, client_config={"sasl.password": "very-secret"})
    assert "very-secret" not in str(refused.value)


def test_plain_listeners_are_the_default():
    assert not Credentials.of({}).is_encrypted
    assert Credentials.of({}).sasl is None
    assert not [name for name in settings.common(Scenario(), "127.0.0.1:9", "c") if name.startswith(("sasl", "ssl"))]
