"""Make linearizable histories of models: all processes are always busy, effects come at random moments."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from checkers.interning import Names, Values
from checkers.linear.model import NEVER
from checkers.linear.table import Table

KINDS = ("register", "queue", "log", "set")
READ_EVERY = 50_000
"""Logs and sets: a read shows all, so reads are rare (a read of 100,000 elements is 100,000 numbers long)."""


def calls(model: str, operations: int, processes: int, seed: int) -> Iterator[tuple[int, bool, str, Any, Any]]:
    """Yield events (process, is completion, f, input, output)."""
    rng = random.Random(seed)
    waiting: dict[int, list[Any]] = {}
    state: Any = None
    queue: list[int] = []
    taken = begun = done = 0
    while done < operations:
        process = rng.randrange(processes)
        if process not in waiting:
            if begun == operations:
                continue
            begun += 1
            f, given = _asked(model, rng, begun)
            waiting[process] = [f, given, None, False]
            yield process, False, f, given, None
            continue
        slot = waiting[process]
        if not slot[3]:
            slot[3] = True
            f, given = slot[0], slot[1]
            if f == "write":
                state = given
            elif f == "cas":
                slot[2] = state == given[0]
                state = given[1] if slot[2] else state
            elif f in {"enqueue", "append", "add"}:
                queue.append(given)
                slot[2] = len(queue) - 1
            elif f == "dequeue":
                slot[2] = queue[taken] if taken < len(queue) else None
                taken += slot[2] is not None
            else:
                slot[2] = state if model.endswith("register") else list(queue)
        f, given, out, _ = waiting.pop(process)
        done += 1
        yield process, True, f, given, out


def _asked(model: str, rng: random.Random, number: int) -> tuple[str, Any]:
    if model == "register":
        return ("write", number) if rng.random() < 0.5 else ("read", None)
    if model == "cas-register":
        draw = rng.random()
        if draw < 0.4:
            return "read", None
        return ("write", rng.randrange(5)) if draw < 0.7 else ("cas", [rng.randrange(5), rng.randrange(5)])
    if model == "queue":
        return ("enqueue", number) if rng.random() < 0.5 else ("dequeue", None)
    return ("read", None) if number % READ_EVERY == 0 else ("append" if model == "log" else "add", number)


def write(path: Path, model: str, operations: int, processes: int, seed: int) -> None:
    """Write a history as JSONL."""
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for index, (process, completed, f, given, out) in enumerate(calls(model, operations, processes, seed)):
            value = given
            if completed and f in {"read", "dequeue"}:
                value = out
            type_ = "invoke" if not completed else "fail" if out is False else "ok"
            op = {"index": index, "time": index, "process": process, "type": type_, "f": f, "value": value}
            file.write(encode(op) + b"\n")


def write_operations(path: Path, model: str, operations: int, processes: int, seed: int) -> None:
    """Write the same history in the published form: a header, then one operation a line, as a rival reads it."""
    encode = msgspec.json.Encoder().encode
    begun: dict[int, int] = {}
    with path.open("wb") as file:
        head = {"history": path.stem, "model": model, "initial": None, "valid": True, "fail": "cas-fail-observed"}
        file.write(encode(head) + b"\n")
        number = 0
        for event, (process, completed, f, given, out) in enumerate(calls(model, operations, processes, seed)):
            if not completed:
                begun[process] = event
                continue
            shown = out if f in {"read", "dequeue"} else given
            span = {"call": begun.pop(process), "ret": event, "st": "fail" if out is False else "ok"}
            file.write(encode({"i": number, "p": process, "f": f, "in": given, "out": shown, **span}) + b"\n")
            number += 1


def table(model: str, operations: int, processes: int, seed: int) -> Table:
    """Return the columns that loading such a history would give, without the file."""
    names, keys, values = Names(), Names(), Values()
    keys.code(None)
    begun: dict[int, int] = {}
    rows = []
    for event, (process, completed, f, given, out) in enumerate(calls(model, operations, processes, seed)):
        if not completed:
            begun[process] = event
            continue
        output = values.code(out if f in {"read", "dequeue"} else None)
        rows.append((names.code(f), values.code(given), output, begun.pop(process), event, process))
    columns = np.array(rows, np.int64)
    kind, given_, output_, call, ret, process_ = (np.ascontiguousarray(columns[:, n]) for n in range(6))
    assert (ret < NEVER).all()
    return Table(
        f=kind,
        key=np.zeros(len(rows), np.int64),
        input=given_,
        output=output_,
        call=call,
        ret=ret,
        index=ret,
        process=process_,
        kinds=names,
        keys=keys,
        values=values,
        rows=2 * operations,
        has_invocations=True,
        backwards=None,
    )
