"""A soak with runs that take no time: what is kept, when it ends, what it tells."""

from __future__ import annotations

import itertools
import json
import runpy
from concurrent.futures import Future
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest
import zstandard

from harness import store
from harness.process.exits import BROKEN, INVALID, STOPPED, UNDECIDED, VALID
from harness.report.soaked import soak_table
from harness.report.summary import INDEX
from harness.scenario import Scenario
from harness.soak import soak, travel
from harness.soak.soak import Made

VERDICTS = {True: VALID, False: INVALID, "unknown": UNDECIDED, "vacuous": UNDECIDED, None: BROKEN}


class Crew:
    """Makes runs at once: number i (by seed) ends as `verdicts[i]`; None: the harness breaks; an exception: it is lost.

    A run takes a minute.
    """

    def __init__(self, folder: Path, *verdicts: object, width: int = 1) -> None:
        self.folder, self.verdicts, self.width = folder, itertools.cycle(verdicts), width
        self.clock_s = 0.0
        self.seen: list[Scenario] = []
        self.interrupts = 0
        self.waits: list[Future[Made]] = []
        self.is_gone = False

    def begin(self, scenario: Scenario) -> Future[Made]:
        self.seen.append(scenario)
        self.clock_s += 60
        future: Future[Made] = Future()
        verdict = next(self.verdicts)
        if verdict == "cancelled":
            future.cancel()
            future.set_running_or_notify_cancel()
        elif isinstance(verdict, Exception):
            future.set_exception(verdict)
        elif verdict == "never":
            self.waits.append(future)
        else:
            future.set_result(self.made(scenario, verdict))
        return future

    def made(self, scenario: Scenario, verdict: object, status: int | None = None) -> Made:
        where = self.folder / f"run-{scenario.seed}" / "stamp"
        where.mkdir(parents=True)
        store.write_json(where / store.SCENARIO, scenario)
        store.write_json(
            where / store.VERDICT, {"valid": verdict, "anomalies": {"lost-write": {}} if verdict is False else {}}
        )
        (where / "bulk").write_bytes(b"x" * 100_000)
        why = {False: "lost-write", None: "n2 never answered", "vacuous": "No poll succeeded."}.get(verdict, "")
        row = soak.row_of(
            scenario,
            status=VERDICTS[verdict] if status is None else status,
            seconds=60,
            why=why,
            valid=verdict,
            folder=None if verdict is None else where.relative_to(self.folder).as_posix(),
        )
        return Made(row)

    def interrupt(self) -> None:
        self.interrupts += 1
        for number, future in enumerate(self.waits):
            if not future.done():
                future.set_result(self.made(self.seen[number], "vacuous" if self.interrupts == 1 else None, STOPPED))

    def trouble(self) -> str | None:
        return "nobody is left" if self.is_gone else None


def plan(seed=100, nemeses=("kill-leader", "none"), workloads=("txn", "send-poll")):
    for number, (nemesis, workload) in soak.in_turn(seed, [nemeses, workloads]):
        yield Scenario(seed=number, nemesis=nemesis, workload=workload)


def soaked(folder: Path, crew: Crew, *, minutes=10, keep=100, max_bytes=10**9, presses=lambda: 0):
    lines: list[str] = []
    rows, status = soak.soak(
        plan(),
        crew,
        folder=folder,
        limits=soak.Limits(seconds=minutes * 60, keep=keep, max_bytes=max_bytes),
        now_s=lambda: crew.clock_s,
        tell=lines.append,
        presses=presses,
    )
    written = [json.loads(line) for line in (folder / soak.SOAK).read_text().splitlines()]
    assert [row["seed"] for row in written] == [row.seed for row in rows]
    return status, lines, [msgspec.to_builtins(row) for row in rows]


def test_every_combination_comes_in_turn_with_seeds_that_rise(tmp_path):
    crew = Crew(tmp_path, True)
    status, lines, rows = soaked(tmp_path, crew, minutes=8)
    assert status == VALID
    assert [s.seed for s in crew.seen] == list(range(100, 108))
    assert len({(s.workload, s.nemesis) for s in crew.seen[:4]}) == 4
    assert len(lines) == len(rows) == 8


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ((True, False), INVALID),
        ((True, "unknown"), UNDECIDED),
        ((True, "vacuous"), UNDECIDED),
        ((True, None), BROKEN),
        ((False, "unknown", None), INVALID),
    ],
)
def test_it_exits_with_its_worst_run(tmp_path, verdicts, status):
    assert soaked(tmp_path, Crew(tmp_path, *verdicts), minutes=6)[0] == status


def test_valid_runs_are_thinned_and_every_failure_is_kept(tmp_path):
    _, _, rows = soaked(tmp_path, Crew(tmp_path, True, False), minutes=10, keep=2)
    kept = [row for row in rows if row["folder"] is not None]
    assert sum(row["valid"] is True for row in kept) == 2
    assert sum(row["valid"] is False for row in kept) == 5
    assert all((tmp_path / row["folder"]).is_dir() for row in kept)
    assert len(list(tmp_path.glob("*/*/bulk"))) == len(list(tmp_path.glob("run-*"))) == len(kept)


def test_it_ends_when_its_disk_is_used_up(tmp_path):
    _, lines, rows = soaked(tmp_path, Crew(tmp_path, False), minutes=100, max_bytes=1_000_000)
    assert "ended early" in lines[-1]
    assert 1 < len(rows) < 20


def test_it_gives_up_when_the_harness_breaks_again_and_again(tmp_path):
    status, lines, rows = soaked(tmp_path, Crew(tmp_path, None), minutes=100)
    assert status == BROKEN
    assert len(rows) == soak.BROKEN_IN_A_ROW
    assert "n2 never answered" in lines[-1]


def test_the_index_and_junit_tell_of_every_run(tmp_path):
    soaked(tmp_path, Crew(tmp_path, True, False, None), minutes=3)
    page = (tmp_path / INDEX).read_text()
    assert "lost-write" in page
    assert "n2 never answered" in page
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    cases = list(suite.iter("testcase"))
    assert len(cases) == 3
    assert sorted(len(case.findall("error")) for case in cases) == [0, 0, 1]
    assert sorted(len(case.findall("failure")) for case in cases) == [0, 0, 1]


def test_a_vacuous_run_is_told_with_what_to_do_and_is_not_green(tmp_path, capsys):
    crew = Crew(tmp_path, "vacuous")
    begin = crew.begin

    def with_advice(scenario):
        row = msgspec.structs.replace(begin(scenario).result().row, version="3.7.1", advice="try --nemesis-length 7")
        future: Future[Made] = Future()
        future.set_result(Made(row))
        return future

    crew.begin = with_advice
    status, _, rows = soaked(tmp_path, crew, minutes=2)
    assert status == UNDECIDED
    page = (tmp_path / INDEX).read_text()
    assert "What to do: try --nemesis-length 7." in page
    assert "embedded 3.7.1" in page
    (first, _) = ET.parse(tmp_path / "junit.xml").getroot().iter("failure")
    assert first.get("type") == "vacuous"
    assert "try --nemesis-length 7" in first.text
    soak_table(rows)
    told = capsys.readouterr().out
    assert "2 vacuous" in told
    assert "No poll succeeded.\n  seeds 100, 101\n  what to do: try --nemesis-length 7" in told
    (tmp_path / "soak" / "stamp").mkdir(parents=True)
    (tmp_path / soak.SOAK).rename(tmp_path / "soak" / "stamp" / soak.SOAK)
    summary = runpy.run_path(".ci/summary.py")["main"](tmp_path)
    assert "### stamp: 2 vacuous" in summary
    assert "| try --nemesis-length 7 |" in summary


def test_what_is_permitted_is_told_beside_what_was_found(capsys):
    row = soak.row_of(Scenario(seed=5), status=INVALID, seconds=1, why="lost-write", valid=False, permitted_by="acks=1")
    assert soak.line(row, 1).endswith("lost-write (permitted by acks=1)")
    soak_table([msgspec.to_builtins(row)])
    assert "lost-write\n  permitted by acks=1" in capsys.readouterr().out


def test_one_run_that_was_lost_is_one_broken_row(tmp_path):
    status, lines, rows = soaked(tmp_path, Crew(tmp_path, True, ValueError("out of\nmemory")), minutes=4)
    assert status == BROKEN
    assert [row["why"] for row in rows] == ["", "ValueError: out of memory"] * 2
    assert len(lines) == 4


def test_as_many_runs_are_under_way_as_the_crew_is_wide(tmp_path):
    crew = Crew(tmp_path, "never", width=3)

    def gone():
        crew.is_gone = True
        return 0

    status, lines, rows = soaked(tmp_path, crew, presses=gone)
    assert len(crew.seen) == 3
    assert status == BROKEN
    assert [row["why"] for row in rows] == ["nobody is left"] * 3
    assert lines[-1] == "ended early: nobody is left"


def test_runs_that_their_scheduler_took_along_are_told_once_with_the_reason(tmp_path):
    crew = Crew(tmp_path, "cancelled", width=2)
    crew.is_gone = True
    status, lines, rows = soaked(tmp_path, crew)
    assert (status, len(lines)) == (BROKEN, 1)
    assert {row["status"] for row in rows} == {BROKEN}


def test_a_crew_without_anybody_for_now_is_waited_for(tmp_path, monkeypatch):
    crew = Crew(tmp_path, True, width=0)

    def sleep(_):
        crew.width = 1

    monkeypatch.setattr(soak.time, "sleep", sleep)
    assert soaked(tmp_path, crew, minutes=2)[0] == VALID
    assert len(crew.seen) == 2


def test_ctrl_c_begins_no_run_and_takes_what_comes_of_those_under_way(tmp_path):
    crew = Crew(tmp_path, "never", width=2)
    status, lines, rows = soaked(tmp_path, crew, presses=lambda: 1)
    assert (len(crew.seen), crew.interrupts) == (2, 1)
    assert lines[0].startswith("ends early: the 2 runs")
    assert [row["valid"] for row in rows] == ["vacuous"] * 2
    assert status == STOPPED


def test_a_folder_that_travelled_is_unpacked_where_its_row_says(tmp_path):
    far, near = tmp_path / "far", tmp_path / "near"
    near.mkdir()
    crew = Crew(far, False)
    begin = crew.begin

    def begin_far_away(scenario):
        row = begin(scenario).result().row
        future: Future[Made] = Future()
        future.set_result(Made(row, travel.pack(far / row.folder)))
        return future

    crew.begin = begin_far_away
    _, _, rows = soaked(near, crew, minutes=1)
    assert rows[0]["why"] == "lost-write"
    assert (near / rows[0]["folder"] / "bulk").stat().st_size == 100_000
    assert store.read_scenario(near / rows[0]["folder"]) == crew.seen[0]


def test_what_is_too_large_does_not_travel(tmp_path, monkeypatch):
    (tmp_path / "bulk").write_bytes(b"x" * 11)
    assert travel.pack(tmp_path) is not None
    monkeypatch.setattr(travel, "MOST_BYTES", 10)
    assert travel.pack(tmp_path) is None


def test_nothing_is_unpacked_beside_its_folder(tmp_path):
    packed = zstandard.compress(msgspec.msgpack.encode({"../outside": b"x"}))
    with pytest.raises(ValueError, match="outside"):
        travel.unpack(packed, tmp_path / "in")
    assert not (tmp_path / "outside").exists()
