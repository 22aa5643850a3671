"""A program of the user's between topics: what it may do, what it may not, and an oracle that says the same plainly."""

from __future__ import annotations

from collections import defaultdict

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from checkers.judge import judge
from checkers.online import Online
from checkers.options import CheckOptions
from checkers.verdict import Validity
from harness.history import HARNESS
from tests.checkers.story import Story, poll, send

INPUTS, OUTPUTS = ("in/0", "in/1"), ("out/0", "out/1")
FATES = ("ok", "info", "gone", "fail")
"""Acknowledged; nobody knows, and it is there; nobody knows, and it is not there; refused."""


class Run(Story):
    """A run with a program: `sent` gives records to an input, `made` copies to an output, `read` reads everything."""

    def __init__(self, guarantee="exactly-once"):
        super().__init__()
        self.phase("main")
        value = {"inputs": list(INPUTS), "outputs": list(OUTPUTS), "guarantee": guarantee}
        self.event(HARNESS, "info", "application", value)
        self.logs = defaultdict(list)
        """By key, what a read_committed reader finds: [v, origin or None]."""
        self.only_uncommitted = defaultdict(list)
        self.count = 0

    def sent(self, v, fate="ok", key="in/0"):
        process = 100 + self.count
        self.count += 1
        there = fate in {"ok", "info"}
        if fate == "ok":
            self.ok(process, "txn", [send(key, v, len(self.logs[key]))], commit_time=self.now)
        elif fate == "fail":
            self.fail(process, "txn", [send(key, v)])
        else:
            self.info(process, "txn", [send(key, v)], commit_time=self.now)
        if there:
            self.logs[key].append((v, None))
        return self

    def made(self, *values, of="in/0", to="out/0"):
        self.logs[to] += [(v, [of, v]) for v in values]
        return self

    def read(self, leave_out=()):
        self.phase("drain")
        for process, key in enumerate((*INPUTS, *OUTPUTS)):
            if key in leave_out:
                continue
            records = [entry(offset, v, origin) for offset, (v, origin) in enumerate(self.logs[key])]
            self.ok(process, "assign", [key], isolation="read_committed", seek_to_beginning=True)
            self.ok(process, "poll", [poll((key, records))], isolation="read_committed")
            self.drain(key, len(records))
        return self

    def judged(self):
        return judge(self.ops, CheckOptions())


def entry(offset, v, origin):
    return [offset, v] if origin is None else [offset, f"{v}@{offset}", {"origin": origin}]


def classes(judgement):
    return {anomaly.name: anomaly.count for anomaly in judgement.anomalies}


def test_a_program_that_copies_each_input_once_is_valid():
    judgement = (
        Run().sent(1).sent(2, "fail").sent(3, "info").sent(4, key="in/1").made(1, 3).made(4, of="in/1").read().judged()
    )
    assert judgement.validity is Validity.VALID, judgement
    assert not any(name.startswith("eos") for name in judgement.not_checked)


def test_an_input_that_is_passed_over_is_lost():
    judgement = Run().sent(1).sent(2).sent(3).made(1, 3).read().judged()
    assert classes(judgement) == {"eos-loss": 1}
    example = judgement.anomalies[0].examples[0]
    assert example.details["source"] == ["in/0", 1]
    assert "in/0@1" in example.why


def test_an_input_that_is_copied_twice_is_a_duplicate_wherever_its_copies_are():
    for to in OUTPUTS:
        judgement = Run().sent(1).sent(2).made(1, 2).made(1, to=to).read().judged()
        assert classes(judgement)["eos-duplicate"] == 1


def test_a_program_that_promises_at_least_once_may_copy_twice_and_not_lose():
    again = Run("at-least-once").sent(1).sent(2).made(1, 2, 1, 2)
    judgement = again.read().judged()
    assert judgement.validity is Validity.VALID, judgement
    assert [anomaly.name for anomaly in judgement.allowed] == ["eos-duplicate"]
    lossy = Run("at-least-once").sent(1).sent(2).sent(3).made(1, 3, 3).read().judged()
    assert classes(lossy) == {"eos-loss": 1}


def test_copies_out_of_order_are_told_in_one_output_and_not_across_outputs():
    assert classes(Run().sent(1).sent(2).made(2, 1).read().judged()) == {"eos-reorder": 1}
    assert Run().sent(1).sent(2).made(2).made(1, to="out/1").read().judged().validity is Validity.VALID


def test_who_takes_over_at_least_once_may_fill_a_gap_that_a_dead_instance_has_left():
    filled = Run("at-least-once").sent(1).sent(2).sent(3).made(2, 3).made(1, 2, 3).read().judged()
    assert filled.validity is Validity.VALID, filled
    assert classes(Run("at-least-once").sent(1).sent(2).made(2, 2, 1, 1).read().judged()) == {"eos-reorder": 1}
    elsewhere = Run("at-least-once").sent(1).sent(2).made(2, 1).made(2, to="out/1").read().judged()
    assert elsewhere.validity is Validity.VALID, elsewhere


def test_an_input_that_lies_twice_in_its_log_may_be_copied_twice_and_not_thrice():
    run = Run().sent(1).sent(2)
    run.logs["in/0"].append((1, None))
    found = judge(run.made(1, 2, 1).read().ops, CheckOptions(idempotence=False))
    assert not [name for name in classes(found) if name.startswith("eos")], "the brokers have doubled it"
    assert {one.permitted_by for one in found.anomalies} == {"idempotence=false"}
    again = Run().sent(1).sent(2)
    again.logs["in/0"].append((1, None))
    assert "eos-duplicate" in classes(again.made(1, 2, 1, 1).read().judged())


def looked(run, key="out/0"):
    """Let somebody read an output in the midst of the run."""
    records = [entry(offset, v, origin) for offset, (v, origin) in enumerate(run.logs[key])]
    run.ok(30, "assign", [key], isolation="read_committed")
    run.ok(30, "poll", [poll((key, records))], isolation="read_committed")
    return run


def test_an_output_that_somebody_saw_and_that_is_gone_was_lost_by_the_brokers():
    lost = looked(Run().sent(1).sent(2).made(1, 2))
    lost.logs["out/0"].pop()
    lost.read()
    for op in lost.ops:
        if op.f == "drain" and op.value["key"] == "out/0":
            op.value.update({"end": 2, "lso": 2, "read-to": 2})
    assert classes(lost.judged()) == {"lost-write": 1}
    assert "written by the program" in lost.judged().anomalies[0].examples[0].why


def test_a_program_is_not_blamed_for_an_aborted_input_that_brokers_show_to_everybody():
    run = Run().sent(1).sent(2, "fail").made(1, 2)
    run.logs["in/0"].append((2, None))
    found = classes(run.read().judged())
    assert "eos-phantom" not in found
    assert "G1a" in found


def test_an_input_that_is_damaged_need_not_be_copied():
    run = Run().sent(1).sent(2)
    run.logs["in/0"].insert(1, ("?6831", None))
    assert not [name for name in classes(run.made(1, 2).read().judged()) if name.startswith("eos")]


def test_where_nobody_read_what_is_committed_nothing_is_called_valid():
    run = Run().sent(1).made(1).read()
    uncommitted = [
        op if op.isolation is None else msgspec.structs.replace(op, isolation="read_uncommitted") for op in run.ops
    ]
    judgement = judge(uncommitted, CheckOptions(isolation="read_uncommitted"))
    assert judgement.validity is Validity.UNKNOWN
    assert {"eos-loss", "eos-stalled"} <= set(judgement.not_checked)


def test_where_records_expire_nothing_is_missed():
    judgement = judge(Run().sent(1).sent(2).made(2).read().ops, CheckOptions(retention_ms=5000))
    assert not judgement.anomalies
    assert {"eos-loss", "eos-duplicate", "eos-stalled"} <= set(judgement.not_checked)


def test_without_a_refused_input_nobody_knows_whether_it_would_have_been_copied():
    assert "eos-phantom" in Run().sent(1).made(1).read().judged().not_checked
    assert "eos-phantom" not in Run().sent(1).sent(2, "fail").made(1).read().judged().not_checked


def test_a_program_that_keeps_no_value_is_told_so_and_accused_of_nothing():
    run = Run().sent(1).sent(2)
    run.logs["out/0"] = [("?7b22@0", None), ("?7b22@1", None)]
    for op in run.read().ops:
        for micro in op.value if op.f == "poll" and op.type == "ok" else ():
            for key, records in micro[1]:
                records[:] = [[*one, {"altered": "undecodable"}] if key == "out/0" else one for one in records]
    judgement = run.judged()
    assert judgement.validity is Validity.UNKNOWN, judgement
    assert any("holds the value of an input" in reason for reason in judgement.reasons)


def test_what_was_never_committed_may_not_be_copied():
    aborted = Run().sent(1).sent(2, "fail").made(1, 2).read().judged()
    assert classes(aborted) == {"eos-phantom": 1}
    unknown = Run().sent(1).sent(2, "gone").made(1, 2).read().judged()
    assert classes(unknown) == {"eos-phantom": 1}
    nobody = Run().sent(1).made(1, 7).read().judged()
    assert classes(nobody) == {"eos-phantom": 1}
    assert "nobody sent that" in nobody.anomalies[0].examples[0].why


def test_a_program_that_does_not_get_on_has_stalled():
    judgement = Run().sent(1).sent(2).sent(3).made(1).read().judged()
    assert classes(judgement) == {"eos-stalled": 1}
    assert judgement.anomalies[0].examples[0].details["count"] == 2
    assert classes(Run().sent(1).read().judged()) == {"eos-stalled": 1}


def test_what_nobody_acknowledged_is_not_asked_for_at_the_end_of_a_key():
    assert Run().sent(1).sent(2, "info").made(1).read().judged().validity is Validity.VALID
    late = Run().sent(1).sent(2, "info").sent(3, "info").made(1, 3).read().judged()
    assert late.validity is Validity.VALID, "both came when the ends were frozen already, one of the outputs before"
    assert classes(Run().sent(1).sent(2, "info").sent(3).made(1, 3).read().judged()) == {"eos-loss": 1}


def test_without_a_whole_read_of_the_outputs_nothing_is_missed():
    judgement = Run().sent(1).sent(2).made(1).read(leave_out=["out/1"]).judged()
    assert classes(judgement) == {}
    assert {"eos-loss", "eos-stalled"} <= set(judgement.not_checked)


def test_a_run_that_was_killed_shows_its_duplicates_and_phantoms_and_misses_nothing():
    run = Run().sent(1).sent(2, "fail").sent(3, "info").made(1, 1, 2, 3)
    records = [entry(offset, v, origin) for offset, (v, origin) in enumerate(run.logs["out/0"])]
    run.ok(0, "assign", ["out/0"], isolation="read_committed")
    run.ok(0, "poll", [poll(("out/0", records))], isolation="read_committed")
    judgement = run.judged()
    assert classes(judgement) == {"eos-duplicate": 1, "eos-phantom": 1}
    assert not any("inputs" in warning for warning in judgement.warnings)


def test_copies_that_were_aborted_are_seen_by_uncommitted_readers_only_and_count_as_none():
    run = Run().sent(1).sent(2).made(1, 2).read()
    log = [entry(0, 1, ["in/0", 1]), entry(1, 2, ["in/0", 2])]
    again = [entry(2, 2, ["in/0", 2])]
    run.logs["out/0"] = []
    for process, key in enumerate((*INPUTS, *OUTPUTS), start=50):
        records = [entry(offset, v, origin) for offset, (v, origin) in enumerate(run.logs[key])]
        records = [*log, *again] if key == "out/0" else records
        run.ok(process, "assign", [key], isolation="read_uncommitted", seek_to_beginning=True)
        run.ok(process, "poll", [poll((key, records))], isolation="read_uncommitted")
    assert run.judged().validity is Validity.VALID, run.judged()


def test_an_input_that_was_acknowledged_and_then_lost_is_lost_and_its_copy_no_phantom():
    run = Run().sent(1).sent(2).sent(3).made(1, 2, 3)
    del run.logs["in/0"][1]
    found = classes(run.read().judged())
    assert "eos-phantom" not in found
    assert "lost-write" in found or "inconsistent-offsets" in found


def test_instances_that_end_by_themselves_are_told():
    run = Run().sent(1).made(1)
    for status in (1, 137):
        run.event(HARNESS, "info", "exited", {"instance": "app-1", "status": status})
    assert any("app-1" in warning and "2 times" in warning for warning in run.read().judged().warnings)


def test_the_checker_that_goes_along_accuses_no_copy():
    online = Online(CheckOptions())
    run = Run("at-least-once").sent(1).sent(2).made(1, 2, 1, 2).read()
    assert [alarm for op in run.ops if (alarm := online.feed(op)) is not None] == []


def test_a_history_without_a_program_judges_nothing_of_it():
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("in/0", 1, 0)])
    judgement = judge(story.ops, CheckOptions())
    assert {"eos-loss", "eos-duplicate"} <= set(judgement.not_checked)


@given(
    st.lists(st.tuples(st.sampled_from(INPUTS), st.sampled_from(FATES)), max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(OUTPUTS)), max_size=10),
    st.booleans(),
)
def test_the_checker_finds_what_the_definitions_say(sent, made, exact):
    run = Run("exactly-once" if exact else "at-least-once")
    for v, (key, fate) in enumerate(sent):
        run.sent(v, fate, key)
    for v, to in made:
        run.made(v, of=sent[v][0] if v < len(sent) else "in/0", to=to)
    judgement = run.read().judged()
    told = {name for name in classes(judgement) if name.startswith("eos")}
    told |= {anomaly.name for anomaly in judgement.allowed if anomaly.name.startswith("eos")}
    assert told == defined(sent, run.logs)
    assert exact or "eos-duplicate" not in classes(judgement)


def defined(sent, logs):
    found = set()
    copies = [(to, offset, origin[1]) for to in OUTPUTS for offset, (_, origin) in enumerate(logs[to])]
    for key in INPUTS:
        there = [v for v, _ in logs[key]]
        mine = [one for one in copies if (sent[one[2]][0] if one[2] < len(sent) else "in/0") == key]
        copied = [v for _, _, v in mine]
        found |= {"eos-phantom" for v in copied if v not in there}
        found |= {"eos-duplicate" for v in there if copied.count(v) > 1}
        last = max((there.index(v) for v in copied if v in there), default=-1)
        sure = max((place for place, v in enumerate(there) if sent[v][1] == "ok"), default=-1)
        for place, v in enumerate(there[: sure + 1]):
            if v not in copied and (place < last or sent[v][1] == "ok"):
                found.add("eos-loss" if place < last else "eos-stalled")
        at = {v: [(to, offset) for to, offset, made in mine if made == v] for v in there}
        for place, later in enumerate(there):
            for v in there[:place] if at[later] else ():
                keys = {to for to, _ in (*at[v], *at[later])}
                if at[v] and len(keys) == 1 and min(at[v]) > max(at[later]):
                    found.add("eos-reorder")
    return found
