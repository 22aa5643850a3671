"""Each kind of op on a simulated client: the completion that HISTORY.md asks for."""

from __future__ import annotations

import pytest

from broker.wire import batch
from harness.clients.packing import CODECS
from harness.cluster.api import UsageError
from harness.scenario import Scenario
from tests.harness.clients.simulated.scene import OpScene

K0, K1 = "t0/0", "t0/1"


def records(op, position=0):
    return {key: [record[:2] for record in found] for key, found in op.value[position][1]}


def test_what_was_sent_is_polled_with_offset_and_epoch():
    scene = OpScene()
    client = scene.open()
    sent = scene.do(client, "send", [["send", K0, 1], ["send", K1, 2], ["send", K0, 3]])
    assert (sent.type, sent.value) == ("ok", [["send", K0, [0, 1]], ["send", K1, [0, 2]], ["send", K0, [1, 3]]])
    assert len(sent.times) == 3
    assert all(a <= b for a, b in sent.times)
    taken = scene.do(client, "assign", [K0, K1])
    assert (taken.type, taken.isolation) == ("ok", "read_committed")
    polled = {K0: [], K1: []}
    for _ in range(4):
        poll = scene.do(client, "poll", [["poll"]])
        assert poll.type == "ok"
        for key, found in records(poll).items():
            polled[key] += found
    assert polled == {K0: [[0, 1], [1, 3]], K1: [[0, 2]]}
    assert sorted(poll.positions) == [[K0, 2], [K1, 1]]


def batches_of(scene, log):
    """The headers on the disk of the log's first replica."""
    disk = next(node.disk for node in scene.cluster.nodes.values() if log in node.disk.logs())
    return [
        header
        for base, size in disk.segments(log)
        for _, header in batch.parse(disk.read(log, base, 0, size))
        if not header.is_control
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_packed_and_padded_is_polled_as_it_was_sent(codec):
    scene = OpScene(compression=codec, value_size="700")
    client = scene.open()
    scene.do(client, "send", [["send", K0, 1], ["send", K0, 3]])
    assert {header.compression for header in batches_of(scene, "t0-0")} == {CODECS.index(codec)}
    scene.do(client, "assign", [K0])
    found = [record for _ in range(3) for record in records(scene.do(client, "poll", [["poll"]])).get(K0, [])]
    assert found == [[0, 1], [1, 3]]


@pytest.mark.parametrize("f", ["send", "txn"])
def test_sends_that_stand_together_go_in_one_batch_of_a_process_that_has_drawn_that(f):
    scene = OpScene(compression="zstd")
    process = next(process for process in range(50) if scene.clients.packing(process).together)
    sent = scene.do(scene.open(process), f, [["send", K0, 1], ["send", K1, 2], ["send", K0, 3]], process)
    assert (sent.type, sent.value) == ("ok", [["send", K0, [0, 1]], ["send", K1, [0, 2]], ["send", K0, [1, 3]]])
    assert sent.times[2][0] <= sent.times[0][1]
    assert [header.record_count for header in batches_of(scene, "t0-0")] == [2]


def test_a_poll_without_keys_is_ok_and_empty():
    scene = OpScene()
    assert scene.do(scene.open(), "poll", [["poll"]]).value == [["poll", []]]


@pytest.mark.parametrize("protocol", [1, 2])
def test_a_transaction_commits_with_a_commit_time_and_an_abort_fails(protocol):
    scene = OpScene(transaction_protocol=protocol)
    client = scene.open()
    before = scene.now()
    done = scene.do(client, "txn", [["send", K0, 1], ["send", K1, 2]])
    assert (done.type, done.value) == ("ok", [["send", K0, [0, 1]], ["send", K1, [0, 2]]])
    assert before < done.commit_time < scene.now()
    assert done.txn_id == "harness-0-0"
    aborted = scene.do(client, "txn", [["send", K0, 3]], abort=True)
    assert (aborted.type, aborted.commit_time, aborted.error["name"]) == ("fail", None, "DELIBERATE_ABORT")
    scene.do(client, "assign", [K0])
    found = []
    for _ in range(3):
        found += records(scene.do(client, "poll", [["poll"]])).get(K0, [])
    assert found == [[0, 1]]


def test_an_abort_rewinds_what_the_transaction_had_polled():
    scene = OpScene()
    client = scene.open()
    scene.do(client, "txn", [["send", K0, 1]])
    scene.do(client, "assign", [K0])
    seen = []
    for _ in range(4):
        done = scene.do(client, "txn", [["poll"], ["send", K1, len(seen) + 10]], abort=True)
        seen.append(records(done).get(K0))
    assert [[0, 1]] in seen
    assert seen[-1] == [[0, 1]]


def test_a_crash_inside_a_transaction_leaves_it_to_the_coordinator():
    scene = OpScene()
    client = scene.open()
    dropped = scene.do(client, "txn", [["send", K0, 1]], crash=True)
    assert (dropped.type, dropped.commit_time, dropped.error["name"]) == ("info", None, "DELIBERATE_CRASH")
    other = scene.open(4)
    after = scene.do(other, "txn", [["send", K0, 2]], process=4)
    assert (after.type, after.txn_id) == ("ok", "harness-0-1")
    scene.do(other, "assign", [K0], process=4)
    found = []
    for _ in range(100):
        found += records(scene.do(other, "poll", [["poll"]], process=4)).get(K0, [])
    assert [v for _, v in found] == [2]


def test_the_next_process_of_a_thread_fences_the_last_one():
    scene = OpScene()
    old, new = scene.open(0), scene.open(4)
    assert scene.do(old, "txn", [["send", K0, 1]]).type == "ok"
    assert scene.do(new, "txn", [["send", K0, 2]], process=4).type == "ok"
    fenced = scene.do(old, "txn", [["send", K0, 3]])
    assert (fenced.type, fenced.error["name"]) == ("fail", "_FENCED")


def test_a_cut_off_client_is_not_sure_within_the_bound_of_an_op():
    scene = OpScene()
    client = scene.open()
    scene.do(client, "txn", [["send", K0, 1]])
    for node in scene.cluster.nodes:
        scene.cluster.network.cut("harness-0", f"n{node}")
    began = scene.now()
    for f in ("send", "txn"):
        unsure = scene.do(client, f, [["send", K0, 2 + len(f)]])
        assert (unsure.type, unsure.error["name"]) == ("info", "_MSG_TIMED_OUT")
    assert (scene.now() - began) / 1e9 < 2 * (4 + 5 + 3)


def test_subscribed_processes_share_the_keys_and_commit_what_they_polled():
    scene = OpScene(sub_via=("subscribe",), workload="send-poll")
    one, two = scene.open(0), scene.open(1)
    scene.do(one, "send", [["send", K0, 1], ["send", K1, 2]])
    assert scene.do(one, "subscribe", [K0, K1]).group == "harness"
    scene.do(two, "subscribe", [K0, K1], process=1)
    seen = {0: {}, 1: {}}
    committed = {}
    for _ in range(60):
        for process, client in ((0, one), (1, two)):
            poll = scene.do(client, "poll", [["poll"]], process=process)
            assert poll.type == "ok"
            seen[process] |= records(poll)
            committed |= dict(poll.offsets or ())
    assert {**seen[0], **seen[1]} == {K0: [[0, 1]], K1: [[0, 2]]}
    assert committed == {K0: 1, K1: 1}
    rebalances = [op.value for op in scene.events]
    last = {r["process"]: r["assigned"] for r in rebalances if r["assigned"]}
    assert sorted(last[0] + last[1]) == [K0, K1]
    answer = scene.do(one, "committed", {"group": "harness"})
    assert (answer.type, sorted(answer.value)) == ("ok", [[K0, 1], [K1, 1]])
    assert all(r["generation"] >= 1 and r["member"] for r in rebalances)


def test_a_member_that_crashed_is_replaced_when_its_session_ends():
    scene = OpScene(sub_via=("subscribe",), workload="send-poll")
    one, two = scene.open(0), scene.open(1)
    scene.do(one, "subscribe", [K0, K1])
    scene.do(two, "subscribe", [K0, K1], process=1)
    for _ in range(20):
        for process, client in ((0, one), (1, two)):
            scene.do(client, "poll", [["poll"]], process=process)
    assert scene.do(one, "crash").type == "info"
    for _ in range(150):
        last = scene.do(two, "poll", [["poll"]], process=1)
    assert sorted(key for key, _ in last.positions) == [K0, K1]


def test_committed_offsets_are_asked_of_keys_that_came_later_too():
    scene = OpScene(sub_via=("subscribe",))
    client = scene.open()
    scene.do(client, "subscribe", [K0, "t0/7"])
    scene.do(client, "subscribe", [K0])
    told = scene.do(client, "committed", {"group": "harness"})
    assert [key for key, _ in told.value] == [K0, K1, "t0/7"]


def test_offsets_of_a_transaction_count_when_it_commits():
    scene = OpScene(sub_via=("subscribe",))
    client = scene.open()
    scene.do(client, "txn", [["send", K0, 1], ["send", K0, 2]])
    scene.do(client, "subscribe", [K0])
    offsets = None
    for i in range(60):
        done = scene.do(client, "txn", [["poll"], ["send", K1, 100 + i]], abort=offsets is None)
        if done.offsets and done.type == "fail":
            offsets = done.offsets
            assert scene.do(client, "committed", {"group": "harness"}).value == [[K0, None], [K1, None]]
        elif done.offsets:
            assert (done.type, done.group) == ("ok", "harness")
            break
    else:
        raise AssertionError("never committed")
    assert dict(scene.do(client, "committed", {"group": "harness"}).value)[K0] == dict(done.offsets)[K0]


def test_a_commit_without_keys_and_an_unknown_op_fail():
    scene = OpScene()
    client = scene.open()
    assert scene.do(client, "commit", [[K0, 1]]).error["name"] == "UNSUPPORTED_OPERATION"
    assert scene.do(client, "cas", [1, 2]).type == "fail"


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError):
        OpScene(acks="1")
    assert Scenario().transaction_protocol == 2


KEYED = ["send", K0, [None, 1, {"record-key": "k"}]]
DELETED = ["send", K0, [None, 2, {"record-key": "k", "tombstone": True}]]


def test_a_scan_reads_keys_and_deletions_to_the_end():
    scene = OpScene()
    client = scene.open()
    assert scene.do(client, "send", [KEYED, DELETED, ["send", K0, 3]]).value[1] == [
        "send",
        K0,
        [1, 2, {"record-key": "k", "tombstone": True}],
    ]
    done = scene.do(client, "scan", K0)
    assert (done.type, done.extra, done.isolation) == ("ok", {"end": 3, "key": K0}, "read_committed")
    assert done.value == [
        [
            "poll",
            [
                [
                    K0,
                    [
                        [0, 1, {"epoch": 0, "record-key": "k"}],
                        [1, 2, {"epoch": 0, "record-key": "k", "tombstone": True}],
                        [2, 3, {"epoch": 0}],
                    ],
                ]
            ],
        ]
    ]
    assert scene.do(client, "scan", K1).value == [["poll", [[K1, []]]]]
    scene.do(client, "send", [["send", K1, 4]])
    assert records(scene.do(client, "scan", K1)) == {K1: [[0, 4]]}


def test_a_scan_of_a_partition_without_a_leader_fails_within_its_bound():
    scene = OpScene()
    client = scene.open()
    for node in scene.cluster.nodes.values():
        node.kill()
    done = scene.do(client, "scan", K0)
    assert (done.type, done.error["name"], done.error["stage"]) == ("fail", "_TIMED_OUT", "poll")


def test_a_read_at_an_offset_says_what_is_there_or_that_it_is_out_of_range():
    scene = OpScene()
    client = scene.open()
    scene.do(client, "send", [["send", K0, 1], ["send", K0, 2]])
    there = scene.do(client, "read-at", [K0, 1])
    assert (there.type, records(there), there.extra["told"]) == ("ok", {K0: [[1, 2]]}, None)
    at_end = scene.do(client, "read-at", [K0, 2])
    assert (at_end.type, at_end.value, at_end.extra["told"]) == ("ok", [["poll", []]], None)
    beyond = scene.do(client, "read-at", [K0, 9])
    assert (beyond.type, beyond.value, beyond.extra["told"]) == ("ok", [["poll", []]], "_AUTO_OFFSET_RESET")


def test_deleted_records_are_gone_on_all_replicas_and_offsets_beyond_the_end_are_refused():
    scene = OpScene()
    client = scene.open()
    scene.do(client, "send", [["send", K0, 1], ["send", K0, 2]])
    done = scene.do(client, "delete-records", [K0, 1])
    assert (done.type, done.value, done.extra) == ("ok", [K0, 1], {"low-watermark": 1})
    assert records(scene.do(client, "scan", K0)) == {K0: [[1, 2]]}
    gone = scene.do(client, "read-at", [K0, 0])
    assert gone.extra["told"] == "_AUTO_OFFSET_RESET"
    refused = scene.do(client, "delete-records", [K0, 9])
    assert (refused.type, refused.error["name"]) == ("info", "OFFSET_OUT_OF_RANGE")


def test_a_deletion_that_nobody_answers_may_have_been_done():
    scene = OpScene()
    client = scene.open()
    for node in scene.cluster.nodes.values():
        node.kill()
    done = scene.do(client, "delete-records", [K0, 0])
    assert (done.type, done.error["stage"]) == ("info", "delete-records")


COPIES = [["poll"], ["send", K1, [None, 10, {"copy": True}]], ["send", K1, [None, 11, {"copy": True}]]]


def test_copies_name_what_they_were_made_from_and_what_is_left_over_is_not_begun():
    scene = OpScene(sub_via=("subscribe",))
    client = scene.open()
    scene.do(client, "send", [["send", K0, 1], ["send", K0, 2], ["send", K0, 3]])
    scene.do(client, "assign", [K0])
    first = scene.do(client, "txn", COPIES)
    assert first.type == "ok"
    assert first.value[1:] == [
        ["send", K1, [0, 10, {"source": [K0, 0]}]],
        ["send", K1, [1, 11, {"source": [K0, 1]}]],
    ]
    second = scene.do(client, "txn", [["poll"], ["send", K1, [None, 12, {"copy": True}]], COPIES[2]])
    assert second.value[1:] == [["send", K1, [3, 12, {"source": [K0, 2]}]]]
    assert len(second.times) == len(second.value)
    scene.do(client, "assign", [K1])
    found = scene.do(client, "poll", [["poll"]]).value[0][1][0][1]
    assert [(record[1], record[2]["source"]) for record in found] == [(10, [K0, 0]), (11, [K0, 1]), (12, [K0, 2])]


def test_threads_that_share_a_transactional_id_fence_each_other_and_say_since_when():
    scene = OpScene(id_sharers=2, concurrency=2)
    one, other = scene.open(0), scene.open(1)
    first = scene.do(one, "txn", [["send", K0, 1]])
    second = scene.do(other, "txn", [["send", K0, 2]], process=1)
    assert first.txn_id == second.txn_id == "harness-0-0"
    assert first.extra["init-time"] < first.commit_time < second.extra["init-time"] < second.commit_time
    assert first.extra["end-attempts"] >= 1
    fenced = scene.do(one, "txn", [["send", K0, 3]])
    assert (fenced.type, fenced.error["name"]) == ("fail", "_FENCED")
    again = scene.do(one, "txn", [["send", K0, 4]])
    assert (again.type, again.extra["init-time"] > second.extra["init-time"]) == ("ok", True)


def test_a_completion_names_the_transactional_id_that_its_producer_has():
    scene = OpScene(id_sharers=2, concurrency=2)
    one, other = scene.open(0), scene.open(1)
    assert scene.do(one, "txn", [["send", K0, 1]]).txn_id == "harness-0-0"
    assert scene.do(other, "txn", [["send", K0, 2]], process=1, crash=True).txn_id == "harness-0-0"
    assert scene.do(one, "txn", [["send", K0, 3]]).txn_id == "harness-0-0"
    assert scene.do(scene.open(3), "txn", [["send", K0, 4]], process=3).txn_id == "harness-0-1"
