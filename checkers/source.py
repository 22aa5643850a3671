"""Where a history comes from: the only module of the checkers that opens files.

A file is read in blocks of whole lines, decoded by msgspec in one call a block; only when a block does not decode (or
holds blank lines) it is read again line by line, to name the line that is wrong. A last line without its newline that
does not decode is torn (a killed run leaves one): it is dropped with a warning. A compressed file that ends before its
end marker (a copy that was cut off) is judged up to there, with a warning as well: it lacks its end, as the history of
a run that was killed does. One that is damaged otherwise is refused.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import msgspec

from checkers import archive, edn
from checkers.pairing import Line
from harness.history import HistoryError

HISTORY_FILE = "history.jsonl"
BLOCK_SIZE_BYTES = 4 << 20
"""Decoded, a block is about ten times its size: 40 MB beside the columns."""
PACKED_SIZE_BYTES = 256 << 10
"""What is unpacked at a time: a history is a tenth of its size when it is compressed."""
JEPSENS_FILE = "history.edn"
EDN = ".edn"
EDN_BLOCK = 20_000
"""Operations of an EDN history that are handed on at a time."""
LINE_LIMIT_BYTES = 1 << 30
"""A line longer than this is no history."""

Lines = tuple[Sequence[Line], Sequence[int]]
"""Decoded lines and their line numbers (from 1)."""

_decoder = msgspec.json.Decoder(Line)
_anything = msgspec.json.Decoder().decode
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


Warn = Callable[[str], None]


class Stream(Protocol):
    """What bytes are read from: any number at a time, none at the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Return some bytes."""
        ...


def lines_of(history: PathLike[str] | str | Iterable[Any], warn: Warn) -> tuple[Iterable[Lines], str]:
    """Return the lines of a file, of a run's folder, or of operations in memory, and the name that errors call it."""
    if not isinstance(history, PathLike | str):
        return lines_of_ops(history), "history"
    path = file_of(history)
    return lines_of_file(path, warn), path.name


def file_of(history: PathLike[str] | str) -> Path:
    """Return the file that holds a history: the one in a run's folder, else the path itself."""
    path = Path(history)
    if path.is_dir() and path.suffix != archive.SUFFIX:
        own, jepsens = path / HISTORY_FILE, path / JEPSENS_FILE
        if not own.exists() and not jepsens.exists():
            raise HistoryError(
                f"{path}: a folder without {HISTORY_FILE}: no run's, or of one that ended before it began"
            )
        path = own if own.exists() else jepsens
    return path


def lines_of_file(path: Path, warn: Warn) -> Iterator[Lines]:
    """Yield the decoded lines of a .jsonl, .jsonl.gz, .jsonl.zst, .edn, .parquet, .arrow or .feather, block by block.

    Raises HistoryError (naming file and line) where the file can't be read or a line is not an operation.
    """
    if path.suffix == EDN:
        for ops, places in edn_ops(path):
            yield _converted(ops, places, path.name), places
        return
    number = 1
    for block in blocks_of(path, warn):
        lines, numbers, number = decode(block, number, path.name, warn)
        yield lines, numbers


def blocks_of(path: Path, warn: Warn) -> Iterator[bytes]:
    """Yield the lines of any form but EDN as blocks of JSON lines."""
    return archive.json_blocks(str(path)) if path.suffix in archive.COLUMNAR else blocks_of_file(path, warn)


def blocks_of_file(path: Path, warn: Warn) -> Iterator[bytes]:
    """Yield a JSONL file, compressed or not, in blocks that end at a newline; the last one may not."""
    try:
        with path.open("rb") as file:
            yield from _blocks(_unpacked(file, path, warn))
    except (OSError, zlib.error) as error:
        raise HistoryError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error


def edn_ops(path: Path) -> Iterator[tuple[list[dict[str, Any]], list[int]]]:
    """Yield the ops of Jepsen's history.edn (one map a line, or one vector of maps) as JSON objects, with lines."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error
    ops: list[dict[str, Any]] = []
    numbers: list[int] = []
    one_a_line = not text.lstrip().startswith("[")
    for number, part in enumerate(text.split("\n") if one_a_line else (text,), start=1):
        try:
            for value in edn.parse(part):
                for op in [value] if one_a_line else value:
                    ops.append(edn.op_of(op))
                    numbers.append(number if one_a_line else len(ops))
        except (edn.EdnError, TypeError, ValueError, RecursionError) as error:
            raise HistoryError(f"{path.name}:{number}: not an operation in EDN: {error}") from error
        if len(ops) >= EDN_BLOCK:
            yield ops, numbers
            ops, numbers = [], []
    yield ops, numbers


def _converted(ops: list[dict[str, Any]], numbers: list[int], name: str) -> list[Line]:
    lines = []
    for op, number in zip(ops, numbers, strict=True):
        try:
            lines.append(msgspec.convert(op, Line, strict=True))
        except (msgspec.ValidationError, TypeError) as error:
            raise HistoryError(f"{name}:{number}: not an operation in EDN: {error}") from error
    return lines


def lines_of_ops(ops: Iterable[Any]) -> Iterator[Lines]:
    """Yield ops that are in memory already as one block; their places count as lines."""
    lines = list(ops)
    yield lines, range(1, len(lines) + 1)


def _unpacked(file: BinaryIO, path: Path, warn: Warn) -> Stream:
    if path.suffix == ".gz":
        return _Packed(file, path.name, warn, lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16))  # gzip's header
    if path.suffix == ".zst":
        import zstandard  # noqa: PLC0415  only compressed histories pay for the import

        return _Packed(file, path.name, warn, zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError)
    return file


class _Packed:
    """A compressed file, frame after frame; the libraries' own readers keep what they have when it was cut off."""

    def __init__(
        self, file: BinaryIO, name: str, warn: Warn, new_frame: Callable[[], Any], failure: type[Exception] = zlib.error
    ) -> None:
        self._file, self._name, self._warn = file, name, warn
        self._new_frame, self._failure = new_frame, failure
        self._frame: Any = None
        self._rest = b""

    def read(self, _size: int = -1, /) -> bytes:
        """Return what the next compressed bytes hold, b"" at the end of the last frame."""
        try:
            while chunk := self._rest or self._file.read(PACKED_SIZE_BYTES):
                self._rest = b""
                if self._frame is None:
                    if not (chunk := chunk.lstrip(b"\0")):
                        continue  # zeros that pad a gzip file
                    self._frame = self._new_frame()
                out: bytes = self._frame.decompress(chunk)
                if self._frame.eof:
                    self._rest, self._frame = self._frame.unused_data, None
                if out:
                    return out
        except self._failure as error:
            raise OSError(str(error)) from error
        if self._frame is not None:
            self._warn(f"{self._name}: the compressed file ends before its end marker: judged up to there")
            self._frame = None
        return b""


def _blocks(stream: Stream) -> Iterator[bytes]:
    rest: list[bytes] = []
    held = 0
    first = stream.read(BLOCK_SIZE_BYTES)
    if first.startswith(codecs.BOM_UTF8):
        first = first[len(codecs.BOM_UTF8) :] or b" "
    while read := first or stream.read(BLOCK_SIZE_BYTES):
        first = b""
        end = read.rfind(b"\n") + 1
        if end:
            yield b"".join((*rest, read[:end]))
            rest, held = [read[end:]], len(read) - end
        else:
            rest.append(read)
            held += len(read)
            if held > LINE_LIMIT_BYTES:
                raise HistoryError(f"a line is longer than {LINE_LIMIT_BYTES} bytes: not a history")
    if held:
        yield b"".join(rest)


def decode(block: bytes, number: int, name: str, warn: Warn) -> tuple[list[Line], Sequence[int], int]:
    """Return the lines of a block, their numbers, and the number of the line after it."""
    count = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        lines = _decoder.decode_lines(block)
    except _UNDECODABLE:
        lines = []
    if len(lines) == count:
        return lines, range(number, number + count), number + count
    return _decode_slowly(block, number, name, warn)


def _decode_slowly(block: bytes, number: int, name: str, warn: Warn) -> tuple[list[Line], Sequence[int], int]:
    lines: list[Line] = []
    numbers: list[int] = []
    for line in block.splitlines(keepends=True):
        if line.strip():
            try:
                lines.append(_decoder.decode(line))
                numbers.append(number)
            except _UNDECODABLE as error:
                if line.endswith(b"\n") or _is_json(line):
                    raise HistoryError(f"{name}:{number}: not an operation: {error}") from error
                warn(f"{name}:{number}: the last line is torn ({len(line)} bytes): dropped")
        number += 1
    return lines, numbers, number


def _is_json(line: bytes) -> bool:
    """Return whether a line is whole: what was cut off is never JSON."""
    try:
        _anything(line)
    except _UNDECODABLE:
        return False
    return True


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file, compressed as its name says, to write into; it is removed again if the body fails.

    Raises HistoryError where it exists or can't be made.
    """
    try:
        with path.open("xb") as file, _removed_on_failure(path):
            if path.suffix == ".gz":
                with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as zipped:
                    yield cast("BinaryIO", zipped)
            elif path.suffix == ".zst":
                import zstandard  # noqa: PLC0415  only compressed histories pay for the import

                with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:
                    yield packed
            else:
                yield file
    except FileExistsError:
        raise HistoryError(f"{path}: exists already") from None
    except OSError as error:
        raise HistoryError(f"{path}: can't be written: {error}") from error


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            path.unlink(missing_ok=True)
