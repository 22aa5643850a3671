"""Planted and golden histories of leaders that say where epochs ended (`epoch-regression`)."""

from __future__ import annotations

import pytest

from tests.anomalies.planting import Plants, probe
from tests.checkers.story import poll

PLANTS = Plants()
planted, golden = PLANTS.planted, PLANTS.golden
READ = ((0, 1, 0), (1, 2, 0), (2, 3, 1), (3, 4, 1), (4, 5, 3))
"""Offset, value and leader epoch of what is read."""


def log(story, *answers, last=4, **more):
    """Records of epochs 0, 1 and 3, and answers (asked, epoch of the leader, end); then the last epoch is told."""
    story.phase("main")
    for offset, value, _ in READ:
        story.ok(0, "send", [["send", "x", [offset, value]]])
    shown = [[offset, value, {"epoch": epoch}] for offset, value, epoch in READ]
    story.ok(9, "poll", [poll(("x", shown))])
    for asked, epoch, end in answers:
        probe(story, "n1", "OffsetForLeaderEpoch", asked=asked, epoch=epoch, end=end, **more)
    story.phase("drain")
    story.ok(8, "assign", ["x"], seek_to_beginning=True)
    story.ok(8, "poll", [poll(("x", shown))])
    story.drain("x", 5)
    probe(story, "n1", "ListOffsets", epoch=last, hw=5, lso=5, log_start=0, **more)


@golden()
def epochs_end_where_the_next_ones_begin(story):
    log(story, (0, 1, 2), (1, 2, 4), (1, 3, 4), (2, 3, 4), (3, 4, 5), (3, 4, 5))


@planted("epoch-regression", acks="1")
def record_of_a_later_epoch_lies_below_the_end(story):
    log(story, (0, 4, 3))


@planted("epoch-regression", acks="1")
def record_of_the_epoch_lies_above_its_end(story):
    log(story, (1, 4, 3))


@golden(acks="1")
def earlier_leader_may_lack_what_was_committed_after_it(story):
    log(story, (1, 2, 3), (0, 1, 3))


@golden(acks="1")
def nobody_knows_who_led_last(story):
    log(story, (1, 4, 3), last=3)


@planted("epoch-regression")
def leader_says_otherwise_later(story):
    log(story, (3, 4, 5), (3, 4, 6))


@golden()
def deposed_leader_does_not_know_what_its_successors_wrote(story):
    log(story, (1, 2, 5))


@golden(retention_ms=1, acks="1")
def log_that_lost_its_begin_says_where_it_begins(story):
    log(story, (0, 4, 3))


@golden(acks="1")
def log_whose_start_moved_does_so_too(story):
    story.ok(3, "delete-records", ["x", 1])
    log(story, (0, 4, 3), (3, 4, 5), (3, 4, 6))


@golden(acks="1")
def topic_was_made_anew(story):
    log(story, (3, 4, 5), incarnation="a")
    probe(story, "n1", "OffsetForLeaderEpoch", asked=3, epoch=4, end=1, incarnation="b")


@golden(acks="1")
def leader_of_the_epoch_itself_does_not_know_its_end(story):
    log(story, (1, 1, 3))


@pytest.mark.parametrize("name", PLANTS.table)
def test_ends_of_epochs(name):
    PLANTS.check(name)
