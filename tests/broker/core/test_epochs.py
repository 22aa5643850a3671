"""The leader epoch cache against a list of records' epochs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.log.epochs import Epochs


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.data())
def test_epochs_equal_a_scan_of_all_records(steps, data):
    epochs, records, epoch = Epochs(), [], 0
    for step in steps:
        epoch += step
        epochs.assign(epoch, len(records))
        records.append(epoch)
    cut = data.draw(st.integers(0, len(records)))
    del records[cut:]
    epochs.truncate_end(cut)
    start = data.draw(st.integers(0, len(records)))
    epochs.truncate_start(start)
    for offset in range(start, len(records)):
        assert epochs.epoch_at(offset) == records[offset]
    for wanted in range(epoch + 2):
        older = [index for index, e in enumerate(records) if e <= wanted and index >= start]
        if older:
            assert epochs.end_of(wanted, len(records)) == (records[older[-1]], older[-1] + 1)
    again = Epochs.load(epochs.dump())
    assert again.entries() == epochs.entries()
    assert again.latest == epochs.latest == max((known for known, _ in epochs.entries()), default=-1)


def test_an_epoch_without_records_gives_way_to_the_next_at_its_offset():
    epochs = Epochs()
    assert epochs.assign(1, 0)
    assert epochs.assign(2, 5)
    assert epochs.assign(3, 5)
    assert epochs.entries() == [(1, 0), (3, 5)]


def test_a_damaged_checkpoint_reads_as_empty():
    assert Epochs.load(b"0\n2\n5 1\n4 9\n").entries() == []
    assert Epochs.load(b"\xff\xfe").entries() == []
    assert Epochs.load(None).latest == -1
