"""Regular expressions that clients send: RE2's, as in Kafka.

Matching takes time linear in the text, whatever the pattern, and a pattern that would need more memory than RE2 allows
is refused. Python's own may take years, and says no to some patterns with an OverflowError or a RecursionError.
"""

from __future__ import annotations

from typing import Any

from broker.core.errors import Code, Refused


def compiled(pattern: str) -> Any:
    """Return RE2's expression; raises Refused where the pattern is none."""
    import re2  # noqa: PLC0415 - 2 MB of a library that most nodes never need

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        message = f"`{pattern}` is not a valid regular expression: {why}"
        raise Refused(Code.INVALID_REGULAR_EXPRESSION, message) from error
