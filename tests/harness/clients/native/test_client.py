"""Each kind of op with our own client over TCP: the completion that HISTORY.md asks for, on a broker in a process."""

from __future__ import annotations

import threading
import time

import pytest

from broker.wire import codec
from broker.wire.apis import Api
from broker.wire.messages.api_versions import ApiVersionsResponse
from harness.clients.completion import LOW
from harness.clients.native import sockets
from harness.clients.native.client import refuse_old
from harness.clients.packing import CODECS
from harness.cluster.api import UsageError
from harness.cluster.probe import Probe
from tests.broker.io.process import NodeProcess, until
from tests.harness.clients.native.conftest import do, nothing, read


@pytest.fixture
def said(monkeypatch):
    """What was said on the wire: (API, version)."""
    said = set()
    encode = codec.encode_request

    def noted(request, version, **header):
        said.add((request.api, version))
        return encode(request, version, **header)

    monkeypatch.setattr(sockets.codec, "encode_request", noted)
    return said


@pytest.mark.parametrize("compression", CODECS)
def test_what_was_sent_is_polled(scene, compression):
    one = scene(compression=compression, value_size="3000")
    client = one.open()
    sent = do(client, "send", [["send", one.K0, 1], ["send", one.K1, 2], ["send", one.K0, 3]])
    assert (sent.type, [micro_op[2] for micro_op in sent.value]) == ("ok", [[0, 1], [0, 2], [1, 3]])
    assert all(a <= b for a, b in sent.times)
    assert do(client, "assign", [one.K0, one.K1]).type == "ok"
    assert read(client, 3) == {one.K0: [[0, 1], [1, 3]], one.K1: [[0, 2]]}


@pytest.mark.parametrize("acks", ["0", "1"])
def test_sends_without_all_acks(scene, acks):
    one = scene(workload="send-poll", acks=acks, idempotence=False)
    client = one.open()
    assert do(client, "send", [["send", one.K0, 1]]).type == "ok"
    do(client, "assign", [one.K0])
    assert read(client, 1) == {one.K0: [[0, 1]]}


@pytest.mark.parametrize(("protocol", "ends", "adds"), [(1, 3, True), (2, 5, False)])
def test_a_transaction_by_both_protocols(scene, said, protocol, ends, adds):
    one = scene(transaction_protocol=protocol)
    client, reader = one.open(), one.open(1)
    do(reader, "assign", [one.K0, one.K1], process=1)
    done = do(client, "txn", [["send", one.K0, 1], ["send", one.K1, 2]])
    assert (done.type, done.error) == ("ok", None)
    assert done.times[-1][1] <= done.commit_time
    aborted = do(client, "txn", [["send", one.K0, 3]], abort=True)
    assert (aborted.type, aborted.error["name"]) == ("fail", "DELIBERATE_ABORT")
    assert do(client, "txn", [["send", one.K0, 4]]).type == "ok"
    found = read(reader, 3, process=1)
    assert [value for _, value in found[one.K0]] == [1, 4]
    assert {version for api, version in said if api is Api.END_TXN} == {ends}
    assert any(api is Api.ADD_PARTITIONS_TO_TXN for api, _ in said) is adds


@pytest.mark.parametrize("protocol", [1, 2])
def test_what_a_crashed_transaction_sent_is_aborted_by_the_coordinator(scene, protocol):
    one = scene(transaction_protocol=protocol, transaction_timeout_s=3.0)
    client, reader = one.open(), one.open(1)
    done = do(client, "txn", [["send", one.K0, 1]], crash=True)
    assert (done.type, done.error["name"]) == ("info", "DELIBERATE_CRASH")
    assert do(client, "txn", [["send", one.K0, 2]]).type == "ok"
    do(reader, "assign", [one.K0], process=1)
    assert [value for _, value in read(reader, 1, process=1)[one.K0]] == [2]


def test_the_next_process_of_a_thread_fences_the_last_one(scene):
    one = scene()
    old, new = one.open(0), one.open(4)
    assert do(old, "txn", [["send", one.K0, 1]]).type == "ok"
    assert do(new, "txn", [["send", one.K0, 2]], process=4).type == "ok"
    fenced = do(old, "txn", [["send", one.K0, 3]])
    assert (fenced.type, fenced.error["name"]) == ("fail", "_FENCED")
    do(new, "assign", [one.K0], process=4)
    assert [value for _, value in read(new, 2, process=4)[one.K0]] == [1, 2]


@pytest.mark.parametrize("group_protocol", ["classic", "consumer"])
def test_members_share_the_keys_and_a_restart_goes_on_where_the_group_was(scene, group_protocol):
    one = scene(group_protocol=group_protocol)
    first, second = one.open(0), one.open(1)
    do(first, "send", [["send", one.K0, 1], ["send", one.K1, 2]])
    for process, client in enumerate((first, second)):
        assert do(client, "subscribe", [one.K0, one.K1], process=process).type == "ok"
    found, deadline = {}, time.monotonic() + 30
    while len(found) < 2:
        assert time.monotonic() < deadline
        for process, client in enumerate((first, second)):
            for key, _ in do(client, "poll", [["poll"]], process=process).value[0][1]:
                found[key] = process
    committed = do(first, "committed")
    assert (committed.type, sorted(committed.value)) == ("ok", [[one.K0, 1], [one.K1, 1]])
    for client in (first, second):
        client.close()
    third = one.open(2)
    do(third, "subscribe", [one.K0, one.K1], process=2)
    do(third, "send", [["send", one.K1, 3]], process=2)
    assert read(third, 1, process=2) == {one.K1: [[1, 3]]}
    assert one.events


def test_offsets_in_a_transaction(scene):
    one = scene(sub_via=("subscribe",))
    client = one.open()
    do(client, "send", [["send", one.K0, 1]])
    do(client, "subscribe", [one.K0])
    deadline = time.monotonic() + 30
    while True:
        done = do(client, "txn", [["poll"], ["send", one.K1, 9]])
        assert done.type == "ok", done
        if done.value[0][1]:
            break
        assert time.monotonic() < deadline
    assert [one.K0, 1] in done.offsets  # a subscription is to the topic
    assert [one.K0, 1] in do(client, "committed").value


def test_whole_reads_single_reads_and_deletions(scene):
    one = scene()
    client = one.open()
    do(client, "send", [["send", one.K0, v] for v in (1, 2, 3)])
    scan = do(client, "scan", one.K0)
    assert (scan.type, scan.extra) == ("ok", {"end": 3, "key": one.K0})
    assert [record[:2] for record in scan.value[0][1][0][1]] == [[0, 1], [1, 2], [2, 3]]
    deleted = do(client, "delete-records", [one.K0, 2])
    assert (deleted.type, deleted.extra) == ("ok", {LOW: 2})
    at = do(client, "read-at", [one.K0, 2])
    assert (at.type, at.value[0][1][0][1][0][:2]) == ("ok", [2, 3])
    gone = do(client, "read-at", [one.K0, 0])
    assert (gone.type, gone.value, gone.extra["told"]) == ("ok", [["poll", []]], "_AUTO_OFFSET_RESET")


def test_many_processes_work_side_by_side(scene):
    one = scene(concurrency=8)
    ended = []

    def work(process):
        client = one.open(process)
        for n in range(20):
            done = do(client, "txn", [["send", one.K0, 100 * process + n]], process=process)
            assert done.type == "ok", done
        ended.append(process)

    threads = [threading.Thread(target=work, args=(process,)) for process in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == list(range(8))
    reader = one.open(9)
    do(reader, "assign", [one.K0], process=9)
    values = [value for _, value in read(reader, 160, process=9)[one.K0]]
    assert sorted(values) == sorted(100 * process + n for process in range(8) for n in range(20))
    assert nothing(reader)


@pytest.fixture
def mortal(tmp_path):
    node = NodeProcess(tmp_path).start()
    yield node
    node.kill()


def test_a_node_that_dies_costs_doubt_and_one_that_is_back_is_found_again(scene, mortal):
    one = scene(mortal, transaction_timeout_s=3.0)
    client = one.open()
    assert do(client, "txn", [["send", one.K0, 1]]).type == "ok"
    mortal.kill()
    done = do(client, "txn", [["send", one.K0, 2]])
    assert done.type in {"fail", "info"}, done
    assert done.error["name"] in {"_TIMED_OUT", "_MSG_TIMED_OUT", "_TRANSPORT"}
    mortal.start()
    again = one.open(4)
    until(lambda: do(again, "txn", [["send", one.K0, 3]], process=4).type == "ok", what="a transaction")
    do(again, "assign", [one.K0], process=4)
    assert [value for _, value in read(again, 2, process=4)[one.K0]] == [1, 3]


def test_brokers_without_the_second_protocol_are_refused_in_one_line(node, monkeypatch):
    refuse_old(node.address)
    refuse_old("127.0.0.1:1")  # nobody is there: what comes next says so
    monkeypatch.setattr(Probe, "ask_once", lambda *_: ApiVersionsResponse())
    with pytest.raises(UsageError, match=r"no transaction\.version=2 .* use --transaction-protocol 1"):
        refuse_old(node.address)
