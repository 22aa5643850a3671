"""Columns on disk give the verdict of the history that they were made from."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pytest
import zstandard
from pyarrow import feather, parquet

from checkers.archive import COLUMNAR
from checkers.convert import convert
from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import HistoryError, Op, write
from tests.anomalies import test_share
from tests.anomalies.test_planted import PLANTED
from tests.checkers.kafka_model import run
from tests.checkers.story import Story, poll, send


def both(tmp_path, name, ops, **options):
    source, folder = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.parquet"
    write(source, ops)
    assert convert(source, folder, CheckOptions(), print) == len(ops)
    return judge(source, CheckOptions(**options)), judge(folder, CheckOptions(**options))


def told(judgement):
    out = judgement.verdict_json()
    del out["seconds"]
    return out


STORIES = PLANTED | test_share.PLANTS.table


@pytest.mark.parametrize("name", STORIES)
def test_planted_history_gives_the_same_verdict(tmp_path, name):
    plant, _, options = STORIES[name]
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
        convert(tmp_path / "history.jsonl", tmp_path / "history.parquet", CheckOptions(), print)


def test_what_is_no_folder_of_columns_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.parquet").mkdir()
    (tmp_path / "file.parquet").write_text("{}")
    (tmp_path / "file.arrow").write_text("{}")
    parquet.write_table(pa.table({"index": [1]}), tmp_path / "other.parquet")
    for name in ("missing.parquet", "empty.parquet", "file.parquet", "file.arrow", "missing.arrow", "other.parquet"):
        with pytest.raises(HistoryError) as caught:
            judge(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_target_must_say_what_it_is(tmp_path):
    write(tmp_path / "history.jsonl", run(1).ops)
    with pytest.raises(HistoryError, match=r"converted to \.jsonl"):
        convert(tmp_path / "history.jsonl", tmp_path / "columns", CheckOptions(), print)


def objects(path):
    opener = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, open)
    with opener(path, "rb") as file:
        return [json.loads(line) for line in file.read().splitlines()]


FOREIGN = b"""{"process":0,"type":"invoke","f":"txn","value":[["send","x",12345678901234567890123]],"mine":{"a":[1.50,null]}}
{"process":"nemesis","type":"info","f":null,"value":"\\u00e4 \\\\ \\"","time":7}
{"index":9,"type":"ok","process":0,"f":"txn","value":[["send","x",[0,12345678901234567890123]]],"error":{"code":-185}}
"""


def test_lines_survive_every_form_and_come_back(tmp_path):
    source = tmp_path / "history.jsonl"
    source.write_bytes(FOREIGN)
    before = tmp_path / "history.jsonl"
    names = ("a.jsonl.gz", "b.parquet", "c.jsonl.zst", "d.arrow", "e.jsonl", "f.feather", "g.parquet", "h.jsonl")
    for name in names:
        assert convert(before, tmp_path / name, CheckOptions(), print) == 3
        before = tmp_path / name
        if before.suffix not in COLUMNAR:
            assert objects(before) == objects(source), name
        assert judge(before).anomalies == judge(source).anomalies


def test_runs_come_back_whole(tmp_path):
    source = tmp_path / "history.jsonl"
    write(source, run(5).ops)
    convert(source, tmp_path / "c.parquet", CheckOptions(), print)
    convert(tmp_path / "c.parquet", tmp_path / "back.jsonl", CheckOptions(), print)
    assert objects(tmp_path / "back.jsonl") == objects(source)


def test_other_isolation_than_the_columns_were_made_with_is_judged_from_the_lines(tmp_path):
    story = Story()
    story.ok(0, "txn", [send("x", 1, 0)], commit_time=50)
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    for isolation in ("read_committed", "read_uncommitted"):
        one, other = both(tmp_path, isolation, story.ops, isolation=isolation)
        assert told(one) == told(other)


def test_other_workloads_are_judged_from_the_lines(tmp_path):
    events = [(0, "invoke", "write", 1), (0, "ok", "write", 1), (1, "invoke", "read", None), (1, "ok", "read", 2)]
    ops = [Op(process=p, type=t, f=f, value=v, index=i, time=i) for i, (p, t, f, v) in enumerate(events)]
    write(tmp_path / "history.jsonl", ops)
    options = CheckOptions(workload="register")
    convert(tmp_path / "history.jsonl", tmp_path / "r.parquet", options, print)
    judgement = judge(tmp_path / "r.parquet", options)
    assert [anomaly.name for anomaly in judgement.anomalies] == ["nonlinearizable"]
    assert told(judgement) == told(judge(tmp_path / "history.jsonl", options))


@pytest.mark.parametrize("target", ["c.parquet", "c.arrow", "c.feather", "c.jsonl", "c.jsonl.gz", "c.jsonl.zst"])
def test_malformed_source_leaves_nothing_behind(tmp_path, target):
    source = tmp_path / "history.jsonl"
    for content, told_of in ((FOREIGN + b"{\n" + FOREIGN, r"history\.jsonl:4"), (b"", "no operations")):
        source.write_bytes(content)
        with pytest.raises(HistoryError, match=told_of):
            convert(source, tmp_path / target, CheckOptions(), print)
        assert not (tmp_path / target).exists()


@pytest.mark.parametrize("suffix", [".arrow", ".feather"])
def test_arrow_file_gives_the_same_verdict_and_is_read_by_other_tools(tmp_path, suffix):
    for seed in range(4):
        source, target = tmp_path / f"h{seed}.jsonl", tmp_path / f"h{seed}{suffix}"
        ops = run(seed).ops
        write(source, ops)
        convert(source, target, CheckOptions(), print)
        assert told(judge(target)) == told(judge(source))
        table = feather.read_table(target)
        assert table.column_names == ["index", "time", "process", "source", "type", "f", "value", "other"]
        assert table.column("index").to_pylist() == [op.index for op in ops]
        feather.write_feather(table, tmp_path / f"packed{seed}{suffix}", compression="zstd")
        parquet.write_table(table, tmp_path / f"alone{seed}.parquet")
        for other in (f"packed{seed}{suffix}", f"alone{seed}.parquet"):
            assert told(judge(tmp_path / other)) == told(judge(source))


def test_arrow_file_that_was_cut_off_or_changed_is_refused_or_judged(tmp_path):
    write(tmp_path / "history.jsonl", run(5).ops)
    path = tmp_path / "history.arrow"
    convert(tmp_path / "history.jsonl", path, CheckOptions(), print)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 997):
        path.write_bytes(whole[:cut])
        with pytest.raises(HistoryError) as caught:
            judge(path)
        assert "\n" not in str(caught.value)
    refusals = 0
    for place in range(0, len(whole), 499):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert judge(path).ops
        except HistoryError as error:
            refusals += "\n" not in str(error)
    assert refusals


def test_parquet_column_that_was_changed_is_refused_or_says_the_same(tmp_path):
    write(tmp_path / "history.jsonl", run(5).ops)
    folder = tmp_path / "history.parquet"
    convert(tmp_path / "history.jsonl", folder, CheckOptions(), print)
    whole, path = told(judge(folder)), folder / "records.parquet"
    content, chunk = path.read_bytes(), parquet.ParquetFile(path).metadata.row_group(0).column(3)
    refusals = 0
    for place in range(chunk.dictionary_page_offset, chunk.data_page_offset + 60, 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            judgement = judge(folder)
        except HistoryError as error:
            refusals += "\n" not in str(error)
        else:
            assert told(judgement) == whole
    assert refusals


HARMS = {
    "a call that is not there": (
        "records",
        lambda t: t.set_column(0, "call", pa.array([10**6] * t.num_rows, pa.int64())),
    ),
    "a key that is not there": ("sends", lambda t: t.set_column(1, "key", pa.array([77] * t.num_rows, pa.int64()))),
    "text": ("sends", lambda t: t.set_column(1, "key", pa.array(["x"] * t.num_rows))),
    "no column": ("calls", lambda t: t.drop_columns(["type"])),
    "a column too many": ("calls", lambda t: t.append_column("mine", t.column(0))),
    "nothing known": ("time", lambda t: t.set_column(0, "time", pa.nulls(t.num_rows, pa.int64()))),
    "other rows": ("time", lambda t: t.slice(3)),
}


@pytest.mark.parametrize("harm", HARMS)
def test_columns_that_do_not_fit_are_refused_in_one_line(tmp_path, harm):
    write(tmp_path / "history.jsonl", run(8).ops)
    folder = tmp_path / "c.parquet"
    convert(tmp_path / "history.jsonl", folder, CheckOptions(), print)
    name, change = HARMS[harm]
    path = folder / f"{name}.parquet"
    parquet.write_table(change(parquet.read_table(path)), path)
    with pytest.raises(HistoryError) as caught:
        judge(folder)
    assert "\n" not in str(caught.value)
    assert "c.parquet" in str(caught.value)
