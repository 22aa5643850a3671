"""The lines of a history as columns in one file, nothing lost, for any data tool: Parquet or Arrow IPC.

One row a line. `process` holds a client's number, `source` the name of another event source; `value` and `other` (all
further fields) are JSON as it was written. A Parquet file lies in the folder of columns that can be turned back from
it, or alone; an Arrow file (Feather is another name for it) always stands alone, uncompressed, and is mapped into
memory. Parquet's pages carry checksums; an Arrow file has none, so what is read is validated instead. Needs pyarrow,
which is imported only here and in `checkers.columnar`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from harness.history import HistoryError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"
ARROW = frozenset({".arrow", ".feather"})
COLUMNAR = ARROW | {SUFFIX}
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

    schema = _schema(pa.dictionary(pa.int32(), pa.string()))
    place = f"{folder}/{LINES}"
    with parquet.ParquetWriter(place, schema, compression="zstd", write_page_checksum=True) as writer:
        return _write_batches(writer, schema, lines)


def write_arrow(file: Any, lines: Iterable[bytes]) -> int:
    """Write JSON lines (each known to be an operation) into a binary file as Arrow IPC; return how many."""
    import pyarrow as pa  # noqa: PLC0415  heavy, and only this form needs it

    schema = _schema(pa.string())
    with pa.ipc.new_file(file, schema) as writer:
        return _write_batches(writer, schema, lines)


def _schema(words: pa.DataType) -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415

    kinds = {"type": words, "f": words, "source": words}
    return pa.schema(
        [(n, pa.int64() if n in _INTEGERS else kinds.get(n, pa.large_binary())) for n in _COLUMNS],
    )


def _write_batches(writer: Any, schema: pa.Schema, lines: Iterable[bytes]) -> int:
    import pyarrow as pa  # noqa: PLC0415

    count = 0
    for rows in _batched(lines):
        columns = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
        arrays = [pa.array(columns[name], schema.field(name).type) for name in _COLUMNS]
        writer.write_batch(pa.record_batch(arrays, schema=schema))
        count += len(rows)
    return count


def json_blocks(place: str) -> Iterator[bytes]:
    """Yield the lines of a folder of columns, or of one file, again as blocks of JSON lines.

    Raises HistoryError where there are none.
    """
    import pyarrow as pa  # noqa: PLC0415  heavy, and only this form needs it

    place = place.rstrip("/")
    path = Path(place)
    opened = _arrow_batches if path.suffix in ARROW else _parquet_batches
    try:
        with opened(path) as batches:
            for batch in batches:
                columns = [batch.column(name).to_pylist() for name in _COLUMNS]
                yield b"".join(_line(*row) for row in zip(*columns, strict=True))
    except (OSError, pa.ArrowException, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise HistoryError(f"{place}: not a converted history: {(str(error) or 'empty').splitlines()[0]}") from error


@contextmanager
def _parquet_batches(path: Path) -> Iterator[Iterator[pa.RecordBatch]]:
    from pyarrow import parquet  # noqa: PLC0415  heavy, and only this form needs it

    place = path / LINES if path.is_dir() else path
    with parquet.ParquetFile(str(place), page_checksum_verification=True) as file:
        _demand_columns(file.schema_arrow.names, path)
        yield file.iter_batches(BATCH, columns=list(_COLUMNS))


@contextmanager
def _arrow_batches(path: Path) -> Iterator[Iterator[pa.RecordBatch]]:
    import pyarrow as pa  # noqa: PLC0415  heavy, and only this form needs it

    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as file:
        _demand_columns(file.schema.names, path)
        yield _valid_batches(file)


def _valid_batches(file: Any) -> Iterator[pa.RecordBatch]:
    for number in range(file.num_record_batches):
        batch = file.get_batch(number)
        batch.validate(full=True)
        yield batch


def _demand_columns(names: list[str], path: Path) -> None:
    missing = [name for name in _COLUMNS if names.count(name) != 1]
    if missing:
        raise HistoryError(f"{path}: not a converted history: it has no column {missing[0]!r}, or two")


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
