"""Jepsen's own history.edn is read, and judged like the same history in our format."""

from __future__ import annotations

import pytest

from checkers import edn
from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import HistoryError, write
from tests.checkers.kafka_model import run

QUEUE = """\
{:process 0, :type :invoke, :f :send, :value [[:send 11 641]], :index 0, :time 12}
#jepsen.history.Op{:index 1, :time 13, :type :ok, :process 0, :f :send, :value [[:send 11 [0 641]]]}
{:process :nemesis, :type :info, :f :start-partition, :value {"n1" #{"n2" "n3"}}, :index 2, :time 14}
{:process 1, :type :invoke, :f :poll, :value [[:poll]], :index 3, :time 15}
{:process 1, :type :ok, :f :poll, :value [[:poll {11 [[0 641] [1 642]]}]], :index 4, :time 16,
"""


def test_values_of_every_kind():
    text = '[1 -2N 1.5 2.5M nil true :k/w sym "a\\"\\n" #{1 2} (3) {:a [1]} #inst "x" #_ 9 ; note\n]'
    ((*values,),) = edn.parse(text)
    assert values[:9] == [1, -2, 1.5, 2.5, None, True, "k/w", "sym", 'a"\n']
    assert values[9:11] == [[1, 2], [3]]
    assert edn.plain(values[11]) == {"a": [1]}
    assert values[12:] == ["x"]


@pytest.mark.parametrize("text", ["[1", "]", "{:a}", "(1]", '"abc', "#"])
def test_what_is_not_edn_is_refused(text):
    with pytest.raises(edn.EdnError):
        list(edn.parse(text))


def test_queue_history_is_judged(tmp_path):
    path = tmp_path / "history.edn"
    path.write_text(QUEUE.rstrip().rstrip(",") + "}")
    judgement = judge(path)
    assert {anomaly.name for anomaly in judgement.anomalies} == {"phantom-read"}
    assert judgement.ops == 5


def test_vector_of_ops_is_read_too(tmp_path):
    path = tmp_path / "history.edn"
    path.write_text("[" + QUEUE.rstrip().rstrip(",") + "}]")
    assert judge(path).ops == 5


def test_list_append_in_edn(tmp_path):
    path = tmp_path / "history.edn"
    path.write_text(
        "{:type :ok, :process 0, :f :txn, :value [[:append :x 1] [:r :y nil]], :index 0}\n"
        "{:type :ok, :process 1, :f :txn, :value [[:append :y 1] [:r :x nil]], :index 1}\n"
    )
    judgement = judge(path, CheckOptions(workload="list-append", consistency_model="serializable"))
    assert {anomaly.name for anomaly in judgement.anomalies} == {"G2-item"}


def test_bad_line_is_named(tmp_path):
    path = tmp_path / "history.edn"
    path.write_text("{:type :ok, :process 0, :f :send, :value [[:send 1 [0 1]]]}\n{:type :ok\n")
    with pytest.raises(HistoryError, match=r"history\.edn:2: not an operation in EDN"):
        judge(path)


def to_edn(value, *, key=None):
    if isinstance(value, dict):
        return "{" + ", ".join(f":{name} {to_edn(part, key=name)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        if value and value[0] == "poll" and len(value) > 1:
            pairs = " ".join(f"{to_edn(k)} {to_edn(records)}" for k, records in value[1])
            return f"[:poll {{{pairs}}}]"
        if value and value[0] == "send":
            return "[:send " + " ".join(to_edn(part) for part in value[1:]) + "]"
        return "[" + " ".join(to_edn(part) for part in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if isinstance(value, str) and key in ("type", "f"):
        return f":{value}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_same_history_gives_the_same_verdict_in_both_formats(tmp_path):
    for seed in range(12):
        world = run(seed)
        ops = [op for op in world.ops if isinstance(op.process, int)]
        jsonl, text = tmp_path / f"{seed}.jsonl", tmp_path / f"{seed}.edn"
        write(jsonl, ops)
        lines = []
        for op in ops:
            fields = {"process": op.process, "type": op.type, "f": op.f, "value": op.value, "index": op.index}
            fields |= {"time": op.time, "isolation": op.isolation}
            if op.type != "invoke" and op.f == "txn":
                fields["commit-time"] = op.commit_time
            lines.append(to_edn(fields))
        text.write_text("\n".join(lines))
        one, other = judge(jsonl), judge(text)
        assert {a.name: a.count for a in one.anomalies} == {a.name: a.count for a in other.anomalies}
        assert one.validity == other.validity
        assert one.stats == other.stats
