"""Pictures of a proof: the operations around a violation as bars, and a cycle as a graph.

Plain numbers and texts for the template, which draws them as SVG; they need no script (one lets a reader zoom).

The window is drawn in the order of events, not by the clock: two operations that overlap overlap in the picture, and
one that ended before another began lies wholly to its left, however short they were. Named operations are marked; of
the others those are drawn that overlap one of them, within a bound; what is left out is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.proof import CallRow

MAX_BARS = 40
"""Beyond it a reader sees a pattern and no operations; the timeline has them all."""
MAX_CYCLE = 16
STEPS, FRAME = (26, 84), 1000
"""Least and most width of one event; the frame that a few events should fill."""
LANE, LABEL, LEFT = 34, 34, 92
"""Height of one process, characters of a bar's text, room for the processes' names."""
POLLS = frozenset({"poll", "txn"})
BOUNDED = frozenset({"crash", "assign", "subscribe"})
"""Kinds that are over when they complete, whatever their outcome."""
CHARACTER = 6.6
NODE = (150, 40)
EDGE_WORDS = {
    "wr": "read it",
    "ww": "wrote right after it",
    "rw": "had not read it",
    "process": "same process, later",
    "realtime": "ended before it began",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A call in the window."""

    index: int
    x: float
    y: float
    width: float
    text: str
    text_x: float
    inside: bool
    outcome: str
    named: bool
    open: bool
    """Nobody knows when it took effect, if ever: it has no right end."""


@dataclass(frozen=True, slots=True)
class Window:
    """The bars, and the lanes that they stand in."""

    width: float
    height: float
    lanes: Sequence[tuple[float, str]]
    bars: Sequence[Bar]
    left_out: int


@dataclass(frozen=True, slots=True)
class Node:
    """An operation of a cycle."""

    index: int
    x: float
    y: float
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Edge:
    """An arrow of a cycle, as an SVG path, with its text."""

    path: str
    kind: str
    text: str
    x: float
    y: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle as a ring."""

    width: float
    height: float
    nodes: Sequence[Node]
    edges: Sequence[Edge]


def window(named: Sequence[CallRow], others: Iterable[CallRow]) -> Window | None:
    """Return the picture of the named calls and of those that overlap them; None where there is nothing to compare."""
    chosen = {row.index: row for row in named if isinstance(row.process, int)}
    if not chosen:
        return None
    beside = [row for row in others if row.index not in chosen and any(_overlap(row, one) for one in chosen.values())]
    beside.sort(key=lambda row: min(abs(row.index - index) for index in chosen))
    room = max(0, MAX_BARS - len(chosen))
    left_out = max(0, len(beside) - room)
    if len(chosen) + len(beside) < 2 or all(row.begun == row.index for row in chosen.values()):
        return None  # one bar alone shows nothing, nor do operations without an invocation
    rows = sorted([*chosen.values(), *beside[:room]], key=lambda row: (row.begun, row.index))
    events = sorted({row.begun for row in rows} | {row.index for row in rows if _ends(row)})
    place = {event: number for number, event in enumerate(events)}
    processes = sorted({row.process for row in rows}, key=lambda process: (len(str(process)), str(process)))
    step = min(STEPS[1], max(STEPS[0], FRAME // (len(events) + 1)))
    width = LEFT + step * (len(events) + 1)
    bars = []
    for row in rows:
        x = LEFT + step * place[row.begun]
        end = LEFT + step * place[row.index] if _ends(row) else width
        text = _text(row)
        wide = len(text) * CHARACTER + 12
        y = LANE * processes.index(row.process) + 6
        inside = wide <= end - x
        bars.append(
            Bar(row.index, x, y, max(end - x, 6), text, x + 6, inside, row.outcome, row.index in chosen, not _ends(row))
        )
    reach = max([width, *(bar.x + len(bar.text) * CHARACTER + 20 for bar in bars)])
    lanes = [(LANE * number, f"process {process}") for number, process in enumerate(processes)]
    return Window(reach, LANE * len(processes) + 4, lanes, _without_collisions(bars), left_out)


def _without_collisions(bars: Sequence[Bar]) -> list[Bar]:
    """Shorten the text of a bar that would run into the next bar of its process."""
    out = []
    for bar in bars:
        later = [other.x for other in bars if other.y == bar.y and other.x > bar.x]
        room = int((min(later) - bar.text_x - 6) / CHARACTER) if later and not bar.inside else len(bar.text)
        text = bar.text if room >= len(bar.text) else bar.text[: max(0, room - 1)] + "…" if room > 1 else ""
        out.append(
            Bar(bar.index, bar.x, bar.y, bar.width, text, bar.text_x, bar.inside, bar.outcome, bar.named, bar.open)
        )
    return out


def _overlap(row: CallRow, one: CallRow) -> bool:
    """Whether two calls were open at one time, as far as their events tell."""
    return row.begun < one.index and one.begun < row.index


def _ends(row: CallRow) -> bool:
    return row.outcome in {"ok", "fail"} or (row.f in BOUNDED and row.outcome != "pending")


def _text(row: CallRow) -> str:
    hot = [effect for effect in row.effects if effect.hot] or list(row.effects)
    if not hot:
        text = row.f
    elif row.f in POLLS and not hot[0].verb:
        text = f"{row.f}: nothing"
    else:
        effect = hot[0]
        said = [text for text, is_hot in effect.pieces if is_hot] or [text for text, _ in effect.pieces]
        verb = effect.verb or row.f
        text = " ".join(part for part in (verb, effect.key, "".join(said)) if part)
    return text if len(text) <= LABEL else text[: LABEL - 1] + "…"


def cycle(steps: object, rows: Mapping[int, CallRow]) -> Cycle | None:
    """Return the picture of a cycle given as steps {from, to, type, key?, value?}; None where it isn't one."""
    known = [step for step in steps if isinstance(step, Mapping)] if isinstance(steps, list) else []
    order = [step["from"] for step in known if isinstance(step.get("from"), int)]
    if not 1 < len(order) <= MAX_CYCLE or len(order) != len(set(order)) or len(order) != len(known):
        return None
    count = len(order)
    radius = max(110.0, count * 44.0)
    across, down = (radius * 1.7, radius * 0.72) if count > 2 else (250.0, 0.0)
    width, height = 2 * across + NODE[0] + 260, 2 * down + NODE[1] + (150 if count == 2 else 110)
    middle = (width / 2, height / 2)
    spots = {}
    for number, index in enumerate(order):
        angle = math.pi + 2 * math.pi * number / count
        spots[index] = (middle[0] + across * math.cos(angle), middle[1] + down * math.sin(angle))
    nodes = [_node(index, spots[index], rows.get(index)) for index in order]
    edges = [_edge(step, spots, middle, pair=count == 2) for step in known if step.get("to") in spots]
    return Cycle(round(width), round(height), nodes, edges) if len(edges) == count else None


def _node(index: int, spot: tuple[float, float], row: CallRow | None) -> Node:
    text = "" if row is None else _text(row)
    most = int(NODE[0] / CHARACTER) - 1
    title = f"op {index}" + ("" if row is None else f" · process {row.process}")
    return Node(
        index, round(spot[0], 1), round(spot[1], 1), title, text if len(text) <= most else text[: most - 1] + "…"
    )


def _edge(
    step: Mapping[str, Any], spots: Mapping[int, tuple[float, float]], middle: tuple[float, float], *, pair: bool
) -> Edge:
    (x1, y1), (x2, y2) = spots[step["from"]], spots[step["to"]]
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    out = ((y2 - y1) / length, -(x2 - x1) / length)
    bend = 56.0 if pair else 18.0
    control = ((x1 + x2) / 2 + out[0] * bend, (y1 + y2) / 2 + out[1] * bend)
    start, end = _rim((x1, y1), control), _rim((x2, y2), control)
    kind = str(step.get("type", ""))
    text = EDGE_WORDS.get(kind, kind)
    if "value" in step and "key" in step:
        text = f"{kind}: {text} ({step['value']!r} on {step['key']})"[:60]
    top = (
        (start[0] + 2 * control[0] + end[0]) / 4 + out[0] * 12,
        (start[1] + 2 * control[1] + end[1]) / 4 + out[1] * 12,
    )
    side = top[0] - middle[0]
    anchor = "middle" if pair or abs(side) < 40 else "start" if side > 0 else "end"
    path = f"M{start[0]:.1f},{start[1]:.1f} Q{control[0]:.1f},{control[1]:.1f} {end[0]:.1f},{end[1]:.1f}"
    return Edge(path, kind, text, round(top[0], 1), round(top[1] + 4, 1), anchor)


def _rim(node: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Return where a line from a node's middle leaves its box."""
    dx, dy = towards[0] - node[0], towards[1] - node[1]
    across = (NODE[0] / 2 + 4) / abs(dx) if dx else math.inf
    down = (NODE[1] / 2 + 4) / abs(dy) if dy else math.inf
    share = min(across, down, 1.0)
    return node[0] + dx * share, node[1] + dy * share
