"""Access rules, and the decision that they add up to (Kafka: StandardAuthorizer; KIP-11, prefixes KIP-290).

A rule allows or denies a principal, from a host, one operation on the resources of a pattern. A super user may do
everything. Else any rule that denies wins, then any that allows; without one the answer is no, unless no rule at all
is about the resource and the node is told that this means yes (`allow.everyone.if.no.acl.found`). Who may read, write,
delete or alter may also describe; who may alter configs may also describe them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec

ANYBODY = "User:*"
ANYWHERE = "*"
ANONYMOUS = "User:ANONYMOUS"
CLUSTER_NAME = "kafka-cluster"
MAX_REMEMBERED = 10_000
"""Decisions that are kept, so that a request costs a look-up; all are forgotten when a rule changes or at the bound."""


class ResourceType(IntEnum):
    """What a rule is about (org.apache.kafka.common.resource.ResourceType)."""

    ANY = 1
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5
    DELEGATION_TOKEN = 6
    USER = 7


class Pattern(IntEnum):
    """How a rule names resources; ANY and MATCH are for filters only (PatternType)."""

    ANY = 1
    MATCH = 2
    LITERAL = 3
    PREFIXED = 4


class Operation(IntEnum):
    """What is done (AclOperation)."""

    ANY = 1
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12
    CREATE_TOKENS = 13
    DESCRIBE_TOKENS = 14
    TWO_PHASE_COMMIT = 15


class Permission(IntEnum):
    """What a rule says (AclPermissionType)."""

    ANY = 1
    DENY = 2
    ALLOW = 3


_IMPLIED_BY = {
    Operation.DESCRIBE: frozenset({Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALTER}),
    Operation.DESCRIBE_CONFIGS: frozenset({Operation.ALTER_CONFIGS}),
}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One access rule. The numbers are those of the enums above."""

    resource_type: int
    resource_name: str
    pattern: int
    principal: str
    host: str
    operation: int
    permission: int

    @property
    def key(self) -> str:
        """Return what makes it this rule and no other."""
        return msgspec.json.encode(msgspec.structs.astuple(self)).decode()

    def covers(self, resource_type: int, name: str) -> bool:
        """Return whether the resource is one that the rule is about."""
        if self.resource_type != resource_type:
            return False
        if self.pattern == Pattern.PREFIXED:
            return name.startswith(self.resource_name)
        return self.resource_name in {name, "*"}

    @property
    def is_for_all(self) -> bool:
        """Return whether it is about every resource of its type."""
        return self.pattern == Pattern.LITERAL and self.resource_name == "*"

    def covers_all_of(self, other: Rule) -> bool:
        """Return whether it is about all resources that the other rule of the same type is about."""
        if other.pattern == Pattern.PREFIXED and self.pattern == Pattern.LITERAL:
            return self.is_for_all
        return self.covers(other.resource_type, other.resource_name)

    def speaks_of(self, principal: str, host: str) -> bool:
        """Return whether it is about this principal at this host."""
        return self.principal in {principal, ANYBODY} and self.host in {host, ANYWHERE}

    @property
    def denies(self) -> bool:
        """Return whether it takes a right away."""
        return self.permission == Permission.DENY

    def decides(self, operation: int) -> bool:
        """Return whether it says something about the operation; what allows may imply more than it names."""
        if self.operation in {operation, Operation.ALL}:
            return True
        return not self.denies and self.operation in _IMPLIED_BY.get(Operation(operation), frozenset())


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What DescribeAcls and DeleteAcls ask for; None and ANY match everything."""

    resource_type: int = ResourceType.ANY
    resource_name: str | None = None
    pattern: int = Pattern.ANY
    principal: str | None = None
    host: str | None = None
    operation: int = Operation.ANY
    permission: int = Permission.ANY

    def matches(self, rule: Rule) -> bool:
        """Return whether it asks for this rule."""
        return (
            self.resource_type in {ResourceType.ANY, rule.resource_type}
            and self._matches_name(rule)
            and self.principal in {None, rule.principal}
            and self.host in {None, rule.host}
            and self.operation in {Operation.ANY, rule.operation}
            and self.permission in {Permission.ANY, rule.permission}
        )

    def _matches_name(self, rule: Rule) -> bool:
        if self.pattern == Pattern.MATCH:  # every rule that would affect the resource of this name
            name = self.resource_name
            return name is None or rule.covers(rule.resource_type, name)
        return self.pattern in {Pattern.ANY, rule.pattern} and self.resource_name in {None, rule.resource_name}


class Question(NamedTuple):
    """Whether a principal at a host may do an operation on a resource (name None: on any resource of that type)."""

    principal: str
    host: str
    operation: int
    resource_type: int
    name: str | None


class Authorizer:
    """Decides; `rules` and `version` are those of the node's image, given anew at every question."""

    def __init__(self, super_users: Iterable[str], *, allow_if_no_rule: bool) -> None:
        """super_users: principals such as `User:admin`."""
        self._super_users = frozenset(super_users)
        self._allow_if_no_rule = allow_if_no_rule
        self._remembered: dict[Question, bool] = {}
        self._version = -1

    def allows(self, rules: Mapping[str, Rule], version: int, question: Question) -> bool:
        """Return the decision; `version` changes whenever the rules do."""
        if question.principal in self._super_users:
            return True
        if version != self._version or len(self._remembered) > MAX_REMEMBERED:
            self._remembered.clear()
            self._version = version
        known = self._remembered.get(question)
        if known is None:
            decide = self._decide_any if question.name is None else self._decide
            known = self._remembered[question] = decide(list(rules.values()), question)
        return known

    def _decide(self, rules: list[Rule], question: Question) -> bool:
        about = [rule for rule in rules if rule.covers(question.resource_type, question.name or "")]
        if not about:
            return self._allow_if_no_rule
        deciding = [rule for rule in about if _is_about(rule, question)]
        return bool(deciding) and not any(rule.denies for rule in deciding)

    def _decide_any(self, rules: list[Rule], question: Question) -> bool:
        """Return whether some resource is allowed: a pattern that no rule that denies takes away whole.

        Where no rule means yes, some name that no rule is about is enough, unless a rule is about all.
        """
        kind = question.resource_type
        of_kind = [rule for rule in rules if rule.resource_type == kind]
        if self._allow_if_no_rule and not any(rule.is_for_all for rule in of_kind):
            return True
        deciding = [rule for rule in of_kind if _is_about(rule, question)]
        denied = [rule for rule in deciding if rule.denies]
        return any(not rule.denies and not any(no.covers_all_of(rule) for no in denied) for rule in deciding)


def _is_about(rule: Rule, question: Question) -> bool:
    return rule.speaks_of(question.principal, question.host) and rule.decides(question.operation)
