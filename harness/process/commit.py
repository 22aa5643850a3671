"""Which commit of the harness runs: a seed repeats a simulated run only with the code that it was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

GIT_S = 5.0
"""Git answers at once; a file system that hangs must not hang the verdict."""


def commit() -> str | None:
    """Return the short commit of the source tree, with `+` if it has changes; None outside of a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    found = _git(root, "rev-parse", "--short=12", "HEAD")
    if not found:
        return None
    return f"{found}+" if _git(root, "status", "--porcelain", "--untracked-files=no") else found


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(root), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            check=False,
            timeout=GIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
