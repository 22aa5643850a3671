"""What an answer does not tell: groups, and topics of groups and transactions, that whoever asks may not describe.

    ListGroups             shows all groups to who may describe the cluster, to others those that they may describe
    ...GroupDescribe       a group with a member that has a topic which is hidden is refused, TOPIC_AUTHORIZATION_FAILED
    DescribeTransactions   leaves hidden topics out

Kafka: KafkaApis.handleListGroupsRequest, handleConsumerGroupDescribe, handleDescribeTransactionsRequest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from broker.core.errors import Code
from broker.core.security.acl import CLUSTER_NAME, Operation
from broker.core.security.rules import CLUSTER, CODES, GROUP, TOPIC, May, NameOf, Narrowed, Rule, Verdict, shown
from broker.wire.message import Response

_WHY = "The group has described topic(s) that the client is not authorized to describe."


def hiding(rule: Rule, hide: Callable[[Any, May], Response]) -> Rule:
    """Judge by the rule, and let `hide` take out of the answer what may not be told."""

    def judged(message: Any, may: May, name_of: NameOf) -> Verdict:
        verdict = rule(message, may, name_of)
        if isinstance(verdict, (Code, Response)):
            return verdict
        if verdict is None:
            return Narrowed(message, lambda given: hide(given, may))
        return Narrowed(verdict.message, lambda given: hide(verdict.finish(given), may))

    return judged


def list_groups(message: Any, may: May, name_of: NameOf) -> Verdict:
    """Show all groups, or those that may be described."""
    if may(Operation.DESCRIBE, CLUSTER, CLUSTER_NAME):
        return None
    return shown(GROUP, "groups", "group_id")(message, may, name_of)


def groups(given: Any, may: May) -> Response:
    """Refuse groups of which a topic may not be told."""
    told = tuple(
        group
        if all(may(Operation.DESCRIBE, TOPIC, name) for name in set(_topics(group)))
        else type(group)(group_id=group.group_id, error_code=CODES[TOPIC], error_message=_WHY)
        for group in given.groups
    )
    answer: Response = msgspec.structs.replace(given, groups=told)
    return answer


def _topics(group: Any) -> Iterator[str]:
    """Yield the topics that a group's members have, or shall have."""
    for member in group.members:
        for assignment in (member.assignment, getattr(member, "target_assignment", None)):
            for topic in assignment.topic_partitions if assignment is not None else ():
                yield topic.topic_name


def transactions(given: Any, may: May) -> Response:
    """Leave out the topics that may not be described."""
    told = tuple(
        msgspec.structs.replace(
            one, topics=tuple(topic for topic in one.topics if may(Operation.DESCRIBE, TOPIC, topic.topic))
        )
        for one in given.transaction_states
    )
    answer: Response = msgspec.structs.replace(given, transaction_states=told)
    return answer
