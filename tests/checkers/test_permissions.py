"""What a power loss or a rotten disk can have taken, and what not: only the former is permitted by it."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from checkers.judge import judge
from checkers.later import LATER, WHOLE, found_later, found_whole
from checkers.options import CheckOptions, options_of_scenario
from checkers.permissions import TOO_LATE, WHOLE_AGAIN
from checkers.queue import case_of
from checkers.source import lines_of_ops
from harness.history import HARNESS, NEMESIS, Op
from tests.checkers import mutations, mutations_of_order, mutations_of_watermarks
from tests.checkers.kafka_model import run
from tests.checkers.mutating import MUTATIONS, OPTIONS, PLAYED_BY, mutated
from tests.checkers.story import Story, poll, send

assert mutations  # importing them fills the table
assert mutations_of_order
assert mutations_of_watermarks

POWER = "unsynced loss"
ALL = {"n1": 700, "n2": 60, "n3": 5}


def judged(story, records, *, end, **scenario):
    """Return class -> what permits it, and the judgement, where the final read of x shows these records."""
    story.phase("drain")
    story.ok(9, "poll", [poll(("x", records))])
    story.drain("x", end)
    judgement = judge(story.ops, options_of_scenario({"nemesis": "all", "min_isr": 2} | scenario))
    return {anomaly.name: anomaly.permitted_by for anomaly in judgement.anomalies}, judgement


def begun():
    story = Story()
    story.phase("main")
    return story


def lost(story, evidence, *, fault="lose-power", number=1, nodes=("n1",), bit=True):
    story.event(NEMESIS, "invoke", fault, {"keys": ["x"]})
    told = {"fault-id": number, "nodes": list(nodes), "keys": ["x"], "evidence": evidence, "bit": bit}
    story.event(NEMESIS, "info", fault, told)
    story.heal(number)


def recovered(story, *, full):
    story.event(NEMESIS, "invoke", "recover", {"bound-s": 60.0})
    story.event(NEMESIS, "info", "recover", {"full-isr": full, "bound-s": 60.0})


def all_lost(story):
    lost(story, {"bytes-lost": ALL}, fault="lose-power-all", nodes=tuple(ALL))


@pytest.mark.parametrize(
    ("evidence", "bit", "min_isr", "setting"),
    [
        ({"bytes-lost": ALL}, True, 3, POWER),
        ({"bytes-lost": ALL}, False, 3, POWER),  # what it did to the cluster is another matter
        ({"bytes-lost": ALL | {"n2": 0}}, True, 2, POWER),
        ({"bytes-lost": ALL | {"n2": 0}}, True, 3, None),
        ({"bytes-lost": dict.fromkeys(ALL, 0)}, True, 1, None),
        ({"bytes-lost": 5}, True, 1, POWER),
        ({"bytes-lost": 5, "last": "n3"}, True, 2, None),
        ({"bytes-lost": 0}, True, 1, None),
        ({}, True, 3, POWER),
        ({}, False, 1, None),
    ],
)
def test_a_power_loss_takes_what_lies_on_no_more_nodes_than_have_lost_something(evidence, bit, min_isr, setting):
    story = begun()
    story.ok(0, "send", [send("x", 1, 0)])
    lost(story, evidence, nodes=("n1", "n2", "n3"), bit=bit)
    story.ok(0, "send", [send("x", 2, 1)])
    found, _ = judged(story, [[1, 2]], end=2, min_isr=min_isr)
    assert found == {"lost-write": setting, "unseen": setting}


@pytest.mark.parametrize(
    ("second", "between", "setting"),
    [("n2", None, POWER), ("n2", False, POWER), ("n2", True, None), ("n1", None, None)],
)
def test_two_nodes_lose_what_both_have_only_before_all_replicas_are_in_sync_again(second, between, setting):
    story = begun()
    story.ok(0, "send", [send("x", 1, 0)])
    lost(story, {"bytes-lost": 9})
    if between is not None:
        recovered(story, full=between)
    lost(story, {"bytes-lost": 9}, number=2, nodes=(second,))
    recovered(story, full=True)
    story.ok(0, "send", [send("x", 2, 1)])
    found, _ = judged(story, [[1, 2]], end=2)
    assert found == {"lost-write": setting, "unseen": setting}


def test_what_was_sent_after_the_last_loss_is_lost_by_nothing_that_is_permitted():
    story = begun()
    story.ok(0, "send", [send("x", 1, 0)])
    all_lost(story)
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(0, "send", [send("x", 3, 2)])
    found, judgement = judged(story, [[2, 3]], end=3)
    assert found == {"lost-write": None, "unseen": None}
    (write, _) = judgement.anomalies
    assert write.count == 2
    assert [(example.details["value"], example.why.endswith(TOO_LATE)) for example in write.examples] == [
        (2, True),
        (1, False),
    ]


def test_what_acks_1_permits_it_permits_after_a_loss_of_power_too():
    story = begun()
    all_lost(story)
    story.ok(0, "send", [send("x", 2, 0)])
    story.ok(0, "send", [send("x", 3, 1)])
    found, _ = judged(story, [[1, 3]], end=2, acks="1")
    assert found == {"lost-write": "acks=1", "unseen": "acks=1"}


@pytest.mark.parametrize(("early", "setting"), [(True, POWER), (False, None)])
def test_a_value_lies_twice_lawfully_only_where_one_of_its_places_may_have_been_cut_off(early, setting):
    story = begun()
    if not early:
        all_lost(story)
    story.info(0, "send", [send("x", 1)])
    story.ok(1, "poll", [poll(("x", [[1, 1]]))])
    if early:
        all_lost(story)
    story.ok(0, "send", [send("x", 2, 1)])
    found, _ = judged(story, [[0, 1], [1, 2]], end=2)
    assert found["duplicate"] == found["inconsistent-offsets"] == setting


@pytest.mark.parametrize(("early", "setting"), [(True, POWER), (False, None)])
def test_an_aborted_record_shows_lawfully_only_where_its_marker_may_have_been_cut_off(early, setting):
    story = begun()
    if not early:
        all_lost(story)
    story.fail(0, "txn", [send("x", 1, 0)], txn_id="a")
    if early:
        all_lost(story)
    found, _ = judged(story, [[0, 1]], end=1)
    assert found == {"G1a": setting}


@pytest.mark.parametrize(("before", "setting"), [(True, "rotten disk with min.insync.replicas=1"), (False, None)])
def test_a_rotten_disk_takes_nothing_that_was_sent_later(before, setting):
    story = begun()
    if before:
        story.ok(0, "send", [send("x", 1, 0)])
    lost(story, {"bytes-changed": 1}, fault="rot-follower")
    if not before:
        story.ok(0, "send", [send("x", 1, 0)])
    story.ok(0, "send", [send("x", 2, 1)])
    found, _ = judged(story, [[1, 2]], end=2, min_isr=1)
    assert found == {"lost-write": setting, "unseen": setting}


STATE = "unsynced loss of coordinators' state"


@pytest.mark.parametrize(
    ("synced", "txn_id", "setting"),
    [(True, "a", STATE), (True, "b", None), (True, None, None), (False, "a", POWER), (False, "b", None)],
)
def test_records_are_taken_for_those_of_an_earlier_producer_only_if_its_epoch_may_have_been_forgotten(
    synced, txn_id, setting
):
    story = begun()
    story.ok(0, "txn", [send("x", 1, 0)], txn_id="a")
    all_lost(story)
    recovered(story, full=True)
    fields = {} if txn_id is None else {"txn_id": txn_id}
    story.ok(1, "send" if txn_id is None else "txn", [send("x", 2, 0)], **fields)
    story.ok(2, "send", [send("x", 3, 1)])
    config = {"topic_config": {"flush.messages": "1"}} if synced else {}
    found, _ = judged(story, [[0, 1], [1, 3]], end=2, **config)
    assert found["lost-write"] == setting
    assert found["unseen"] == setting
    assert found["inconsistent-offsets"] == (STATE if synced else POWER), "one of the two may have been taken"


@pytest.mark.parametrize(("lost_by", "setting"), [(2, STATE), (1, None)])
def test_coordinators_lose_what_two_nodes_have_lost_however_many_the_topics_demand(lost_by, setting):
    story = begun()
    story.ok(0, "commit", [["x", 7]], group="g")
    told = {node: 9 if number < lost_by else 0 for number, node in enumerate(ALL)}
    lost(story, {"bytes-lost": told}, fault="lose-power-all", nodes=tuple(ALL))
    story.ok(1, "committed", [["x", 5]], group="g")
    story.ok(0, "send", [send("x", 1, 0)])
    found, _ = judged(story, [[0, 1]], end=1, min_isr=3)
    assert found["committed-offset-regression"] == setting
    assert "lost-write" not in found


def powerless(ops):
    """Return the operations with a loss of all disks before the first of a client."""
    first = next(n for n, op in enumerate(ops) if op.process not in {HARNESS, NEMESIS})
    time = ops[first].time - 2
    value = {"fault-id": "dark", "nodes": list(ALL), "keys": [], "evidence": {"bytes-lost": ALL}, "bit": True}
    dark = [
        Op(process=NEMESIS, type="invoke", f="lose-power-all", value={}, time=time),
        Op(process=NEMESIS, type="info", f="lose-power-all", value=value, time=time),
        Op(process=NEMESIS, type="invoke", f="heal", value={"fault-id": "dark"}, time=time),
        Op(process=NEMESIS, type="info", f="heal", value={"fault-id": "dark"}, time=time),
        Op(process=NEMESIS, type="invoke", f="recover", value={}, time=time + 1),
        Op(process=NEMESIS, type="info", f="recover", value={"full-isr": True}, time=time + 1),
    ]
    return [replace(op, index=n) for n, op in enumerate([*ops[:first], *dark, *ops[first:]])]


SEEDS, ENOUGH = 120, 6
STILL_PERMITTED = {
    "log_begins_late",  # its first segment may be what was lost
    "last_stable_offset_is_above_an_open_transaction",  # a coordinator that has forgotten one may end another
    "high_watermark_is_above_what_is_sent_later",  # in a transaction: its producer may have an epoch for the second time
}


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, (_, expected) in MUTATIONS.items()
        if expected and expected <= LATER | WHOLE and name not in STILL_PERMITTED and name not in PLAYED_BY
    ),
)
def test_no_mutation_of_a_run_is_permitted_by_a_power_loss_before_it(name):
    """Of the model that names transactional ids; members of groups may stand where a log was cut."""
    options = replace(OPTIONS.get(name, CheckOptions()), unsynced_loss=True, rotten_loss=True, min_isr=2)
    made = ((seed, mutated(name, seed)) for seed in range(SEEDS))
    tried = list(islice(((seed, ops) for seed, ops in made if ops is not None), ENOUGH))
    assert tried
    for seed, ops in tried:
        found = {one.name for one in judge(powerless(ops), options).anomalies if one.permitted_by is None}
        assert found & MUTATIONS[name][1], f"seed {seed}: {found}"


@given(seed=st.integers(0, SEEDS), share=st.floats(0, 1))
@example(seed=104, share=0.0)  # a read_uncommitted reader sees what was aborted, and may
def test_nothing_is_found_of_what_was_sent_later_that_is_not_found_of_all(seed, share):
    ops = run(seed).ops
    judgement = judge(ops)
    known = {anomaly.name for anomaly in (*judgement.anomalies, *judgement.allowed)}
    case = case_of(lines_of_ops(ops), "run", CheckOptions())
    time_ns = int(ops[-1].time * share)
    assert found_later(case, time_ns).names() & LATER <= known
    assert found_whole(case, time_ns).names() & WHOLE <= known


@pytest.mark.parametrize(
    ("full", "began", "setting"), [(True, "later", None), (True, "before", POWER), (False, "later", POWER)]
)
def test_a_reader_skips_lawfully_only_where_it_may_stand_where_a_log_was_cut(full, began, setting):
    story = begun()
    for value in (1, 2, 3):
        story.ok(0, "send", [send("x", value, value - 1)])
    if began == "before":
        story.ok(5, "assign", ["x"])
    all_lost(story)
    recovered(story, full=full)
    if began == "later":
        story.ok(5, "assign", ["x"])
    story.ok(5, "poll", [poll(("x", [[0, 1], [2, 3]]))])
    story.ok(6, "assign", ["x"])
    found, judgement = judged(story, [[0, 1], [1, 2], [2, 3]], end=3)
    assert found == {"int-poll-skip": setting}
    assert judgement.anomalies[0].examples[0].why.endswith(WHOLE_AGAIN) is (setting is None)


@pytest.mark.parametrize(("later", "setting"), [(True, None), (False, POWER)])
def test_a_watermark_falls_lawfully_only_from_where_it_was_before_all_were_in_sync_again(later, setting):
    def ends(hw):
        value = {"api": "ListOffsets", "key": "x", "hw": hw, "lso": hw, "log-start": 0, "epoch": 3, "leader": 1}
        story.event("probe/n1", "invoke", "probe", {"api": "ListOffsets", "key": "x"})
        story.event("probe/n1", "ok", "probe", value)

    story = begun()
    if not later:
        ends(5)
    all_lost(story)
    recovered(story, full=True)
    if later:
        ends(5)
    ends(3)
    found, _ = judged(story, [], end=0)
    assert found == {"hw-regression": setting, "lso-regression": setting}
