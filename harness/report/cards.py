"""The anomaly cards: the operations that prove each class, quoted, marked and linked, within a bound.

A card's example has the proof in words (each "op 12" in it is a link), the calls as rows, the log around the places
that it is about, and what the timeline marks when a reader jumps there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.report import picture, words
from harness.report.judged import Judged
from harness.report.order import Locator, Place, marks_of, places_of
from harness.report.proof import CallRow, Evidence, call_row
from harness.report.times import seconds, took

OP_IN_WORDS = re.compile(r"(\bop \d{1,12}\b)")
MAX_EXAMPLES = 8
"""Examples quoted per class; verdict.json keeps more."""
MAX_QUOTED_CHARS = 600_000
"""Text of quoted operations in all; past it, a class gets its first example only, in brief: long values fill pages."""
BRIEF_CALLS = 4
"""Calls that the one example of a class past that bound shows."""
ROW_CHARS = 600
"""What the markup of a row weighs beside its text."""
MAX_NAMED_CALLS = 12
"""Operations of one example that the table shows and the timeline marks."""


def examples_of(anomaly: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the examples that the report quotes."""
    listed = anomaly.get("examples")
    return [one for one in listed if isinstance(one, Mapping)][:MAX_EXAMPLES] if isinstance(listed, list) else []


def named_ops(example: Mapping[str, Any]) -> list[int]:
    """Return the history indexes that an example names."""
    listed = example.get("ops")
    return [i for i in listed if isinstance(i, int)][:MAX_NAMED_CALLS] if isinstance(listed, list) else []


def named(judged: Judged) -> set[int]:
    """Return the history indexes that the quoted examples name."""
    examples = [one for anomaly in judged.anomalies.values() for one in examples_of(anomaly)]
    return {index for one in examples for index in named_ops(one)}


def places(judged: Judged, locator: Locator) -> list[Place]:
    """Return the places that the quoted examples are about."""
    examples = [one for anomaly in judged.anomalies.values() for one in examples_of(anomaly)]
    return list(dict.fromkeys(place for one in examples for place in places_of(one, locator)))


def cards(judged: Judged, evidence: Evidence, locator: Locator) -> list[dict[str, Any]]:
    """Return a card for each class that was found, root cause first, what the configuration permits last."""
    anomalies = judged.anomalies
    ordered = sorted(anomalies, key=lambda name: words.severity(name, anomalies[name].get("permitted-by")))
    told, quoted = list[dict[str, Any]](), 0
    for name in ordered:
        entry, meaning = anomalies[name], words.meaning(name)
        examples: list[dict[str, Any]] = []
        for one in examples_of(entry):
            if examples and quoted > MAX_QUOTED_CHARS:
                break
            examples.append(_example(name, one, evidence, locator, brief=quoted > MAX_QUOTED_CHARS))
            quoted += _text_size(examples[-1])
        told.append(
            {
                "name": name,
                "title": meaning.title,
                "guarantee": meaning.guarantee,
                "count": max(int(entry.get("count", 1)), len(examples)),
                "permitted_by": entry.get("permitted-by"),
                "examples": examples,
            }
        )
    return told


def _example(
    name: str, example: Mapping[str, Any], evidence: Evidence, locator: Locator, *, brief: bool
) -> dict[str, Any]:
    """Return an example; a brief one has its first calls, and neither log nor pictures."""
    about = [] if brief else places_of(example, locator)
    hot = marks_of(example, locator)
    known = [evidence.calls[index] for index in named_ops(example) if index in evidence.calls]
    known = known[:BRIEF_CALLS] if brief else known
    rows = {row.index: row for row in (call_row(invocation, completion, hot) for invocation, completion in known)}
    calls = sorted(rows.values(), key=lambda row: row.invoked)
    clients = [row.index for row in calls if isinstance(row.process, int)]
    other = list(evidence.valued.values())
    return {
        "window": None if brief else picture.window(calls, other),
        "cycle": None if brief else picture.cycle(example.get("steps"), rows),
        "why": _linked(str(example.get("why", "")), set(clients)),
        "calls": [_call(row) for row in calls],
        "orders": [{"key": place.key, "rows": evidence.orders.get(place, ())} for place in about],
        "places": [f"{key}@{offset}" for key, offset in sorted(hot)],
        "jump": ",".join(map(str, clients)),
        "label": words.meaning(name).title,
    }


def _text_size(example: Mapping[str, Any]) -> int:
    said = sum(len(text) for call in example["calls"] for effect in call["effects"] for text, _ in effect.pieces)
    seen = sum(len(cell.text) for order in example["orders"] for row in order["rows"] for cell in row.cells)
    return said + seen + ROW_CHARS * (len(example["calls"]) + sum(len(order["rows"]) for order in example["orders"]))


def _linked(sentence: str, indexes: set[int]) -> list[tuple[str, int | None]]:
    """Split a proof at its "op 12" into (text, index of the operation or None), so that the page can link them."""
    parts: list[tuple[str, int | None]] = []
    for place, piece in enumerate(OP_IN_WORDS.split(sentence)):
        if place % 2 == 0:
            parts.append((piece, None))
        else:
            number = int(piece.removeprefix("op "))
            parts.append((piece, number if number in indexes else None))
    return [part for part in parts if part[0]]


def _call(row: CallRow) -> dict[str, Any]:
    done = row.completed
    return {
        "index": row.index,
        "process": row.process,
        "f": "" if {effect.verb for effect in row.effects} == {row.f} else row.f,
        "outcome": row.outcome,
        "when": f"{seconds(row.invoked)} to {seconds(done)}" if done is not None else f"from {seconds(row.invoked)}",
        "took": took(done - row.invoked) if done is not None else "no answer",
        "effects": row.effects,
        "left_out": row.left_out,
        "error": row.error,
    }
