"""Agreement with Elle on its published list-append cases: verdict, anomalies, and the models ruled out."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from checkers.judge import judge
from checkers.options import CheckOptions

pytestmark = pytest.mark.shared

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "jepsen" / "elle"
CASES = sorted(path.stem for path in FOLDER.glob("*.json")) if FOLDER.is_dir() else []


def test_there_are_51_cases(shared_data):
    assert len(list((shared_data / "jepsen" / "elle").glob("*.json"))) == 51


@pytest.mark.parametrize("name", CASES)
def test_verdict_anomalies_and_models_are_elles(name, tmp_path):
    case = json.loads((FOLDER / f"{name}.json").read_text())
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(op) + b"\n" for op in case["history"]))
    models = case["options"].get("consistency-models") or [None]
    told, out, valid = set(), {"not": set(), "also-not": set()}, True
    for model in models:
        anomalies = tuple(case["options"].get("anomalies") or ())
        options = CheckOptions(workload="list-append", consistency_model=model, anomalies=anomalies)
        judgement = judge(path, options)
        told |= {anomaly.name for anomaly in judgement.anomalies}
        valid = judgement.validity.wire if valid is True else valid
        for name_, found in judgement.models.items():
            out[name_] |= set(found)
    expect = case["expect"]
    assert told == {a for a in expect.get("anomaly-types") or () if a != "empty-transaction-graph"}
    assert valid == expect["valid"]
    assert out["not"] == set(expect.get("not") or ())
    assert out["also-not"] == set(expect.get("also-not") or ())
