"""What no sync has reached: the newest segment behind the recovery point, and nothing else."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.wire import batch
from broker.wire.batch import CorruptBatchError
from harness.cluster import unsynced

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=6)


def segment(folder, base, counts):
    """Write batches of so many records; return the positions where they begin, and the end."""
    folder.mkdir(parents=True, exist_ok=True)
    data, offset, positions = b"", base, [0]
    for count in counts:
        data += batch.build(b"record" * count, count=count, base_offset=offset)
        offset += count
        positions.append(len(data))
    (folder / f"{base:020d}.log").write_bytes(data)
    return positions, offset


def synced_in_part(folder, counts, synced):
    """Write a segment of which the first batches are synced, not all; return its batches' places, bytes and tail."""
    positions, _ = segment(folder / "t0-0", 0, counts)
    points = {"t0-0": sum(counts[: min(synced, len(counts) - 1)])}
    tail = unsynced.tails(folder, points, ["t0"])["t0-0"]
    return positions, tail.segment.read_bytes(), tail


def test_only_the_newest_segment_behind_the_recovery_point_is_unsynced(tmp_path):
    _, end = segment(tmp_path / "t0-0", 0, [2, 2])
    positions, _ = segment(tmp_path / "t0-0", end, [1, 3, 2])
    found = unsynced.tails(tmp_path, {"t0-0": end + 1}, ["t0"])
    assert set(found) == {"t0-0"}
    assert found["t0-0"].segment.name == f"{end:020d}.log"
    assert [position for position, _ in found["t0-0"].batches] == positions[1:-1]


def test_what_was_checkpointed_whole_has_no_tail_and_other_topics_are_left_alone(tmp_path):
    _, end = segment(tmp_path / "t0-0", 0, [2, 2])
    segment(tmp_path / "a-topic-with-dashes-3", 0, [2])
    segment(tmp_path / "__cluster_metadata-0", 0, [2])
    (tmp_path / "t0-0.0123-delete").mkdir()
    (tmp_path / "meta.properties").touch()
    assert unsynced.topics(tmp_path) == ["a-topic-with-dashes", "t0"]
    assert unsynced.tails(tmp_path, {"t0-0": end}, ["t0", "__cluster_metadata"]) == {}
    assert set(unsynced.tails(tmp_path, {}, ["a-topic-with-dashes"])) == {"a-topic-with-dashes-3"}


def test_without_files_there_is_nothing(tmp_path):
    (tmp_path / "t0-0").mkdir()
    assert unsynced.topics(tmp_path / "no") == []
    assert unsynced.tails(tmp_path / "no", {}, ["t0"]) == unsynced.tails(tmp_path, {}, ["t0"]) == {}


@given(counts=SIZES, synced=st.integers(0, 6), seed=st.integers(0, 1000))
def test_a_power_loss_takes_something_and_nothing_that_was_synced(tmp_path_factory, counts, synced, seed):
    folder = tmp_path_factory.mktemp("lose")
    positions, before, tail = synced_in_part(folder, counts, synced)
    gone = tail.lose(random.Random(seed))
    left = tail.segment.read_bytes()
    assert gone == len(before) - len(left) > 0
    assert before.startswith(left)
    assert len(left) >= positions[min(synced, len(counts) - 1)]


@given(counts=SIZES, synced=st.integers(0, 6), seed=st.integers(0, 1000))
def test_rot_changes_one_byte_that_a_checksum_covers(tmp_path_factory, counts, synced, seed):
    folder = tmp_path_factory.mktemp("rot")
    positions, before, tail = synced_in_part(folder, counts, synced)
    tail.rot(random.Random(seed))
    after = tail.segment.read_bytes()
    (changed,) = [at for at in range(len(before)) if before[at] != after[at]]
    (hit,) = [begin for begin, end in pairwise(positions) if begin <= changed < end]
    assert hit >= positions[min(synced, len(counts) - 1)]
    with pytest.raises(CorruptBatchError):
        batch.check(after, hit, batch.parse_header(before, hit))


def test_a_torn_batch_ends_what_is_looked_at(tmp_path):
    positions, _ = segment(tmp_path / "t0-0", 0, [1, 1])
    file = tmp_path / "t0-0" / f"{0:020d}.log"
    file.write_bytes(file.read_bytes()[: positions[1] + 30])
    tail = unsynced.tails(tmp_path, {}, ["t0"])["t0-0"]
    assert tail.batches == ((0, positions[1]),)
