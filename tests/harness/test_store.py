"""The store: folders, links, owners."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from harness import store
from harness.scenario import Scenario

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_runs_of_one_millisecond_get_folders_of_their_own_and_latest_points_at_the_last(tmp_path):
    first = store.new_folder(tmp_path, "txn kill/leader", NOW)
    second = store.new_folder(tmp_path, "txn kill/leader", NOW)
    assert first.parent.name == "txn-kill-leader"
    assert first.name == "20260102T030405.678"
    assert second.name == "20260102T030405.678-1"
    assert (tmp_path / "latest").resolve() == second
    assert (first.parent / "latest").resolve() == second


def test_a_name_that_is_too_long_for_a_folder_is_cut_and_still_its_own(tmp_path):
    faults = ",".join(f"fault-{number}" for number in range(60))
    now = datetime.now(UTC)
    one, other = (store.new_folder(tmp_path, f"txn-{faults}{last}-simulated", now) for last in ("a", "b"))
    assert one.parent != other.parent
    assert one.parent.name.startswith("txn-fault-0-fault-1")


def test_a_scenario_survives_the_round_trip(tmp_path):
    scenario = Scenario(nemesis="a+b", seed=7, sub_via=("assign", "subscribe"), topic_config={"x": "y"})
    store.write_json(tmp_path / store.SCENARIO, scenario)
    assert store.read_scenario(tmp_path) == scenario


@pytest.mark.parametrize("text", ["", "{", '{"seeds": 1}', '{"seed": "one"}'])
def test_a_broken_scenario_is_named(tmp_path, text):
    (tmp_path / store.SCENARIO).write_text(text)
    with pytest.raises(store.StoreError, match=r"scenario\.json"):
        store.read_scenario(tmp_path)


def test_a_results_path_that_is_a_file_is_named(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(store.StoreError, match="results"):
        store.new_folder(tmp_path / "results", "x", NOW)


def test_a_run_is_abandoned_only_when_its_process_is_gone_and_it_was_not_finished(tmp_path):
    store.claim(tmp_path)
    assert not store.is_abandoned(tmp_path)
    owner = store.read_json(tmp_path / store.OWNER)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    store.write_json(tmp_path / store.OWNER, owner | {"pid": child.pid, "started": "1"})
    assert store.is_abandoned(tmp_path)
    store.finish(tmp_path)
    assert not store.is_abandoned(tmp_path)


def test_a_process_that_has_ended_and_waits_for_its_parent_owns_no_run(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    store.write_json(tmp_path / store.OWNER, store.Owner(child.pid, store.process_started(child.pid), done=False))
    assert not store.is_abandoned(tmp_path)
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    assert store.is_abandoned(tmp_path)
    assert not store.is_finished(tmp_path)
    child.wait()


def test_run_folders_are_listed_oldest_first_and_links_are_not_followed(tmp_path):
    folders = [store.new_folder(tmp_path, name, NOW) for name in ("b", "a")]
    folders.append(store.new_folder(store.new_folder(tmp_path, "soak", NOW), "run-of-a-soak", NOW))
    for folder in folders:
        store.write_json(folder / store.SCENARIO, Scenario())
    assert sorted(store.run_folders(tmp_path)) == sorted(folders)
