"""What a simulated cluster itself saw broken while the run went: point events `invariant` of the harness.

The simulator checks the broker's state after every step (`broker.sim.invariants`). Other clusters have no such events,
and nothing is said of them then: what a client can see is the other checkers' matter.
"""

from __future__ import annotations

from checkers.case import Case
from checkers.findings import Findings
from harness.history import HARNESS

NAME = "broken-invariant"


def invariants(case: Case, findings: Findings) -> None:
    """Report every event."""
    for row, _, line in case.view.marks:
        if line.process != HARNESS or line.f != "invariant" or not isinstance(line.value, dict):
            continue
        value = line.value
        where = f" for {value['key']}" if value.get("key") else ""
        findings.add(
            NAME,
            [int(case.view.index[row])],
            f"{value.get('name')} does not hold on {value.get('node')}{where} at {value.get('time_ns', 0) / 1e9:.6f} s "
            f"(step {value.get('step')}): {value.get('detail')}.",
            invariant=value.get("name"),
            key=value.get("key"),
            node=value.get("node"),
        )
