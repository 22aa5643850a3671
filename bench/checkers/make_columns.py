"""Make the columns of a history many times as long: a converted one, again and again, one after the other.

    python -m bench.checkers.make_columns COLUMNS TIMES OUT

Each repetition comes later in time, by new processes, with new values at later offsets of the same keys: the whole is
valid if the part is. The folder holds tables only, no lines: enough for `harness check`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from checkers import columnar
from checkers.columns import Ints
from checkers.log_view import LogView

ISOLATION = "read_committed"


def tiled(column: Ints, times: int, step: int, *, none: int | None = None) -> Ints:
    """Return the column again and again, each time raised by `step`; `none` stays as it is."""
    out = np.tile(column, times)
    shift = np.repeat(np.arange(times) * step, len(column))
    return out + (shift if none is None else np.where(out == none, 0, shift))


def repeated(view: LogView, times: int) -> LogView:
    """Return the history `times` times in a row."""
    calls, sends, records = view.calls, view.sends, view.records
    rows, count = len(view.time), calls.size
    offsets = 1 + max(int(sends.offset.max()), int(records.offset.max()))
    values = 1 + max(int(sends.value.max()), int(records.value.max()))
    moved: dict[str, Any] = {
        "process": tiled(calls.process, times, 1 + int(calls.process.max())),
        "invoke_row": tiled(calls.invoke_row, times, rows, none=-1),
        "done_row": tiled(calls.done_row, times, rows, none=-1),
        "line": tiled(calls.line, times, rows),
    }
    same = {f.name: np.tile(getattr(calls, f.name), times) for f in fields(calls) if f.name not in moved}

    def micro(table: Any) -> dict[str, Ints]:
        return {
            "call": tiled(table.call, times, count),
            "key": np.tile(table.key, times),
            "offset": tiled(table.offset, times, offsets, none=-1),
            "value": tiled(table.value, times, values),
            "mop": np.tile(table.mop, times),
        }

    return replace(
        view,
        index=tiled(view.index, times, rows),
        time=tiled(view.time, times, 1 + int(view.time.max())),
        calls=type(calls)(**moved, **same),
        sends=type(sends)(**micro(sends)),
        records=type(records)(**micro(records), extras={}),
    )


def write(source: Path, times: int, target: Path) -> None:
    """Write the repeated columns of a folder."""
    view = columnar.load(source, ISOLATION)
    assert view is not None, f"{source} has no tables for {ISOLATION}"
    assert not view.records.extras, "records with extras are not repeated"
    with columnar.making(str(target)):
        columnar.save(str(target), repeated(view, times), ISOLATION)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("columns", type=Path)
    parser.add_argument("times", type=int)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(arguments)
    write(options.columns, options.times, options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
