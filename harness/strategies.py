"""Hypothesis strategies for simulated runs: `cases()` draws them, `verify` runs one and raises when it is invalid.

    from hypothesis import given
    from harness.strategies import cases, verify

    @given(cases(topic_config={"flush.messages": "1"}))
    def test_no_fault_loses_an_acknowledged_record(case):
        verify(case)

A case is a cluster, a few operations and a few faults, each at its time, so Hypothesis shrinks what fails (fewer of
everything, sooner, simpler) and keeps it in its example database. The world of a case comes from its seed alone: the
same case is the same run. Hypothesis itself is not among the harness's requirements: `pip install hypothesis`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from hypothesis import strategies as st

from checkers.judgement import Judgement
from harness.replay import perform
from harness.scenario import Scenario
from harness.shrink import Case, story
from nemesis.plan import FaultEntry
from workloads.script import ScriptedOp

MS_NS: Final = 1_000_000
MAX_GAP_MS: Final = 1000
"""Longest silence between two operations: a few of them outlast an election."""
MAX_OPS: Final = 20
MAX_FAULTS: Final = 3
FAULTS: Final = (
    "kill-leader",
    "kill-follower",
    "kill-random",
    "kill-all",
    "pause-leader",
    "pause-followers",
    "partition-leader",
    "mute-leader",
    "deafen-leader",
    "partition-minority",
    "partition-bridge",
    "change-config",
)
TAIL_S: Final = 3.0
"""The main phase goes on so long behind the last operation or fault, so that faults can bite and heal."""
VALUES_PER_OP: Final = 4
Plain = Literal["txn", "send-poll"]


def cases(
    *,
    workload: Plain = "txn",
    faults: Sequence[str] = FAULTS,
    max_ops: int = MAX_OPS,
    max_faults: int = MAX_FAULTS,
    max_clients: int = 3,
    **settings: Any,
) -> st.SearchStrategy[Case]:
    """Draw simulated runs of up to so many operations and faults; `settings` are fields of Scenario that are fixed.

    Each operation of a run writes values that no other has. The final reads look at all of them.
    """
    return st.builds(
        _case,
        st.just({"workload": workload, **settings}),
        st.tuples(st.integers(0, 1 << 16), st.integers(1, max_clients), st.integers(1, 2)),
        st.lists(_ops(workload), min_size=1, max_size=max_ops),
        st.lists(_faults(faults), max_size=max_faults if faults else 0),
    )


def verify(case: Case) -> Judgement:
    """Run a case and judge it; raises AssertionError with the proofs and the run's story when it is invalid."""
    with tempfile.TemporaryDirectory(prefix="harness-case-") as folder:
        judgement = perform(case, Path(folder))
    if judgement.anomalies:
        lines = [f"{one.name} ({one.count}): {one.examples[0].why}" for one in judgement.anomalies if one.examples]
        raise AssertionError("\n".join(["the run is invalid", *lines, *story(case)]))
    return judgement


_Draw = tuple[int, int, str, list[tuple[str, int]], str]
"""(gap in ms, thread, f, [(what, partition)], how it ends)."""
_Fault = tuple[int, str, int, int, float]
"""(at ms, name, partition, length in ms, draw)."""


def _ops(workload: Plain) -> st.SearchStrategy[_Draw]:
    # Only a transaction sends and polls in one op: outside of one, an op may read what it has just sent.
    main, kinds = ("txn", ["send", "poll"]) if workload == "txn" else ("send", ["send"])
    parts = st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 1)), min_size=1, max_size=3)
    ends = ["commit", "commit", "abort", "crash"] if workload == "txn" else ["commit"]
    return st.tuples(
        st.integers(0, MAX_GAP_MS),
        st.integers(0, 7),
        st.sampled_from([main, main, main, "poll", "assign", "crash"]),
        parts,
        st.sampled_from(ends),
    )


def _faults(names: Sequence[str]) -> st.SearchStrategy[_Fault]:
    return st.tuples(
        st.integers(0, MAX_OPS * MAX_GAP_MS // 2),
        st.sampled_from(list(names)),
        st.integers(0, 1),
        st.integers(50, 6000),
        st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    )


def _case(settings: dict[str, Any], shape: tuple[int, int, int], ops: list[_Draw], faults: list[_Fault]) -> Case:
    seed, clients, partitions = shape
    book: list[ScriptedOp] = []
    at_ms = 0
    for number, drawn in enumerate(ops):
        at_ms += drawn[0]
        book.append(_op(number, at_ms, clients, partitions, drawn))
    entries = tuple(
        FaultEntry(
            at_s=fault_at / 1000,
            faults=(name,),
            keys=(f"t0/{partition % partitions}",),
            draws=(draw,),
            length_s=length_ms / 1000,
        )
        for fault_at, name, partition, length_ms, draw in sorted(faults)
    )
    last_s = max([at_ms / 1000, *(entry.at_s for entry in entries)])
    fixed: dict[str, Any] = {
        "cluster": "simulated",
        "seed": seed,
        "time_limit_s": last_s + TAIL_S,
        "concurrency": clients,
        "rate": 0,
        "topics": 1,
        "partitions": partitions,
        "transaction_timeout_s": 5.0,
        "recovery_bound_s": 60.0,
        "scripted": True,
    }
    scenario = Scenario(**{**fixed, **settings})
    return Case(scenario=scenario, ops=tuple(book), faults=entries, probes=False, waits=False)


def _op(number: int, at_ms: int, clients: int, partitions: int, drawn: _Draw) -> ScriptedOp:
    _, thread, f, parts, end = drawn
    places = [(what, f"t0/{partition % partitions}") for what, partition in parts]
    keys = sorted({key for _, key in places})
    value: Any
    match f:
        case "assign":
            value = keys
        case "crash":
            value = None
        case "poll":
            value = [["poll"]]
        case _:
            value = [
                ["send", key, number * VALUES_PER_OP + position] if what == "send" else ["poll"]
                for position, (what, key) in enumerate(places)
            ]
    is_txn = f == "txn"
    return ScriptedOp(
        at_ns=at_ms * MS_NS,
        thread=thread % clients,
        f=f,
        value=value,
        abort=is_txn and end == "abort",
        crash=is_txn and end == "crash",
    )
