"""A program that did nothing while it was struck was not put to the test."""

from __future__ import annotations

from checkers.at_work import OF_PROGRAMS
from checkers.verdict import Validity
from nemesis.applications import OF_APPLICATIONS
from tests.checkers.story import poll
from tests.checkers.test_application import Run, entry

NEVER = "The fault kill-app never met the program at work: it had made no output since the fault before."


class Struck(Run):
    """Such a run, whose clients look at outputs, and whose program is struck."""

    def __init__(self):
        super().__init__()
        self.faults = 0

    def seen(self):
        """A client reads the output, from the beginning."""
        records = [entry(offset, v, origin) for offset, (v, origin) in enumerate(self.logs["out/0"])]
        process = 200 + self.count
        self.count += 1
        self.ok(process, "assign", ["out/0"], isolation="read_committed", seek_to_beginning=True)
        self.ok(process, "poll", [poll(("out/0", records))], isolation="read_committed")
        return self

    def struck(self, name="kill-app", *, bit=True):
        self.faults += 1
        self.fault(self.faults, name, bit=bit, expects="stall")
        self.heal(self.faults)
        return self

    def over(self):
        self.phase("heal")
        return self


def test_every_fault_of_a_program_is_known():
    assert {fault.name for fault in OF_APPLICATIONS} == OF_PROGRAMS


def test_a_program_that_was_struck_at_work_is_judged():
    judgement = Struck().sent(1).made(1).seen().struck().over().read().judged()
    assert judgement.validity is Validity.VALID, judgement


def test_one_that_worked_only_when_all_was_over_is_vacuous():
    for fault in ("kill-app", "kill-leader"):
        judgement = Struck().sent(1).struck(fault).over().made(1).seen().read().judged()
        assert judgement.validity is Validity.VACUOUS
        assert judgement.reasons == ("The program made no output before the faults were over.",)


def test_one_that_was_only_struck_before_it_worked_is_vacuous():
    judgement = Struck().sent(1).struck().made(1).seen().over().read().judged()
    assert judgement.reasons == (NEVER,)
    judgement = Struck().sent(1).struck("kill-leader").made(1).seen().over().read().judged()
    assert judgement.validity is Validity.VALID, "it worked beside the fault of a node"


def test_what_was_seen_before_the_last_fault_is_no_work_since():
    judgement = Struck().sent(1).made(1).seen().struck("pause-app").seen().struck("kill-app").over().read().judged()
    assert judgement.reasons == (NEVER,)
    again = Struck().sent(1).sent(2).made(1).seen().struck("pause-app").made(2).seen().struck("kill-app").over()
    assert again.read().judged().validity is Validity.VALID


def test_one_injection_at_work_is_enough_and_one_that_missed_is_none():
    judgement = Struck().sent(1).struck().made(1).seen().struck().struck().over().read().judged()
    assert judgement.validity is Validity.VALID, judgement
    judgement = Struck().sent(1).struck().made(1).seen().struck(bit=False).over().read().judged()
    assert judgement.reasons == (NEVER,)


def test_without_a_fault_nothing_is_asked():
    assert Struck().sent(1).over().made(1).read().judged().validity is Validity.VALID
