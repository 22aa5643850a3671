"""The only door to kio: Kafka's message definitions and error codes, imported when they are first wanted.

kio imports Hypothesis where it is installed, to register strategies for its types: most of a second of CPU, and a
folder `.hypothesis` wherever the command was started. So kio is imported with Hypothesis out of sight, unless somebody
(a test) has loaded it already: 0.11 s instead of 0.9 s.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import Any

from broker.wire import newer

_HYPOTHESIS = "hypothesis"


@cache
def prepare() -> None:
    """Import kio now, so that no time-out has to bear it. Single messages follow when they are used, some ms each."""
    hide = _HYPOTHESIS not in sys.modules
    if hide:
        sys.modules[_HYPOTHESIS] = None  # type: ignore[assignment]  # Python's own way of "not installed"
    try:
        for module in ("kio.static.primitive", "kio.index", "kio.schema.index", "kio.schema.errors"):
            import_module(module)
    finally:
        if hide:
            del sys.modules[_HYPOTHESIS]


def definition(api_key: int, version: int, *, request: bool) -> Any:
    """Return kio's class of a request or response, or ours in its form; LookupError when there is no such version."""
    if version == 0 and (api_key, request) in newer.DEFINITIONS:
        return newer.DEFINITIONS[api_key, request]
    prepare()
    index = import_module("kio.index")
    try:
        return (index.load_request_schema if request else index.load_response_schema)(api_key, version)
    except (index.UnknownEntity, index.UnknownAPIKey) as error:
        raise LookupError(str(error)) from error


def versions(api_key: int) -> tuple[int, int]:
    """Return the lowest and the highest version of the API that is defined."""
    if (api_key, True) in newer.DEFINITIONS:
        return 0, 0
    prepare()
    index = import_module("kio.schema.index")
    known = index.schema_name_map[index.api_key_map[api_key]]
    return min(known), max(known)


@cache
def error_names() -> dict[int, str]:
    """Return Kafka's names of the error codes, such as NOT_LEADER_OR_FOLLOWER."""
    prepare()
    return {int(code): str(code.name).upper() for code in import_module("kio.schema.errors").ErrorCode}
