"""Who gets in, and what they may do there: real clients against one node with users, rules and certificates."""

import base64
import hashlib
import hmac
import struct

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from broker.core.errors import Code
from broker.core.security.acl import ANONYMOUS
from broker.io.properties import Properties, SettingsError
from broker.io.security import Door, security
from broker.io.session import Session
from broker.io.tokens import refused as refused_token
from broker.wire import codec
from broker.wire.frame import frame
from broker.wire.messages.delegation_tokens import (
    CreateDelegationTokenRequest,
    DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse,
    ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest,
)
from broker.wire.messages.metadata import MetadataRequest, MetadataResponse
from broker.wire.messages.sasl_handshake import SaslHandshakeRequest, SaslHandshakeResponse
from harness.clients.membership import leave
from tests.broker.io.certificates import Authority
from tests.broker.io.process import NodeProcess, until

WITHIN_S = 30.0
JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'user_admin="admin-secret" user_alice="alice \\"secret\\"";'
)
SASL = {
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
    "listener.name.client.plain.sasl.jaas.config": JAAS.replace("\\", "\\\\"),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
}


class Guarded(NodeProcess):
    """A node that does not answer strangers: it serves when it says so."""

    def serves(self):
        assert self.process.poll() is None, self.log()
        return "Kafka Server started" in self.log() and "-> running" in self.log()


def client(node, user="admin", password="admin-secret", mechanism="PLAIN", **more):
    return {
        "bootstrap.servers": node.address,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
        "log_level": 0,
        **more,
    }


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    one = Guarded(tmp_path_factory.mktemp("guarded"), **SASL)
    one.start()
    try:
        admin = AdminClient(client(one))
        wait(admin.create_topics([NewTopic("open", 1, 1), NewTopic("shut", 1, 1)]))
        rights = [("open", AclOperation.READ), ("open", AclOperation.WRITE)]
        rules = [rule(ResourceType.TOPIC, name, "User:alice", operation) for name, operation in rights]
        rules.append(rule(ResourceType.GROUP, "alice-", "User:alice", AclOperation.READ, ResourcePatternType.PREFIXED))
        wait(admin.create_acls(rules))
        yield one
    finally:
        one.kill()


def wait(futures):
    return [one.result(WITHIN_S) for one in futures.values()]


def rule(kind, name, principal, operation, pattern=ResourcePatternType.LITERAL):
    return AclBinding(kind, name, pattern, principal, "*", operation, AclPermissionType.ALLOW)


ALICE = {"user": "alice", "password": 'alice "secret"'}


def produce(configuration, topic, value=b"v"):
    """Return the error of one record's delivery, None for none."""
    told = []
    producer = Producer({**configuration, "message.timeout.ms": 15_000})
    producer.produce(topic, value, on_delivery=lambda error, _: told.append(error))
    producer.flush(WITHIN_S)
    (error,) = told
    return None if error is None else error.code()


def test_who_may_write_a_topic_writes_it_and_no_other(node):
    alice = client(node, **ALICE)
    assert produce(alice, "open") is None
    assert produce(alice, "shut") in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._MSG_TIMED_OUT}
    assert produce({**alice, "enable.idempotence": True}, "open") is None
    assert end(client(node), "shut") == 0


def end(configuration, topic):
    consumer = Consumer({**configuration, "group.id": "alice-end"})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=WITHIN_S)[1]
    finally:
        consumer.close()


def read(configuration, topic, group):
    """Return the first record, or the code of the error that comes instead of it."""
    reader = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer({**configuration, **reader})
    found = []
    try:
        consumer.subscribe([topic])

        def got():
            message = consumer.poll(0.2)
            if message is not None:
                found.append(message.value() if message.error() is None else message.error().code())
            return bool(found)

        until(got, WITHIN_S)
    finally:
        leave(consumer)
    return found[0]


def test_reading_needs_the_topic_and_the_group(node):
    assert produce(client(node), "open", b"first") is None
    alice = client(node, **ALICE)
    assert read(alice, "open", "alice-1") in {b"first", b"v"}
    assert read(alice, "open", "bob-1") == KafkaError.GROUP_AUTHORIZATION_FAILED
    assert read(alice, "shut", "alice-2") in {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
    }


def test_metadata_hides_what_may_not_be_described(node):
    assert set(AdminClient(client(node, **ALICE)).list_topics(timeout=WITHIN_S).topics) == {"open"}
    assert {"open", "shut"} <= set(AdminClient(client(node)).list_topics(timeout=WITHIN_S).topics)


def test_only_who_may_alter_the_cluster_changes_rules_and_topics(node):
    alice = AdminClient(client(node, **ALICE))
    for asked in (
        alice.create_topics([NewTopic("mine", 1, 1)]),
        alice.create_acls([rule(ResourceType.TOPIC, "shut", "User:alice", AclOperation.READ)]),
        alice.delete_topics(["shut"]),
    ):
        with pytest.raises(KafkaException) as refused:
            wait(asked)
        assert refused.value.args[0].code() in {
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        }


def test_rules_are_described_and_deleted(node):
    admin = AdminClient(client(node))
    one = rule(ResourceType.TOPIC, "tmp", "User:carol", AclOperation.READ)
    wait(admin.create_acls([one]))
    wanted = AclBindingFilter(
        ResourceType.TOPIC, "tmp", ResourcePatternType.MATCH, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    assert admin.describe_acls(wanted).result(WITHIN_S) == [one]
    assert wait(admin.delete_acls([wanted])) == [[one]]
    assert admin.describe_acls(wanted).result(WITHIN_S) == []


def test_a_scram_user_gets_in_with_the_right_password_only(node):
    admin = AdminClient(client(node))
    known = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    wait(admin.alter_user_scram_credentials([UserScramCredentialUpsertion("bob", known, b"bob-secret")]))
    wait(admin.create_acls([rule(ResourceType.TOPIC, "open", "User:bob", AclOperation.WRITE)]))
    assert wait(admin.describe_user_scram_credentials(["bob"]))[0].scram_credential_infos[0].iterations == 4096
    bob = client(node, "bob", "bob-secret", "SCRAM-SHA-256")
    assert produce(bob, "open") is None
    assert produce(bob, "shut") in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._MSG_TIMED_OUT}
    assert refused(client(node, "bob", "wrong", "SCRAM-SHA-256"))


def refused(configuration):
    """Return whether the broker says that the authentication failed."""
    told = []
    admin = AdminClient({**configuration, "error_cb": told.append})

    def heard():
        admin.poll(0.2)
        return any(error.code() == KafkaError._AUTHENTICATION for error in told)

    until(heard, WITHIN_S)
    return True


def test_a_wrong_password_and_a_mechanism_that_is_off_are_refused(node):
    assert refused(client(node, "alice", "wrong"))
    assert refused(client(node, "admin", "admin-secret", "SCRAM-SHA-512"))


def receive(connection):
    """Return the payload of the next frame, None where the connection has ended."""
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack_from(">i", data)[0]:
        piece = connection.recv(4096)
        if not piece:
            return None
        data += piece
    return data[4:]


def handshake(connection, mechanism):
    """Begin as clients before 2017 do: messages of the mechanism follow without requests around them."""
    asked = codec.encode_request(SaslHandshakeRequest(mechanism=mechanism), 0, correlation_id=1, client_id="c")
    connection.sendall(frame(asked))
    return codec.decode_response(SaslHandshakeResponse, 0, receive(connection))[1].error_code


def topics_told(connection):
    connection.sendall(frame(codec.encode_request(MetadataRequest(topics=None), 9, correlation_id=2, client_id="c")))
    return {one.name for one in codec.decode_response(MetadataResponse, 9, receive(connection))[1].topics}


def test_bare_messages_of_a_mechanism_let_in_who_began_with_version_0(node):
    with node.connect() as connection:
        assert handshake(connection, "PLAIN") == 0
        connection.sendall(frame(b"\0admin\0admin-secret"))
        assert receive(connection) == b""
        assert {"open", "shut"} <= topics_told(connection)
        assert handshake(connection, "PLAIN") == Code.ILLEGAL_SASL_STATE, "who begins again knows version 1"
    with node.connect() as connection:
        assert handshake(connection, "PLAIN") == 0
        connection.sendall(frame(b"\0admin\0wrong"))
        assert receive(connection) is None, "there is no request whose answer could say it"
    with node.connect() as connection:
        assert handshake(connection, "OAUTHBEARER") == Code.UNSUPPORTED_SASL_MECHANISM
        assert receive(connection) is None


def test_bare_scram_takes_two_messages(node):
    known = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    admin = AdminClient(client(node))
    wait(admin.alter_user_scram_credentials([UserScramCredentialUpsertion("old", known, b"old-secret")]))
    with node.connect() as connection:
        assert handshake(connection, "SCRAM-SHA-256") == 0
        connection.sendall(frame(b"n,,n=old,r=abc"))
        first = receive(connection)
        assert first.startswith(b"r=abc")
        connection.sendall(frame(final(first, b"n=old,r=abc", b"old-secret")))
        assert receive(connection).startswith(b"v=")
        assert isinstance(topics_told(connection), set)


def final(first, bare, password):
    """Return the client's last message (RFC 5802)."""
    fields = dict(part.split(b"=", 1) for part in first.split(b","))
    salted = hashlib.pbkdf2_hmac("sha256", password, base64.b64decode(fields[b"s"]), int(fields[b"i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = b"c=biws,r=" + fields[b"r"]
    signature = hmac.digest(hashlib.sha256(key).digest(), b",".join((bare, first, without_proof)), "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return without_proof + b",p=" + base64.b64encode(proof)


def test_tokens_are_refused_as_by_a_kafka_without_a_secret_for_them(node):
    asked = codec.encode_request(DescribeDelegationTokenRequest(), 3, correlation_id=2, client_id="c")
    with node.connect() as connection:
        assert handshake(connection, "PLAIN") == 0
        connection.sendall(frame(b"\0admin\0admin-secret"))
        assert receive(connection) == b""
        connection.sendall(frame(asked))
        told = codec.decode_response(DescribeDelegationTokenResponse, 3, receive(connection))[1]
    assert told.error_code == Code.DELEGATION_TOKEN_AUTH_DISABLED
    for message in (
        CreateDelegationTokenRequest(),
        RenewDelegationTokenRequest(),
        ExpireDelegationTokenRequest(),
        DescribeDelegationTokenRequest(),
    ):
        assert refused_token(message, Door(), ANONYMOUS).error_code == Code.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED


def test_who_has_not_said_who_it_is_hears_nothing(node):
    asked = frame(codec.encode_request(MetadataRequest(topics=None), 9, correlation_id=1, client_id="stranger"))
    with node.connect() as connection:
        connection.sendall(asked)
        assert connection.recv(1) == b"", "the connection is closed without a word"
    with node.connect() as connection:
        connection.sendall(frame(struct.pack(">hhih", 18, 0, 7, -1)))  # ApiVersions: what anybody may ask
        assert struct.unpack(">ii", connection.recv(8))[1] == 7
    with node.connect() as connection:
        connection.sendall(frame(struct.pack(">hhih", 10, 0, 1, -1) + b"\0\1g"))
        assert connection.recv(1) == b""


def test_a_pattern_brings_the_topics_that_may_be_described(node):
    admin, own = AdminClient(client(node)), {"group.id": "alice-pattern", "group.protocol": "consumer"}

    def given():
        (group,) = wait(admin.describe_consumer_groups(["alice-pattern"], request_timeout=WITHIN_S))
        return {place.topic for member in group.members for place in member.assignment.topic_partitions}

    consumer = Consumer({**client(node, **ALICE), **own})
    try:
        consumer.subscribe(["^(open|shut)"])
        until(lambda: consumer.poll(0.1) is None and consumer.assignment())
        assert given() == {"open"}
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def test_certificates_name_who_comes_and_keep_others_out(authority, tmp_path):
    store, alice = authority.store("node"), authority.store("alice")
    one = Guarded(
        tmp_path / "tls",
        **{
            "listener.security.protocol.map": "CLIENT:SSL,CONTROLLER:SSL",
            "ssl.keystore.location": store,
            "ssl.keystore.type": "PEM",
            "ssl.truststore.location": authority.trusted,
            "ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:CN=alice,O=tests",
        },
    )
    one.start()
    try:
        known = {
            "bootstrap.servers": one.address,
            "security.protocol": "SSL",
            "ssl.ca.location": str(authority.trusted),
            "log_level": 0,
        }
        own = {"ssl.certificate.location": str(alice), "ssl.key.location": str(alice)}
        admin = AdminClient({**known, **own})
        wait(admin.create_topics([NewTopic("t", 1, 1)]))
        assert produce({**known, **own}, "t", b"x" * 100_000) is None
        with pytest.raises(KafkaException):
            AdminClient(known).list_topics(timeout=3)
    finally:
        one.kill()


def listeners(**values):
    return security(Properties({name.replace("_", "."): value for name, value in values.items()}), "CLIENT", "NODES")


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ((("countryName", "DE"),), "C=DE"),
        ((("commonName", "admin,O=x"),), "CN=admin\\,O\\=x"),
        ((("commonName", ' #"\\ '),), 'CN=\\ \\#\\"\\\\\\ '),
        ((("commonName", " "),), "CN=\\ "),
        ((("commonName", "a"), ("userId", "b")), "CN=a+UID=b"),
    ],
)
def test_a_name_of_one_part_does_not_read_like_one_of_several(subject, name):
    session = Session(Door(), lambda mechanism, user: None)
    session.tls({"subject": ((("organizationName", "x"),), subject)})
    assert session.principal == f"User:{name},O=x"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"listener.security.protocol.map": "CLIENT:TLS"}, "CLIENT:TLS"),
        ({"listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT"}, "sasl.enabled.mechanisms"),
        (
            {"listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT", "sasl.enabled.mechanisms": "GSSAPI"},
            "sasl.enabled.mechanisms=GSSAPI",
        ),
        (
            {"listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT", "sasl.enabled.mechanisms": "PLAIN"},
            "plain.sasl.jaas.config",
        ),
        ({"listener.security.protocol.map": "CLIENT:SSL"}, "ssl.keystore.location"),
        (
            {"listener.security.protocol.map": "CLIENT:SSL", "ssl.keystore.location": "nowhere.pem"},
            "listener CLIENT can't be read",
        ),
        (
            {"listener.security.protocol.map": "CLIENT:SSL", "ssl.keystore.type": "JKS"},
            "ssl.keystore.type=JKS",
        ),
        (
            {
                "listener.security.protocol.map": "NODES:SASL_PLAINTEXT",
                "sasl.enabled.mechanisms": "PLAIN",
                "plain.sasl.jaas.config": JAAS,
            },
            "NODES",
        ),
        ({"authorizer.class.name": "kafka.security.authorizer.AclAuthorizer"}, "authorizer.class.name"),
        (
            {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "admin",
            },
            "super.users=admin",
        ),
    ],
)
def test_settings_that_can_not_work_are_refused_by_name(values, named):
    with pytest.raises(SettingsError, match=named):
        security(Properties(values), "CLIENT", "NODES")


def test_without_settings_everybody_is_let_in():
    open_ = listeners()
    assert (open_.clients.protocol, open_.clients.mechanisms, open_.authorizer) == ("PLAINTEXT", (), None)
