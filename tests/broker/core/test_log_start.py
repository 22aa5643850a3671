"""What a log still knows of what lay before its start."""

from __future__ import annotations

import pytest

from tests.broker.core.test_partition_log import Bench, data_batch, state_of


@pytest.mark.parametrize("further", [0, 1])
@pytest.mark.parametrize("how", ["kill", "cut", "stop"])
def test_producers_of_records_that_are_deleted_are_known_after_a_start_and_a_cut(how, further):
    bench = Bench()
    bench.append(data_batch(1, pid=7, epoch=0, sequence=0), epoch=3)
    bench.append(data_batch(1, pid=8, epoch=0, sequence=0, transactional=True), epoch=4)
    while len(bench.log.segments) < 3:
        bench.append(data_batch(), epoch=5)
    bench.append(data_batch(), epoch=5)
    bench.append(data_batch(), epoch=5)
    bench.log.advance_high_watermark(bench.log.end - 1)
    bench.log.advance_start(bench.log.segments[-1].base + further)
    bench.flush()
    before = state_of(bench.log.producers)
    if how == "cut":
        bench.log.truncate(bench.log.end - 1)
        bench.flush()
    else:
        if how == "stop":
            bench.log.stop()
            bench.flush()
        bench.recover(start=bench.log.start, high_watermark=bench.log.high_watermark, clean=how == "stop")
    assert [one[0] for one in before] == [7, 8]
    assert state_of(bench.log.producers) == before


def test_a_log_that_begins_anew_knows_nothing_of_the_producers_of_the_old_one():
    bench = Bench()
    for number in range(4):
        bench.append(data_batch(1, pid=7, epoch=0, sequence=number))
    bench.log.stop()
    bench.flush()
    end = bench.log.end
    bench.log.restart_at(end)
    bench.flush()
    bench.append(data_batch())
    bench.append(data_batch())
    bench.log.truncate(end + 1)
    bench.flush()
    assert state_of(bench.log.producers) == []
    bench.recover(start=end, high_watermark=end)
    assert state_of(bench.log.producers) == []


@pytest.mark.parametrize("how", ["kill", "cut"])
def test_producers_of_records_that_are_deleted_within_a_segment_are_known(how):
    bench = Bench()
    bench.append(data_batch(1, pid=7, epoch=0, sequence=0))
    bench.append(data_batch())
    bench.append(data_batch())
    bench.log.advance_high_watermark(bench.log.end)
    bench.log.advance_start(bench.log.end - 2)
    bench.flush()
    before = state_of(bench.log.producers)
    assert len(bench.log.segments) == 1
    if how == "cut":
        bench.log.truncate(bench.log.end - 1)
        bench.flush()
    else:
        bench.recover(start=bench.log.start, high_watermark=bench.log.high_watermark)
    assert [one[0] for one in before] == [7]
    assert state_of(bench.log.producers) == before
