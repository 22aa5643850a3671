"""What a topic may be called, in Kafka's rules and words. Kafka: Topic.validate."""

from __future__ import annotations

import re

MAX_NAME_LENGTH = 249
INTERNAL = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
"""Written by coordinators only."""
METADATA_LOG = "__cluster_metadata"
"""The name of the metadata log, which no topic may have."""
_NAME = re.compile(rf"[a-zA-Z0-9._-]{{1,{MAX_NAME_LENGTH}}}")


def is_valid_name(name: str) -> bool:
    """Return whether Kafka allows a topic of this name."""
    return _NAME.fullmatch(name) is not None and name not in {".", ".."}


def what_is_wrong(name: str) -> str:
    """Say why a name can't be a topic's."""
    if not name:
        return "Topic name is invalid: the empty string is not allowed"
    if name in {".", ".."}:
        return f"Topic name is invalid: '{name}' is not allowed"
    if len(name) > MAX_NAME_LENGTH:
        return f"Topic name is invalid: the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}"
    return (
        f"Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' "
        "and '-'"
    )
