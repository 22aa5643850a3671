"""The workloads txn and send-poll, and a whole run, on a fake log and the virtual clock."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.clients.questions import QUESTIONS
from harness.combinators import TimeLimit
from harness.generator import NOTHING, SECOND_NS, Once, clients
from harness.history import FAIL, HARNESS, INFO, INVOKE, NEMESIS, OK
from harness.scenario import Scenario
from tests.workloads.fake_log import FakeLog
from workloads.phases import whole_run
from workloads.queue import SEND_POLL, TXN

KEYS = ("t0/0", "t0/1", "t1/0", "t1/1")


def main_phase(workload, *, log=None, seconds=10, **fields):
    scenario = Scenario(seed=5, **fields)
    generator = clients(TimeLimit(seconds * SECOND_NS, workload.generator(scenario, KEYS)))
    return (log or FakeLog(KEYS)).run(generator, 5)


def sent_values(ops):
    return [m[2] for op in ops if op.type == INVOKE and op.f in {"send", "txn"} for m in op.value if m[0] == "send"]


@pytest.mark.parametrize("workload", [TXN, SEND_POLL])
def test_no_value_is_sent_twice(workload):
    values = sent_values(main_phase(workload, log=FakeLog(KEYS, info_share=0.05)))
    assert len(values) == len(set(values)) > 1000


def test_transactions_have_one_to_four_micro_ops_and_always_a_send():
    ops = [op for op in main_phase(TXN) if op.f == "txn" and op.type == INVOKE]
    assert {len(op.value) for op in ops} == {1, 2, 3, 4}
    assert all(any(m[0] == "send" for m in op.value) for op in ops)
    assert any({m[0] for m in op.value} == {"send", "poll"} for op in ops)


def test_send_poll_never_opens_a_transaction():
    ops = main_phase(SEND_POLL, crash_interval_s=2.0)
    assert {op.f for op in ops} == {"send", "poll", "assign", "crash"}
    assert not any(op.abort or op.crash for op in ops)


def test_the_abort_rate_is_kept():
    txns = [op for op in main_phase(TXN, abort_rate=0.2) if op.f == "txn" and op.type == INVOKE]
    assert 0.15 < sum(op.abort for op in txns) / len(txns) < 0.25
    assert not any(op.abort for op in main_phase(TXN, abort_rate=0.0))


def test_clients_crash_now_and_then_and_some_leave_a_transaction_open():
    ops = [op for op in main_phase(TXN, seconds=15, crash_interval_s=0.5) if op.type == INVOKE]
    crashes = sum(op.f == "crash" for op in ops)
    open_ones = sum(op.crash for op in ops)
    assert 100 < crashes + open_ones < 200  # 5 threads, a crash every half second each
    assert 0.05 < open_ones / (crashes + open_ones) < 0.25
    assert not any(op.f == "crash" or op.crash for op in main_phase(TXN, seconds=5, crash_interval_s=0.0))


def test_a_new_process_takes_keys_before_anything_else():
    first = {}
    for op in main_phase(TXN, log=FakeLog(KEYS, info_share=0.05)):
        first.setdefault(op.process, op)
    assert len(first) > 20
    assert {op.f for op in first.values()} <= {"assign", "crash"}


def test_both_ways_of_taking_keys_are_used_when_both_are_asked_for():
    ops = main_phase(TXN, sub_via=("assign", "subscribe"))
    assert {"assign", "subscribe"} <= {op.f for op in ops}


def whole(workload=TXN, log=None, **fields):
    scenario = Scenario(seed=3, time_limit_s=20, rate=50, recovery_bound_s=10, **fields)
    log = log or FakeLog(KEYS, info_share=0.01)
    return log, log.run(whole_run(scenario, workload, KEYS, Once("kill-leader"), ("n1", "n2")), 4, ("n1", "n2"))


def drains(ops):
    return {op.value["key"]: op.value for op in ops if op.process == HARNESS and op.f == "drain"}


@pytest.mark.parametrize("workload", [TXN, SEND_POLL])
def test_a_run_goes_through_its_phases_and_reads_everything_at_the_end(workload):
    log, ops = whole(workload)
    assert [op.value for op in ops if op.f == "phase"] == ["main", "heal", "drain"]
    at = next(op.index for op in ops if op.value == "drain")
    seen = Counter(
        (key, offset, value)
        for op in ops[at:]
        if op.type == OK and op.f == "poll"
        for _, polled in op.value
        for key, records in polled
        for offset, value in records
    )
    assert set(seen) == {(key, o, v) for key in KEYS for o, v in enumerate(log.logs[key])}
    assert {d["key"] for d in drains(ops).values() if d["complete"]} == set(KEYS)


def test_the_final_reads_are_done_by_fresh_processes():
    _, ops = whole()
    at = next(op.index for op in ops if op.value == "drain")
    before = {op.process for op in ops[:at] if isinstance(op.process, int)}
    polls = {op.process for op in ops[at:] if op.f == "poll"}
    assert polls
    assert not polls & before


def test_the_workload_goes_on_while_the_nemesis_heals_and_shows_progress_after_it():
    _, ops = whole()
    heal = next(op.index for op in ops if op.f == "recover" and op.type == INFO)
    drain = next(op.index for op in ops if op.value == "drain")
    assert {"txn", "poll"} <= {op.f for op in ops[heal:drain] if op.type == OK}


def test_after_transactions_everything_is_read_once_more_uncommitted_by_other_fresh_processes():
    log, ops = whole()
    last = max(op.index for op in ops if op.f == "drain")
    committed = {op.process for op in ops[:last] if isinstance(op.process, int)}
    assigns = [op for op in ops[last:] if op.f == "assign" and op.type == INVOKE]
    assert {op.isolation for op in assigns} == {"read_uncommitted"}
    assert all(op.seek_to_beginning and op.process not in committed for op in assigns)
    seen = {
        (key, *record)
        for op in ops[last:]
        if op.type == OK and op.f == "poll"
        for _, polled in op.value
        for key, records in polled
        for record in map(tuple, records)
    }
    assert seen == {(key, o, v) for key in KEYS for o, v in enumerate(log.logs[key])}


@pytest.mark.parametrize(
    ("workload", "fields"),
    [(SEND_POLL, {}), (TXN, {"isolation": "read_uncommitted"}), (TXN, {"topic_config": {"retention.ms": "3000"}})],
)
def test_what_tells_nothing_is_read_once(workload, fields):
    _, ops = whole(workload, **fields)
    last = max(op.index for op in ops if op.f == "drain")
    assert not [op for op in ops[last:] if op.f in {"assign", "poll"} and op.type == INVOKE]


def test_the_nemesis_heals_before_the_drain_begins():
    _, ops = whole()
    order = [op.f for op in ops if op.process == NEMESIS and op.type == INFO]
    assert order == ["kill-leader", "heal", "recover", "await-stable"]


def test_a_partition_that_never_becomes_stable_is_reported_incomplete():
    _, ops = whole(log=FakeLog(KEYS, unstable=frozenset({"t0/0"})))
    found = drains(ops)
    assert not found["t0/0"]["complete"]
    assert found["t0/0"]["lso"] == 0 < found["t0/0"]["end"]
    assert all(d["complete"] for key, d in found.items() if key != "t0/0")


def test_the_reading_gives_up_at_its_bound():
    class Mute(FakeLog):
        def _client(self, op):
            completion = super()._client(op)
            return completion.completed(FAIL) if op.f == "poll" else completion

    log, ops = whole(log=Mute(KEYS))
    assert any(log.logs.values())
    assert {d["key"] for d in drains(ops).values() if not d["complete"]} == {k for k in KEYS if log.logs[k]}


def test_probes_ask_every_node_until_the_end():
    _, ops = whole()
    asked = Counter(op.process for op in ops if op.f == "probe" and op.type == INVOKE)
    assert set(asked) == {"probe/n1", "probe/n2"}
    assert min(asked.values()) > 50
    assert {op.value["api"] for op in ops if op.f == "probe"} == set(QUESTIONS)
    for node in asked:
        last = [op.value for op in ops if op.process == node and op.type == INVOKE][-2 * len(KEYS) :]
        assert last == [{"api": api, "key": key} for key in KEYS for api in ("ReplicaLog", "TimeIndex")]


def test_replicas_of_compacted_topics_are_not_compared():
    _, ops = whole(topic_config={"cleanup.policy": "compact"})
    assert not {"ReplicaLog", "TimeIndex"} & {op.value["api"] for op in ops if op.f == "probe"}


def test_deliberate_aborts_fail():
    _, ops = whole(abort_rate=0.5)
    assert any(op.type == FAIL for op in ops)


def test_nothing_to_do_still_drains():
    log = FakeLog(KEYS)
    ops = log.run(whole_run(Scenario(time_limit_s=1, rate=0.0001), TXN, KEYS, NOTHING, ()), 2)
    assert set(drains(ops)) == set(KEYS)
