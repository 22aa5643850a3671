"""The node's folder: what was written is read back, by this process or the next one."""

import os
import random
from pathlib import Path

import pytest

from broker.core.ready import (
    Append,
    Draft,
    DropDraft,
    DropLog,
    DropSegment,
    Release,
    Remove,
    Save,
    Swap,
    SyncAll,
    Truncate,
)
from broker.io import disk as disk_module
from broker.io import drafts as drafts_module
from broker.io import room as room_module
from broker.io.disk import Disk, FolderInUseError, ShortReadError
from broker.sim.disk import Disk as Model
from broker.wire.messages.fetch import Region


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def disk(folder):
    one = Disk(folder)
    yield one
    one.close()


def state(storage):
    logs = storage.logs()
    return {
        log: (
            {base: storage.read(log, base, 0, size) for base, size in storage.segments(log)},
            {name: storage.load(name) for name in storage.files(log)},
        )
        for log in logs
    }


def history(seed):
    """Writes as a core makes them, drawn from a seed."""
    rng = random.Random(seed)
    sizes = {}
    for number in range(120):
        log, base = rng.choice(["a-0", "b-1"]), rng.choice([0, 7])
        size = sizes.get((log, base), 0)
        match rng.choice(["append", "append", "append", "truncate", "save", "remove", "drop-segment", "drop-log"]):
            case "append":
                data = rng.randbytes(rng.randint(1, 200))
                sizes[log, base] = size + len(data)
                yield Append(log, base, size, data)
            case "truncate" if size:
                sizes[log, base] = rng.randint(0, size)
                yield Truncate(log, base, sizes[log, base])
            case "save":
                yield Save(f"{log}/{base:020d}.sealed", b"%d" % number, sync=rng.random() < 0.5)
            case "remove":
                yield Remove(f"{log}/{base:020d}.sealed")
            case "drop-segment" if size:
                del sizes[log, base]
                yield DropSegment(log, base)
            case "drop-log" if rng.random() < 0.3:
                for key in [key for key in sizes if key[0] == log]:
                    del sizes[key]
                yield DropLog(log)


@pytest.mark.parametrize("least_room", [room_module.LEAST_BYTES, 0])
@pytest.mark.parametrize("seed", range(6))
def test_the_folder_holds_what_the_disk_in_memory_holds(folder, monkeypatch, seed, least_room):
    monkeypatch.setattr(room_module, "LEAST_BYTES", least_room)
    disk, model = Disk(folder), Model()
    writes = list(history(seed))
    for at in range(0, len(writes), 7):
        disk.write(writes[at : at + 7])
        for write in writes[at : at + 7]:
            model.write(write)
        job = disk.sync(["a-0"])
        if job is not None:
            job.run()
        held = {log: found for log, found in state(model).items() if any(found)}
        assert {log: found for log, found in state(disk).items() if any(found)} == held
    disk.close()
    again = Disk(folder)
    assert {log: found for log, found in state(again).items() if any(found)} == held
    again.close()


def test_appends_that_follow_one_another_are_one_write(disk, monkeypatch):
    calls = []
    real = os.pwritev
    monkeypatch.setattr(disk_module.os, "pwritev", lambda *a: calls.append(len(a[1])) or real(*a))
    disk.write(
        [Append("a-0", 0, 0, b"ab"), Append("a-0", 0, 2, b"cd"), Append("b-0", 0, 0, b"x"), Append("a-0", 0, 4, b"e")]
    )
    assert calls == [2, 1, 1]
    assert disk.read("a-0", 0, 0, 99) == b"abcde"


@pytest.mark.parametrize("shorten", [0, 1, 5])
def test_large_appends_are_whole_though_each_write_is_small(disk, monkeypatch, shorten):
    monkeypatch.setattr(disk_module, "PIECE_BYTES", 16)
    real, places = os.pwritev, []

    def writing(descriptor, views, position):
        data = b"".join(views)
        places.append((position, len(data)))
        return real(descriptor, [data[: max(1, len(data) - shorten)]], position)

    monkeypatch.setattr(disk_module.os, "pwritev", writing)
    rng, expected = random.Random(7), b""
    for _ in range(60):
        writes = []
        for _ in range(rng.randrange(1, 5)):
            data = rng.randbytes(rng.choice([1, 3, 15, 16, 17, 32, 50]))
            kind = rng.choice([bytes, bytearray, lambda one: memoryview(bytearray(one))])
            writes.append(Append("a-0", 0, len(expected), kind(data)))
            expected += data
        disk.write(writes)
        assert disk.read("a-0", 0, 0, 1 << 20) == expected
    assert max(size for _, size in places) == 16
    assert disk.bytes_written == len(expected)


def test_a_short_write_is_finished(disk, monkeypatch):
    real = os.pwritev
    monkeypatch.setattr(disk_module.os, "pwritev", lambda fd, views, at: real(fd, [b"".join(views)[:3]], at))
    disk.write([Append("a-0", 0, 0, b"abcd"), Append("a-0", 0, 4, b"efgh")])
    assert disk.read("a-0", 0, 0, 99) == b"abcdefgh"


def test_a_folder_serves_one_process(folder, disk):
    with pytest.raises(FolderInUseError, match="in use"):
        Disk(folder)


def test_more_segments_than_may_stay_open_are_all_readable(disk, monkeypatch):
    monkeypatch.setattr(disk_module, "MAX_OPEN_FILES", 4)
    for base in range(20):
        disk.write([Append("a-0", base, 0, b"%d" % base)])
    assert [disk.read("a-0", base, 0, 9) for base in range(20)] == [b"%d" % base for base in range(20)]
    assert len(disk._open) == 4


def test_a_sync_may_run_after_its_files_were_dropped(disk):
    disk.write([Append("a-0", 0, 0, b"x"), Save("a-0/f", b"y")])
    job = disk.sync(["a-0"])
    disk.write([DropLog("a-0")])
    job.run()
    assert disk.logs() == []
    assert disk.sync(["a-0"]) is None


def test_what_a_crash_left_half_dropped_or_half_saved_is_gone(folder):
    disk = Disk(folder)
    disk.write([Save("a-0/f", b"y")])
    disk.close()
    (folder / "b-0.draft").mkdir()
    (folder / "b-0.draft" / "00.log").write_bytes(b"x")
    (folder / "a-0" / "f.draft").write_bytes(b"half")
    again = Disk(folder)
    assert again.logs() == ["a-0"]
    assert again.files("a-0") == ["a-0/f"]
    assert again.load("a-0/f") == b"y"
    again.close()


def read(disk, region):
    try:
        return disk.bytes_of(region)
    except ShortReadError:
        return b""


def drafted(disk, *sizes):
    disk.write([Append("a-0", base, 0, b"old%d" % base) for base in (0, 5, 9)])
    disk.write([Save(f"a-0/{base:020d}.sealed", b"x") for base in (0, 5, 9)])
    position = 0
    for size in sizes:
        disk.write([Draft("a-0", 0, position, b"n" * size)])
        position += size


def test_a_swap_replaces_segments_and_their_small_files(disk):
    drafted(disk, 3, 4)
    assert disk.segments("a-0") == [(0, 4), (5, 4), (9, 4)]
    disk.write([Swap("a-0", 0, 5, 1)])
    assert disk.segments("a-0") == [(0, 7), (9, 4)]
    assert disk.read("a-0", 0, 0, 99) == b"nnnnnnn"
    assert disk.files("a-0") == [f"a-0/{9:020d}.sealed"]


def test_regions_of_replaced_and_dropped_segments_are_read_until_they_are_released(disk):
    drafted(disk, 3)
    old, new = Region("a-0", 0, 0, 4), Region("a-0", 0, 0, 3, 1)
    other = Region("a-0", 5, 1, 3)
    disk.write([Swap("a-0", 0, 5, 1)])
    assert (read(disk, old), read(disk, new), read(disk, other)) == (b"old0", b"nnn", b"ld5")
    disk.write([DropSegment("a-0", 0)])
    assert read(disk, new) == b"nnn"
    disk.write([Release("a-0", 0, 0), Release("a-0", 0, 1), Release("a-0", 5, 0)])
    assert [read(disk, region) for region in (old, new, other)] == [b"", b"", b""]
    assert disk.segments("a-0") == [(9, 4)], "reading makes no files"


def test_only_so_many_dropped_segments_are_held(disk, monkeypatch):
    monkeypatch.setattr(disk_module, "MAX_RETIRED", 3)
    for base in range(6):
        disk.write([Append("a-0", base, 0, b"x"), DropSegment("a-0", base)])
    assert [read(disk, Region("a-0", base, 0, 1)) for base in range(6)] == [b"", b"", b"", b"x", b"x", b"x"]


def test_a_crash_before_the_swap_leaves_the_old_segments(folder):
    disk = Disk(folder)
    drafted(disk, 3)
    disk.close()
    again = Disk(folder)
    assert again.logs() == ["a-0"]
    assert again.segments("a-0") == [(0, 4), (5, 4), (9, 4)]
    assert not list((folder / "a-0").glob("*.cleaned"))
    again.close()


@pytest.mark.parametrize("done", range(5))
def test_a_crash_in_the_middle_of_a_swap_is_finished_by_the_next_start(folder, monkeypatch, done):
    disk = Disk(folder)
    drafted(disk, 3)
    real, left = Path.unlink, done

    def unlink(path, **kwargs):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        real(path, **kwargs)

    monkeypatch.setattr(Path, "unlink", unlink)
    try:
        disk.write([Swap("a-0", 0, 5, 1)])
    except KeyboardInterrupt:
        assert done < 4
    monkeypatch.undo()
    disk.close()
    again = Disk(folder)
    again.logs()
    assert again.segments("a-0") == [(0, 3), (9, 4)]
    assert again.read("a-0", 0, 0, 9) == b"nnn"
    assert again.files("a-0") == [f"a-0/{9:020d}.sealed"]
    again.close()


def test_a_large_draft_is_written_back_on_the_way(disk, monkeypatch):
    monkeypatch.setattr(drafts_module, "SYNC_BYTES", 10)
    drafted(disk, 8, 8, 8)
    disk.write([DropDraft("a-0", 0)])
    drafted(disk, 20, 1)
    disk.write([Swap("a-0", 0, 9, 1)])
    assert disk.segments("a-0") == [(0, 21)]


def test_the_folder_of_a_new_log_is_durable_when_the_log_is(disk, folder, monkeypatch):
    synced = []

    def note(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(disk_module, "_sync", note)
    monkeypatch.setattr(os, "fsync", note)
    disk.write([Save("__cluster_metadata-0/quorum-state", b"{}", sync=True)])
    assert synced.pop() == folder
    disk.write([Save("t-0/partition.metadata", b"id"), Append("t-0", 0, 0, b"x")])
    disk.sync(["t-0"]).run()
    assert {folder, folder / "t-0"} <= set(synced)
    synced.clear()
    disk.write([Append("t-0", 0, 1, b"x")])
    disk.sync(["t-0"]).run()
    assert synced == [folder / "t-0" / f"{0:020d}.log"]
    disk.write([DropLog("t-0"), Append("t-0", 0, 0, b"x")])
    disk.sync(["t-0"]).run()
    assert folder in synced


def test_all_is_durable_before_what_follows_also_what_a_job_has_begun_to_sync(disk, folder, monkeypatch):
    events = []

    def note(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(folder.parent).name)

    monkeypatch.setattr(disk_module, "_sync", note)
    monkeypatch.setattr(os, "fsync", note)
    disk.write([Append("a-0", 0, 0, b"x"), Append("b-0", 7, 0, b"x")])
    job = disk.sync(["a-0"])
    disk.write([SyncAll(), Save("clean-shutdown", b"1", sync=True)])
    segments = {f"{0:020d}.log", f"{7:020d}.log"}
    assert segments <= set(events[: events.index("clean-shutdown.draft")])
    job.run()
    assert disk.sync(["a-0", "b-0"]) is None


def test_an_answer_from_more_segments_than_may_stay_open_holds_the_bytes_of_each(disk, monkeypatch):
    monkeypatch.setattr(disk_module, "MAX_OPEN_FILES", 4)
    size = disk_module.SPAN_BYTES
    texts = [bytes([65 + number]) * size for number in range(10)]
    for number, text in enumerate(texts):
        disk.write([Append(f"t-{number}", 0, 0, text)])
    spans = [disk.chunk_of(Region(f"t-{number}", 0, 0, size)) for number in range(10)]
    try:
        assert [span.read() for span in spans] == texts
    finally:
        for span in spans:
            span.drop()
