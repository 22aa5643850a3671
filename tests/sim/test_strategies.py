"""Simulated runs drawn by Hypothesis: the broker is right in all of them, and wrong with a bug in some."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings

from harness.shrink import story
from harness.strategies import cases, verify

quick = settings(
    max_examples=8,
    deadline=None,  # of real time: the machine may be busy
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@quick
@given(cases())
def test_transactions_are_right_whatever_happens(case):
    assert verify(case).ops > 0


@quick
@given(cases(workload="send-poll", sub_via=("assign",)))
def test_sends_and_polls_are_right_whatever_happens(case):
    assert verify(case).ops > 0


CLOCKS = ("bump-clock", "strobe-clock")


@quick
@given(cases(faults=(*CLOCKS, "kill-leader", "pause-leader")))
def test_transactions_are_right_whatever_the_clocks_show(case):
    assert verify(case).ops > 0


@pytest.mark.timeout(300)  # seconds of CPU are minutes on a busy machine
def test_a_planted_bug_is_found_and_the_failure_tells_its_story():
    def is_found(case):
        try:
            verify(case)
        except AssertionError:
            return True
        return False

    drawn = cases(workload="send-poll", bug="ack-before-replication", faults=("partition-leader",))
    few = settings(max_examples=60, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    case = find(drawn, is_found, settings=few)
    with pytest.raises(AssertionError) as told:
        verify(case)
    assert "acknowledged" in str(told.value)
    assert all(line in str(told.value) for line in story(case))
