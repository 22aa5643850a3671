"""Plants a bug: puts replacements where the right decisions stand, for as long as the bug is switched on.

A bug is a function in the module that the registry names. It returns the methods or functions to replace, so that the
core itself has neither a flag nor a test for bugs: a node without a bug runs the very code that it would run if there
were none, and this module is not even imported. Replacements are made on classes and modules, hence for all nodes of
the process: an embedded node is a process of its own, a simulation runs one cluster at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from broker.bugs.registry import BUGS


@dataclass(frozen=True, slots=True)
class Replacement:
    """What stands in the place of `owner.name` (a class's method or a module's function)."""

    owner: Any
    name: str
    new: Any


def replacements(name: str) -> tuple[Replacement, ...]:
    """Return what the bug replaces; KeyError for a name that the registry does not have."""
    function = getattr(import_module(BUGS[name].module), name.replace("-", "_"))
    found: tuple[Replacement, ...] = function()
    return found


def plant(name: str) -> None:
    """Switch a bug on until the process ends."""
    for replacement in replacements(name):
        setattr(replacement.owner, replacement.name, replacement.new)


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Switch a bug on for a while; "" for none. What was there before is there again afterwards, whatever happens."""
    chosen = replacements(name) if name else ()
    before = [(item.owner, item.name, getattr(item.owner, item.name)) for item in chosen]
    for item in chosen:
        assert item.name in vars(item.owner), f"{item.owner} has no {item.name} of its own to replace"
    try:
        for item in chosen:
            setattr(item.owner, item.name, item.new)
        yield
    finally:
        for owner, attribute, old in before:
            setattr(owner, attribute, old)
