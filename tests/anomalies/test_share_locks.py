"""Share groups: locks that are renewed (KIP-1222), acknowledgements of former holders, and those that go with a fetch."""

from __future__ import annotations

import pytest

from checkers.share import rest, safety
from tests.anomalies.planting import Plants
from tests.anomalies.share_stories import LOCK_S, ack, begin_fetch, fetch, fetch_with, finish, lose, sent

PLANTS = Plants()
CLASSES = (*safety.CLASSES, rest.LOST)


def planted(*names, **options):
    return PLANTS.planted(*names, anomalies=CLASSES, **options)


def golden():
    return planted()


# Former holders


@planted("share-double-acquisition")
def a_former_holders_acknowledgement_is_taken_while_the_record_is_anothers(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S)
    fetch(story, 3, (0, 2))
    ack(story, 2, 0)
    ack(story, 3, 0)


@golden()
def a_former_holders_acknowledgement_is_refused(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S)
    fetch(story, 3, (0, 2))
    ack(story, 2, 0, type_="fail")
    ack(story, 3, 0)


@golden()
def after_a_leader_was_deposed_both_acknowledgements_may_lie_below_the_start(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S)
    story.fault(1, "partition-leader")
    fetch(story, 3, (0, 2))
    ack(story, 2, 0)
    ack(story, 3, 0)
    story.heal(1)


@planted("share-redelivery")
def what_somebody_else_had_accepted_may_be_of_no_effect_from_then_on(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S)
    fetch(story, 4, (0, 2), node="n2")
    ack(story, 4, 0, node="n2")
    fetch(story, 3, (0, 2))
    ack(story, 2, 0)
    ack(story, 3, 0)


# Locks that are renewed


@planted("share-double-acquisition")
def a_record_is_given_away_within_a_renewed_lock(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S / 2)
    ack(story, 2, 0, "renew")
    story.wait(LOCK_S - 1)
    fetch(story, 3, (0, 2))
    fetch(story, 2)


@planted("share-double-acquisition")
def a_record_is_given_uncounted_within_a_renewed_lock_and_accepted_then(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S / 2)
    ack(story, 2, 0, "renew")
    story.wait(LOCK_S - 1)
    fetch(story, 3, (0, 1))
    ack(story, 2, 0)


@planted("share-double-acquisition")
def a_count_rises_within_a_renewed_lock_whatever_was_lost_before(story):
    story.phase("main")
    sent(story, 0)
    lose(story, 4)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S / 2)
    ack(story, 2, 0, "renew")
    story.wait(LOCK_S - 1)
    fetch(story, 3, (0, 2))
    fetch(story, 2)


@golden()
def a_count_rises_as_another_node_may_have_given_the_record_in_between(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    begin_fetch(story, 4)
    story.event(4, "info", "share-fetch", {"keys": ["x"], "node": "n2"}, group="g")
    fetch(story, 3, (0, 2))
    fetch(story, 2)


@golden()
def a_count_rises_under_a_fault_that_deposes_leaders(story):
    story.phase("main")
    sent(story, 0)
    lose(story, 4)
    story.fault(1, "pause-leader")
    fetch(story, 2, (0, 1))
    fetch(story, 3, (0, 2))
    fetch(story, 2)
    story.heal(1)


@planted("share-redelivery")
def a_record_that_was_accepted_within_a_renewed_lock_is_given_again(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    story.wait(LOCK_S / 2)
    ack(story, 2, 0, "renew")
    story.wait(LOCK_S / 2)
    ack(story, 2, 0)
    fetch(story, 3, (0, 1))


@golden()
def a_renewed_lock_runs_out(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    ack(story, 2, 0, "renew")
    story.wait(LOCK_S)
    fetch(story, 3, (0, 2))
    fetch(story, 2)


@golden()
def a_renewal_that_is_refused_or_too_late_or_not_answered_renews_nothing(story):
    sent(story, 0)
    for type_, wait_s in (("fail", LOCK_S / 2), ("ok", LOCK_S), ("info", LOCK_S / 2)):
        process = len(story.ops)
        count = 1 + ("fail", "ok", "info").index(type_)
        fetch(story, process, (0, count))
        story.wait(wait_s)
        ack(story, process, 0, "renew", type_=type_)
        story.wait(LOCK_S / 2 if wait_s < LOCK_S else 0)
    fetch(story, 3, (0, 4))
    for process in (op.process for op in list(story.ops) if op.f == "share-fetch" and op.type == "ok"):
        fetch(story, process)


@golden()
def a_renewal_is_about_the_last_delivery_only(story):
    sent(story, 0)
    fetch(story, 2, (0, 1), node="n1")
    fetch(story, 2, (0, 1), node="n2")
    story.wait(LOCK_S - 1)
    ack(story, 2, 0, "renew", node="n2")
    story.wait(1)
    fetch(story, 3, (0, 2), node="n1")  # the former leader, deposed: its lock is over
    fetch(story, 2, node="n1")


@golden()
def a_deposed_leader_renews_too(story):
    sent(story, 0)
    fetch(story, 2, (0, 1), node="n1")
    fetch(story, 3, (0, 1), node="n2")
    ack(story, 2, 0, "renew", node="n1")


# What goes with a fetch


@planted("share-redelivery")
def what_was_accepted_with_a_fetch_is_given_again(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch_with(story, 2, "accept", "ok")
    fetch(story, 3, (0, 1))


@planted("share-delivery-count")
def what_was_released_with_a_fetch_does_not_count(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch_with(story, 2, "release", "ok")
    fetch(story, 3, (0, 1))


@golden()
def what_is_released_with_a_fetch_may_come_with_its_answer(story):
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch_with(story, 2, "release", "ok", (0, 2))


@golden()
def what_only_the_invocation_says_was_said(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    begun = {"records-max": 20, "acknowledge": [["x", [[0, "accept"]]]]}
    story.event(2, "invoke", "share-fetch", begun, group="g")
    story.event(2, "info", "share-fetch", {"keys": ["x"]}, group="g")
    finish(story, 0)


@golden()
def what_went_with_a_fetch_was_refused_or_is_not_known(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch_with(story, 2, "accept", "fail")
    fetch_with(story, 2, "accept", "info")
    fetch_with(story, 2, "accept", "", type_="fail")
    fetch_with(story, 2, "accept", "", type_="info")
    story.wait(LOCK_S)
    fetch(story, 3, (0, 2))
    ack(story, 3, 0)


@planted("share-lost")
def what_was_not_accepted_with_a_fetch_is_not_given_again(story):
    story.phase("main")
    sent(story, 0)
    fetch(story, 2, (0, 1))
    fetch_with(story, 2, "accept", "fail")
    finish(story, 0)


@pytest.mark.parametrize("name", PLANTS.table)
def test_found_or_silent(name):
    PLANTS.check(name)
