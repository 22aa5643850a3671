"""Where a history comes from: the only module of the checkers that opens files.

A file is read in blocks of whole lines, decoded by msgspec in one call a block; only when a block does not decode (or
holds blank lines) it is read again line by line, to name the line that is wrong. A last line without its newline that
does not decode is torn (a killed run leaves one): it is dropped with a warning.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from checkers import edn
from checkers.pairing import Line
from harness.history import HistoryError

HISTORY_FILE = "history.jsonl"
BLOCK_SIZE_BYTES = 4 << 20
"""Decoded, a block is about ten times its size: 40 MB beside the columns."""
JEPSENS_FILE = "history.edn"
EDN = ".edn"
EDN_BLOCK = 20_000
"""Operations of an EDN history that are handed on at a time."""
LINE_LIMIT_BYTES = 1 << 30
"""A line longer than this is no history."""

Lines = tuple[Sequence[Line], Sequence[int]]
"""Decoded lines and their line numbers (from 1)."""

_decoder = msgspec.json.Decoder(Line)


def lines_of(history: PathLike[str] | str | Iterable[Any], warn: Callable[[str], None]) -> tuple[Iterable[Lines], str]:
    """Return the lines of a file, of a run's folder, or of operations in memory, and the name that errors call it."""
    if not isinstance(history, PathLike | str):
        return lines_of_ops(history), "history"
    path = Path(history)
    if path.is_dir():
        own, jepsens = path / HISTORY_FILE, path / JEPSENS_FILE
        path = own if own.exists() or not jepsens.exists() else jepsens
    return lines_of_file(path, warn), path.name


def lines_of_file(path: Path, warn: Callable[[str], None]) -> Iterator[Lines]:
    """Yield the decoded lines of a .jsonl, .jsonl.gz, .jsonl.zst or .edn file, block by block.

    Raises HistoryError (naming file and line) where the file can't be read or a line is not an operation.
    """
    number = 1
    try:
        with _open(path) as stream:
            if path.suffix == EDN:
                yield from _edn(stream, path.name)
                return
            for block in _blocks(stream):
                lines, numbers, number = _decode(block, number, path.name, warn)
                yield lines, numbers
    except (OSError, EOFError) as error:
        raise HistoryError(f"{path}: can't be read: {error}") from error


def _edn(stream: BinaryIO, name: str) -> Iterator[Lines]:
    """Yield the ops of Jepsen's history.edn: one map a line, or one vector of maps."""
    lines: list[Line] = []
    numbers: list[int] = []
    text = stream.read().decode()
    one_a_line = not text.lstrip().startswith("[")
    for number, part in enumerate(text.splitlines() if one_a_line else (text,), start=1):
        try:
            for value in edn.parse(part):
                for op in [value] if one_a_line else value:
                    lines.append(msgspec.convert(edn.op_of(op), Line, strict=True))
                    numbers.append(number if one_a_line else len(lines))
        except (edn.EdnError, msgspec.ValidationError, TypeError) as error:
            raise HistoryError(f"{name}:{number}: not an operation in EDN: {error}") from error
        if len(lines) >= EDN_BLOCK:
            yield lines, numbers
            lines, numbers = [], []
    yield lines, numbers


def lines_of_ops(ops: Iterable[Any]) -> Iterator[Lines]:
    """Yield ops that are in memory already as one block; their places count as lines."""
    lines = list(ops)
    yield lines, range(1, len(lines) + 1)


def _open(path: Path) -> AbstractContextManager[BinaryIO]:
    if path.suffix == ".gz":
        return cast("AbstractContextManager[BinaryIO]", gzip.open(path, "rb"))
    if path.suffix == ".zst":
        import zstandard  # noqa: PLC0415  only compressed histories pay for the import

        return cast("AbstractContextManager[BinaryIO]", zstandard.open(path, "rb"))
    return path.open("rb")


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield blocks that end at a newline; the last one may not."""
    rest = b""
    while read := stream.read(BLOCK_SIZE_BYTES):
        end = read.rfind(b"\n") + 1
        if end:
            yield rest + read[:end]
            rest = read[end:]
        else:
            rest += read
            if len(rest) > LINE_LIMIT_BYTES:
                raise HistoryError(f"a line is longer than {LINE_LIMIT_BYTES} bytes: not a history")
    if rest:
        yield rest


def _decode(block: bytes, number: int, name: str, warn: Callable[[str], None]) -> tuple[list[Line], Sequence[int], int]:
    count = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        lines = _decoder.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError):
        lines = []
    if len(lines) == count:
        return lines, range(number, number + count), number + count
    return _decode_slowly(block, number, name, warn)


def _decode_slowly(
    block: bytes, number: int, name: str, warn: Callable[[str], None]
) -> tuple[list[Line], Sequence[int], int]:
    lines: list[Line] = []
    numbers: list[int] = []
    for line in block.splitlines(keepends=True):
        if line.strip():
            try:
                lines.append(_decoder.decode(line))
                numbers.append(number)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if line.endswith(b"\n"):
                    raise HistoryError(f"{name}:{number}: not an operation: {error}") from error
                warn(f"{name}:{number}: the last line is torn ({len(line)} bytes): dropped")
        number += 1
    return lines, numbers, number
