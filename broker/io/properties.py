"""Java's .properties files, and typed reading from them: Kafka's way to configure a node.

`parse` reads the format (comments, `=`, `:` or a blank between key and value, backslash escapes, continued lines).
`Properties` gives values by name and type; every complaint is a `SettingsError` that names the property, the value and
what it may be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_LINE = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PLAIN = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class SettingsError(Exception):
    """The node can't be configured like this; the message names the property."""


def parse(text: str) -> dict[str, str]:
    """Return the properties of a file's text; a later line wins over an earlier one."""
    found = {}
    for line in _lines(text):
        match = _LINE.fullmatch(line)
        assert match is not None, line  # every text matches
        found[_unescape(match[1])] = _unescape(match[2])
    return found


def _lines(text: str) -> list[str]:
    """Return the logical lines: without comments and blank ones, continued ones joined."""
    lines: list[str] = []
    joined: str | None = None
    for raw in text.splitlines():
        line = raw.lstrip(" \t\f")
        if joined is None and (not line or line[0] in "#!"):
            continue
        line = (joined or "") + line
        if (len(line) - len(line.rstrip("\\"))) % 2:
            joined = line[:-1]
            continue
        joined = None
        lines.append(line)
    return lines if joined is None else [*lines, joined]


def _unescape(text: str) -> str:
    plain = _ESCAPE.sub(lambda m: chr(int(m[1][1:], 16)) if len(m[1]) == 5 else _PLAIN.get(m[1], m[1]), text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Properties:
    """Typed access."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = dict(values)

    def text(self, name: str, default: str | None = None) -> str:
        """Return the value; SettingsError when it is missing and there is no default."""
        value = self.values.get(name, default)
        if value is None:
            raise SettingsError(f"{name} is missing")
        return value.strip()

    def number(self, name: str, default: int | None = None, *, lowest: int = -(1 << 63)) -> int:
        """Return the value as a whole number of at least `lowest`."""
        text = self.text(name, None if default is None else str(default))
        try:
            value = int(text)
        except ValueError:
            raise SettingsError(f"{name}={text}: it must be a whole number") from None
        if value < lowest:
            raise SettingsError(f"{name}={text}: it must be at least {lowest}")
        return value

    def switch(self, name: str) -> bool:
        """Return whether the value is true."""
        text = self.text(name).lower()
        if text not in {"true", "false"}:
            raise SettingsError(f"{name}={text}: it must be true or false")
        return text == "true"

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """Return the value, which must be one of these."""
        text = self.text(name).lower()
        if text not in choices:
            raise SettingsError(f"{name}={text}: it must be one of {', '.join(choices)}")
        return text

    def words(self, name: str, default: str | None = None) -> list[str]:
        """Return the parts of a comma-separated value."""
        return [part.strip() for part in self.text(name, default).split(",") if part.strip()]

    def addresses(self, name: str, default: str | None = None) -> dict[str, tuple[str, int]]:
        """Return {NAME: (host, port)} of a value such as NAME://host:port,NAME://host:port."""
        found = {}
        for part in self.words(name, default):
            listener, separator, address = part.partition("://")
            if not separator:
                raise SettingsError(f"{name}={part}: it must be NAME://host:port")
            found[listener] = address_of(name, address)
        return found


def address_of(name: str, text: str) -> tuple[str, int]:
    """Return host and port of host:port, which the property `name` holds."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{name}: {text!r} is not host:port")
    return host.strip("[]"), int(port)
