"""Hunts: a planted bug is found by the mix, a clean run is silent, and the table says what happened."""

from __future__ import annotations

import gc
import time
import weakref

import pytest

from broker.sim.world import World
from harness.catalog import BUGS
from harness.cluster.api import UsageError
from harness.hunt import hunted, hunting, mix
from harness.hunt.book import BUG, CLEAN, PERMIT, Attempt, Book
from harness.hunt.hunting import Hunt, Score
from harness.process.exits import BROKEN, INVALID, VALID
from harness.scenario import Scenario

EASY = "lso-ignored"


def attempt(seed, valid=True, **fields):
    return Attempt(seed=seed, valid=valid, virtual_s=20.0, cpu_s=0.5, **fields)


def hunt(bug, found=None, **fields):
    return Hunt(
        bug=bug, **{"found": found, "seen": None, "tried": 3, "broken": 0, "virtual_s": 60, "cpu_s": 2} | fields
    )


def score(hunts=(), clean=(), permits=()):
    return Score(hunts=tuple(hunts), permits=tuple(permits), clean=tuple(clean), first_seed=1, seeds=3, jobs=1)


def short(seed, bug="", workload=""):
    """A run of three virtual seconds."""
    return Scenario(
        workload=workload or "txn",
        cluster="simulated",
        seed=seed,
        bug=bug,
        time_limit_s=3.0,
        concurrency=4,
        rate=60.0,
        topics=1,
        partitions=2,
        crash_interval_s=0.0,
        transaction_timeout_s=3.0,
    )


def test_an_easy_bug_is_found_and_its_run_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(mix, "scenario", short)
    done = hunting.hunt(EASY, range(1, 20), tmp_path)
    assert done.found is not None
    assert set(done.found.anomalies) & set(BUGS[EASY].proof)
    assert list(tmp_path.rglob("history.jsonl"))
    assert hunting.status(score([done])) == VALID


def test_bugs_of_a_workload_that_is_not_in_the_mix_are_hunted_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(mix, "scenario", short)
    done = hunting.hunt("share-record-given-to-two", range(1, 5), tmp_path)
    assert done.found is not None
    assert "share-double-acquisition" in done.found.anomalies
    attempts = hunting.clean(range(1), tmp_path, book=(book := Book(tmp_path / "book.jsonl")), workload="share")
    assert [one.anomalies for one in attempts] == [()]
    assert list(book.attempts(CLEAN, "share")) == [0]
    assert not book.attempts(CLEAN)


def test_a_hunt_whose_time_is_over_tells_what_it_tried(tmp_path):
    done = hunting.hunt(EASY, range(5), tmp_path, until_s=0.0)
    assert (done.found, done.tried) == (None, 0)
    assert hunting.clean(range(5), tmp_path, until_s=0.0) == []


def test_what_only_the_simulator_sees_is_not_found():
    only_its = attempt(1, valid=False, invariants=("LogMatchingProperty",))
    assert not only_its.is_found
    assert attempt(1, valid=False, anomalies=("lost-write",)).is_found
    assert not attempt(1, valid="vacuous").is_found


def test_a_clean_run_is_silent_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(mix, "scenario", short)
    (one,) = hunting.clean([6], tmp_path)
    assert (one.valid, one.anomalies, one.invariants, one.folder) == (True, (), (), "")
    assert one.virtual_s > short(6).time_limit_s
    assert list(tmp_path.rglob("history.jsonl")) == []


def test_a_run_that_breaks_is_told_and_no_bug_is_found_by_it(tmp_path, monkeypatch):
    def broken(*_args, **_more):
        raise ZeroDivisionError("in the harness")

    monkeypatch.setattr(hunting.launch, "perform", broken)
    done = hunting.hunt(EASY, range(2), tmp_path)
    assert (done.found, done.tried, done.broken) == (None, 2, 2)
    assert hunting.status(score([done])) == BROKEN


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (score([hunt(EASY, attempt(2, valid=False, anomalies=("dirty-read",)))], [attempt(1)]), VALID),
        (score([hunt(EASY)], [attempt(1)]), INVALID),
        (score([], [attempt(1, valid=False, anomalies=("lost-write",))]), INVALID),
        (score([], [attempt(1, invariants=("StrongIsr",))]), INVALID),
        (score([], [attempt(1, valid="vacuous")]), VALID),
        (score([], [attempt(1, valid=None)]), BROKEN),
        (
            score(permits=[hunt("acks=1", attempt(1, False, anomalies=("lost-write",), permitted=("lost-write",)))]),
            VALID,
        ),
        (score(permits=[hunt("acks=1", attempt(1, False, anomalies=("lost-write",)))]), INVALID),
        (score(permits=[hunt("acks=1")]), VALID),
    ],
)
def test_the_status_tells_misses_alarms_and_a_broken_harness_apart(told, expected):
    assert hunting.status(told) == expected


def test_the_table_tells_found_from_missed_and_the_checkers_from_the_simulator():
    seen = attempt(1, invariants=("LeaderInIsr",))
    found = attempt(2, valid=False, anomalies=("a", "b", "c", "d"))
    told = score(
        [hunt(EASY, found), hunt("ack-before-sync", seen=seen)],
        [attempt(1), attempt(2, valid=False, anomalies=("lost-write",)), attempt(3, valid="vacuous")],
    )
    text = hunted.table(told, BUGS, "harness bugs --score")
    assert "Found 1 of 2 bugs; time to find one, on one core: median 2.0 s, at most 2.0 s" in text
    assert "| `lso-ignored` | seed 2 | 3 | 60 s | 2.0 s | a, b, c and 1 more | - |" in text
    assert "| `ack-before-sync` | **no** | 3 | 60 s | 2.0 s | - | LeaderInIsr (seed 1) |" in text
    assert "Clean seeds 1 to 3: 3 runs" in text
    assert "1 raised an anomaly or an invariant, 0 broke, 1 were vacuous or unknown" in text
    assert "* seed 2: lost-write" in text
    assert "By an anomaly that the registry did not foresee: lso-ignored." in text


def test_the_second_table_tells_what_is_permitted_and_what_is_not():
    found = attempt(4, valid=False, anomalies=("lost-write", "G1a"), permitted=("lost-write",))
    text = hunted.table(score(permits=[hunt("acks=1", found), hunt("unclean election")]), BUGS, "c")
    assert "| acks=1 | the leader answers before" in text
    assert "| seed 4 | 3 | lost-write | G1a |" in text
    assert "| no seed | 3 | - | - |" in text


def test_the_table_is_put_between_its_marks_again_and_again(tmp_path):
    path = tmp_path / "bugs.md"
    path.write_text(f"before\n{hunted.BEGIN}\nold\n{hunted.END}\nafter\n")
    for text in ("one\n", "two\n"):
        hunted.put(path, text)
        assert path.read_text() == f"before\n{hunted.BEGIN}\n{text}{hunted.END}\nafter\n"
    path.write_text("no marks")
    with pytest.raises(UsageError, match="it must hold the lines"):
        hunted.put(path, "three")


def begun(tmp_path, commit="c1"):
    book = Book(tmp_path / "deep" / "book.jsonl")
    book.begin(commit)
    return book


def test_a_book_gives_back_what_was_added_by_kind_and_name_and_the_first_of_two(tmp_path):
    book = begun(tmp_path)
    found = attempt(
        2, valid=False, anomalies=("G1a",), permitted=("G1a",), invariants=("LeaderInIsr",), why="x", folder="f"
    )
    book.add(BUG, EASY, found)
    book.add(BUG, EASY, attempt(2))
    book.add(CLEAN, "", attempt(2, valid="vacuous"))
    book.add(PERMIT, "acks=1", attempt(3))
    again = begun(tmp_path)
    assert again.attempts(BUG, EASY) == {2: found}
    assert again.attempts(CLEAN) == {2: attempt(2, valid="vacuous")}
    assert again.attempts(PERMIT, "acks=1") == {3: attempt(3)}
    assert again.attempts(BUG, "ack-before-sync") == {}


def test_a_line_that_is_torn_at_the_end_is_no_attempt_and_one_before_is_refused(tmp_path):
    book = begun(tmp_path)
    book.add(CLEAN, "", attempt(1))
    whole = book.path.read_bytes()
    book.path.write_bytes(whole + b'{"of":"clean","attem')
    assert book.attempts(CLEAN) == {1: attempt(1)}
    book.path.write_bytes(b'{"of":"clean","attem\n' + whole)
    with pytest.raises(UsageError, match=r"book\.jsonl:1: no attempt"):
        book.attempts(CLEAN)


def test_a_book_of_another_commit_is_refused_and_two_of_one_commit_are_one(tmp_path):
    book = begun(tmp_path)
    book.add(CLEAN, "", attempt(1))
    with pytest.raises(UsageError, match="made by commit c1, this is c2"):
        begun(tmp_path, "c2")
    book.path.write_bytes(book.path.read_bytes() * 2)
    assert begun(tmp_path).attempts(CLEAN) == {1: attempt(1)}


def made(names, *, seeds=4, clean=0, book, tmp_path, minutes=0.0):
    said = []
    done = hunting.score(
        names,
        [],
        first_seed=1,
        seeds=seeds,
        clean_seeds=clean,
        jobs=1,
        minutes=minutes,
        results=tmp_path / "runs",
        book=book,
        tell=said.append,
    )
    return done, said


def test_what_the_book_holds_is_not_run_again(tmp_path, monkeypatch):
    book = begun(tmp_path)
    monkeypatch.setattr(
        hunting, "attempt", lambda scenario, _: attempt(scenario.seed, valid=scenario.seed != 3, anomalies=("G1a",))
    )
    first = hunting.hunt(EASY, range(1, 9), tmp_path, book=book)
    assert (first.found.seed, first.tried) == (3, 3)
    monkeypatch.setattr(hunting, "attempt", lambda *_: pytest.fail("it was in the book"))
    assert hunting.hunt(EASY, range(1, 9), tmp_path, book=book) == first
    assert hunting.scored(book, [EASY], [], first_seed=1, seeds=8, clean_seeds=0, jobs=1).hunts == (first,)
    assert hunting.hunt(EASY, range(1, 9), tmp_path, until_s=0.0, book=book) == first, "it takes no time"


def test_a_score_that_is_out_of_time_tells_what_is_in_the_book(tmp_path):
    book = begun(tmp_path)
    book.add(BUG, EASY, attempt(1))
    for seed in (1, 2):
        book.add(CLEAN, "", attempt(seed))
    done, said = made([EASY], clean=10, book=book, tmp_path=tmp_path, minutes=1e-9)
    assert [one.seed for one in done.clean] == [1, 2]
    assert (done.hunts[0].tried, done.hunts[0].found) == (1, None)
    assert said == [f"{EASY}: NOT FOUND in 1 seeds; 20 s simulated in 0.5 s"]


def test_ctrl_c_tells_what_is_in_the_book(tmp_path, monkeypatch):
    book = begun(tmp_path)
    book.add(CLEAN, "", attempt(1))

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(hunting, "as_completed", interrupted)
    done, said = made([], clean=1, book=book, tmp_path=tmp_path)
    assert [one.seed for one in done.clean] == [1]
    assert "interrupted" in said[0]


def test_a_process_that_hunts_keeps_no_world_of_the_past(tmp_path, monkeypatch):
    """Structs that the collector does not see made cycles with their world: 1.4 MB a run, for hours of a soak."""
    worlds = []
    begin = World.__init__

    def noted(world, *args, **kwargs):
        worlds.append(weakref.ref(world))
        begin(world, *args, **kwargs)

    monkeypatch.setattr(World, "__init__", noted)
    hunting.clean([2, 5], tmp_path)
    deadline = time.monotonic() + 5
    while any(world() for world in worlds) and time.monotonic() < deadline:
        gc.collect()  # does nothing while another thread of the test's process collects
    assert [world() for world in worlds] == [None, None]
