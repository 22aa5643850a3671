"""Which anomalies a setting makes legal: they stay invalid, and the verdict names the setting."""

from __future__ import annotations

import pytest

from checkers.catalog import permitted
from checkers.judge import judge
from checkers.options import CheckOptions, options_of_scenario
from tests.checkers.story import Story, poll, send


@pytest.mark.parametrize(
    "name", ["lost-write", "G1a", "aborted-read", "int-poll-skip", "epoch-regression", "compaction-lost-latest"]
)
def test_an_unclean_election_permits_what_a_log_that_was_cut_off_shows(name):
    assert permitted(CheckOptions(unclean_election=True), reads_disagree=False)[name] == "unclean election"
    assert name not in permitted(CheckOptions(), reads_disagree=False)


@pytest.mark.parametrize("where", ["topic_config", "broker_config"])
def test_a_recovery_that_waits_for_nobody_is_an_unclean_election(where):
    assert options_of_scenario({where: {"unclean.recovery.strategy": "Aggressive"}}).unclean_election
    assert not options_of_scenario({where: {"unclean.recovery.strategy": "Balanced"}}).unclean_election


def test_what_scans_lack_is_permitted_where_a_log_may_be_cut_off_or_a_transaction_ended_by_another():
    names = {"compaction-lost-latest", "tombstone-resurrected", "compaction-too-early", "premature-deletion"}
    for allowed_by in ({"unsynced_loss": True}, {"rotten_loss": True}, {"unclean_election": True}, {"late_ends": True}):
        assert names <= permitted(CheckOptions(**allowed_by), reads_disagree=False).keys()
    assert not names & permitted(CheckOptions(), reads_disagree=False).keys()


def test_an_unclean_election_permits_no_duplicate_and_no_read_of_what_nobody_sent():
    assert (
        not {"duplicate", "phantom-read", "record-altered"}
        & permitted(CheckOptions(unclean_election=True), reads_disagree=False).keys()
    )


def test_acks_1_permits_two_records_at_one_offset_only_where_no_two_reads_say_so():
    weak = CheckOptions(acks="1")
    assert permitted(weak, reads_disagree=False)["inconsistent-offsets"] == "acks=1"
    assert "inconsistent-offsets" not in permitted(weak, reads_disagree=True)


@pytest.mark.parametrize("changes", [{"idempotence": False}, {"producers_expire_ms": 3000}])
def test_a_retry_that_is_stored_again_permits_another_offset_only_where_compaction_may_take_one_of_the_two(changes):
    names = [
        permitted(CheckOptions(compacted=compacted, **changes), reads_disagree=False) for compacted in (False, True)
    ]
    assert ["rolled-back-offset" in found for found in names] == [False, True]
    assert all("duplicate" in found for found in names)
    assert "rolled-back-offset" not in permitted(CheckOptions(compacted=True), reads_disagree=False)


JUMPED = CheckOptions(clocks_jump_s=20.0)


def test_clocks_that_jump_permit_what_goes_by_the_date_and_nothing_else():
    found = permitted(JUMPED, reads_disagree=False)
    assert found == {"premature-deletion": "clocks that differ", "compaction-too-early": "clocks that differ"}


@pytest.mark.parametrize(
    ("expires_ms", "jump_s", "is_permitted"),
    [(71_000, 0, False), (71_000, 2, True), (89_000, 20, True), (91_000, 20, False)],
)
def test_a_producer_is_forgotten_sooner_by_a_clock_that_is_ahead(expires_ms, jump_s, is_permitted):
    options = CheckOptions(producers_expire_ms=expires_ms, clocks_jump_s=jump_s)
    assert ("duplicate" in permitted(options, reads_disagree=False)) is is_permitted


@pytest.mark.parametrize(("kept_ms", "is_permitted"), [(19_000, True), (20_000, False)])
def test_a_tombstone_may_go_early_only_where_a_jump_is_longer_than_it_stays(kept_ms, is_permitted):
    options = CheckOptions(compacted=True, delete_retention_ms=kept_ms, clocks_jump_s=20.0)
    found = permitted(options, reads_disagree=False)
    assert ("tombstone-resurrected" in found) is ("compaction-lost-latest" in found) is is_permitted


def bumped(evidence, *, bit=True):
    """A record that was acknowledged is gone; a clock may have been wrong."""
    story = Story()
    story.event("harness", "info", "phase", "main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.event("nemesis", "invoke", "bump-clock")
    told = {"fault-id": 1, "nodes": ["n1"], "keys": ["x"], "evidence": evidence, "bit": bit}
    story.event("nemesis", "info", "bump-clock", told)
    story.ok(0, "send", [send("x", 2, 1)])
    story.heal(1)
    return story


def test_a_loss_under_a_wrong_clock_is_a_loss():
    story = bumped({"offset_ms": 20_000})
    story.event("harness", "info", "phase", "drain")
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])
    story.event("harness", "info", "drain", {"key": "x", "end": 2, "lso": 2, "read-to": 2, "complete": True})
    (lost, _) = judge(story.ops, options_of_scenario({"nemesis": "bump-clock"})).anomalies
    assert (lost.name, lost.permitted_by) == ("lost-write", None)


@pytest.mark.parametrize(
    ("evidence", "bit", "setting"),
    [
        ({"offset_ms": 31_000}, True, "clocks that differ"),
        ({"offset_ms": -31_000}, True, "clocks that differ"),
        ({"offset_ms": 31_000, "reason": "not shown"}, False, "clocks that differ"),  # it may have jumped all the same
        ({"offset_ms": 29_000}, True, None),  # twice as far is less than the records stay
        ({"reason": "no leader"}, False, None),
        ({"offset_ms": "much"}, True, None),
    ],
)
def test_what_goes_by_the_date_is_permitted_only_where_a_clock_may_have_jumped(evidence, bit, setting):
    story = bumped(evidence, bit=bit)
    story.event(1, "invoke", "scan", "x")
    story.event(1, "ok", "scan", [poll(("x", [[1, 2]]))], isolation="read_committed", extra={"end": 2, "key": "x"})
    found = judge(story.ops, options_of_scenario({"nemesis": "bump-clock", "topic_config": {"retention.ms": "60000"}}))
    (early,) = [anomaly for anomaly in found.anomalies if anomaly.name == "premature-deletion"]
    assert early.permitted_by == setting


V1 = {"cluster": "simulated", "transaction_protocol": 1}
REAL = {"cluster": "jvm", "nemesis": "late-requests", "transaction_protocol": 2}
LATE = {"harness.sim.stall.chance": "0.01", "harness.sim.stall.ms": "20-4000"}


@pytest.mark.parametrize(
    ("changes", "is_permitted"),
    [
        ({"broker_config": LATE}, True),
        ({"broker_config": LATE, "transaction_protocol": 2}, False),
        ({"broker_config": {**LATE, "harness.sim.stall.chance": "0"}}, False),
        ({"broker_config": {**LATE, "harness.sim.stall.ms": "20-2000"}}, False),
        ({}, False),
        (REAL, True),
        (REAL | {"client": "librdkafka"}, True),
        (REAL | {"client": "native"}, False),
        (REAL | {"client": "native", "transaction_protocol": 1}, True),
    ],
)
def test_the_end_of_another_transaction_is_permitted_only_where_an_end_may_come_late(changes, is_permitted):
    found = permitted(options_of_scenario(V1 | changes), reads_disagree=False)
    assert (found.get("cross-transaction") == "protocol v1") is is_permitted
    assert ("aborted-read" in found) is is_permitted


@pytest.mark.parametrize(
    ("changes", "is_permitted"),
    [
        ({"nemesis": "lose-power-all"}, True),
        ({"nemesis": "kill-leader,kill-follower+lose-power"}, True),
        ({"nemesis": "all"}, True),
        ({"nemesis": "kill-all"}, False),
        ({"nemesis": "lose-power-all", "broker_config": {"log.flush.interval.messages": "1"}}, False),
        ({"nemesis": "lose-power-all", "topic_config": {"flush.messages": "1"}}, False),
    ],
)
def test_power_takes_only_what_was_not_synced(changes, is_permitted):
    found = permitted(options_of_scenario(changes), reads_disagree=True)
    assert (found.get("lost-write") == "unsynced loss") is is_permitted
    assert not {"phantom-read", "record-altered", "two-leaders"} & found.keys()


@pytest.mark.parametrize(
    ("changes", "is_permitted"),
    [
        ({"topic_config": {"flush.messages": "1"}}, True),
        ({"topic_config": {"flush.messages": "1"}, "nemesis": "kill-all"}, False),
        ({"topic_config": {"flush.messages": "1"}, "broker_config": {"log.flush.interval.messages": "1"}}, False),
        ({"broker_config": {"log.flush.interval.messages": "1"}}, False),
    ],
)
def test_coordinators_forget_where_only_the_topics_are_synced(changes, is_permitted):
    found = permitted(options_of_scenario({"nemesis": "lose-power-all"} | changes), reads_disagree=True)
    names = {"hung-transaction", "unavailable", "committed-offset-regression", "torn-transaction"}
    assert {found.get(name) for name in names} == ({"unsynced loss of coordinators' state"} if is_permitted else {None})
    assert not {"hw-regression", "replica-divergence", "phantom-read"} & found.keys()


@pytest.mark.parametrize(
    ("fault", "bit", "min_isr", "setting"),
    [
        ("lose-power-all", True, 2, "unsynced loss"),
        ("lose-power-all", False, 2, None),
        ("kill-all", True, 1, None),
        ("rot-follower", True, 1, "rotten disk with min.insync.replicas=1"),
        ("rot-follower", True, 2, None),
        ("rot-follower", False, 1, None),
    ],
)
def test_a_disk_permits_a_loss_only_where_it_lost_something(fault, bit, min_isr, setting):
    story = Story()
    story.event("harness", "info", "phase", "main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.event("nemesis", "invoke", fault)
    story.event("nemesis", "info", fault, {"fault-id": 1, "nodes": ["n1", "n2"], "keys": ["x"], "bit": bit})
    story.ok(0, "send", [send("x", 2, 1)])
    story.event("harness", "info", "phase", "drain")
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])
    story.event("harness", "info", "drain", {"key": "x", "end": 2, "lso": 2, "read-to": 2, "complete": True})
    (lost, _) = judge(story.ops, options_of_scenario({"nemesis": "all", "min_isr": min_isr})).anomalies
    assert (lost.name, lost.permitted_by) == ("lost-write", setting)
