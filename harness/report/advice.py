"""What to do about a run that is vacuous: what it lacked, with the run's own figures, and the option that gives it.

The reasons are sentences of `checkers.availability`; each is known here by its words, and the tests hold
the two together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from harness.scenario import Scenario
from harness.swarm import SIMULATED
from nemesis.plan import JITTER

_STALLED: Final = re.compile(r"No (\S+) succeeded inside (?:the only window|any of the \d+ windows) of (\S+)\.")
_MISSING: Final = re.compile(r"was asked for but never injected|none was ever injected")
_MISSED: Final = re.compile(r"The fault (\S+) never bit")
_IDLE: Final = re.compile(r"succeeded in the whole run|No client operation|No record was")
_RESTING: Final = re.compile(r"never met the program at work|The program made no output")
SPARE: Final = 1.5
"""What is proposed, as a multiple of what would just have done."""
NS: Final = 1_000_000_000
Faults = Sequence[Mapping[str, Any]]


def advice(reasons: Sequence[str], faults: Faults, scenario: Scenario) -> str:
    """Return what to do about the reasons, a clause for each kind of them; empty where there is nothing to say.

    faults: as `checkers.judgement.Judgement` has them.
    """
    told = " ".join(reasons)
    found: list[str] = []
    if _IDLE.search(told):
        calmer = ", or --nemesis-interval for longer calm between faults" if faults else ""
        found.append(f"clients got nothing done: raise --time-limit{calmer}; their errors are in history.jsonl")
    if _MISSING.search(told):
        had = {0: "no fault had its turn", 1: "one fault had its turn"}.get(
            len(faults), f"{len(faults)} faults had theirs"
        )
        else_ = "name fewer faults" if faults else "lower --nemesis-interval"
        found.append(
            f"the {scenario.time_limit_s:g} s of the main phase were over first ({had}): raise --time-limit, or {else_}"
        )
    if missed := _MISSED.findall(told):
        found.append(
            f"each injection of {_list(missed)} missed (why is noted): a longer --time-limit gives it more tries"
        )
    if _RESTING.search(told):
        found.append(
            "faults came faster than the program begins: raise --nemesis-interval (now "
            f"{scenario.fault_interval_s:g}) beyond what it takes from its start to its first output, and --time-limit"
        )
    stalled: list[tuple[str, str]] = _STALLED.findall(told)
    cut = {name: longest_s for _, name in stalled if (longest_s := _longest_s(name, faults)) < _least_s(scenario)}
    if cut:
        found.append(
            f"the main phase was over {max(cut.values()):.1f} s after {_list(cut)} had struck: raise --time-limit, or "
            "lower --nemesis-interval"
        )
    if short := [(kind, name) for kind, name in stalled if name not in cut]:
        found.append(_too_short(short, faults, scenario))
    return "; ".join(found)


def _least_s(scenario: Scenario) -> float:
    return JITTER[0] * scenario.fault_length_s


def _longest_s(name: str, faults: Faults) -> float:
    """Return how long the fault's longest window was; infinite where none has an end."""
    spans = [
        (fault["end-ns"] - fault["begin-ns"]) / NS
        for fault in faults
        if fault["name"] == name and fault["bit"] and fault["end-ns"] is not None
    ]
    return max(spans, default=math.inf)


def _too_short(stalled: Sequence[tuple[str, str]], faults: Faults, scenario: Scenario) -> str:
    """Say how long windows would have had to be for the first success of what succeeded in none of them."""
    needed = [need for kind, name in stalled if (need := _needed_s(kind, name, faults)) is not None]
    names = _list(dict.fromkeys(name for _, name in stalled))
    kinds = _list(dict.fromkeys(kind for kind, _ in stalled))
    if not needed:
        return f"no {kinds} came after {names} either: raise --nemesis-length and --time-limit"
    proposed = max(math.ceil(SPARE * max(needed)), math.ceil(scenario.fault_length_s) + 1)
    ease = "" if scenario.cluster == SIMULATED else ", or give the machine less to do"
    return (
        f"{names} healed too soon: the first {kinds} came up to {max(needed):.1f} s after the injection; "
        f"try --nemesis-length {proposed} (now {scenario.fault_length_s:g}){ease}"
    )


def _needed_s(kind: str, name: str, faults: Faults) -> float | None:
    """Return after which time the first operation of the kind succeeded, of the fault's quickest injection."""
    times: list[float] = []
    for fault in faults:
        after_s = fault["first-ok-after-s"].get(kind)
        if fault["name"] == name and fault["bit"] and fault["end-ns"] is not None and after_s is not None:
            times.append((fault["end-ns"] - fault["begin-ns"]) / NS + after_s)
    return min(times, default=None)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
