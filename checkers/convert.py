"""From one form of a history to another: JSONL (.gz, .zst), Jepsen's history.edn (read only), Parquet, Arrow.

An Arrow file (.arrow, .feather) holds the lines as columns (`checkers.archive`), for other tools. A folder of columns
(its name ends with .parquet) holds them too, so that it can be turned back without a loss, and for the queue workload
the tables that its checkers start from (`checkers.columnar`). Everything is read and written in blocks; what is
malformed raises HistoryError and leaves nothing half done behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import Any

import msgspec

from checkers import archive, columnar
from checkers.asked import demand_known
from checkers.judge import collector_paused
from checkers.log_view import ViewBuilder
from checkers.options import KAFKA, CheckOptions
from checkers.source import Lines, Warn, blocks_of, decode, edn_ops, file_of, lines_of_file, writing
from harness.history import HistoryError

TARGETS = frozenset({".jsonl", ".gz", ".zst"}) | archive.COLUMNAR
EDN = ".edn"


def convert(source: PathLike[str] | str, target: PathLike[str] | str, options: CheckOptions, warn: Warn) -> int:
    """Write a history in the form that the target's name asks for; return its number of lines.

    Raises HistoryError where the source is malformed, or the target exists or has no known form.
    """
    with collector_paused():
        return _convert(source, target, options, warn)


def _convert(source: PathLike[str] | str, target: PathLike[str] | str, options: CheckOptions, warn: Warn) -> int:
    demand_known(options)
    place = fspath(target).rstrip("/")
    suffix = PurePath(place).suffix
    if suffix not in TARGETS:
        raise HistoryError(
            f"{place}: a history is converted to .jsonl, .jsonl.gz, .jsonl.zst, .parquet, .arrow or .feather"
        )
    path = file_of(source)
    if suffix != archive.SUFFIX:
        with writing(Path(place)) as file:
            lines = _lines(path, warn, None)
            return _some(archive.write_arrow(file, lines) if suffix in archive.ARROW else _each(lines, file), path)
    with columnar.making(place):
        builder = ViewBuilder(path.name) if options.workload == KAFKA else None
        count = _some(archive.write(place, _lines(path, warn, builder)), path)
        columnar.save(place, None if builder is None else builder.finish(options.isolation), options.isolation)
    return count


def _each(lines: Iterable[bytes], file: Any) -> int:
    count = 0
    for line in lines:
        file.write(line + b"\n")
        count += 1
    return count


def _some(count: int, path: Path) -> int:
    if not count:
        raise HistoryError(f"{path.name}: no operations: there is nothing to convert")
    return count


def json_lines(history: PathLike[str] | str, warn: Warn) -> Iterator[bytes]:
    """Yield the lines of a history in any form as JSON; each is known to be an operation."""
    return _lines(file_of(history), warn, None)


def _lines(path: Any, warn: Warn, builder: ViewBuilder | None) -> Iterator[bytes]:
    """Yield the lines as JSON; each is known to be an operation. A builder is fed with them."""
    if path.suffix == EDN:
        checked = lines_of_file(path, warn)
        for (ops, _), (lines, numbers) in zip(edn_ops(path), checked, strict=True):
            _feed(builder, (lines, numbers))
            yield from map(msgspec.json.encode, ops)
        return
    number = 1
    for block in blocks_of(path, warn):
        lines, numbers, number = decode(block, number, path.name, warn)
        _feed(builder, (lines, numbers))
        whole = [line for line in map(bytes.strip, block.split(b"\n")) if line]
        yield from whole[: len(lines)]


def _feed(builder: ViewBuilder | None, lines: Lines) -> None:
    if builder is not None:
        builder.feed(*lines)
