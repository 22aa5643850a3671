"""Sends, polls and assigns outside transactions, on librdkafka's mock cluster."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from harness.clients import settings
from harness.clients.confluent import ConfluentClients
from harness.clients.packing import CODECS, Packing
from harness.clients.payload import Stamp, encode
from harness.scenario import Scenario
from tests.harness.clients.conftest import POLL, SCENARIO, op, polled, read, send, until
from tests.harness.clients.mock_kafka import Api


def write(mock, partition, *values):
    """Write raw values, as a producer that is none of ours."""
    producer = Producer({"bootstrap.servers": mock.bootstrap, "log_level": 0})
    for value in values:
        producer.produce("t0", value, partition=partition)
    assert producer.flush(10) == 0


def test_a_send_knows_its_offset_and_one_pair_of_times_each(client):
    done = client.invoke(send(("t0/1", 10), ("t0/2", 11), ("t0/1", 12)))
    assert (done.type, done.process, done.f, done.error) == ("ok", 0, "send", None)
    assert done.value == [["send", "t0/1", [0, 10]], ["send", "t0/2", [0, 11]], ["send", "t0/1", [1, 12]]]
    assert len(done.times) == 3
    assert all(start <= end for start, end in done.times)


def test_polled_values_come_with_offset_and_leader_epoch_in_offset_order(client):
    client.invoke(send(("t0/1", 10), ("t0/1", 11), ("t0/1", 12)))
    client.invoke(op("assign", ["t0/1"]))
    entries = []
    until(client, lambda done: entries.extend(polled(done).get("t0/1", [])) or len(entries) == 3)
    assert entries == [[0, 10, {"epoch": 0}], [1, 11, {"epoch": 0}], [2, 12, {"epoch": 0}]]


def test_a_poll_without_keys_is_ok_and_empty(client):
    done = client.invoke(POLL)
    assert (done.type, done.value, done.positions) == ("ok", [["poll", []]], [])


def test_an_empty_poll_is_ok_after_about_its_time_out(client):
    client.invoke(op("assign", ["t0/0"]))
    done = client.invoke(POLL)
    assert (done.type, done.value) == ("ok", [["poll", []]])
    assert (done.times[0][1] - done.times[0][0]) / 1e9 < settings.POLL_S + 1


def test_the_position_reaches_the_end_behind_a_control_record(client):
    client.invoke(op("txn", [["send", "t0/0", 1]]))
    client.invoke(op("assign", ["t0/0"]))
    done = until(client, lambda done: done.positions == [["t0/0", 2]])
    assert done.isolation == "read_committed"


def test_retained_keys_keep_their_position_and_new_ones_start_at_the_beginning(client):
    client.invoke(send(("t0/0", 1), ("t0/1", 2)))
    client.invoke(op("assign", ["t0/0"]))
    assert read(client, 1) == {"t0/0": [1]}
    client.invoke(op("assign", ["t0/0", "t0/1"]))
    assert read(client, 1) == {"t0/1": [2]}
    client.invoke(send(("t0/0", 3)))
    assert read(client, 1) == {"t0/0": [3]}


def test_a_key_that_was_given_up_is_new_again(client):
    client.invoke(send(("t0/0", 1)))
    client.invoke(op("assign", ["t0/0"]))
    assert read(client, 1) == {"t0/0": [1]}
    client.invoke(op("assign", ["t0/1"]))
    client.invoke(op("assign", ["t0/0"]))
    assert read(client, 1) == {"t0/0": [1]}


def test_seek_to_beginning_reads_every_key_again(client):
    client.invoke(send(("t0/0", 1), ("t0/1", 2)))
    client.invoke(op("assign", ["t0/0", "t0/1"]))
    assert read(client, 2) == {"t0/0": [1], "t0/1": [2]}
    client.invoke(op("assign", ["t0/0", "t0/1"], seek_to_beginning=True))
    assert read(client, 2) == {"t0/0": [1], "t0/1": [2]}


def test_one_poll_returns_all_that_is_there_up_to_its_bound(client, mock, monkeypatch):
    monkeypatch.setattr(settings, "MAX_POLL_RECORDS", 300)
    write(mock, 0, *(encode(Stamp("t0/0", 9, i, i)) for i in range(1000)))
    client.invoke(op("assign", ["t0/0"]))
    sizes = []
    until(client, lambda done: sizes.append(len(polled(done).get("t0/0", []))) or sum(sizes) == 1000)
    assert max(sizes) == 300
    assert len([size for size in sizes if size]) <= 10  # as many fetches as the mock cluster needs, not one a record


def test_the_isolation_is_the_scenarios_or_the_ops_own(client):
    assert client.invoke(op("assign", ["t0/0"])).isolation == "read_committed"
    assert client.invoke(op("assign", ["t0/0"], isolation="read_uncommitted")).isolation == "read_uncommitted"
    assert client.invoke(POLL).isolation == "read_uncommitted"


def test_altered_misplaced_and_foreign_records_are_marked(client, mock):
    good = encode(Stamp("t0/0", 3, 0, 77))
    write(mock, 0, good, good.replace(b" 77 ", b" 78 "), encode(Stamp("t0/1", 3, 1, 79)), b"\x00\xff")
    client.invoke(op("assign", ["t0/0"]))
    entries = []
    until(client, lambda done: entries.extend(polled(done).get("t0/0", [])) or len(entries) == 4)
    assert entries[0][:2] == [0, 77]
    assert entries[1] == [1, "?" + good.replace(b" 77 ", b" 78 ")[:16].hex(), {"epoch": 0, "altered": "checksum"}]
    assert entries[2] == [2, 79, {"epoch": 0, "altered": "sent to t0/1"}]
    assert entries[3] == [3, "?00ff", {"epoch": 0, "altered": "undecodable"}]


def test_a_poll_that_was_refused_fails_and_the_next_one_goes_on(client, mock):
    client.invoke(op("assign", ["t0/0"]))
    mock.push(Api.FETCH, *[29] * 10)  # TOPIC_AUTHORIZATION_FAILED
    failed = until(client, lambda done: done.type != "ok")
    assert (failed.type, failed.error["name"], failed.error["stage"]) == ("fail", "TOPIC_AUTHORIZATION_FAILED", "poll")
    mock.clear(Api.FETCH)
    client.invoke(send(("t0/0", 3)))
    values = []
    until(client, lambda done: values.extend(e[1] for e in polled(done).get("t0/0", [])) or 3 in values)
    assert values == [3]


def test_acks_0_is_ok_without_an_offset(mock, opened):
    clients = ConfluentClients(_plain(acks="0", idempotence=False), mock.bootstrap)
    done = opened(clients).invoke(send(("t0/0", 5)))
    assert (done.type, done.value) == ("ok", [["send", "t0/0", 5]])


@pytest.mark.parametrize(("acks", "idempotence"), [("1", False), ("all", False), ("all", True)])
def test_sends_work_with_every_setting_that_librdkafka_allows(mock, opened, acks, idempotence):
    clients = ConfluentClients(_plain(acks=acks, idempotence=idempotence), mock.bootstrap)
    assert opened(clients).invoke(send(("t0/0", 5))).value == [["send", "t0/0", [0, 5]]]


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_packed_and_padded_is_read_as_it_was_sent(mock, opened, codec):
    clients = ConfluentClients(_plain(compression=codec, value_size="3000"), mock.bootstrap)
    client = opened(clients)
    client.invoke(send(("t0/0", 5), ("t0/0", 6)))
    client.invoke(op("assign", ["t0/0"]))
    assert read(client, 2) == {"t0/0": [5, 6]}


def together(scenario):
    return next(process for process in range(50) if Packing.of(scenario, process).together)


def test_sends_that_stand_together_go_in_one_batch_of_a_process_that_has_drawn_that(mock, opened):
    scenario = _plain(compression="zstd")
    client = opened(ConfluentClients(scenario, mock.bootstrap), together(scenario))
    client.invoke(send(("t0/1", 1)))  # it is connected, and has its id
    mock.track()
    done = client.invoke(op("send", [["send", "t0/1", v] for v in (2, 3, 4)]))
    assert (done.type, done.value) == ("ok", [["send", "t0/1", [offset, offset + 1]] for offset in (1, 2, 3)])
    assert mock.requests()[Api.PRODUCE] == 1
    assert len(done.times) == 3
    assert done.times[2][0] <= done.times[0][1]
    assert [end for _, end in done.times] == sorted(end for _, end in done.times)


def test_each_of_the_sends_that_go_together_has_its_own_outcome(mock, opened):
    scenario = _plain(compression="zstd")
    client = opened(ConfluentClients(scenario, mock.bootstrap), together(scenario))
    done = client.invoke(send(("t0/0", 1), ("t0/99", 2), ("t0/1", 3)))
    assert (done.type, done.error["name"]) == ("info", "_UNKNOWN_PARTITION")
    assert done.value == [["send", "t0/0", [0, 1]], ["send", "t0/99", 2], ["send", "t0/1", [0, 3]]]
    assert len(done.times) == 3


def test_a_part_that_happened_makes_the_op_info_not_fail(client):
    done = client.invoke(send(("t0/0", 1), ("t0/99", 2)))
    assert (done.type, done.error["name"]) == ("info", "_UNKNOWN_PARTITION")
    assert done.value == [["send", "t0/0", [0, 1]], ["send", "t0/99", 2]]


def test_an_op_that_the_client_does_not_know_fails_with_its_name(client):
    done = client.invoke(op("enqueue", 5))
    assert (done.type, done.error["name"]) == ("fail", "UNSUPPORTED_OPERATION")


def test_a_producer_that_broke_is_replaced_by_the_next_send(client, mock):
    client.invoke(send(("t0/0", 1)))
    mock.push(Api.PRODUCE, 45)  # OUT_OF_ORDER_SEQUENCE_NUMBER: fatal for an idempotent producer
    broken = client.invoke(send(("t0/0", 2)))
    assert (broken.type, broken.error["name"]) == ("info", "OUT_OF_ORDER_SEQUENCE_NUMBER")
    assert client.invoke(send(("t0/0", 3))).type == "ok"


def test_clients_write_nothing_to_stderr_when_brokers_die_or_a_producer_breaks(client, mock, capfd):
    client.invoke(send(("t0/0", 1)))
    mock.push(Api.PRODUCE, 45)
    client.invoke(send(("t0/0", 2)))
    client.invoke(op("assign", ["t0/0"]))
    mock.down()
    client.invoke(POLL)
    client.close()
    assert capfd.readouterr().err == ""


def _plain(**fields) -> Scenario:
    return Scenario(
        workload="send-poll",
        topics=1,
        partitions=3,
        replication=1,
        min_isr=1,
        transaction_timeout_s=SCENARIO.transaction_timeout_s,
        **fields,
    )


def test_a_codec_that_a_broker_refuses_is_named(mock, opened):
    client = opened(ConfluentClients(replace(SCENARIO, compression="zstd"), mock.bootstrap))
    client.invoke(op("send", [["send", "t0/0", 1]]))
    mock.push(Api.PRODUCE, 76)
    refused = client.invoke(op("send", [["send", "t0/0", 2]]))
    assert (refused.type, refused.error["name"]) == ("info", "UNSUPPORTED_COMPRESSION_TYPE")
    assert "no batch in zstd" in refused.error["message"]
