"""What is told of a bug in the harness: one line, and the traceback in a file beside it."""

from __future__ import annotations

import tempfile
import traceback
from pathlib import Path


def describe(error: BaseException) -> str:
    """Return one line about an unexpected error; its traceback goes into a file that the line names."""
    told = f"internal error: {type(error).__name__}: {error} (a bug of the harness"
    try:
        path = _write(error)
    except OSError as full:
        return f"{told}; its traceback can't be written: {full})"
    return f"{told}; traceback in {path})"


def _write(error: BaseException) -> Path:
    with tempfile.NamedTemporaryFile("w", prefix="harness-crash-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return Path(file.name)
