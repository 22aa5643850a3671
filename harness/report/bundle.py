"""The calls of a run as one compressed block of columns for the page.

Layout, all little-endian, column after column, `count` entries each unless said otherwise:
  start     u32 x 2 planes: microseconds since the previous call's start (the first: since 0), low word, then high word
  length    u32: microseconds until the completion
  process, row-major names: u32 position in `processes`; kind u8; outcome u8; error u8 (0: none)
  invoked   u32: invocation index minus the previous call's (zigzag: starts are sorted, indexes nearly so)
  completed u32: completion index minus invocation index; 0: none
  keys      u16: how many keys; then u16 a key, `key_total` entries
Wide columns are stored byte plane by byte plane, which lets deflate see runs. The page undoes this in `data.js`.
Times are microseconds here: a screen shows no less, and it halves the block.

Beyond `MAX_CALLS` the ok calls are thinned evenly; every fail, info, pending and every call that an anomaly names
stays, and the page says so. So the page stays below 5 MB for a run of any length.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.report.columns import NO_COMPLETION, OUTCOMES, Calls, Ints

MAX_CALLS = 200_000
"""About 11 bytes a call after compression and base64: 2.2 MB."""
WORD = 2**32
LONGEST_US = WORD - 1


@dataclass(frozen=True, slots=True)
class Bundle:
    """The page's data: `meta` for JSON, `block` in base64."""

    meta: dict[str, Any]
    block: str


def bundle(calls: Calls, named: set[int]) -> Bundle:
    """Return the calls as a block; named: history indexes of operations that must not be thinned out."""
    shown = _thin(calls, named)
    start_us = shown.start // 1_000
    step = np.diff(start_us, prepend=0)
    invoked = np.diff(shown.invocation, prepend=0)
    completed = np.where(shown.completion == NO_COMPLETION, 0, shown.completion - shown.invocation)
    columns = [
        _planes(step % WORD, 4),
        _planes(step // WORD, 4),
        _planes(np.minimum((shown.end - shown.start) // 1_000, LONGEST_US), 4),
        _planes(shown.process, 4),
        _planes(shown.kind, 1),
        _planes(shown.outcome, 1),
        _planes(shown.error, 1),
        _planes(np.where(invoked < 0, -2 * invoked - 1, 2 * invoked), 4),
        _planes(completed, 4),
        _planes(shown.key_count, 2),
        _planes(shown.key, 2),
    ]
    meta = {
        "count": len(shown),
        "recorded": len(calls),
        "keyTotal": len(shown.key),
        "processes": list(shown.processes),
        "rows": list(shown.rows),
        "kinds": list(shown.kinds),
        "outcomes": list(OUTCOMES),
        "errors": list(shown.errors),
        "keys": list(shown.keys),
    }
    return Bundle(meta, base64.b64encode(zlib.compress(b"".join(columns), 9)).decode("ascii"))


def _planes(column: npt.NDArray[Any], size_bytes: int) -> bytes:
    """Return the column's lowest bytes, then the next ones, and so on."""
    raw = np.ascontiguousarray(column.astype(f"<u{size_bytes}")).view(np.uint8)
    return raw.reshape(-1, size_bytes).T.tobytes()


def _thin(calls: Calls, named: set[int]) -> Calls:
    if len(calls) <= MAX_CALLS:
        return calls
    keep: npt.NDArray[np.bool_] = calls.outcome != OUTCOMES.index("ok")
    names: Ints = np.fromiter(named, dtype=np.int64, count=len(named))
    keep |= np.isin(calls.invocation, names) | np.isin(calls.completion, names)
    room = MAX_CALLS - int(keep.sum())
    if room <= 0:
        # Hardly anything succeeded: thin evenly what is not named.
        others = np.flatnonzero(~(np.isin(calls.invocation, names) | np.isin(calls.completion, names)))
        keep[:] = True
        keep[others] = False
        keep[others[:: max(1, -(-len(others) // MAX_CALLS))]] = True
        return calls.select(keep)
    others = np.flatnonzero(~keep)
    keep[others[np.linspace(0, len(others) - 1, num=min(room, len(others))).astype(np.int64)]] = True
    return calls.select(keep)
