"""A user's own linearizability model: `harness check HISTORY --model FILE.py:NAME`.

The file is run as a program of the user's; NAME in it is a `checkers.linear.model.Model`. What goes wrong is one line
that names the file and what to do.
"""

from __future__ import annotations

import runpy
import traceback
from pathlib import Path

from checkers.linear.model import MODELS, Model
from harness.cluster.api import UsageError


def load(where: str) -> Model:
    """Return the model that `FILE.py:NAME` names; raises UsageError."""
    file, colon, name = where.rpartition(":")
    if not colon or not name.isidentifier():
        raise UsageError(f"--model {where}: say FILE.py:NAME, the file and the name of the Model in it")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"--model {where}: no such file {file}")
    try:
        found = runpy.run_path(str(path)).get(name)
    except Exception as error:  # a door: the user's program may raise anything
        line = _line_in(error, path)
        raise UsageError(f"--model {where}: {file}{line} raised {type(error).__name__}: {error}") from error
    if found is None:
        raise UsageError(f"--model {where}: {file} defines no {name}")
    if not isinstance(found, Model):
        raise UsageError(f"--model {where}: {name} is a {type(found).__name__}, not a checkers.linear.model.Model")
    if found.name in MODELS:
        raise UsageError(f"--model {where}: the name {found.name!r} is taken by a model of ours; give it another")
    return found


def _line_in(error: Exception, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f":{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f":{frames[-1].lineno}" if frames else ""
