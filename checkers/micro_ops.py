"""What micro-operations look like, and what is none: the shapes of HISTORY.md that more than a line is needed to tell.

An invocation's `["send", key, v]` names a value, whatever it is; of a completion a list is `[offset, v]`. A run of ours
may say more before it sends (`[null, v, {...}]`). JSON's true, 1 and 1.0 are three values, and only one is an integer.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from checkers.columns import Ints
from checkers.interning import FOREIGN, NO_OFFSET
from harness.history import OK

RECORD_SIZE = 2
"""[offset, value]; a third element holds what else was seen."""


def demand_list(what: str, value: Any) -> None:
    """Raise TypeError unless a value is a list, or null."""
    if value is not None and type(value) is not list:
        raise TypeError(f"a list of {what} belongs here, not {value!r}")


def has_more(value: Any) -> bool:
    """Return whether what an invocation sends is [null, value, {...}]; any other list is a value itself."""
    return type(value) is list and len(value) == RECORD_SIZE + 1 and value[0] is None and type(value[2]) is dict


def is_copy(micro: list[Any]) -> bool:
    """Return whether a send of an invocation copies what its operation polls, if there is as much."""
    return has_more(micro[2]) and "copy" in micro[2][2]


def intended(micro: list[Any]) -> tuple[Any, Any]:
    """Return key and value of an invocation's send, to be compared."""
    return micro[1], _hashable(micro[2][1] if has_more(micro[2]) else micro[2])


def sent(micro: list[Any]) -> tuple[Any, Any]:
    """Return key and value of a completion's send, with or without an offset."""
    return micro[1], _hashable(micro[2][1] if type(micro[2]) is list else micro[2])


def _hashable(value: Any) -> Any:
    return value if type(value) in {int, str} else (type(value), msgspec.json.encode(value, order="deterministic"))


def said_beside(record: list[Any]) -> dict[str, Any] | None:
    """Return the third element of [offset, value, {...}], None where there is none or it says nothing."""
    if len(record) == RECORD_SIZE:
        return None
    if len(record) != RECORD_SIZE + 1 or not (record[2] is None or type(record[2]) is dict):
        raise ValueError(f"a record is [offset, value] or [offset, value, {{...}}], not {record!r}")
    return record[2] or None


def offset_of(value: Any) -> int:
    """Return an offset, NO_OFFSET for null (and -1, which clients have where they know none); else TypeError."""
    if value is None:
        return NO_OFFSET
    if type(value) is not int or not NO_OFFSET <= value < FOREIGN:
        raise TypeError(f"an offset is an integer of 0 or more, or null, not {value!r}")
    return value


def flatten(
    records: list[Any], flat: array[int], code: Callable[[Any], int], extras: dict[int, dict[str, Any]], row: int
) -> None:
    """Append offset and code of each record, and note what records say beside; `row` is that of the first one.

    Raises what a malformed record raises; what comes before it has been appended.
    """
    append = flat.append
    for record in records:
        offset, value = record[0], record[1]
        said = record[2] if len(record) == RECORD_SIZE + 1 and type(record[2]) is dict else said_beside(record)
        if type(offset) is not int or type(value) is not int or offset < 0 or max(offset, value, -value) >= FOREIGN:
            offset, value = offset_of(offset), code(value)
        append(offset)  # as they are, nearly always
        append(value)
        if said:
            extras[row] = said
        row += 1


def deletion(value: Any) -> dict[str, Any]:
    """Return what a deletion of records, [key, offset], asks for: below which offset they may go."""
    key, offset = value
    if type(offset) is not int or not 0 <= offset < FOREIGN:
        raise TypeError(f"records are deleted below an offset, not below {offset!r}")
    return {"key": key, "below": offset}


def are_plain(flat: Ints, records: list[list[Any]]) -> bool:
    """Return whether [offset, value] records that could be made numbers are what they say: true is no 1."""
    low = int(flat.min())
    if low < NO_OFFSET and (int(flat[0::2].min()) < NO_OFFSET or int(flat[1::2].min()) <= -FOREIGN):
        return False
    if int(flat.max()) >= FOREIGN:
        return False
    if low > 1:
        return True
    doubtful = np.flatnonzero((flat == 0) | (flat == 1))
    return all(type(records[place // RECORD_SIZE][place % RECORD_SIZE]) is int for place in doubtful.tolist())


def names_records(completion: Any) -> bool:
    """Return whether the completion of a scan names what it read; one that failed may name a batch that it met."""
    if completion is None or completion.type == OK:
        return completion is not None
    return type(completion.value) is list and bool(completion.value) and type(completion.value[0]) is list
