"""A history's columns on disk: a folder of Parquet files, one a table, for judging again without parsing.

`save` writes what `log_view.build` made beside the lines themselves (`checkers.archive`), `load` brings it back: a
check of the folder gives the verdict of the file it was made from. Of other workloads than the queue the folder holds
only the lines; so it does, in effect, where a check asks for another default isolation than the tables were made with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from checkers.columns import Ints
from checkers.interning import FOREIGN, Keys, Names, Values
from checkers.log_view import Assigns, Calls, GroupOffsets, LogView, MicroTimes, Records, Sends
from checkers.pairing import Line, Mark
from harness.history import HistoryError

SUFFIX = ".parquet"
VERSION = 2
_META = b"kafka-harness"
_TABLES: dict[str, type] = {
    "calls": Calls,
    "sends": Sends,
    "records": Records,
    "micro_times": MicroTimes,
    "group_offsets": GroupOffsets,
}
_TYPES = (np.dtype(np.int64), np.dtype(np.bool_))
_PLAIN = ("index", "time", "rebalanced_call", "rebalanced_key")


class Meta(msgspec.Struct, kw_only=True):
    """What is no column."""

    version: int = VERSION
    isolation: str
    """The default with which the tables were made; "" where there are no tables."""
    name: str = ""
    keys: list[Any] = []
    kinds: list[Any] = []
    groups: list[Any] = []
    txn_ids: list[Any] = []
    values: list[Any] = []
    extras: list[tuple[int, Any]] = []
    send_extras: list[tuple[int, Any]] = []
    call_extras: list[tuple[int, dict[str, Any]]] = []
    has_invocations: bool = True
    first_index: int = 0
    backwards: str | None = None
    unknown_kinds: dict[str, tuple[int, int]] = {}
    marks: list[tuple[int, int, dict[str, Any]]] = []


def is_columnar(history: object) -> bool:
    """Return whether a history is a folder of columns."""
    return isinstance(history, PathLike | str) and Path(history).suffix == SUFFIX and Path(history).is_dir()


@contextmanager
def making(folder: str) -> Iterator[None]:
    """Create the folder, which must not exist; remove it again if the body fails.

    Raises HistoryError where it exists or can't be written.
    """
    from pyarrow import fs  # noqa: PLC0415  heavy, and only this form needs it

    local = fs.LocalFileSystem()
    if local.get_file_info(folder).type != fs.FileType.NotFound:
        raise HistoryError(f"{folder}: exists already")
    done = False
    try:
        local.create_dir(folder)
        yield
        done = True
    except OSError as error:
        raise HistoryError(f"{folder}: can't be written: {error}") from error
    finally:
        if not done and local.get_file_info(folder).type == fs.FileType.Directory:
            local.delete_dir(folder)


def save(folder: str, view: LogView | None, isolation: str) -> None:
    """Write the columns into a folder; without a view only a note that there are none."""
    if view is None:
        _write(folder, "meta", {}, msgspec.json.encode(Meta(isolation="")))
        return
    for name, cls in _TABLES.items():
        table = getattr(view, name)
        _write(folder, name, {f.name: getattr(table, f.name) for f in fields(cls) if f.name != "extras"})
    assigns = view.assigns
    _write(folder, "assigns", {"call": assigns.call, "seeks": assigns.seeks})
    _write(folder, "assign_members", {"call": assigns.member_call, "key": assigns.member_key})
    for name in _PLAIN:
        _write(folder, name, {name: getattr(view, name)})
    _write(folder, "meta", {}, msgspec.json.encode(_meta_of(view, isolation)))


def load(folder: PathLike[str] | str, isolation: str) -> LogView | None:
    """Return the columns of a folder that `save` wrote, None where it has none for this default isolation.

    Raises HistoryError where it is no such folder, or its tables don't fit together.
    """
    import pyarrow as pa  # noqa: PLC0415  heavy, and only this form needs it

    place = fspath(folder).rstrip("/")
    try:
        meta = msgspec.json.decode(_read_meta(place), type=Meta)
        if meta.version != VERSION:
            raise HistoryError(
                f"{place}: columns of version {meta.version}; this reads version {VERSION}: convert again"
            )
        if meta.isolation != isolation:
            return None
        view = _view(meta, {name: _read(place, name) for name in (*_TABLES, "assigns", "assign_members", *_PLAIN)})
    except (OSError, pa.ArrowException, msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise HistoryError(f"{place}: not a folder of columns: {str(error).splitlines()[0]}") from error
    wrong = misfit(view)
    if wrong:
        raise HistoryError(f"{place}: not a folder of columns: {wrong}")
    return view


def _meta_of(view: LogView, isolation: str) -> Meta:
    return Meta(
        isolation=isolation,
        name=view.name,
        keys=view.keys.names,
        kinds=view.kinds.names,
        groups=view.groups.names,
        txn_ids=view.txn_ids.names,
        values=view.values.foreign,
        extras=list(view.records.extras.items()),
        send_extras=list(view.send_extras.items()),
        call_extras=list(view.call_extras.items()),
        has_invocations=view.has_invocations,
        first_index=view.first_index,
        backwards=view.backwards,
        unknown_kinds=view.unknown_kinds,
        marks=[
            (row, time, {"process": line.process, "type": line.type, "f": line.f, "value": line.value})
            for row, time, line in view.marks
        ],
    )


def _view(meta: Meta, tables: dict[str, dict[str, Ints]]) -> LogView:
    assigns, members = tables["assigns"], tables["assign_members"]
    return LogView(
        name=meta.name,
        index=tables["index"]["index"],
        time=tables["time"]["time"],
        calls=Calls(**tables["calls"]),
        sends=Sends(**tables["sends"]),
        records=Records(**tables["records"], extras=dict(meta.extras)),
        assigns=Assigns(assigns["call"], members["call"], members["key"], assigns["seeks"].astype(np.bool_)),
        rebalanced_call=tables["rebalanced_call"]["rebalanced_call"],
        rebalanced_key=tables["rebalanced_key"]["rebalanced_key"],
        micro_times=MicroTimes(**tables["micro_times"]),
        group_offsets=GroupOffsets(**tables["group_offsets"]),
        marks=[Mark(row, time, msgspec.convert(line, Line)) for row, time, line in meta.marks],
        keys=Keys.of(meta.keys),
        kinds=Names.of(meta.kinds),
        groups=Names.of(meta.groups),
        txn_ids=Names.of(meta.txn_ids),
        values=Values.of(meta.values),
        has_invocations=meta.has_invocations,
        first_index=meta.first_index,
        backwards=meta.backwards,
        unknown_kinds=meta.unknown_kinds,
        send_extras=dict(meta.send_extras),
        call_extras=dict(meta.call_extras),
    )


def misfit(view: LogView) -> str:
    """Return what is wrong with a view whose parts came from files, "" if they fit: checkers index without looking."""
    rows, calls = len(view.time), view.calls.size
    tables = (view.calls, view.sends, view.records, view.micro_times, view.group_offsets)
    for table in tables:
        sizes = {len(getattr(table, f.name)) for f in fields(table) if f.name != "extras"}
        if len(sizes) > 1:
            return f"the columns of {type(table).__name__} differ in length"
    pairs = ((view.index, view.time), (view.assigns.call, view.assigns.seeks))
    members = ((view.assigns.member_call, view.assigns.member_key), (view.rebalanced_call, view.rebalanced_key))
    if any(len(one) != len(other) for one, other in (*pairs, *members)):
        return "columns of one table differ in length"
    keys = len(view.keys)
    bounds = [
        ("a call's row", view.calls.invoke_row, -1, rows),
        ("a call's row", view.calls.done_row, -1, rows),
        ("a call's kind", view.calls.f, 0, len(view.kinds)),
        ("a call's type", view.calls.type, 0, 3),
        ("a call's isolation", view.calls.isolation, 0, 2),
        ("a transactional id", view.calls.txn_id, -1, len(view.txn_ids)),
        ("a group", view.group_offsets.group, -1, len(view.groups)),
    ]
    named = (view.sends, view.records, view.group_offsets)
    of_call = [view.micro_times.call, view.assigns.call, view.assigns.member_call, view.rebalanced_call]
    of_key = [view.assigns.member_key, view.rebalanced_key, *(table.key for table in named)]
    bounds.extend(("a call", column, 0, calls) for column in (*of_call, *(table.call for table in named)))
    bounds.extend(("a key", column, 0, keys) for column in of_key)
    top = FOREIGN + len(view.values.foreign)
    bounds.extend((("a value", view.sends.value, -FOREIGN, top), ("a value", view.records.value, -FOREIGN, top)))
    for what, column, low, end in bounds:
        if len(column) and not (low <= int(column.min()) and int(column.max()) < end):
            return f"{what} lies outside its table"
    return ""


def _write(folder: str, name: str, columns: dict[str, Any], meta: bytes | None = None) -> None:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    table = pa.table({column: pa.array(values) for column, values in columns.items()})
    if meta is not None:
        table = pa.table({"meta": pa.array([meta], pa.large_binary())})
    parquet.write_table(table, f"{folder}/{name}{SUFFIX}", compression="zstd", write_page_checksum=True)


def _read(folder: str, name: str) -> dict[str, Ints]:
    """Read a table column by column and group by group: Arrow uses the memory of one group again for the next."""
    from pyarrow import parquet  # noqa: PLC0415

    columns: dict[str, Ints] = {}
    path = f"{folder}/{name}{SUFFIX}"
    with parquet.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
        rows = file.metadata.num_rows
        for field in file.schema_arrow:
            values = np.empty(rows, field.type.to_pandas_dtype())
            place = nulls = 0
            for group in range(file.num_row_groups):
                chunks = file.read_row_group(group, [field.name], use_threads=False).column(0)
                nulls += chunks.null_count
                if values.dtype not in _TYPES or nulls:
                    raise TypeError(f"{name}.{field.name} holds {field.type}, or nothing, where integers belong")
                for chunk in chunks.chunks:
                    values[place : place + len(chunk)] = chunk.to_numpy(zero_copy_only=False)
                    place += len(chunk)
            columns[field.name] = values
    return columns


def _read_meta(folder: str) -> bytes:
    from pyarrow import parquet  # noqa: PLC0415

    table = parquet.read_table(f"{folder}/meta{SUFFIX}", page_checksum_verification=True)
    value = table.column("meta")[0].as_py()
    assert isinstance(value, bytes)
    return value
