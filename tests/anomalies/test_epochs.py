"""Leader epochs, routing, replicas and time indexes: what records and probes say of them."""

from __future__ import annotations

from collections import Counter

import pytest

from checkers import samples
from checkers.judge import judge
from checkers.routing import murmur2
from checkers.verdict import Validity
from tests.anomalies.planting import Plants, probe
from tests.checkers.story import Story, poll, send

RU = "read_uncommitted"
PLANTS = Plants()
planted, golden = PLANTS.planted, PLANTS.golden


def sent(story, *places):
    """places: (value, offset, epoch)."""
    for value, offset, epoch in places:
        story.ok(0, "send", [["send", "x", [offset, value, {"epoch": epoch}]]])


def seen(story, *places, process=9):
    story.ok(process, "poll", [poll(("x", [[offset, value, {"epoch": epoch}] for value, offset, epoch in places]))])


@planted("epoch-regression")
def epoch_falls_along_the_log(story):
    sent(story, (1, 0, 4), (2, 1, 3))
    seen(story, (1, 0, 4), (2, 1, 3))


@planted("epoch-regression")
def one_record_has_two_epochs(story):
    story.ok(0, "send", [["send", "x", [0, 1]], ["send", "x", [1, 2]]])
    for process, epoch in ((1, 3), (2, 4)):
        story.ok(process, "poll", [poll(("x", [[0, 1, {"epoch": 3}], [1, 2, {"epoch": epoch}]]))])


@golden()
def epochs_rise_along_the_log(story):
    sent(story, (1, 0, 3), (2, 1, 3), (3, 4, 5))
    seen(story, (1, 0, 3), (2, 1, 3), (3, 4, 5))


@planted("deposed-leader-ack", "inconsistent-offsets")
def later_epoch_holds_another_record_at_an_acknowledged_offset(story):
    sent(story, (1, 0, 3))
    story.ok(1, "send", [["send", "x", [0, 2, {"epoch": 4}]]])
    seen(story, (1, 0, 3))
    seen(story, (2, 0, 4), process=8)


@planted("deposed-leader-ack")
def acknowledged_epoch_ended_before_its_record(story):
    sent(story, (1, 0, 3), (2, 1, 3))
    seen(story, (1, 0, 3), (2, 1, 3))
    probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=1, epoch=4)


@golden(anomalies=("deposed-leader-ack",))
def end_was_asked_for_before_the_acknowledgement(story):
    probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=0, epoch=4)
    sent(story, (1, 0, 3), (2, 1, 3))
    seen(story, (1, 0, 3), (2, 1, 3))
    probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=2, epoch=4)
    probe(story, "n2", "OffsetForLeaderEpoch", asked=2, end=0, epoch=4)


@planted("deposed-leader-ack")
def one_of_several_later_leaders_says_so(story):
    sent(story, (1, 0, 3), (2, 1, 3))
    seen(story, (1, 0, 3), (2, 1, 3))
    probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=2, epoch=4)
    probe(story, "n3", "OffsetForLeaderEpoch", asked=3, end=1, epoch=5)
    probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=2, epoch=4)


@golden()
def leader_that_lacks_it_has_a_successor_that_has_it(story):
    """The successor was not in sync with it, but kept what it had: it may lead, since nothing else was committed."""
    sent(story, (1, 0, 3), (2, 1, 3))
    seen(story, (1, 0, 3), (2, 1, 3))
    probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=1, epoch=4)
    probe(story, "n3", "OffsetForLeaderEpoch", asked=3, end=2, epoch=5)


@golden()
def epoch_ended_behind_its_records(story):
    sent(story, (1, 0, 3), (2, 1, 3))
    seen(story, (1, 0, 3), (2, 1, 3))
    probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=2, epoch=4)
    probe(story, "n1", "OffsetForLeaderEpoch", asked=3, end=1, epoch=3)


@planted("stale-poll", fresh=True)
def leader_answers_an_end_below_what_it_acknowledged(story):
    sent(story, (1, 0, 3), (2, 1, 3))
    seen(story, (1, 0, 3), (2, 1, 3))
    probe(story, "n1", "ListOffsets", hw=1, lso=1, epoch=3)


@golden(fresh=True)
def deposed_leader_may_answer_an_old_end(story):
    sent(story, (1, 0, 4), (2, 1, 4))
    seen(story, (1, 0, 4), (2, 1, 4))
    probe(story, "n1", "ListOffsets", hw=1, lso=1, epoch=3)


@golden(fresh=True)
def end_asked_for_before_the_acknowledgement_may_be_below_it(story):
    sent(story, (1, 0, 3))
    story.begin(0, "send", [send("x", 2)])
    probe(story, "n1", "ListOffsets", hw=1, lso=1, epoch=3)
    story.event(0, "ok", "send", [["send", "x", [1, 2, {"epoch": 3}]]])
    seen(story, (1, 0, 3), (2, 1, 3))


@golden()
def old_ends_are_judged_only_if_asked_for(story):
    leader_answers_an_end_below_what_it_acknowledged(story)


@planted("min-isr-violation", min_isr=2)
def acknowledged_with_too_few_in_sync(story):
    probe(story, "n1", "Metadata", isr=["n1"], partition_epoch=7)
    sent(story, (1, 0, 3))
    probe(story, "n1", "Metadata", isr=["n1"], partition_epoch=7)
    seen(story, (1, 0, 3))


@golden(min_isr=2)
def in_sync_set_grew_between_the_samples(story):
    probe(story, "n1", "Metadata", isr=["n1"], partition_epoch=7)
    sent(story, (1, 0, 3))
    probe(story, "n1", "Metadata", isr=["n1", "n2"], partition_epoch=8)
    seen(story, (1, 0, 3))


@golden(min_isr=2)
def other_node_knows_a_later_in_sync_set(story):
    probe(story, "n1", "Metadata", isr=["n1"], partition_epoch=7)
    sent(story, (1, 0, 3))
    probe(story, "n1", "Metadata", isr=["n1"], partition_epoch=7)
    probe(story, "n3", "Metadata", isr=["n1", "n2"], partition_epoch=8)
    seen(story, (1, 0, 3))


@golden(min_isr=2)
def leader_may_hear_of_its_in_sync_set_after_others(story):
    probe(story, "n3", "Metadata", leader="n1", isr=["n1"], partition_epoch=7)
    sent(story, (1, 0, 3))
    probe(story, "n3", "Metadata", leader="n1", isr=["n1"], partition_epoch=7)
    seen(story, (1, 0, 3))


def routed(story, *records, partitioner="murmur2"):
    for value, key, record_key in records:
        extra = {"record-key": record_key, "partitioner": partitioner, "partitions": 3}
        story.ok(0, "send", [["send", key, [0, value, extra]]])
        story.ok(9, "poll", [poll((key, [[0, value, extra]]))])


def partition(record_key):
    return (murmur2(record_key.encode()) & 0x7FFFFFFF) % 3


@planted("wrong-partition")
def record_lies_where_its_key_does_not_belong(story):
    routed(story, (1, f"t/{(partition('a') + 1) % 3}", "a"))


@golden()
def records_lie_where_their_keys_belong(story):
    routed(story, *((number, f"t{number}/{partition(key)}", key) for number, key in enumerate("abcdef")))


@planted("wrong-partition")
def one_key_lies_in_two_partitions(story):
    routed(story, (1, "t/0", "a"), (2, "t/1", "a"), partitioner="mine")


@golden()
def records_without_a_partitioner_lie_anywhere(story):
    story.ok(0, "send", [["send", "t/0", [0, 1, {"record-key": "a"}]], ["send", "t/1", [0, 2, {"record-key": "a"}]]])
    story.ok(9, "poll", [poll(("t/0", [[0, 1, {"record-key": "a"}]]), ("t/1", [[0, 2, {"record-key": "a"}]]))])


@golden()
def record_says_in_other_words_what_its_send_said(story):
    story.ok(0, "send", [["send", "x", [0, 1, {"ts": -1, "headers": []}]]])
    story.ok(1, "poll", [poll(("x", [[0, 1, {"ts": 1700, "headers": None}]]))])


@planted("record-altered")
def headers_differ_from_what_was_sent(story):
    story.ok(0, "send", [["send", "x", [0, 1, {"headers": {"a": "b"}, "ts": 5}]]])
    story.ok(9, "poll", [poll(("x", [[0, 1, {"headers": {"a": "c"}, "ts": 5}]]))])


@golden()
def record_comes_back_as_it_was_sent(story):
    story.ok(0, "send", [["send", "x", [0, 1, {"headers": {"a": "b"}, "ts": 5, "epoch": 2}]]])
    story.ok(9, "poll", [poll(("x", [[0, 1, {"headers": {"a": "b"}, "ts": 5, "epoch": 2}]]))])


BATCHES = [[0, 3, "aa"], [4, 6, "bb"], [7, 9, "cc"]]


@planted("replica-divergence")
def replicas_hold_different_batches(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", hw=7, log_start=0, batches=BATCHES)
    probe(story, "n2", "ReplicaLog", hw=7, log_start=0, batches=[BATCHES[0], [4, 6, "xx"]])


@planted("replica-divergence")
def replica_has_a_hole(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", hw=7, log_start=0, batches=BATCHES)
    probe(story, "n2", "ReplicaLog", hw=7, log_start=0, batches=[BATCHES[1]])


@golden()
def replicas_differ_only_above_a_watermark_or_below_a_log_start(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", hw=10, log_start=0, batches=BATCHES)
    probe(story, "n2", "ReplicaLog", hw=7, log_start=4, batches=[BATCHES[1], [7, 8, "xx"]])


@planted("replica-divergence")
def first_and_last_of_three_replicas_differ_behind_the_second(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", hw=7, log_start=0, batches=BATCHES)
    probe(story, "n2", "ReplicaLog", hw=4, log_start=0, batches=BATCHES[:1])
    probe(story, "n3", "ReplicaLog", hw=7, log_start=0, batches=[BATCHES[0], [4, 6, "xx"]])


@golden(compacted=True)
def replicas_compact_each_by_itself(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", hw=7, log_start=0, batches=BATCHES)
    probe(story, "n2", "ReplicaLog", hw=7, log_start=0, batches=[[0, 3, "compacted"], BATCHES[1]])


@golden()
def replicas_compact_kafkas_own_topics_each_by_itself(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", key="__consumer_offsets/4", hw=7, log_start=0, batches=BATCHES)
    probe(story, "n2", "ReplicaLog", key="__consumer_offsets/4", hw=7, log_start=0, batches=[BATCHES[1]])


def test_replicas_whose_in_sync_set_names_no_node_are_not_checked():
    story = Story()
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", isr=[1, 2], hw=7, log_start=0, batches=BATCHES)
    probe(story, "n2", "ReplicaLog", isr=[1, 2], hw=7, log_start=0, batches=BATCHES)
    judgement = judge(story.ops)
    assert judgement.validity is Validity.VALID
    assert "replica-divergence" in judgement.not_checked


@planted("metadata-divergence")
def quorum_epoch_has_two_leaders(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "DescribeQuorum", key="__cluster_metadata", leader="n1", epoch=4)
    probe(story, "n2", "DescribeQuorum", key="__cluster_metadata", leader="n2", epoch=4)


@golden()
def nodes_know_older_quorum_epochs(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "DescribeQuorum", key="__cluster_metadata", leader="n1", epoch=4)
    probe(story, "n2", "DescribeQuorum", key="__cluster_metadata", leader="n2", epoch=3)
    probe(story, "n3", "DescribeQuorum", key="__cluster_metadata", leader=None, epoch=4)


def quorum(story, node, **answer):
    probe(story, node, "DescribeQuorum", key="__cluster_metadata", leader=node, **answer)


@planted("metadata-divergence")
def leader_of_the_quorum_falls_back(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    quorum(story, "n1", epoch=3)
    quorum(story, "n1", epoch=7)
    quorum(story, "n1", epoch=4)


@golden()
def leaders_of_the_quorum_take_turns(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    quorum(story, "n1", epoch=3)
    quorum(story, "n2", epoch=4)
    quorum(story, "n1", epoch=3)
    quorum(story, "n1", epoch=5)
    quorum(story, "n2", epoch=4)


@planted("metadata-divergence")
def committed_metadata_are_gone_under_a_later_leader(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    quorum(story, "n1", epoch=4, hw=90)
    quorum(story, "n2", epoch=5, hw=80)


@golden()
def quorum_leader_that_was_deposed_or_knows_no_watermark_yet_answers(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    quorum(story, "n1", epoch=4, hw=90)
    quorum(story, "n2", epoch=5, hw=-1)
    quorum(story, "n2", epoch=5, hw=95)
    quorum(story, "n1", epoch=4, hw=90)


@golden()
def quorum_answers_overlap(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    asked = {"api": "DescribeQuorum", "key": "__cluster_metadata"}
    story.event("probe/n2", "invoke", "probe", asked)
    quorum(story, "n1", epoch=4, hw=95)
    story.event("probe/n2", "ok", "probe", asked | {"leader": "n2", "epoch": 5, "hw": 90})


@planted("metadata-divergence")
def metadata_logs_differ_below_both_watermarks(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    probe(story, "n1", "ReplicaLog", key="__cluster_metadata/0", hw=7, log_start=0, batches=BATCHES)
    other = [[*BATCHES[0][:2], "other"], *BATCHES[1:]]
    probe(story, "n2", "ReplicaLog", key="__cluster_metadata/0", hw=7, log_start=0, batches=other)


def topic(story, node, topic_id, key="x/0"):
    probe(story, node, "Metadata", key=key, leader="n1", epoch=3, isr=["n1"], topic_id=topic_id)


@planted("metadata-divergence")
def topic_of_our_run_has_two_ids(story):
    story.phase("main")
    topic(story, "n1", "A")
    topic(story, "n2", "B")


@planted("metadata-divergence")
def two_topics_share_an_id(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    topic(story, "n1", "A")
    topic(story, "n2", "A", key="y/0")


@golden()
def somebody_may_have_made_the_topic_anew(story):
    sent(story, (1, 0, 3))
    seen(story, (1, 0, 3))
    topic(story, "n1", "A")
    topic(story, "n1", "A", key="x/1")
    topic(story, "n2", "B")


def timed(story, process=9):
    records = [[0, 1, {"ts": 100, "epoch": 3}], [1, 2, {"ts": 200, "epoch": 3}], [2, 3, {"ts": 150, "epoch": 3}]]
    story.ok(process, "poll", [poll(("x", records))])


@planted("time-index-wrong")
def time_index_passes_over_a_record(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story, 8)
    probe(story, "n1", "ListOffsets", timestamp=120, offset=2, epoch=3)
    timed(story)


@planted("time-index-wrong")
def time_index_names_an_older_record(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story)
    probe(story, "n1", "ListOffsets", timestamp=120, offset=0, epoch=3)


@planted("time-index-wrong")
def time_index_finds_nothing(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story, 8)
    probe(story, "n1", "ListOffsets", timestamp=120, offset=None, epoch=3)
    timed(story)


@planted("time-index-wrong")
def probe_is_given_a_record_behind_one_that_fits(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story)
    probe(story, "n1", "TimeIndex", epoch=3, times=[[100, 1, 130, 0]])


@planted("time-index-wrong")
def probe_is_given_an_older_record(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story)
    probe(story, "n1", "TimeIndex", epoch=3, times=[[100, 0, 100, 0], [120, 1, 110, 2]])


@planted("time-index-wrong")
def probe_is_given_nothing(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story)
    probe(story, "n1", "TimeIndex", epoch=3, times=[[100, None, None, 0]])


@golden()
def probe_is_given_the_first_record_of_a_time_or_one_that_is_gone_since(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story)
    probe(story, "n1", "TimeIndex", epoch=3, times=[[100, 0, 100, 0], [120, 1, 125, 2], [130, 1, None, 2]])


@golden()
def time_index_names_the_first_record_that_fits(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story, 8)
    probe(story, "n1", "ListOffsets", timestamp=120, offset=1, epoch=3)
    probe(story, "n1", "ListOffsets", timestamp=999, offset=None, epoch=3)
    timed(story)


@golden()
def record_that_fits_may_be_deleted_by_then(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story, 8)
    probe(story, "n1", "ListOffsets", timestamp=120, offset=2, epoch=3)


@golden()
def deposed_leader_may_find_nothing(story):
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1), send("x", 3, 2)])
    timed(story, 8)
    probe(story, "n1", "ListOffsets", timestamp=120, offset=None, epoch=2)
    timed(story)


@pytest.mark.parametrize("name", PLANTS.table)
def test_epochs_places_and_times(name):
    PLANTS.check(name)


def test_murmur2_is_that_of_kafka():
    assert [murmur2(key) - (1 << 32) * (murmur2(key) >> 31) for key in (b"21", b"foobar", b"abc")] == [
        -973932308,
        -790332482,
        479470107,
    ]


def test_many_ends_of_epochs_are_looked_at_once(monkeypatch):
    story = Story()
    for place in range(300):
        sent(story, (place, place, 3))
    seen(story, *((place, place, 3) for place in range(300)))
    for _ in range(300):
        probe(story, "n2", "OffsetForLeaderEpoch", asked=3, end=300, epoch=4)
    looked = Counter()

    class Value(dict):
        def __getitem__(self, name):
            looked[name] += 1
            return super().__getitem__(name)

    monkeypatch.setattr(samples, "_known", Value)
    assert judge(story.ops).anomalies == ()
    assert 300 <= looked["end"] < 3000
