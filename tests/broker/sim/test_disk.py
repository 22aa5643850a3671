"""What a simulated disk keeps from one life of its node to the next."""

from __future__ import annotations

import pytest

from broker.core.ready import Append, Draft, Swap
from broker.sim.disk import Disk
from broker.wire.messages.fetch import Region

LOG, OLD, NEW = "t-0", b"what it was", b"compacted"


@pytest.fixture
def swapped():
    disk = Disk()
    disk.write_all([Append(LOG, 0, 0, OLD), Draft(LOG, 0, 0, NEW), Swap(LOG, 0, 0, 1), Draft(LOG, 0, 0, b"half a ")])
    return disk


def bytes_of(disk: Disk, generation: int) -> bytes:
    return disk.fetch(Region(LOG, 0, 0, 100, generation))


def test_readers_of_this_life_find_what_they_point_into(swapped):
    assert (bytes_of(swapped, 0), bytes_of(swapped, 1)) == (OLD, NEW)


def test_the_next_life_counts_generations_anew_and_finds_what_lies_there(swapped):
    """However the process ended: in order, or on a disk that is full."""
    swapped.close()
    assert bytes_of(swapped, 0) == NEW
    swapped.write_all([Draft(LOG, 0, 0, b"later"), Swap(LOG, 0, 0, 1)])
    assert (bytes_of(swapped, 0), bytes_of(swapped, 1)) == (NEW, b"later")
