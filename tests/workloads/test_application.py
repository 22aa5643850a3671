"""The workload of a program of the user's: who feeds, who looks, and when the run has waited for it long enough."""

from __future__ import annotations

import msgspec

from harness.generator import SECOND_NS, Context, Emit, Pending
from harness.history import HARNESS, INFO, Op
from harness.scenario import Scenario
from workloads.api import CATCH_UP
from workloads.application import APPLICATIONS, GRACE_S, STALLED_S, CaughtUp

INPUTS, OUTPUTS = ("t0/0", "t0/1"), ("t1/0", "t1/1")
SCENARIO = Scenario(workload="app", app="true", partitions=2, seed=4, abort_rate=0.3, crash_interval_s=2, rate=50)
CLIENTS = 6


class Driven:
    """Drives the generator; the program copies what is acknowledged, if it is asked to."""

    def __init__(self, copies=lambda value: True):
        self.generator = APPLICATIONS.generator(SCENARIO, (*INPUTS, *OUTPUTS))
        self.copies, self.ops, self.points, self.outputs = copies, [], [], []
        self.time, self.lost_sends = 0, 0

    def context(self, free):
        return Context(self.time, free, tuple(range(CLIENTS)), CLIENTS)

    def post(self, f, value):
        event = Op(process=HARNESS, type=INFO, f=f, value=value)
        self.generator = self.generator.update(self.context(()), event)

    def step(self, lose=False):
        """Do one op, to its end; return it, or the Pending."""
        self.time += 1
        everybody = tuple((self.time + at) % CLIENTS for at in range(CLIENTS))
        answer = self.generator.op(self.context(everybody))
        if not isinstance(answer, Emit):
            self.generator = answer.successor
            return answer
        op = answer.op
        self.generator = answer.successor.update(self.context(everybody), op)
        if op.process == HARNESS:
            self.points.append(op)
            return op
        self.ops.append(op)
        dies = op.f == "crash" or op.crash or (lose and op.f == "send")
        done = op.completed("info" if dies else "fail" if op.abort else "ok", value=self.value(op))
        if done.type == "ok":
            self.outputs += [micro[2] for micro in op.value if micro[0] == "send" and self.copies(micro[2])]
        self.generator = self.generator.update(self.context(everybody), done)
        return op

    def value(self, op):
        if op.f != "poll":
            return op.value
        records = [[at, f"{v}@{at}", {"origin": ["t0/0", v]}] for at, v in enumerate(self.outputs)]
        return [["poll", [["t1/0", records]]]]


def sends(op):
    return [micro for micro in op.value or () if isinstance(micro, list) and micro[0] == "send"]


def test_it_says_first_what_is_copied_from_where_to_where():
    run = Driven()
    told = run.step()
    assert (told.process, told.f) == (HARNESS, "application")
    assert told.value == {"inputs": list(INPUTS), "outputs": list(OUTPUTS), "guarantee": "exactly-once"}


def test_topics_of_the_programs_own_are_inputs_and_outputs_by_their_names():
    scenario = msgspec.structs.replace(SCENARIO, app_input=("orders",), app_output=("a.orders", "b.orders"), topics=3)
    keys = ("orders/0", "a.orders/0", "b.orders/0")
    answer = APPLICATIONS.generator(scenario, keys).op(Context(0, (0,), (0,), 1))
    assert isinstance(answer, Emit)
    assert answer.op.value["inputs"] == ["orders/0"]
    assert answer.op.value["outputs"] == ["a.orders/0", "b.orders/0"]


def test_clients_feed_the_inputs_and_a_third_of_them_look_at_the_outputs():
    run = Driven()
    for _ in range(600):
        run.step()
    for op in run.ops:
        assert {micro[1] for micro in sends(op)} <= set(INPUTS)
        assert op.f not in {"assign", "poll"} or op.process % 3 == 0
    assert {op.f for op in run.ops} == {"assign", "poll", "send", "txn", "crash"}
    assert any(op.abort for op in run.ops)
    assert any(op.crash for op in run.ops)


def all_values(run):
    return [micro[2] for op in run.ops for micro in sends(op)]


def test_values_are_unique_the_last_ones_too():
    run = Driven()
    for _ in range(300):
        run.step()
    run.post("phase", CATCH_UP)
    for _ in range(300):
        run.step()
    assert len(all_values(run)) == len(set(all_values(run)))


def test_the_end_sends_one_record_to_each_input_and_waits_for_all_that_was_acknowledged():
    run = Driven()
    for _ in range(200):
        run.step()
    before = len(run.ops)
    run.post("phase", CATCH_UP)
    while not any(point.f == "caught-up" for point in run.points):
        run.step()
    last = [op for op in run.ops[before:] if op.f == "send"]
    assert [[micro[1] for micro in sends(op)] for op in last] == [list(INPUTS)]
    assert run.points[-1].value == {"missing": 0}
    assert isinstance(run.step(), Pending)
    assert not [op for op in run.ops[before:] if op.f not in {"send", "poll", "assign"}]


def test_a_last_record_that_nobody_answered_is_sent_again_with_another_value():
    run = Driven()
    run.post("phase", CATCH_UP)
    run.step()
    assert run.step(lose=True).f == "send"
    while not any(point.f == "caught-up" for point in run.points):
        run.step()
    assert len([op for op in run.ops if op.f == "send"]) == 2
    assert len(set(all_values(run))) == 2 * len(INPUTS)


def test_what_is_missing_behind_the_last_records_gets_a_moment_and_no_more():
    lost = set()

    def copies(value):
        if len(lost) < 3:
            lost.add(value)
        return value not in lost

    run = Driven(copies)
    for _ in range(200):
        run.step()
    run.post("phase", CATCH_UP)
    for _ in range(200):
        run.step()
    assert not any(point.f == "caught-up" for point in run.points)
    run.time += int(GRACE_S * SECOND_NS)
    run.step()
    assert run.points[-1].value == {"missing": 3}


def test_a_program_that_does_nothing_is_waited_for_as_long_as_it_may_be_dead():
    run = Driven(lambda value: False)
    waits = CaughtUp()
    context = Context(5, (), (0,), 1)
    first = waits.op(context)
    assert isinstance(first, Pending)
    assert first.until_ns == 5 + STALLED_S * SECOND_NS
    poll = Op(process=0, type="ok", f="poll", value=[["poll", [["t1/0", [[3, "7@3", {"origin": ["t0/0", 7]}]]]]]])
    later = Context(9, (), (0,), 1)
    going_on = first.successor.update(later, poll)
    assert going_on.op(later).until_ns == 9 + STALLED_S * SECOND_NS
    again = going_on.update(Context(20, (), (0,), 1), poll)
    assert again.op(Context(20, (), (0,), 1)).until_ns == 9 + STALLED_S * SECOND_NS, "nothing new was read"
    assert again.op(Context(9 + int(STALLED_S * SECOND_NS), (), (0,), 1)) is None
    caught_up = Op(process=HARNESS, type=INFO, f="caught-up", value={"missing": 0})
    assert going_on.update(later, caught_up).op(later) is None
    given_up = Op(process=HARNESS, type=INFO, f="given-up", value={"instance": "app-1"})
    assert CaughtUp().update(context, given_up).op(context) is None, "it need not have begun"
    assert run.ops == []
