"""Agreement with Jepsen's own queue checker on its published cases (part-1 names, without the *-cycle-exists)."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import read_lines

pytestmark = pytest.mark.shared

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "jepsen" / "kafka"
CASES = sorted(path.stem for path in FOLDER.glob("*.json")) if FOLDER.is_dir() else []
PART_TWO = {"aborted-read", "torn-transaction", "phantom-read", "dirty-read", "rolled-back-offset"}
POLLED_BEFORE_ANY_ACK = {"g1a-0", "lost-write-2", "lost-write-3"}
"""Jepsen's fold takes `unseen = sent - polled` for a key that no ok operation sent to as what was *polled* there: it
calls an undecided send unseen because somebody saw it. Lawful by its own definition; not told here."""
ALL_WAYS = {
    "assign": {"sub_via": ("assign",)},
    "subscribe": {"sub_via": ("subscribe",)},
    "assign+ww": {"sub_via": ("assign",), "ww_deps": True},
    "subscribe+ww": {"sub_via": ("subscribe",), "ww_deps": True},
}


def history_of(case):
    lines = [msgspec.json.encode(op) + b"\n" for op in case["history"]]
    return list(read_lines(lines, name="case"))


def load(name):
    case = json.loads((FOLDER / f"{name}.json").read_text())
    if "error-types" not in case["expect"]:
        pytest.skip("Jepsen itself throws on this one (no process)")
    return case


def names(anomalies):
    return {anomaly.name for anomaly in anomalies} - PART_TWO


def expected(name, case):
    told = {error for error in case["expect"]["error-types"] if not error.endswith("cycle-exists")}
    return told - {"unseen"} if name in POLLED_BEFORE_ANY_ACK else told


def test_there_are_the_published_cases(shared_data):
    assert len(list((shared_data / "jepsen" / "kafka").glob("*.json"))) == 40


@pytest.mark.parametrize("name", CASES)
def test_error_types_are_exactly_jepsens(name):
    case = load(name)
    judgement = judge(history_of(case), CheckOptions(ww_deps=bool(case["options"].get("ww-deps"))))
    assert names((*judgement.anomalies, *judgement.allowed)) == expected(name, case)


@pytest.mark.parametrize("way", ALL_WAYS)
@pytest.mark.parametrize("name", CASES)
def test_validity_is_jepsens_under_every_option(name, way):
    case = load(name)
    judgement = judge(history_of(case), CheckOptions(**ALL_WAYS[way]))
    only_unseen = case["expect"]["error-types"] == ["unseen"] and name in POLLED_BEFORE_ANY_ACK
    assert (not names(judgement.anomalies)) == (only_unseen or case["expect"]["valid"][way])


@pytest.mark.parametrize("name", CASES)
def test_realtime_lag_is_jepsens(name):
    case = load(name)
    judgement = judge(history_of(case))
    lags = sorted(case["expect"]["realtime-lag"], key=json.dumps)
    assert sorted(judgement.extra["realtime-lag"], key=json.dumps) == lags
    assert judgement.extra["worst-realtime-lag"]["lag"] == case["expect"]["worst-realtime-lag"]["lag"]
