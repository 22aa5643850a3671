"""The book of a score: every attempt as one line of JSON, so that a score that was interrupted goes on where it was.

The first line names the commit: a seed repeats a run only with the code that made it, so a book of another commit is
refused. Lines are appended whole, by several processes at once. A last line that is torn is no attempt. Books of one
commit may be put together with `cat`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from harness.cluster.api import UsageError

CLEAN, BUG, PERMIT = "clean", "bug", "permit"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a hunt. `valid` is None where the harness broke; `why` says how then."""

    seed: int
    valid: bool | str | None
    anomalies: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    """Those of the anomalies that the scenario's settings make legal."""
    invariants: tuple[str, ...] = ()
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    """Of one core that has nothing else to do: what else runs on the machine does not count."""
    folder: str = ""
    why: str = ""

    @property
    def is_found(self) -> bool:
        """Whether what clients and probes saw is wrong, whatever the simulator knows."""
        return self.valid is False and bool(self.anomalies)


class Line(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A line of the book: the commit, or an attempt, of what it was one and with which bug or setting."""

    commit: str = ""
    of: str = ""
    name: str = ""
    attempt: Attempt | None = None


class Book:
    """See the module. `begin` before anything else; any process may then add and read."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self.path = path

    def begin(self, commit: str) -> None:
        """Make the file, or see that it is of this commit; raises UsageError."""
        try:
            known = {line.commit for line in self._lines() if line.commit}
            if known - {commit}:
                made = ", ".join(sorted(known - {commit}))
                raise UsageError(
                    f"--book {self.path}: it was made by commit {made}, this is {commit}: use another file"
                )
            if not known:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._write(Line(commit=commit))
        except OSError as error:
            raise UsageError(f"--book {self.path}: {error.strerror}") from error

    def add(self, of: str, name: str, attempt: Attempt) -> None:
        """Append an attempt."""
        self._write(Line(of=of, name=name, attempt=attempt))

    def attempts(self, of: str, name: str = "") -> dict[int, Attempt]:
        """Return the attempts at a bug, at a setting, or clean, by seed; of two with one seed the first."""
        found: dict[int, Attempt] = {}
        for line in self._lines():
            if line.attempt is not None and (line.of, line.name) == (of, name):
                found.setdefault(line.attempt.seed, line.attempt)
        return found

    def _write(self, line: Line) -> None:
        data = msgspec.json.encode(line) + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, data)  # one write: lines of several processes do not mix
        finally:
            os.close(file)

    def _lines(self) -> Iterator[Line]:
        if not self.path.exists():
            return
        lines: Sequence[bytes] = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                yield msgspec.json.decode(line, type=Line)
            except msgspec.MsgspecError as error:
                if number < len(lines):
                    raise UsageError(f"--book {self.path}:{number}: no attempt: {error}") from error
