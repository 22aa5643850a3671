"""What can be wrong with bytes, and the names of Kafka's error codes."""

from __future__ import annotations

from functools import cache


class WireError(Exception):
    """The bytes are not what the protocol says, or a message can't be said in that version. Nothing else is raised."""


@cache
def error_name(code: int) -> str:
    """Return Kafka's name of an error code, e.g. NOT_LEADER_OR_FOLLOWER for 6; UNKNOWN_n for a code of the future."""
    from kio.schema.errors import ErrorCode  # noqa: PLC0415 - the table is only wanted for messages

    try:
        return str(ErrorCode(code).name).upper()
    except ValueError:
        return f"UNKNOWN_{code}"
