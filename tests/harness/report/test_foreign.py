"""`harness check HISTORY --report FILE.html`: any history that can be judged has a report, with its pictures."""

from __future__ import annotations

import gzip

import pytest

from harness import history
from harness.cli import guarded
from tests.checkers.linear.test_search import STALE_READ
from tests.checkers.mutating import mutated
from tests.checkers.mutations_of_order import value_is_read_before_its_send_was_invoked

EDN = """{:type :invoke, :f :txn, :value [[:append x 1] [:r y nil]], :process 0, :index 0, :time 1}
{:type :invoke, :f :txn, :value [[:append y 1] [:r x nil]], :process 1, :index 1, :time 2}
{:type :ok, :f :txn, :value [[:append x 1] [:r y []]], :process 0, :index 2, :time 3}
{:type :ok, :f :txn, :value [[:append y 1] [:r x []]], :process 1, :index 3, :time 4}
{:type :invoke, :f :txn, :value [[:r x nil] [:r y nil]], :process 0, :index 4, :time 5}
{:type :ok, :f :txn, :value [[:r x [1]] [:r y [1]]], :process 0, :index 5, :time 6}
"""


def report_of(path, tmp_path, *more):
    page = tmp_path / "page.html"
    assert guarded(["check", str(path), "--report", str(page), "--json", *more]) == 1
    return page.read_text()


def test_register_s_window_is_drawn(tmp_path, capsys):
    path = tmp_path / "h.jsonl"
    history.write(path, STALE_READ)
    page = report_of(path, tmp_path, "--workload", "register")
    assert "judged as register" in page
    assert page.count('class="bar ok named jump"') == 3
    assert "read x 1" not in page


def test_compressed_history_has_a_report(tmp_path, capsys):
    path = tmp_path / "h.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(map(history.encode, STALE_READ))))
    assert "Not linearizable" in report_of(path, tmp_path, "--workload", "register")


def test_jepsen_s_history_has_its_cycle_drawn(tmp_path, capsys):
    path = tmp_path / "history.edn"
    path.write_text(EDN)
    page = report_of(path, tmp_path, "--workload", "list-append")
    assert "Write skew (G2)" in page
    assert page.count('class="edge rw"') == 2


def test_queue_history_has_its_cycle_drawn(tmp_path, capsys):
    name = value_is_read_before_its_send_was_invoked.__name__
    path = tmp_path / "h.jsonl"
    history.write(path, next(ops for seed in range(100) if (ops := mutated(name, seed))))
    page = report_of(path, tmp_path)
    assert 'class="edge realtime"' in page
    assert "Checked, and silent" in page


@pytest.mark.parametrize("place", ["", "no/such/folder/page.html"])
def test_report_that_can_not_be_written_is_one_line(tmp_path, capsys, place):
    path = tmp_path / "h.jsonl"
    history.write(path, STALE_READ)
    assert guarded(["check", str(path), "--workload", "register", "--report", str(tmp_path / place)]) == 254
    assert "--report" in capsys.readouterr().err
