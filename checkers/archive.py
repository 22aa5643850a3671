"""The lines of a history as one Parquet file, nothing lost: what a folder of columns can be turned back from.

One row a line. `process` holds a client's number, `source` the name of another event source; `value` and `other` (all
further fields) are JSON as it was written. Any data tool can read it. Needs pyarrow, which is imported only here and in
`checkers.columnar`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

import msgspec

from harness.history import HistoryError

SUFFIX = ".parquet"
LINES = "lines" + SUFFIX
BATCH = 50_000
"""Rows that are read or written at a time."""
_COLUMNS = ("index", "time", "process", "source", "type", "f", "value", "other")
_INTEGERS = frozenset({"index", "time", "process"})
_NULL = b"null"
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_quoted = msgspec.json.Encoder().encode


def write(folder: str, lines: Iterable[bytes]) -> int:
    """Write JSON lines (each known to be an operation) into a folder that exists; return how many."""
    import pyarrow as pa  # noqa: PLC0415  heavy, and only this form needs it
    from pyarrow import parquet  # noqa: PLC0415

    words = pa.dictionary(pa.int32(), pa.string())
    kinds = {"type": words, "f": words, "source": words}
    schema = pa.schema(
        [(n, pa.int64() if n in _INTEGERS else kinds.get(n, pa.large_binary())) for n in _COLUMNS],
    )
    count = 0
    with parquet.ParquetWriter(f"{folder}/{LINES}", schema, compression="zstd") as writer:
        for rows in _batched(lines):
            columns = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
            arrays = [pa.array(columns[name], schema.field(name).type) for name in _COLUMNS]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(rows)
    return count


def json_blocks(folder: str) -> Iterator[bytes]:
    """Yield the lines again, as blocks of JSON lines; HistoryError where there are none."""
    import pyarrow as pa  # noqa: PLC0415  heavy, and only this form needs it
    from pyarrow import parquet  # noqa: PLC0415

    place = folder.rstrip("/")
    try:
        with parquet.ParquetFile(f"{place}/{LINES}") as file:
            missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise HistoryError(f"{place}: {LINES} has no column {missing[0]!r}: not a converted history")
            for batch in file.iter_batches(BATCH, columns=list(_COLUMNS)):
                columns = [batch.column(name).to_pylist() for name in _COLUMNS]
                yield b"".join(_line(*row) for row in zip(*columns, strict=True))
    except (OSError, pa.ArrowException, TypeError, AttributeError) as error:
        raise HistoryError(f"{place}: not a converted history: {str(error).splitlines()[0]}") from error


def _batched(lines: Iterable[bytes]) -> Iterator[list[tuple[Any, ...]]]:
    rows: list[tuple[Any, ...]] = []
    for line in lines:
        rows.append(_row(line))
        if len(rows) >= BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


def _row(line: bytes) -> tuple[Any, ...]:
    fields = cast("dict[str, Any]", _decode(line))
    process = bytes(fields.pop("process"))
    named = process.startswith(b'"')
    index, time = fields.pop("index", None), fields.pop("time", None)
    value = fields.pop("value", None)
    f = fields.pop("f") if bytes(fields.get("f", _NULL)) != _NULL else None
    type_ = _text(fields.pop("type"))
    other = b"{" + b",".join(_quoted(name) + b":" + bytes(part) for name, part in fields.items()) + b"}"
    return (
        None if index is None else int(bytes(index)),
        None if time is None else int(bytes(time)),
        None if named else int(process),
        _text(process) if named else None,
        type_,
        None if f is None else _text(f),
        None if value is None else bytes(value),
        other if fields else None,
    )


def _line(index: Any, time: Any, process: Any, source: Any, type_: Any, f: Any, value: Any, other: Any) -> bytes:  # noqa: PLR0917  a row
    parts = [b'"process":%d' % process if process is not None else b'"process":' + _quoted(source)]
    parts.append(b'"type":' + _quoted(type_))
    if f is not None:
        parts.append(b'"f":' + _quoted(f))
    if value is not None:
        parts.append(b'"value":' + value)
    if time is not None:
        parts.insert(0, b'"time":%d' % time)
    if index is not None:
        parts.insert(0, b'"index":%d' % index)
    if other is not None:
        parts.append(other[1:-1])
    return b"{" + b",".join(parts) + b"}\n"
