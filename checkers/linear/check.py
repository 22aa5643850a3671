"""The door to linearizability: a history of a model's workload in, findings out.

Each key is judged alone (linearizability composes). A monitor decides where values are unique; else the search, with
its budget of steps. A key that exhausts it makes the verdict `unknown`, never valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from checkers.findings import Findings
from checkers.interning import Names
from checkers.linear.growing import grow_set, log
from checkers.linear.model import MODELS, Model
from checkers.linear.monitors import Finding, Witness, queue, register
from checkers.linear.nested import priority_queue, stack
from checkers.linear.search import Answer, Outcome, search_keys
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
    if not table.has_invocations:
        findings.reasons.append("No completion has an invocation: without real time there is nothing to linearize.")
        return table
    if table.backwards is not None:
        findings.notes.append(f"{table.backwards} (the order of the file decides)")
    try:
        judge_table(table, model, options, findings, mapper)
    except Exception as error:  # noqa: BLE001  a door: a model may not take what a history holds, and says so its way
        findings.reasons.append(_refused(model, error))
    return table


def judge_table(
    table: Table, model: Model, options: CheckOptions, findings: Findings, mapper: Mapper = IN_TURN
) -> None:
    """Judge each key of a table: by its monitor if that can decide, else by search."""
    parts = table.by_key()
    if mapper.width > 1 and len(parts) > 1:
        makes = [partial(_Part, key, part, options) for key, part in parts.items()]
        findings.take(mapper.map(_judge_key, makes), lambda _: 0)
        return
    monitor = MONITORS.get(model.name)
    left: dict[Any, Table] = {}
    for key, part in parts.items():
        found = monitor(part, model, options) if monitor else None
        if isinstance(found, Witness):
            details = {} if key is None else {"key": key}
            findings.add(CLASS, found.ops, found.why, model=model.name, **details)
        elif found is None:
            left[key] = part
    if model.name == "log" and not options.fresh and left:
        findings.reasons.append("Values of a log must be unique to be judged without --fresh.")
        return
    if left and not findings.has(CLASS):
        key, outcome = search_keys(model, {key: part.operations() for key, part in left.items()}, options.budget)
        tell(model, key, outcome, options.budget, findings)


@dataclass(frozen=True, slots=True)
class _Part:
    """One key's operations, as they travel to who judges them."""

    key: Any
    table: Table
    options: CheckOptions


def _judge_key(part: _Part) -> Findings:
    findings, model = Findings(), MODELS[part.options.workload]
    try:
        judge_table(replace(part.table, keys=Names.of([part.key])), model, part.options, findings)
    except Exception as error:  # noqa: BLE001  a door, as in check_model
        findings.reasons.append(_refused(model, error))
    return findings


def _refused(model: Model, error: Exception) -> str:
    return f"The model {model.name} can't judge these values ({type(error).__name__}: {error}): undecided."


def _shown(value: Any) -> str:
    """Return a state or value as JSON has it."""
    if isinstance(value, frozenset):
        value = sorted(value, key=repr)
    text = msgspec.json.encode(value, enc_hook=repr).decode()
    return text if len(text) <= VALUE_SHOWN else text[: VALUE_SHOWN - 1] + "…"


def tell(model: Model, key: Any, outcome: Outcome, budget: int, findings: Findings) -> None:
    """Report what a search found about a key: the smallest window, or that it was given up."""
    where = "" if key is None else f" on {key}"
    if outcome.answer is Answer.UNDECIDED:
        findings.reasons.append(
            f"The search for a linearization{where} was given up after {budget} steps (--budget): undecided."
        )
    if outcome.answer is not Answer.NOT or outcome.stuck is None:
        return
    stuck = outcome.stuck
    around = sorted(outcome.pending, key=lambda op: op.call)[:PENDING_SHOWN]
    states = " or ".join(_shown(state) for state in outcome.states) or "unknown"
    asked = stuck.f if stuck.input is None else f"{stuck.f} {_shown(stuck.input)}"
    findings.add(
        CLASS,
        [stuck.index, *(op.index for op in around)],
        f"Everything that returned before op {stuck.index} ({asked} → {_shown(stuck.output)}){where} can be put in "
        f"order, and leaves the state {states}; but from there no order of op {stuck.index} and the "
        f"{len(outcome.pending)} operations open at its return allows what it returned.",
        model=model.name,
        window=[min([stuck.call, *(op.call for op in around)]), stuck.ret],
    )
