"""Exit status: what HISTORY.md fixes, by name; and that whoever stops reading does not change it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final

VALID: Final = 0
INVALID: Final = 1
UNDECIDED: Final = 2
"""Unknown or vacuous."""
STOPPED: Final = 130
CORRECTABLE: Final = 254
BROKEN: Final = 255


def of_verdict(valid: bool | str) -> int:  # noqa: FBT001  the value of "valid" in verdict.json
    """Return the exit status of a verdict: true, false, "unknown" or "vacuous"."""
    if valid is True:
        return VALID
    return INVALID if valid is False else UNDECIDED


def worst(statuses: list[int]) -> int:
    """Return the status of several runs; a harness that broke is no verdict, so any verdict but valid comes first."""
    for status in (INVALID, UNDECIDED, BROKEN, CORRECTABLE, STOPPED):
        if status in statuses:
            return status
    return VALID


def let_go_of_stdout() -> None:
    """Send what is still to be written nowhere: nobody reads it any more."""
    with suppress(OSError, ValueError):  # a captured stdout has no descriptor, and needs none
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
