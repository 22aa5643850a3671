"""What can be wrong with bytes, and the names of Kafka's error codes."""

from __future__ import annotations

from broker.wire.definitions import error_names


class WireError(Exception):
    """The bytes are not what the protocol says, or a message can't be said in that version. Nothing else is raised."""


def error_name(code: int) -> str:
    """Return Kafka's name of an error code, e.g. NOT_LEADER_OR_FOLLOWER for 6; UNKNOWN_n for a code of the future."""
    return error_names().get(code, f"UNKNOWN_{code}")
