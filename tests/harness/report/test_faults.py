"""Fault windows: from the completion of the injection to the invocation of the heal."""

from __future__ import annotations

from harness.history import Op
from harness.report.faults import MAX_TOLD, FaultLog, told


def nemesis(time: int, kind: str, f: str, value: object, **fields) -> Op:
    return Op(process="nemesis", type=kind, f=f, time=time, value=value, **fields)


def log_of(*ops: Op) -> FaultLog:
    log = FaultLog()
    for op in ops:
        log.event(op)
    return log


def injected(time: int, number: int, *, bit: bool = True, f: str = "kill-leader") -> Op:
    value = {"fault-id": number, "nodes": ["n2"], "keys": ["t0/1"], "evidence": {"pid-gone": True}, "bit": bit}
    return nemesis(time, "info", f, value | {"expects": "progress"})


def test_a_window_runs_from_injected_to_heal_begun() -> None:
    (fault,) = log_of(
        nemesis(10, "invoke", "kill-leader", {"keys": ["t0/1"]}),
        injected(20, 1),
        nemesis(70, "invoke", "heal", {"fault-id": 1}),
        nemesis(90, "info", "heal", {"fault-id": 1, "evidence": {"isr": 3}}),
    ).faults
    assert (fault.aimed, fault.begins, fault.heals, fault.healed) == (10, 20, 70, 90)
    assert (fault.nodes, fault.bit, fault.expects) == (["n2"], True, "progress")
    assert fault.heal_evidence == {"isr": 3}


def test_overlapping_faults_heal_by_their_own_number() -> None:
    first, second = log_of(
        injected(20, 1, f="pause-followers"),
        injected(30, 2),
        nemesis(50, "invoke", "heal", {"fault-id": 1}),
        nemesis(60, "info", "heal", {"fault-id": 1}),
    ).faults
    assert (first.heals, second.heals) == (50, None)


def test_an_injection_that_missed_is_kept_as_missed() -> None:
    assert [fault.bit for fault in log_of(injected(20, 1, bit=False)).faults] == [False]


def test_phases_and_incomplete_drains_are_told() -> None:
    log = log_of(
        Op(process="harness", type="info", f="phase", time=3, value="main"),
        Op(process="harness", type="info", f="drain", time=9, value={"key": "t0/0", "complete": True}),
        Op(process="harness", type="info", f="drain", time=9, value={"key": "t0/1", "complete": False}),
    )
    assert [(phase.name, phase.begins) for phase in log.phases] == [("main", 3)]
    assert log.incomplete_drains == ["t0/1"]


def test_other_things_that_the_nemesis_does_are_no_faults() -> None:
    assert log_of(nemesis(5, "info", "wait", None), nemesis(6, "info", "recover", {"isr": 3})).faults == []


def test_evidence_is_told_in_words() -> None:
    assert told({"n1": True, "n3": False}) == "n1 yes, n3 no"
    assert told(["n2", None, 3]) == "n2, none, 3"
    assert len(told("x" * 1_000)) == MAX_TOLD
