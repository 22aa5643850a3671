"""What a judgement costs grows with the history, however much is wrong with it: never with the square of it."""

from __future__ import annotations

import gc
import time

import numpy as np
import pytest

from checkers.columns import Groups, last_where
from checkers.findings import Findings
from checkers.phases import Windows
from checkers.queue import case_of, judge_case
from tests.checkers.growing import SHAPES, told

SIZE, TIMES = 1500, 4
TOLERATED = 3.0
"""So much more than TIMES is still no square of it (16): sorting, and a busy machine."""
TRIES = 5


def cost(name, size):
    """Return the CPU seconds of the checkers, loading left out, and what they found."""
    ops = told(name, size).ops
    case = case_of([(ops, range(1, len(ops) + 1))], name, SHAPES[name][1])
    findings = Findings()
    gc.disable()  # it goes through all that the tests before have left: seconds, the more often the more is found
    try:
        begun = time.process_time()
        judge_case(case, findings)
        return time.process_time() - begun, findings
    finally:
        gc.enable()


@pytest.mark.parametrize("name", SHAPES)
def test_cost_grows_with_the_history(name):
    least, most = float("inf"), float("inf")
    for _ in range(TRIES):  # the least is what the work itself takes, whatever else the machine does
        least, most = min(least, cost(name, SIZE)[0]), min(most, cost(name, TIMES * SIZE)[0])
        if most < TOLERATED * TIMES * least:
            return
    pytest.fail(f"{TIMES} times the history took {most / least:.1f} times as long ({least:.3f} s, {most:.3f} s)")


@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"partitions_that_stand_still", "faults"}))
def test_much_is_wrong_with_these_histories(name):
    _, findings = cost(name, 200)
    assert max(anomaly.count for anomaly in findings.anomalies()) >= 10
    assert not [reason for reason in findings.reasons if "crashed" in reason]


def test_groups_tell_the_rows_of_a_code_in_order():
    groups = Groups(np.array([3, 1, 3, -1, 1, 3]))
    assert [groups.rows(code).tolist() for code in (-1, 0, 1, 3, 9)] == [[3], [], [1, 4], [0, 2, 5], []]


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("place", [None, 0, 5, 62, 64, 999])
def test_last_row_is_found_wherever_it_lies(size, place):
    holds = np.zeros(size, np.bool_)
    holds[:5:2] = True
    if place is not None and place < size:
        holds[place] = True
    expected = max(np.flatnonzero(holds).tolist(), default=None)
    assert last_where(lambda part: holds[part], 0, size) == expected


def test_windows_tell_what_they_have_in_common_with_a_span():
    windows = Windows([(10, 20), (0, 2), (12, 14)])
    assert [windows.meet(*span) for span in ((3, 9), (2, 2), (20, 30), (21, 99), (15, 16), (-5, -1))] == [
        False,
        True,
        True,
        False,
        True,
        False,
    ]
    assert not Windows([]).meet(0, 9)
