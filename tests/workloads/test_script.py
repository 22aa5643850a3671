"""The book of a run: read from a history, played at its times."""

from __future__ import annotations

from harness.combinators import Delay, While
from harness.generator import clients
from harness.history import HARNESS, INFO, INVOKE, OK, Op
from harness.scenario import Scenario
from harness.simulate import simulate
from workloads.queue import SEND_POLL
from workloads.script import Script, ScriptedOp, of_history, scripted

MS = 1_000_000


def play(book, concurrency=2, *, takes=MS, type_=OK, limit=1000 * MS):
    ops = []
    generator = While(main=Delay(limit), side=clients(Script.of(book)))
    simulate(generator, concurrency, lambda op, now: (op.completed(type_), now + takes), ops.append)
    return ops


def line(at_ms, thread, f="send", value=None, **fields):
    return ScriptedOp(at_ns=at_ms * MS, thread=thread, f=f, value=value or [["send", "t0/0", at_ms]], **fields)


def test_a_book_that_was_played_is_read_back_from_the_history():
    book = (line(3, 0), line(3, 1, "poll", [["poll"]]), line(9, 1, "txn", abort=True), line(20, 0, "crash"))
    assert of_history(play(book), 2) == book


def test_a_thread_that_is_busy_at_its_time_goes_on_as_soon_as_it_is_free():
    ops = play((line(1, 0), line(2, 0), line(3, 1)), takes=5 * MS)
    assert [(op.process, op.time // MS) for op in ops if op.type == INVOKE] == [(0, 1), (1, 3), (0, 6)]


def test_a_line_belongs_to_a_thread_whatever_its_process_is_called_by_then():
    ops = play((line(1, 1), line(3, 1), line(5, 1)), type_=INFO)
    assert [op.process for op in ops if op.type == INVOKE] == [1, 3, 5]
    assert len(of_history(ops, 2)) == 3


def test_the_final_reads_are_not_part_of_the_book():
    ops = play((line(1, 0),))
    drain = Op(process=HARNESS, type=INFO, f="phase", value="drain", time=7 * MS)
    late = Op(process=0, type=INVOKE, f="poll", value=[["poll"]], time=8 * MS)
    assert len(of_history([*ops, drain, late], 2)) == 1


def test_a_scripted_workload_keeps_its_name_and_waits_for_nothing_unless_told():
    book = (line(1, 0),)
    made = scripted(SEND_POLL, book, waits=False)
    assert (made.name, made.kinds(Scenario())) == ("send-poll", frozenset())
    assert scripted(SEND_POLL, book, waits=True).kinds(Scenario()) == {"send", "poll"}
