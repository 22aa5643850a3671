"""A history's columns on disk: a folder of Parquet files, one a table, for judging again without parsing.

`save` writes what `log_view.build` made, `load` brings it back: a check of the folder gives the verdict of the file it
was made from. The default isolation is fixed when it is saved. Needs pyarrow, which is imported only here.
"""

from __future__ import annotations

from dataclasses import fields
from os import PathLike, fspath
from typing import Any

import msgspec
import numpy as np

from checkers.columns import Ints
from checkers.interning import Names, Values
from checkers.log_view import Assigns, Calls, GroupOffsets, LogView, MicroTimes, Records, Sends
from checkers.pairing import Line, Mark
from harness.history import HistoryError

SUFFIX = ".parquet"
VERSION = 1
_META = b"kafka-harness"
_TABLES: dict[str, type] = {
    "calls": Calls,
    "sends": Sends,
    "records": Records,
    "micro_times": MicroTimes,
    "group_offsets": GroupOffsets,
}
_PLAIN = ("index", "time", "rebalanced_call", "rebalanced_key")


class Meta(msgspec.Struct, kw_only=True):
    """What is no column."""

    version: int = VERSION
    name: str
    keys: list[Any]
    kinds: list[Any]
    groups: list[Any]
    txn_ids: list[Any]
    values: list[Any]
    extras: list[tuple[int, Any]]
    has_invocations: bool
    first_index: int
    backwards: str | None
    unknown_kinds: dict[str, tuple[int, int]]
    marks: list[tuple[int, int, dict[str, Any]]]


def is_columnar(history: object) -> bool:
    """Return whether a history is a folder of columns."""
    return isinstance(history, PathLike | str) and fspath(history).rstrip("/").endswith(SUFFIX)


def save(view: LogView, folder: PathLike[str] | str) -> None:
    """Write the columns into `folder` (its name ends with .parquet); it must not exist."""
    from pyarrow import fs  # noqa: PLC0415  heavy, and only this form needs it

    place = fspath(folder).rstrip("/")
    local = fs.LocalFileSystem()
    if not place.endswith(SUFFIX):
        raise HistoryError(f"{place}: a folder of columns ends with {SUFFIX}")
    if local.get_file_info(place).type != fs.FileType.NotFound:
        raise HistoryError(f"{place}: exists already")
    local.create_dir(place)
    for name, cls in _TABLES.items():
        table = getattr(view, name)
        _write(place, name, {f.name: getattr(table, f.name) for f in fields(cls) if f.name != "extras"})
    assigns = view.assigns
    _write(place, "assigns", {"call": assigns.call, "seeks": assigns.seeks})
    _write(place, "assign_members", {"call": assigns.member_call, "key": assigns.member_key})
    for name in _PLAIN:
        _write(place, name, {name: getattr(view, name)})
    _write(place, "meta", {}, msgspec.json.encode(_meta_of(view)))


def load(folder: PathLike[str] | str) -> LogView:
    """Return the columns of a folder that `save` wrote; HistoryError where it is not one."""
    import pyarrow as pa  # noqa: PLC0415  heavy, and only this form needs it

    place = fspath(folder).rstrip("/")
    try:
        meta = msgspec.json.decode(_read_meta(place), type=Meta)
        if meta.version != VERSION:
            raise HistoryError(
                f"{place}: columns of version {meta.version}; this reads version {VERSION}: convert again"
            )
        tables = {name: _read(place, name) for name in (*_TABLES, "assigns", "assign_members", *_PLAIN)}
        return _view(meta, tables)
    except (OSError, pa.ArrowException, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise HistoryError(f"{place}: not a folder of columns: {str(error).splitlines()[0]}") from error


def _meta_of(view: LogView) -> Meta:
    return Meta(
        name=view.name,
        keys=view.keys.names,
        kinds=view.kinds.names,
        groups=view.groups.names,
        txn_ids=view.txn_ids.names,
        values=view.values.foreign,
        extras=list(view.records.extras.items()),
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
        keys=Names.of(meta.keys),
        kinds=Names.of(meta.kinds),
        groups=Names.of(meta.groups),
        txn_ids=Names.of(meta.txn_ids),
        values=Values.of(meta.values),
        has_invocations=meta.has_invocations,
        first_index=meta.first_index,
        backwards=meta.backwards,
        unknown_kinds=meta.unknown_kinds,
    )


def _write(folder: str, name: str, columns: dict[str, Any], meta: bytes | None = None) -> None:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    table = pa.table({column: pa.array(values) for column, values in columns.items()})
    if meta is not None:
        table = pa.table({"meta": pa.array([meta], pa.large_binary())})
    parquet.write_table(table, f"{folder}/{name}{SUFFIX}", compression="zstd")


def _read(folder: str, name: str) -> dict[str, Ints]:
    from pyarrow import parquet  # noqa: PLC0415

    table = parquet.read_table(f"{folder}/{name}{SUFFIX}", memory_map=True)
    return {column: table.column(column).to_numpy() for column in table.column_names}


def _read_meta(folder: str) -> bytes:
    from pyarrow import parquet  # noqa: PLC0415

    value = parquet.read_table(f"{folder}/meta{SUFFIX}").column("meta")[0].as_py()
    assert isinstance(value, bytes)
    return value
