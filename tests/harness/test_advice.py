"""What to do about a vacuous run: every reason that the checkers have is known, and figures are the run's own."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions, options_of_scenario
from checkers.verdict import Validity
from harness.history import NEMESIS
from harness.report.advice import advice
from harness.scenario import Scenario
from tests.checkers.story import Story
from tests.checkers.test_at_work import Struck
from tests.checkers.test_vacuity import quiet, run


def told(judgement, **fields):
    assert judgement.validity is Validity.VACUOUS
    return advice(judgement.reasons, judgement.faults, Scenario(**fields))


def nothing():
    story = Story()
    story.phase("main")
    return judge(story.ops)


def without_faults():
    ops = [op for op in run().ops if op.process != NEMESIS]
    return judge(ops, options_of_scenario({"nemesis": "all"}))


@pytest.mark.parametrize(
    ("judgement", "option"),
    [
        (nothing, "--time-limit"),
        (lambda: quiet(written=False, read=False), "history.jsonl"),
        (lambda: quiet(read=False, drained=("x", "y")), "history.jsonl"),
        (without_faults, "(no fault had its turn): raise --time-limit, or lower --nemesis-interval"),
        (lambda: judge(run().ops, CheckOptions(faults=("kill-leader", "pause-leader"))), "name fewer faults"),
        (lambda: judge(run(bit=False).ops), "each injection of kill-leader missed"),
        (lambda: judge(run(inside=False).ops), "kill-leader had struck"),
        (lambda: Struck().sent(1).struck().over().made(1).read().judged(), "raise --nemesis-interval (now 1) beyond"),
        (lambda: Struck().sent(1).struck().made(1).seen().over().read().judged(), "faster than the program begins"),
    ],
)
def test_every_reason_has_its_advice(judgement, option):
    assert option in told(judgement())


def fault(begin_s, length_s, after_s):
    return {
        "name": "kill-leader",
        "bit": True,
        "begin-ns": begin_s * 10**9,
        "end-ns": begin_s * 10**9 + int(length_s * 10**9),
        "first-ok-after-s": {"poll": after_s, "txn": 0.5},
    }


STALLED = "No poll succeeded inside any of the 2 windows of kill-leader."


def test_windows_that_were_too_short_are_told_with_what_they_would_have_needed():
    faults = [fault(10, 2, 3.5), fault(20, 2, 2.25)]
    line = advice([STALLED], faults, Scenario(fault_length_s=2.0))
    assert "came up to 4.2 s after the injection; try --nemesis-length 7 (now 2), or give the machine less" in line
    assert "the machine" not in advice([STALLED], faults, Scenario(fault_length_s=2.0, cluster="simulated"))
    assert "came after kill-leader either" in advice([STALLED], [], Scenario())


def test_windows_that_the_end_of_the_main_phase_cut_are_told_as_that():
    line = advice([STALLED], [fault(10, 0.2, 0.1)], Scenario(fault_length_s=2.0))
    assert line.startswith("the main phase was over 0.2 s after kill-leader had struck: raise --time-limit")
    assert "--nemesis-length" not in line
    assert "--nemesis-length" in advice([STALLED], [fault(10, 0.2, 0.1), fault(20, 2, 1)], Scenario(fault_length_s=2.0))


def test_what_is_not_vacuous_has_no_advice():
    assert advice(["The final read of x stopped at 1 of 10 (op 3)."], [], Scenario()) == ""
