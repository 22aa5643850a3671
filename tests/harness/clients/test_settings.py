"""What can't work together is refused in one line; what is left, librdkafka accepts."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from harness.clients import settings
from harness.clients.confluent import ConfluentClients
from harness.clients.packing import CODECS, MIXED, Packing
from harness.cluster.api import UsageError
from harness.scenario import Scenario

NOWHERE = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"workload": "txn", "acks": "1"}, "--acks 1 needs --workload send-poll"),
        ({"workload": "txn", "acks": "0"}, "--acks 0 needs --workload send-poll"),
        ({"workload": "txn", "idempotence": False}, "--no-idempotence needs --workload send-poll"),
        ({"workload": "send-poll", "acks": "1"}, "--acks 1 needs --no-idempotence"),
        ({"sub_via": ()}, "--sub-via"),
        ({"transaction_timeout_s": 1.0}, "3.0 s at least"),
        ({"min_isr": 4}, "--min-isr 4 must be between 1 and --replication 3"),
        ({"min_isr": 0}, "--min-isr 0"),
        ({"topics": 0}, "--topics 0"),
        ({"partitions": 0}, "--partitions 0"),
        ({"replication": 4}, "--replication 4: the cluster has only 3 nodes"),
    ],
)
def test_what_can_not_work_is_refused_in_one_line(fields, said):
    with pytest.raises(UsageError, match=said) as refused:
        ConfluentClients(Scenario(**fields), NOWHERE)
    assert "\n" not in str(refused.value)


def test_librdkafka_refuses_the_same():
    scenario = Scenario(workload="send-poll", acks="1", idempotence=False)
    with pytest.raises(KafkaException, match="idempotence"):
        Producer(settings.producer(scenario, NOWHERE, "c", "some-id"))


@pytest.mark.parametrize("transactional_id", [None, "id-1"])
def test_librdkafka_takes_the_settings_of_a_producer(transactional_id):
    assert Producer(settings.producer(Scenario(), NOWHERE, "c", transactional_id)) is not None


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_librdkafka_takes_the_settings_of_a_consumer(isolation, protocol):
    config = settings.consumer(Scenario(prefix="p-", group_protocol=protocol), NOWHERE, "c", isolation)
    assert config.get("group.protocol", "classic") == protocol
    assert (config["group.id"], config["isolation.level"]) == ("p-harness", isolation)
    Consumer(config).close()


@pytest.mark.parametrize("codec", CODECS)
def test_librdkafka_has_every_codec(codec):
    config = settings.producer(Scenario(), NOWHERE, "c", None, Packing(codec=codec, together=True))
    assert (config["compression.type"], config["linger.ms"]) == (codec, settings.TOGETHER_MS)
    assert Producer(config) is not None
    settings.refuse_codecs(Scenario(compression=codec))


@pytest.mark.parametrize("compression", ["zstd", MIXED])
def test_a_codec_that_librdkafka_was_built_without_is_refused_in_one_line(monkeypatch, compression):
    def without_zstd(config):
        if config["compression.type"] == "zstd":
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG))

    monkeypatch.setattr(settings, "Producer", without_zstd)
    with pytest.raises(UsageError, match=f"^--compression {compression}: librdkafka has no zstd here$"):
        ConfluentClients(Scenario(compression=compression), NOWHERE)
    settings.refuse_codecs(Scenario(compression="gzip"))


def test_a_consumer_fetches_in_the_pieces_that_it_has_drawn():
    config = settings.consumer(Scenario(), NOWHERE, "c", "read_committed", Packing(fetch_bytes=4096))
    assert config["max.partition.fetch.bytes"] == 4096
    Consumer(config).close()
    assert "max.partition.fetch.bytes" not in settings.consumer(Scenario(), NOWHERE, "c", "read_committed")


def test_an_op_is_bounded_a_few_seconds_past_the_transaction_time_out():
    assert settings.op_bound_s(Scenario(transaction_timeout_s=10)) == 15


def test_overrides_reach_librdkafka():
    clients = ConfluentClients(Scenario(), NOWHERE, consumer_overrides={"session.timeout.ms": 9000})
    assert clients.consumer_config(0, "read_committed")["session.timeout.ms"] == 9000


@pytest.mark.parametrize(
    ("workload", "told"),
    [
        (
            "share",
            [("group", "p-harness-share"), ("share", "p-harness-share:p-t0/0"), ("share", "p-harness-share:p-t0/1")],
        ),
        ("copy", [("group", "p-harness")]),
    ],
)
def test_a_run_has_the_coordinators_of_its_group_its_ids_and_of_what_its_share_group_knows(workload, told):
    scenario = Scenario(workload=workload, prefix="p-", concurrency=2, sub_via=("subscribe",))
    found = settings.coordinated(scenario, ("p-t0/0", "p-t0/1"), "id{}".format)
    assert [(of.kind, of.name) for of in found] == [*told, ("transaction", "id0"), ("transaction", "id1")]
