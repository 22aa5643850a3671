"""EDN, the notation of Jepsen's history.edn: text to plain values, and an op's map to a line of a history.

Keywords become strings without their colon, sets and lists become lists, maps become lists of pairs where a poll holds
them and dicts elsewhere; a tag (`#jepsen.history.Op`) is dropped and its value kept. What an op does not need of EDN
(metadata, namespaced maps, characters other than by name) is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

TOKEN = re.compile(
    r"""[\s,]+|;[^\n]*|(?P<open>\#\{|[\[({])|(?P<close>[\])}])|(?P<string>"(?:\\.|[^"\\])*")"""
    r"""|(?P<discard>\#_)|(?P<tag>\#[A-Za-z][^\s,\[\](){}"]*)|(?P<atom>[^\s,\[\](){}";\#]+)"""
)
_CLOSES = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_INTEGER = re.compile(r"[+-]?\d+N?$")
_FLOAT = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?M?$")
_WORDS = {"nil": None, "true": True, "false": False}
_SAID_BY_NIL = frozenset({"value", "commit-time"})
"""Fields of an op in which nil is not the same as nothing: commit was certainly never called."""
DEPTH_LIMIT = 200
"""Nesting beyond this is no history."""


class EdnError(ValueError):
    """Text that is not EDN; the message says where."""


class Map(list[tuple[Any, Any]]):
    """A map as pairs in order, since its keys may be anything."""


def parse(text: str) -> Iterator[Any]:  # noqa: C901, PLR0912  one token, one branch
    """Yield the values of a text, one after another."""
    stack: list[tuple[str, list[Any]]] = []
    discarding: list[int] = []
    place = 0
    while place < len(text):
        match = TOKEN.match(text, place)
        if match is None:
            raise EdnError(f"unexpected {text[place]!r} at character {place}")
        place = match.end()
        kind = match.lastgroup
        if kind is None or kind == "tag":
            continue
        token = match.group()
        if kind == "discard":
            discarding.append(len(stack))
            continue
        if kind == "open":
            stack.append((token, []))
            if len(stack) > DEPTH_LIMIT:
                raise EdnError(f"nested deeper than {DEPTH_LIMIT} at character {place}")
            continue
        if kind == "close":
            if not stack or _CLOSES[stack[-1][0]] != token:
                raise EdnError(f"unexpected {token!r} at character {match.start()}")
            value = _collection(*stack.pop())
        else:
            value = _string(token) if kind == "string" else _atom(token)
        if discarding and discarding[-1] == len(stack):
            discarding.pop()
        elif stack:
            stack[-1][1].append(value)
        else:
            yield value
    if stack:
        raise EdnError(f"{stack[-1][0]!r} is never closed")


def op_of(value: Any) -> dict[str, Any]:
    """Return an op's fields as a line of our own format has them."""
    if not isinstance(value, Map):
        raise EdnError(f"an op is a map, not {type(value).__name__}")
    fields: dict[str, Any] = {}
    for name, part in value:
        fields[str(name)] = plain(part)
    fields["value"] = _value(next((part for name, part in value if name == "value"), None))
    error = fields.get("error")
    if error is not None and not isinstance(error, dict):
        fields["error"] = {"name": str(error)}
    return {name: part for name, part in fields.items() if part is not None or name in _SAID_BY_NIL}


def plain(value: Any) -> Any:
    """Return a value with its maps as dicts."""
    if isinstance(value, Map):
        return {str(name): plain(part) for name, part in value}
    return [plain(part) for part in value] if isinstance(value, list) else value


def _value(value: Any) -> Any:
    """Return an op's value: the map that a poll returned becomes pairs."""
    if isinstance(value, list) and not isinstance(value, Map):
        return [
            ["poll", [[key, plain(records)] for key, records in micro[1]]]
            if isinstance(micro, list) and len(micro) > 1 and micro[0] == "poll" and isinstance(micro[1], Map)
            else plain(micro)
            for micro in value
        ]
    return plain(value)


def _collection(opened: str, parts: list[Any]) -> Any:
    if opened != "{":
        return parts
    if len(parts) % 2:
        raise EdnError("a map with a key and no value")
    return Map(zip(parts[::2], parts[1::2], strict=True))


def _string(token: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match.group(1), match.group(1)), token[1:-1])


def _atom(token: str) -> Any:
    if token in _WORDS:
        return _WORDS[token]
    if _INTEGER.match(token):
        return int(token.rstrip("N"))
    if _FLOAT.match(token):
        return float(token.rstrip("M"))
    return token.removeprefix(":")
