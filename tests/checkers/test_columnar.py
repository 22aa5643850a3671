"""Columns on disk give the verdict of the history that they were made from."""

from __future__ import annotations

import pytest

from checkers.judge import convert, judge
from checkers.options import CheckOptions
from harness.history import HistoryError, write
from tests.anomalies.test_planted import PLANTED
from tests.checkers.kafka_model import run
from tests.checkers.story import Story


def both(tmp_path, name, ops, **options):
    source, folder = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.parquet"
    write(source, ops)
    assert convert(source, folder) == len(ops)
    return judge(source, CheckOptions(**options)), judge(folder, CheckOptions(**options))


def told(judgement):
    out = judgement.verdict_json()
    del out["seconds"]
    return out


@pytest.mark.parametrize("name", PLANTED)
def test_planted_history_gives_the_same_verdict(tmp_path, name):
    plant, _, options = PLANTED[name]
    story = Story()
    plant(story)
    one, other = both(tmp_path, "history", story.ops, **options)
    assert told(one) == told(other)


def test_generated_histories_give_the_same_verdict(tmp_path):
    for seed in range(15):
        one, other = both(tmp_path, f"h{seed}", run(seed).ops)
        assert told(one) == told(other)
        assert one.faults == other.faults
        assert one.extra == other.extra


def test_columns_are_not_overwritten(tmp_path):
    both(tmp_path, "history", run(1).ops)
    with pytest.raises(HistoryError, match="exists already"):
        convert(tmp_path / "history.jsonl", tmp_path / "history.parquet")


def test_what_is_no_folder_of_columns_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.parquet").mkdir()
    (tmp_path / "file.parquet").write_text("{}")
    for name in ("missing.parquet", "empty.parquet", "file.parquet"):
        with pytest.raises(HistoryError) as caught:
            judge(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_folder_must_say_what_it_is(tmp_path):
    write(tmp_path / "history.jsonl", run(1).ops)
    with pytest.raises(HistoryError, match=r"ends with \.parquet"):
        convert(tmp_path / "history.jsonl", tmp_path / "columns")
