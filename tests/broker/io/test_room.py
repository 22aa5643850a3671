"""Room that segments have behind their ends: there while they grow, given back, and never part of the file."""

import contextlib
import sys

import pytest

from broker.core.ready import Append, DropLog, DropSegment, Truncate
from broker.io import room as room_module
from broker.io.disk import Disk

MEBIBYTE = 1024 * 1024


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def takes(disk, monkeypatch, answer=0):
    """Have the disk's calls for room noted, and answered, instead of made."""
    calls = []

    def take(descriptor, mode, position, size):
        calls.append((position, size))
        return answer

    monkeypatch.setattr(disk._room, "_take", take)
    return calls


def blocks(path):
    return path.stat().st_blocks * 512


def grow(disk, base, sizes, log="t-0"):
    position = 0
    for size in sizes:
        disk.write([Append(log, base, position, bytes(size))])
        position += size
    return position


def test_a_segment_that_grows_gets_as_much_again_as_it_has(folder, monkeypatch):
    disk = Disk(folder)
    calls = takes(disk, monkeypatch)
    grow(disk, 0, [MEBIBYTE])
    assert calls == []  # small segments, and there may be thousands, get none
    grow(disk, 0, [MEBIBYTE, 1, 1000, MEBIBYTE - 1000, 2])
    assert calls == [
        (MEBIBYTE, MEBIBYTE + 2),
        (2 * MEBIBYTE + 1, 2 * MEBIBYTE + 5),
    ]
    disk.close()


def test_there_is_a_limit_to_the_room(folder, monkeypatch):
    monkeypatch.setattr(room_module, "LEAST_BYTES", 10)
    monkeypatch.setattr(room_module, "STEP_BYTES", 100)
    disk = Disk(folder)
    calls = takes(disk, monkeypatch)
    grow(disk, 0, [50] * 10)
    assert calls == [(0, 100), (100, 150), (250, 150), (400, 150)]
    disk.close()


def test_a_file_system_that_refuses_is_not_asked_again(folder, monkeypatch):
    disk = Disk(folder)
    calls = takes(disk, monkeypatch, answer=-1)
    end = grow(disk, 0, [4 * MEBIBYTE] * 3)
    assert len(calls) == 1
    assert disk.segments("t-0") == [(0, end)]
    disk.close()


def test_without_the_call_writes_go_on(folder, monkeypatch):
    monkeypatch.setattr(room_module.ctypes, "CDLL", lambda name: object())
    disk = Disk(folder)
    end = grow(disk, 0, [4 * MEBIBYTE] * 3)
    assert disk.segments("t-0") == [(0, end)]
    disk.close()


@pytest.fixture
def real(folder):
    """A disk whose file system gives room."""
    disk = Disk(folder)
    grow(disk, 0, [4 * MEBIBYTE], log="probe-0")
    if sys.platform != "linux" or disk._room._take is None:
        disk.close()
        pytest.skip("neither this system nor this file system gives room behind a file's end")
    disk.write([DropLog("probe-0")])
    yield disk
    with contextlib.suppress(OSError):  # a test has closed it
        disk.close()


def test_room_is_no_part_of_the_file(real, folder):
    end = grow(real, 0, [4 * MEBIBYTE])
    path = folder / "t-0" / f"{0:020d}.log"
    assert blocks(path) >= 2 * end
    assert path.stat().st_size == end
    assert real.segments("t-0") == [(0, end)]
    assert real.read("t-0", 0, end - 1, 100) == b"\0"


def give_back_by_closing(disk):
    disk.close()


def give_back_by_the_next_segment(disk):
    disk.write([Append("t-0", 7, 0, b"x")])


def give_back_by_a_cut(disk):
    disk.write([Truncate("t-0", 0, 3 * MEBIBYTE)])


@pytest.mark.parametrize("event", [give_back_by_closing, give_back_by_the_next_segment, give_back_by_a_cut])
def test_what_is_left_of_the_room_goes_back(real, folder, event):
    grow(real, 0, [4 * MEBIBYTE])
    path = folder / "t-0" / f"{0:020d}.log"
    event(real)
    assert blocks(path) <= 4 * MEBIBYTE + 64 * 1024
    again = path.read_bytes()
    assert again == bytes(len(again))
    assert len(again) >= 3 * MEBIBYTE


def test_a_cut_segment_gets_room_anew(real, folder):
    grow(real, 0, [4 * MEBIBYTE])
    real.write([Truncate("t-0", 0, 3 * MEBIBYTE), Append("t-0", 0, 3 * MEBIBYTE, b"x")])
    assert blocks(folder / "t-0" / f"{0:020d}.log") >= 6 * MEBIBYTE


def test_logs_and_segments_that_go_leave_nothing(real, folder):
    grow(real, 0, [4 * MEBIBYTE])
    grow(real, 0, [4 * MEBIBYTE], log="u-0")
    real.write([DropLog("t-0"), DropSegment("u-0", 0)])
    assert grow(real, 0, [2 * MEBIBYTE]) == 2 * MEBIBYTE
    assert grow(real, 9, [2 * MEBIBYTE], log="u-0") == 2 * MEBIBYTE
    assert real.segments("t-0") == [(0, 2 * MEBIBYTE)]
    assert real.segments("u-0") == [(9, 2 * MEBIBYTE)]
