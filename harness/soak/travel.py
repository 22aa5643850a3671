"""A run's folder on its way from another machine: packed there, unpacked here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import zstandard

MOST_BYTES: Final = 1 << 30
"""Of a folder's files: more fits into no message, nor twice into a memory."""


def pack(folder: Path) -> bytes | None:
    """Return the folder's files in one; None where they are more than `MOST_BYTES`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    if sum(path.stat().st_size for path in files) > MOST_BYTES:
        return None
    told = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return zstandard.compress(msgspec.msgpack.encode(told))


def unpack(packed: bytes, folder: Path) -> None:
    """Put the files into a folder that need not be there yet; raises ValueError for one that would lie outside."""
    for name, data in msgspec.msgpack.decode(zstandard.decompress(packed), type=dict[str, bytes]).items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{name} would lie outside of {folder}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
