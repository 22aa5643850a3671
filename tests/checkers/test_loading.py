"""Files in, columns out: what is malformed is named, what is torn is dropped, what is compressed is read."""

from __future__ import annotations

import gzip

import msgspec
import numpy as np
import pytest
import zstandard

from checkers import queue
from checkers.judge import judge
from checkers.source import BLOCK_SIZE_BYTES
from checkers.verdict import Validity
from harness.history import HistoryError, encode, write
from tests.checkers.story import Story, poll, send


def small():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    return story.ops


def lines(ops):
    return [encode(op) for op in ops]


def refused(tmp_path, content):
    path = tmp_path / "history.jsonl"
    path.write_bytes(content)
    with pytest.raises(HistoryError) as caught:
        judge(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_compressed_and_folder_give_the_same_verdict(tmp_path):
    path = tmp_path / "history.jsonl"
    write(path, small())
    content = path.read_bytes()
    (tmp_path / "h.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "h.jsonl.zst").write_bytes(zstandard.compress(content))
    for place in (path, tmp_path, tmp_path / "h.jsonl.gz", tmp_path / "h.jsonl.zst", str(path)):
        judgement = judge(place)
        assert (judgement.validity, judgement.ops) == (Validity.VALID, 4)


def test_torn_last_line_is_dropped_with_a_warning(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(lines(small())) + b'{"process": 3, "type": "inv')
    judgement = judge(path)
    assert judgement.ops == 4
    assert judgement.warnings == ("history.jsonl:5: the last line is torn (27 bytes): dropped",)


@pytest.mark.parametrize("last", [b'{"process": 3, "type": "maybe"}', b"[]", b"7", b'{"process": 3}'])
def test_last_line_that_is_whole_and_no_operation_is_refused(tmp_path, last):
    assert refused(tmp_path, b"".join(lines(small())) + last).startswith("history.jsonl:5: not an operation")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_mark_and_line_ends_of_windows_are_passed_over(tmp_path, end):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + end.join(line.strip() for line in lines(small())) + end)
    assert judge(path).ops == 4
    path.write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(HistoryError, match="no operations"):
        judge(path)


def test_blank_lines_are_passed_over(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"\n" + b"\n  \n".join(lines(small())))
    assert judge(path).ops == 4


def test_bad_json_in_the_middle_is_named_by_line(tmp_path):
    good = lines(small())
    assert refused(tmp_path, good[0] + b'{"process": 1,\n' + good[1]).startswith("history.jsonl:2: not an operation")


def test_unknown_type_is_named_by_line(tmp_path):
    message = refused(tmp_path, lines(small())[0].replace(b'"invoke"', b'"maybe"'))
    assert message.startswith("history.jsonl:1: not an operation")


def test_empty_file_is_refused(tmp_path):
    assert "no operations" in refused(tmp_path, b"")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(HistoryError, match="can't be read"):
        judge(tmp_path / "nothing.jsonl")


def test_second_invocation_of_a_busy_process_is_refused(tmp_path):
    good = lines(small())
    assert "history.jsonl:2: process 0 invokes" in refused(tmp_path, good[0] + good[0] + b"".join(good[1:]))


def test_completion_without_invocation_beside_others_is_refused(tmp_path):
    good = lines(small())
    message = refused(tmp_path, b"".join(good) + good[1])
    assert message.startswith("history.jsonl:5: a completion without invocation")


def test_history_of_completions_only_is_accepted(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(lines(small())[1::2]))
    assert judge(path).validity is Validity.VALID


@pytest.mark.parametrize(
    "value",
    [
        [["send", "x"]],
        [["send"]],
        [["jump", "x", 1]],
        [["send", "x", [0]]],
        [["send", "x", ["zero", 1]]],
        [["poll", [["x"]]]],
        [["poll", [["x", [[0]]]]]],
        [["poll", [["x", [0, 1]]]]],
        [["poll", [["x", [["zero", 1]]]]]],
        [["poll", {"x": [[0, 1]]}]],
        [["send", ["x"], [0, 1]]],
        "send",
        7,
    ],
)
def test_malformed_value_is_named_by_line(tmp_path, value):
    good = lines(small())
    op = {"index": 1, "time": 2, "process": 0, "type": "ok", "f": "send", "value": value}
    assert refused(tmp_path, good[0] + msgspec.json.encode(op) + b"\n").startswith("history.jsonl:2: ")


def test_time_going_backwards_is_unknown(tmp_path):
    ops = small()
    ops[2] = ops[2].at(2, 5)
    judgement = judge(ops)
    assert judgement.validity is Validity.UNKNOWN
    assert "time goes backwards" in judgement.reasons[0]


def test_unknown_operation_is_unknown_with_its_line():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.ok(1, "teleport", None)
    judgement = judge(story.ops)
    assert judgement.validity is Validity.UNKNOWN
    assert "history:6" in judgement.reasons[0]
    assert "teleport" in judgement.reasons[0]


def test_value_sent_twice_is_unknown():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.info(1, "send", [send("x", 1)])
    story.ok(2, "poll", [poll(("x", [[0, 1]]))])
    judgement = judge(story.ops)
    assert judgement.validity is Validity.UNKNOWN
    assert "sent twice" in judgement.reasons[0]


@pytest.mark.parametrize("first", ["fail", "info", "ok"])
def test_value_sent_twice_accuses_nobody(first):
    story = Story()
    story.call(0, first, "txn", [send("x", 1), send("x", 2)])
    story.ok(1, "txn", [send("x", 0, 0), send("x", 1, 1), send("x", 3, 2)])
    seen = [[0, 0], [1, 1], [2, 3]] if first != "ok" else [[0, 0], [1, 1], [2, 3], [3, 1], [4, 2]]
    story.ok(2, "poll", [poll(("x", seen))])
    judgement = judge(story.ops)
    assert [anomaly.name for anomaly in (*judgement.anomalies, *judgement.allowed)] == []
    assert judgement.validity is Validity.UNKNOWN
    assert "sent twice" in judgement.reasons[0]


def test_value_sent_twice_that_lies_at_three_offsets_is_a_duplicate():
    story = Story()
    story.ok(0, "send", [send("x", 1)])
    story.ok(1, "send", [send("x", 1)])
    story.ok(2, "poll", [poll(("x", [[0, 1], [1, 1], [2, 1]]))])
    assert [anomaly.name for anomaly in judge(story.ops).anomalies] == ["duplicate"]


def test_unseen_counts_values():
    story = Story()
    story.ok(0, "send", [send("x", value, value) for value in range(4)])
    story.ok(1, "poll", [poll(("x", [[0, 0]]))])
    (unseen,) = judge(story.ops).anomalies
    assert (unseen.name, unseen.count) == ("unseen", 3)
    assert unseen.examples[0].why.startswith("3 acknowledged values were")


def test_crashing_checker_is_unknown_and_hides_nothing(monkeypatch):
    def explode(case, findings):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(queue, "CHECKERS", (explode, *queue.CHECKERS))
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    judgement = judge(story.ops)
    assert judgement.validity is Validity.UNKNOWN
    assert "planted" in judgement.reasons[0]
    story.ok(1, "poll", [poll(("x", [[1, 99]]))])
    assert judge(story.ops).validity is Validity.INVALID


def test_history_over_several_blocks_is_the_same_as_in_memory(tmp_path):
    story = Story()
    for value in range(3000):
        story.ok(0, "send", [send("x", "v" * 1500 + str(value), value)])
    story.ok(1, "poll", [poll(("x", [[v, "v" * 1500 + str(v)] for v in range(3000) if v != 1234]))])
    path = tmp_path / "history.jsonl"
    write(path, story.ops)
    assert path.stat().st_size > 2 * BLOCK_SIZE_BYTES
    from_file, from_memory = judge(path), judge(story.ops)
    assert from_file.anomalies == from_memory.anomalies
    assert {anomaly.name for anomaly in from_file.anomalies} == {"lost-write", "unseen", "int-poll-skip"}


def test_verdict_json_has_the_keys_of_the_format():
    out = judge(small()).verdict_json()
    fixed = ["valid", "anomalies", "allowed", "not-checked", "models", "ops", "seconds"]
    assert list(out) == [*fixed, "reasons", "not-checked-because"]
    assert out["valid"] is True
    assert msgspec.json.decode(msgspec.json.encode(out)) == out


def test_offsets_and_values_of_every_size_survive():
    story = Story()
    far = 2**40
    story.ok(0, "send", [send("x", -5, far)])
    story.ok(1, "poll", [poll(("x", [[far, -5]]))])
    assert judge(story.ops).validity is Validity.VALID
    assert np.iinfo(np.int64).max > far
