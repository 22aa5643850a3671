"""Whatever a file holds: a verdict, or one clear line; never a traceback, never a silent valid."""

from __future__ import annotations

import gzip
import random
import re

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.checkers import make_append
from checkers.convert import convert
from checkers.judge import judge
from checkers.linear.model import MODELS
from checkers.options import CheckOptions
from checkers.source import PACKED_SIZE_BYTES
from harness.history import HistoryError, Op, encode
from tests.checkers.kafka_model import run
from tests.checkers.linear.test_search import generate

ROUNDS = 60
STRANGE = [None, True, -1, 1.5, 10**30, "", "x", [], [[]], {}, {"a": 1}, [["send"]], [["poll", 1]], [[1, 2]], "poll"]


def strange_fields(line, rng):
    """Put something strange at a random place of a line's JSON."""
    value = msgspec.json.decode(line)
    at = value
    for _ in range(rng.randrange(1, 7)):
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = rng.choice(keys)
        if isinstance(at[key], dict | list) and at[key] and rng.random() < 0.7:
            at = at[key]
        else:
            at[key] = rng.choice(STRANGE)
            break
    return msgspec.json.encode(value) + b"\n"


def strange_bytes(line, rng):
    place = rng.randrange(len(line))
    return line[:place] + bytes([rng.randrange(256)]) + line[place + 1 :]


def history_of(workload, seed):
    """Return the lines of a small history in the workload's own words."""
    if workload == "kafka":
        ops = run(seed % 12).ops
    elif workload == "list-append":
        return [msgspec.json.encode(event) + b"\n" for event in make_append.operations(12, seed)]
    else:
        ops = generate(MODELS[workload], seed)
    return [encode(op) for op in ops]


def refusal(path, workload, seed):
    """Return the line that refuses a history; None where there is a verdict."""
    try:
        judgement = judge(path, CheckOptions(workload=workload))
    except HistoryError as error:
        return str(error)
    assert not [reason for reason in judgement.reasons if "crashed" in reason], f"{seed}: {judgement.reasons}"
    assert msgspec.json.encode(judgement.verdict_json())
    return None


WORKLOADS = ("kafka", "list-append", "register", "cas-register", "mutex", "log", "queue", "set", "counter", "stack")


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("harm", [strange_fields, strange_bytes])
def test_harmed_history_gives_a_verdict_or_one_line(tmp_path, harm, workload):
    path = tmp_path / "history.jsonl"
    refused = 0
    for seed in range(ROUNDS):
        rng = random.Random(seed)
        lines = history_of(workload, seed)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(lines))
            lines[place] = harm(lines[place], rng)
        path.write_bytes(b"".join(lines))
        error = refusal(path, workload, f"seed {seed}")
        if error is not None:
            refused += 1
            assert "\n" not in error
            assert "history.jsonl" in error
    assert refused


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KINDS = sorted(
    {"send", "poll", "txn", "assign", "subscribe", "commit", "committed", "crash", "append", "r"}.union(
        *(model.kinds for model in MODELS.values())
    )
)
LINES = st.fixed_dictionaries(
    {
        "process": st.integers(0, 3) | JSON,
        "type": st.sampled_from(["invoke", "ok", "fail", "info"]),
        "f": st.sampled_from(KINDS),
    },
    optional={
        "value": JSON,
        "time": st.integers(-1, 9),
        "index": st.integers(-1, 9),
        "times": JSON,
        "offsets": JSON,
        "rebalance-log": JSON,
        "key": JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(workload=st.sampled_from([*WORKLOADS, "multi-register", "kv-append"]), lines=st.lists(LINES, max_size=8))
def test_any_lines_give_a_verdict_or_one_line(tmp_path_factory, workload, lines):
    path = tmp_path_factory.mktemp("any") / "history.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    error = refusal(path, workload, lines)
    assert error is None or ("\n" not in error and "history.jsonl" in error)


def one_line(path, workload="kafka"):
    with pytest.raises(HistoryError) as caught:
        judge(path, CheckOptions(workload=workload))
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


PACK = {".gz": gzip.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_compressed_file_that_was_cut_off_is_judged_up_to_there(tmp_path, suffix):
    """As much of it as there is: what a frame has given does not wait for its end."""
    lines = history_of("kafka", 5)
    half = len(lines) // 2
    whole = PACK[suffix](b"".join(lines[:half])) + PACK[suffix](b"".join(lines[half:]))
    path = tmp_path / f"history.jsonl{suffix}"
    path.write_bytes(whole)
    assert (judge(path).ops, judge(path).warnings) == (len(lines), ())
    between = len(PACK[suffix](b"".join(lines[:half])))  # a file that ends there is whole
    judged = []
    for cut in sorted({*range(100, len(whole), 29)} - {between}):
        path.write_bytes(whole[:cut])
        if error := refusal(path, "kafka", cut):
            assert "no operations" in error
            judged.append(0)
            continue
        judgement = judge(path)
        assert judgement.warnings[0].startswith(f"{path.name}: the compressed file ends before its end marker")
        judged.append(judgement.ops)
    assert judged == sorted(judged)
    assert judged[-1] >= half
    assert suffix == ".zst" or 0 < judged[len(judged) // 4] < half, "gzip gives what there is, zstd block by block"


@pytest.mark.parametrize("suffix", PACK)
def test_a_history_that_was_cut_off_is_converted_up_to_there(tmp_path, suffix):
    lines = history_of("kafka", 5)
    path = tmp_path / f"history.jsonl{suffix}"
    path.write_bytes(b"".join(map(PACK[suffix], lines))[:-3])
    warned = []
    count = convert(path, tmp_path / "all.jsonl", CheckOptions(), warned.append)
    assert count >= len(lines) - 1
    assert "ends before its end marker" in warned[0]


def test_what_pads_a_gzip_file_is_passed_over(tmp_path):
    path = tmp_path / "history.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(history_of("kafka", 5))) + bytes(PACKED_SIZE_BYTES + 512))
    assert judge(path).warnings == ()


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_file_with_a_changed_byte_is_refused_or_judged(tmp_path, suffix):
    pack = {".gz": gzip.compress, ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data)}[
        suffix
    ]
    whole = pack(b"".join(history_of("kafka", 5)))
    path = tmp_path / f"history.jsonl{suffix}"
    refused = 0
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        refused += refusal(path, "kafka", place) is not None
    assert refused


@pytest.mark.parametrize("suffix", PACK)
def test_several_compressed_frames_are_one_history(tmp_path, suffix):
    lines = history_of("kafka", 5)
    path = tmp_path / f"history.jsonl{suffix}"
    path.write_bytes(b"".join(map(PACK[suffix], lines)))
    assert judge(path).ops == len(lines)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".edn"])
@pytest.mark.parametrize(
    "junk", [b"", b"\x00" * 99, bytes(range(256)) * 40, b"\xff\xfe{}\n", b"[" * 5000, b"[" * 5000 + b"\n"]
)
def test_junk_is_refused_in_one_line(tmp_path, suffix, junk):
    path = tmp_path / ("history.edn" if suffix == ".edn" else f"history.jsonl{suffix}")
    path.write_bytes(junk)
    assert re.search("no operations|not an operation|can't be read", one_line(path))


@pytest.mark.parametrize("workload", WORKLOADS)
def test_empty_history_is_refused(tmp_path, workload):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"")
    assert "no operations" in one_line(path, workload)


@pytest.mark.parametrize("records", [{"key": []}, {"a": 1, "b": 2}, "01", 7, True])
def test_polled_records_that_are_no_list_are_named_by_their_line(records):
    line = Op(process=1, type="ok", f="poll", value=[["poll", [["x", records]]]])
    with pytest.raises(HistoryError, match=r":2: 'poll' with a malformed value: a list of records belongs here"):
        judge([Op(process=1, type="invoke", f="poll", value=[["poll"]]), line])


@pytest.mark.parametrize("value", [17, "x", {"a": 1}, True])
def test_an_invocation_without_a_list_is_told_as_that(value):
    """`object of type 'int' has no len()` would say nothing of the history."""
    said = f":2: 'send' with a malformed value: a list of micro-operations belongs here, not {value!r}"
    with pytest.raises(HistoryError, match=re.escape(said) + "; docs/history.md"):
        judge(
            [
                Op(process=1, type="invoke", f="send", value=value),
                Op(process=1, type="ok", f="send", value=[["send", "x", [0, 1]]]),
            ]
        )


def test_a_history_without_final_reads_is_not_told_that_they_went_to_the_end():
    sent = [["send", "x", [0, 1]]]
    found = {one.name: one for one in judge([Op(process=1, type="ok", f="send", value=sent)]).anomalies}
    assert found["unseen"].examples[0].why.startswith("1 acknowledged value was never polled: for one, 1 on x")


def test_fault_without_its_name_is_named_by_its_operation():
    fault = Op(process="nemesis", type="info", f=None, value={"fault-id": 1, "bit": True})
    with pytest.raises(HistoryError, match="op 0: None of nemesis with a malformed value"):
        judge([fault])


@pytest.mark.parametrize("end", [1 << 62, -(1 << 70), True, 1.5, "1"])
def test_final_read_to_no_offset_is_named_by_its_operation(end):
    drain = Op(process="harness", type="info", f="drain", value={"key": "x", "end": end, "complete": True})
    with pytest.raises(HistoryError, match="op 0: 'drain' of harness with a malformed value"):
        judge([drain])
