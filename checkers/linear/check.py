"""The door to linearizability: a history of a model's workload in, findings out.

Each key is judged alone (linearizability composes). A monitor decides where values are unique; else the search, with
its budget of steps. A key that exhausts it makes the verdict `unknown`, never valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from checkers.exact import Exact
from checkers.findings import Findings
from checkers.linear.growing import grow_set, log
from checkers.linear.model import MODELS, Model
from checkers.linear.monitors import Finding, Witness, queue, register
from checkers.linear.nested import priority_queue, stack
from checkers.linear.search import Answer, Outcome, search
from checkers.linear.table import Table, build_table
from checkers.mapping import IN_TURN, Mapper
from checkers.options import CheckOptions
from checkers.source import Lines

Monitor = Callable[[Table, Model, CheckOptions], Finding]

MONITORS: Mapping[str, Monitor] = {
    "register": lambda table, model, _: register(table, model.initial),
    "queue": lambda table, _model, _options: queue(table),
    "log": lambda table, _, options: log(table, realtime=options.fresh),
    "set": lambda table, _model, _options: grow_set(table),
    "stack": lambda table, _model, _options: stack(table),
    "priority-queue": lambda table, _model, _options: priority_queue(table),
}
CLASS = "nonlinearizable"
OBSERVERS: Mapping[str, frozenset[str]] = {
    "register": frozenset({"read"}),
    "cas-register": frozenset({"read", "cas"}),
    "kv-append": frozenset({"get"}),
    "queue": frozenset({"dequeue"}),
    "set": frozenset({"read"}),
    "counter": frozenset({"read"}),
    "stack": frozenset({"pop"}),
    "priority-queue": frozenset({"delete-min"}),
}
"""The operations that can show something wrong, where not all can."""
PENDING_SHOWN = 8
VALUE_SHOWN = 80
"""Characters of a state or value in a sentence."""


def check_model(
    blocks: Iterable[Lines], name: str, options: CheckOptions, findings: Findings, mapper: Mapper | Model = IN_TURN
) -> Table:
    """Judge a history against a model of somebody's own, or else the one named by the workload; return its table."""
    model, mapper = (mapper, IN_TURN) if isinstance(mapper, Model) else (MODELS[options.workload], mapper)
    table = build_table(blocks, name, model)
    for kind, (count, line) in table.unknown.items():
        findings.reasons.append(
            f"{name}:{line}: the model {model.name} does not know the operation {kind!r} ({count} of them): not judged."
        )
    if not any(counts["ok"] for counts in table.stats.values()):
        findings.vacuous.append("No operation succeeded: nothing was observed that could be wrong.")
    elif (
        model.is_ours
        and model.name in OBSERVERS
        and not any(counts["ok"] for kind, counts in table.stats.items() if kind in OBSERVERS[model.name])
    ):
        kinds = " or ".join(sorted(OBSERVERS[model.name]))
        findings.notes.append(f"No {kinds} succeeded: nothing was observed that could be wrong.")
    if not table.has_invocations:
        findings.reasons.append("No completion has an invocation: without real time there is nothing to linearize.")
        return table
    if table.backwards is not None:
        findings.reasons.append(f"{table.backwards}: judged in the order of the file, which can't be trusted.")
    try:
        judge_table(table, model, options, findings, mapper)
    except Exception as error:  # noqa: BLE001  a door: a model may not take what a history holds, and says so its way
        findings.reasons.append(_refused(model, None, error))
    return table


def judge_table(
    table: Table, model: Model, options: CheckOptions, findings: Findings, mapper: Mapper = IN_TURN
) -> None:
    """Judge each key of a table: by its monitor if that can decide, else by search. Any mapper gives the same.

    All keys are searched a little first: one that can't be linearized is often found soon, and then decides.
    """
    open_keys = table.by_key()
    first = min(FIRST_BUDGET, options.budget)
    for budget in dict.fromkeys((first, options.budget)):
        makes = [
            partial(_Part, key, part, options, model, budget, monitored=budget == first)
            for key, part in open_keys.items()
        ]
        judged = mapper.map(_judge_key, makes)
        findings.take([found for found, _ in judged], lambda _: 0)
        open_keys = {key: open_keys[key] for key, (_, over) in zip(list(open_keys), judged, strict=True) if not over}
        if not open_keys or findings.has(CLASS):
            break
    findings.reasons.extend(given_up(key, budget) for key in open_keys)


FIRST_BUDGET = 1 << 18
"""Steps that each key gets before any gets the whole budget."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One key's operations, as they travel to who judges them."""

    key: Any
    table: Table
    options: CheckOptions
    model: Model
    budget: int
    monitored: bool
    """Its monitor is asked first."""


def _judge_key(part: _Part) -> tuple[Findings, bool]:
    """Return what was found of a key, and whether that is all: the budget sufficed."""
    findings = Findings()
    try:
        return findings, _judged(part, findings)
    except Exception as error:  # noqa: BLE001  a door, as in check_model
        findings.reasons.append(_refused(part.model, part.key, error))
        return findings, True


def _judged(part: _Part, findings: Findings) -> bool:
    model, monitor = part.model, MONITORS.get(part.model.name)
    found = monitor(part.table, model, part.options) if monitor and part.monitored else None
    if isinstance(found, Witness):
        details = {} if part.key is None else {"key": part.key}
        findings.add(CLASS, found.ops, found.why, model=model.name, **details)
    if found is not None:
        return True
    if model.name == "log" and not part.options.fresh:
        findings.reasons.append("Values of a log must be unique to be judged without --fresh.")
        return True
    outcome = search(model, part.table.operations(exact=model.exact), part.budget, compiled=not part.monitored)
    tell(model, part.key, outcome, findings)
    return outcome.answer is not Answer.UNDECIDED


def given_up(key: Any, budget: int) -> str:
    """Return the reason why a key is undecided."""
    return f"The search for a linearization{_on(key)} was given up after {budget} steps (--budget): undecided."


def _refused(model: Model, key: Any, error: Exception) -> str:
    return f"The model {model.name} can't judge these values{_on(key)} ({type(error).__name__}: {error}): undecided."


def _on(key: Any) -> str:
    return "" if key is None else f" on {key}"


def _shown(value: Any) -> str:
    """Return a state or value as JSON has it."""
    if isinstance(value, frozenset):
        value = sorted(value, key=repr)
    text = msgspec.json.encode(
        value, enc_hook=lambda part: part.value if isinstance(part, Exact) else repr(part)
    ).decode()
    return text if len(text) <= VALUE_SHOWN else text[: VALUE_SHOWN - 1] + "…"


def tell(model: Model, key: Any, outcome: Outcome, findings: Findings) -> None:
    """Report a search that found a key not linearizable: the smallest window."""
    if outcome.answer is not Answer.NOT or outcome.stuck is None:
        return
    stuck = outcome.stuck
    around = sorted(outcome.pending, key=lambda op: op.call)[:PENDING_SHOWN]
    states = " or ".join(_shown(state) for state in outcome.states) or "unknown"
    asked = stuck.f if stuck.input is None else f"{stuck.f} {_shown(stuck.input)}"
    findings.add(
        CLASS,
        [stuck.index, *(op.index for op in around)],
        f"Everything that returned before op {stuck.index} ({asked} → {_shown(stuck.output)}){_on(key)} can be put in "
        f"order, and leaves the state {states}; but from there no order of op {stuck.index} and the "
        f"{len(outcome.pending)} operations open at its return allows what it returned.",
        model=model.name,
        window=[min([stuck.call, *(op.call for op in around)]), stuck.ret],
    )
