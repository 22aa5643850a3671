"""Who comes by certificate is that principal, whether an authorizer asks for it or not."""

import contextlib
import ssl

import pytest

from broker.core.errors import Code
from broker.wire import codec, record
from broker.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    EntityPart,
    OpData,
    QuotaChange,
)
from broker.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest, CreateTopicsResponse
from broker.wire.messages.delegation_tokens import DescribeDelegationTokenRequest, DescribeDelegationTokenResponse
from broker.wire.messages.metadata import MetadataRequest, MetadataResponse
from broker.wire.messages.produce import PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData
from tests.broker.io.certificates import Authority
from tests.broker.io.process import until
from tests.broker.io.test_node import receive, request
from tests.broker.io.test_security import Guarded


class Tls(Guarded):
    """A node that asks for certificates, and takes who has none."""

    def __init__(self, folder, authority):
        super().__init__(
            folder,
            **{
                "listener.security.protocol.map": "CLIENT:SSL,CONTROLLER:PLAINTEXT",
                "ssl.keystore.location": authority.store("node"),
                "ssl.keystore.type": "PEM",
                "ssl.truststore.location": authority.trusted,
                "ssl.client.auth": "requested",
            },
        )
        self.trusted = authority.trusted

    @contextlib.contextmanager
    def comes(self, store=None):
        """Return what asks on one connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.trusted)
        if store is not None:
            context.load_cert_chain(store)
        with self.connect() as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:

            def ask(message, answer, version):
                secure.sendall(request(message, version, 1))
                return codec.decode_response(answer, version, receive(secure))[1]

            yield ask


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def node(authority, tmp_path_factory):
    one = Tls(tmp_path_factory.mktemp("tls") / "node", authority)
    one.start()
    try:
        yield one
    finally:
        one.kill()


def test_limits_of_a_certificates_subject_hold_without_an_authorizer(node, authority):
    alice, bob = authority.store("alice"), authority.store("bob")
    who = (EntityPart(entity_type="user", entity_name="CN=alice,O=tests"),)
    limits = QuotaChange(entity=who, ops=(OpData(key="producer_byte_rate", value=2000.0),))
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    with node.comes(bob) as ask:
        assert ask(CreateTopicsRequest(topics=(topic,)), CreateTopicsResponse, 7).topics[0].error_code == Code.NONE
        changed = ask(AlterClientQuotasRequest(entries=(limits,)), AlterClientQuotasResponse, 1)
        assert changed.entries[0].error_code == Code.NONE
        led = MetadataRequest(topics=None)
        until(lambda: [one.partitions[0].leader_id for one in ask(led, MetadataResponse, 12).topics] == [1])
    records = bytes(record.batch_of([(None, b"x" * 3000)], timestamp_ms=1000))
    part = TopicProduceData(name="t", partition_data=(PartitionProduceData(index=0, records=records),))
    told = {}
    for name, store in {"alice": alice, "bob": bob, "nobody": None}.items():
        with node.comes(store) as ask:
            answer = ask(ProduceRequest(acks=-1, timeout_ms=5000, topic_data=(part,)), ProduceResponse, 9)
        assert answer.responses[0].partition_responses[0].error_code == Code.NONE
        told[name] = answer.throttle_time_ms > 0
    assert told == {"alice": True, "bob": False, "nobody": False}


def test_who_comes_by_certificate_is_somebody_to_the_answers_about_tokens(node, authority):
    told = []
    for store in (authority.store("carol"), None):
        with node.comes(store) as ask:
            told.append(ask(DescribeDelegationTokenRequest(), DescribeDelegationTokenResponse, 3).error_code)
    assert told == [Code.DELEGATION_TOKEN_AUTH_DISABLED, Code.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED]
