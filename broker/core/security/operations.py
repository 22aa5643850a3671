"""What whoever asks may do to what is described, where a request asks for that (KIP-430).

The core answers with every operation that there is of the kind; here those are taken out that the rules do not allow.
What is not described, or was refused, says nothing. Kafka: AuthHelper.authorizedOperations.
"""

from __future__ import annotations

from typing import Any

import msgspec

from broker.core.errors import Code
from broker.core.security.acl import CLUSTER_NAME, Operation, ResourceType
from broker.core.security.rules import CLUSTER, GROUP, TOPIC, May, NameOf, Narrowed, Rule, Verdict, names
from broker.wire.message import Part, Response
from broker.wire.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from broker.wire.messages.metadata import NOT_ASKED

_ASKS = (
    "include_authorized_operations",
    "include_cluster_authorized_operations",
    "include_topic_authorized_operations",
)
_OF_CLUSTER, _OF_TOPIC, _OF_GROUP = (
    "cluster_authorized_operations",
    "topic_authorized_operations",
    "authorized_operations",
)
_PARTS = (("topics", "name", TOPIC, _OF_TOPIC), ("groups", "group_id", GROUP, _OF_GROUP))
"""Field of an answer, its entries' name, what they are, and their field of operations."""


def telling(rule: Rule) -> Rule:
    """Judge by the rule, and tell of the operations only those that are allowed."""

    def judged(message: Any, may: May, name_of: NameOf) -> Verdict:
        verdict = rule(message, may, name_of)
        asks = isinstance(message, DescribeTopicPartitionsRequest) or any(getattr(message, one, False) for one in _ASKS)
        if not asks or isinstance(verdict, (Code, Response)):
            return verdict
        if verdict is None:
            return Narrowed(message, lambda given: _told(given, may))
        return Narrowed(verdict.message, lambda given: _told(verdict.finish(given), may))

    return judged


def described(entry: type[Part], answer: type[Response], *, field: str) -> Rule:
    """Need the right to describe each of the groups in `field`; `entry`: one group of the answer."""
    return telling(
        names(
            GROUP,
            Operation.DESCRIBE,
            lambda name, code: entry(group_id=name, error_code=code),
            answer,
            field=field,
            into="groups",
        )
    )


def _told(given: Any, may: May) -> Response:
    changes: dict[str, object] = {}
    if getattr(given, _OF_CLUSTER, NOT_ASKED) != NOT_ASKED:
        changes[_OF_CLUSTER] = _allowed(getattr(given, _OF_CLUSTER), CLUSTER, CLUSTER_NAME, may)
    for field, name, kind, operations in _PARTS:
        entries = getattr(given, field, ())
        if any(getattr(one, operations) != NOT_ASKED for one in entries):
            changes[field] = tuple(
                msgspec.structs.replace(
                    one, **{operations: _allowed(getattr(one, operations), kind, getattr(one, name) or "", may)}
                )
                for one in entries
            )
    told: Response = msgspec.structs.replace(given, **changes)
    return told


def _allowed(bits: int, kind: ResourceType, name: str, may: May) -> int:
    if bits == NOT_ASKED:
        return bits
    return sum(1 << one for one in Operation if bits >> one & 1 and may(one, kind, name))
