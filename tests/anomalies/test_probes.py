"""Planted and golden histories for what nodes and consumer groups answer."""

from __future__ import annotations

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers.story import Story, poll, send


def base():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    return story


def probe(story, node, **answer):
    value = {"api": answer.pop("api", "ListOffsets"), "key": "x"}
    story.event(f"probe/{node}", "invoke", "probe", value)
    story.event(f"probe/{node}", "ok", "probe", value | answer)


def found(story, **options):
    return {anomaly.name for anomaly in judge(story.ops, CheckOptions(**options)).anomalies}


def test_high_watermark_may_not_fall_within_an_epoch():
    story = base()
    probe(story, "n1", hw=9, lso=5, epoch=3)
    probe(story, "n1", hw=8, lso=5, epoch=3)
    assert found(story) == {"hw-regression"}


def test_last_stable_offset_may_not_fall_towards_a_higher_epoch():
    story = base()
    probe(story, "n1", hw=9, lso=5, epoch=3)
    probe(story, "n2", hw=9, lso=4, epoch=4)
    assert found(story) == {"lso-regression"}


def test_deposed_leader_that_still_answers_is_only_counted():
    story = base()
    probe(story, "n2", hw=9, lso=9, epoch=4)
    probe(story, "n1", hw=5, lso=5, epoch=3)
    judgement = judge(story.ops)
    assert judgement.anomalies == ()
    assert "deposed" in judgement.warnings[0]


def test_answers_that_overlap_in_time_are_not_compared():
    story = base()
    value = {"api": "ListOffsets", "key": "x"}
    story.event("probe/n2", "invoke", "probe", value)
    probe(story, "n1", hw=9, lso=9, epoch=3)
    story.event("probe/n2", "ok", "probe", value | {"hw": 7, "lso": 7, "epoch": 4})
    assert found(story) == set()


def test_new_incarnation_of_a_topic_starts_again():
    story = base()
    probe(story, "n1", hw=9, lso=9, epoch=3, incarnation="a")
    probe(story, "n1", hw=0, lso=0, epoch=3, incarnation="b")
    assert found(story) == set()


def test_log_start_may_not_fall_within_an_epoch():
    story = base()
    probe(story, "n1", hw=9, lso=9, epoch=3, **{"log-start": 0})
    probe(story, "n1", hw=9, lso=9, epoch=3, **{"log-start": 0})
    assert found(story) == set()
    story = Story()
    story.ok(0, "send", [send("y", 1, 0)])
    story.ok(1, "poll", [poll(("y", [[0, 1]]))])
    probe(story, "n1", hw=9, lso=9, epoch=3, **{"log-start": 4})
    probe(story, "n1", hw=9, lso=9, epoch=3, **{"log-start": 2})
    assert found(story) == {"log-start-regression"}


def test_epoch_known_to_a_node_may_not_fall():
    story = base()
    probe(story, "n1", api="Metadata", leader="n1", epoch=4)
    probe(story, "n1", api="Metadata", leader="n2", epoch=3)
    assert found(story) == {"epoch-regression"}


def test_epoch_has_one_leader():
    story = base()
    probe(story, "n1", api="Metadata", leader="n1", epoch=4)
    probe(story, "n2", api="Metadata", leader="n2", epoch=4)
    probe(story, "n3", api="Metadata", leader=None, epoch=4)
    assert found(story) == {"two-leaders"}


def test_other_node_may_know_an_older_epoch():
    story = base()
    probe(story, "n1", api="Metadata", leader="n1", epoch=4)
    probe(story, "n2", api="Metadata", leader="n3", epoch=3)
    assert found(story) == set()


def test_fetch_answer_stays_below_its_own_watermark():
    story = base()
    probe(story, "n1", api="Fetch", hw=5, lso=3, **{"last-offset": 4})
    assert found(story, looks_once=True) == set()
    probe(story, "n1", api="Fetch", hw=5, lso=3, isolation="read_committed", **{"last-offset": 3})
    assert found(story, looks_once=True) == {"read-past-hw"}
    assert found(story) == set()


def test_watermark_may_rise_between_the_look_at_it_and_the_read():
    story = base()
    probe(story, "n1", api="Fetch", hw=5, lso=5, epoch=2, again=7, **{"last-offset": 6})
    probe(story, "n1", hw=7, lso=7, epoch=2)
    assert found(story) == set()


def test_watermark_that_has_not_come_so_far_afterwards_was_not_there():
    story = base()
    probe(story, "n1", api="Fetch", hw=5, lso=5, epoch=2, again=6, **{"last-offset": 6})
    assert found(story) == {"read-past-hw"}
    story = base()
    probe(story, "n1", api="Fetch", hw=5, lso=5, epoch=2, **{"last-offset": 6})
    probe(story, "n1", hw=9, lso=9, epoch=3)
    probe(story, "n2", hw=6, lso=6, epoch=2)
    assert "read-past-hw" not in found(story)
    story = base()
    probe(story, "n1", api="Fetch", hw=5, lso=5, epoch=2, isolation="read_committed", **{"last-offset": 6})
    probe(story, "n1", hw=9, lso=6, epoch=2)
    assert found(story) == {"read-past-hw"}


def test_two_nodes_that_answer_for_one_epoch_both_lead_it():
    story = base()
    probe(story, "n1", hw=1, lso=1, epoch=4)
    probe(story, "n2", hw=1, lso=1, epoch=4)
    assert found(story) == {"two-leaders"}
    story = base()
    probe(story, "n1", hw=1, lso=1, epoch=4)
    probe(story, "n2", api="Metadata", leader="n2", epoch=4)
    assert found(story) == {"two-leaders"}


def test_node_that_is_told_by_its_number_is_no_other_node():
    story = base()
    probe(story, "n1", hw=1, lso=1, epoch=4)
    probe(story, "n3", api="Metadata", leader=1, epoch=4)
    assert found(story) == set()


def test_epoch_in_which_a_node_leads_may_not_fall():
    story = base()
    probe(story, "n1", hw=1, lso=1, epoch=4)
    probe(story, "n1", hw=1, lso=1, epoch=3)
    assert found(story) == {"epoch-regression"}


def test_node_may_know_of_an_epoch_before_it_leads_in_it():
    story = base()
    probe(story, "n1", api="Metadata", leader="n1", epoch=4)
    probe(story, "n1", hw=1, lso=1, epoch=3)
    assert found(story) == set()


def test_search_by_time_names_the_epoch_of_a_record():
    story = base()
    probe(story, "n1", hw=1, lso=1, epoch=4)
    probe(story, "n1", timestamp=5, offset=0, epoch=1)
    probe(story, "n2", timestamp=5, offset=0, epoch=4)
    assert found(story) == set()


def test_minus_one_is_how_kafka_says_none():
    story = base()
    probe(story, "n1", hw=5, lso=5, epoch=3, **{"log-start": 2})
    probe(story, "n2", hw=-1, lso=-1, epoch=4, **{"log-start": -1})
    probe(story, "n1", api="Metadata", leader=-1, epoch=5)
    probe(story, "n2", api="Metadata", leader=2, epoch=5)
    probe(story, "n1", api="DescribeQuorum", leader=-1, epoch=5, hw=-1)
    probe(story, "n2", api="DescribeQuorum", leader=2, epoch=5, hw=9)
    probe(story, "n1", api="Fetch", hw=-1, lso=-1, again=-1, **{"last-offset": -1})
    assert found(story) == set()


def test_unclean_election_permits_a_lower_watermark():
    story = base()
    probe(story, "n1", hw=9, lso=9, epoch=3)
    probe(story, "n2", hw=7, lso=9, epoch=4)
    (anomaly,) = judge(story.ops, CheckOptions(unclean_election=True)).anomalies
    assert (anomaly.name, anomaly.permitted_by) == ("hw-regression", "unclean election")


def committed(story, offset):
    story.begin(5, "committed", {"group": "g"})
    story.event(5, "ok", "committed", [["x", offset]], group="g")


def commit(story, process, offset, type_="ok"):
    story.begin(process, "commit", [["x", offset]], group="g")
    story.event(process, type_, "commit", [["x", offset]], group="g")


def test_committed_offset_may_not_fall_back():
    story = base()
    commit(story, 2, 1)
    commit(story, 2, 5)
    committed(story, 1)
    assert found(story) == {"committed-offset-regression"}


def test_committed_offset_may_not_vanish():
    story = base()
    commit(story, 2, 5)
    committed(story, None)
    assert found(story) == {"committed-offset-regression"}


def test_later_commit_may_lower_the_offset():
    story = base()
    commit(story, 2, 5)
    commit(story, 3, 2)
    committed(story, 2)
    assert found(story) == set()


def test_undecided_commit_may_land_late():
    story = base()
    commit(story, 3, 2, "info")
    commit(story, 2, 5)
    committed(story, 2)
    assert found(story) == set()


def test_uncertain_commit_of_a_poll_may_land_late():
    story = base()
    story.begin(3, "poll", [["poll"]])
    story.event(3, "ok", "poll", [["poll", []]], extra={"uncertain-offsets": [["x", 2]]})
    commit(story, 2, 5)
    committed(story, 2)
    assert found(story) == set()


def test_refused_commit_that_shows_is_named():
    story = base()
    commit(story, 2, 5)
    commit(story, 3, 2, "fail")
    committed(story, 2)
    assert found(story) == {"committed-offset-regression", "fenced-commit-applied"}


def test_refused_commit_that_shows_is_named_where_it_is_higher_than_what_was_there():
    story = base()
    commit(story, 3, 7, "fail")
    committed(story, 7)
    assert found(story) == set(), "nobody knows where the group was before"
    story = base()
    commit(story, 2, 5)
    commit(story, 3, 7, "fail")
    committed(story, 7)
    assert found(story) == {"fenced-commit-applied"}
    story = base()
    commit(story, 2, 5)
    commit(story, 3, 7, "fail")
    commit(story, 4, 7, "info")
    committed(story, 7)
    assert found(story) == set()


def test_offset_of_an_aborted_transaction_that_shows_is_named():
    story = base()
    committed(story, None)
    story.begin(3, "txn", [send("x", 9)])
    story.event(3, "fail", "txn", [send("x", 9)], commit_time=None, offsets=[["x", 7]], group="g")
    committed(story, None)
    assert found(story) == set()
    committed(story, 7)
    assert found(story) == {"fenced-commit-applied"}


def test_offset_that_moved_from_where_it_was_acknowledged():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[3, 1]]))])
    assert found(story) == {"duplicate", "rolled-back-offset"}


def test_verdict_names_what_it_could_not_check():
    names = judge(base().ops).not_checked
    assert {"hw-regression", "committed-offset-regression", "two-leaders", "stale-poll"} <= set(names)
    story = base()
    probe(story, "n1", hw=9, lso=9, epoch=3)
    assert "hw-regression" not in judge(story.ops).not_checked
