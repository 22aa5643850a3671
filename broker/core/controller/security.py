"""CreateAcls, DeleteAcls, AlterUserScramCredentials: rules and credentials are metadata.

Kafka: AclControlManager, ScramControlManager. A request's parts count one by one: a bad one is refused, the others are
done.
"""

from __future__ import annotations

from broker.core.controller.pipeline import Pipeline
from broker.core.errors import Code, Refused
from broker.core.metadata.image import scram_key
from broker.core.metadata.records import AclSet, ScramSet
from broker.core.security import scram
from broker.core.security.acl import CLUSTER_NAME, Filter, Operation, Pattern, Permission, ResourceType, Rule
from broker.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult,
    ScramCredentialUpsertion,
)
from broker.wire.messages.create_acls import (
    AclCreation,
    AclCreationResult,
    CreateAclsRequest,
    CreateAclsResponse,
)
from broker.wire.messages.delete_acls import (
    DeleteAclsFilter,
    DeleteAclsFilterResult,
    DeleteAclsMatchingAcl,
    DeleteAclsRequest,
    DeleteAclsResponse,
)


class Security:
    """See the module."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def create_acls(self, request: CreateAclsRequest, now_ms: int) -> CreateAclsResponse:
        """Add rules; one that is there already is no error."""
        results = []
        for creation in request.creations:
            try:
                rule = _rule(creation)
            except Refused as refused:
                results.append(AclCreationResult(error_code=refused.code, error_message=refused.message))
                continue
            if rule.key not in self._pipeline.image.acls:
                self._pipeline.stage(AclSet(rule, present=True))
            results.append(AclCreationResult())
        self._pipeline.commit(now_ms)
        return CreateAclsResponse(results=tuple(results))

    def delete_acls(self, request: DeleteAclsRequest, now_ms: int) -> DeleteAclsResponse:
        """Take away what the filters match."""
        results = []
        for asked in request.filters:
            wanted = _filter(asked)
            gone = [rule for rule in self._pipeline.image.acls.values() if wanted.matches(rule)]
            for rule in gone:
                self._pipeline.stage(AclSet(rule, present=False))
            results.append(DeleteAclsFilterResult(matching_acls=tuple(map(_told, gone))))
        self._pipeline.commit(now_ms)
        return DeleteAclsResponse(filter_results=tuple(results))

    def alter_scram(self, request: AlterUserScramCredentialsRequest, now_ms: int) -> AlterUserScramCredentialsResponse:
        """Remove and set credentials, one of each user; a user with a part that can't be done is left as it is."""
        results = []
        named = [one.name for one in request.deletions] + [one.name for one in request.upsertions]
        for user in dict.fromkeys(named):
            try:
                records = self._scram_records(request, user)
            except Refused as refused:
                results.append(
                    AlterUserScramCredentialsResult(user=user, error_code=refused.code, error_message=refused.message)
                )
                continue
            for record in records:
                self._pipeline.stage(record)
            results.append(AlterUserScramCredentialsResult(user=user))
        self._pipeline.commit(now_ms)
        return AlterUserScramCredentialsResponse(results=tuple(results))

    def _scram_records(self, request: AlterUserScramCredentialsRequest, user: str) -> list[ScramSet]:
        if not user:
            raise Refused(Code.UNACCEPTABLE_CREDENTIAL, "Username must not be empty")
        records = []
        for deletion in request.deletions:
            if deletion.name == user:
                if scram_key(deletion.mechanism, user) not in self._pipeline.image.scram:
                    raise Refused(Code.RESOURCE_NOT_FOUND, "Attempt to delete a user credential that does not exist")
                records.append(ScramSet(user, deletion.mechanism, None))
        records += [_upserted(upsertion) for upsertion in request.upsertions if upsertion.name == user]
        if len(records) > 1:
            raise Refused(Code.DUPLICATE_RESOURCE, "A user credential cannot be altered twice in the same request")
        return records


def _upserted(asked: ScramCredentialUpsertion) -> ScramSet:
    if asked.mechanism not in scram.NAMES:
        raise Refused(Code.UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism")
    if not scram.LEAST_ITERATIONS <= asked.iterations <= scram.MOST_ITERATIONS:
        word = "few" if asked.iterations < scram.LEAST_ITERATIONS else "many"
        raise Refused(Code.UNACCEPTABLE_CREDENTIAL, f"Too {word} iterations")
    if not asked.salt or not asked.salted_password:
        raise Refused(Code.UNACCEPTABLE_CREDENTIAL, "salt and password must not be empty")
    kept = scram.credential(asked.mechanism, asked.salt, asked.salted_password, asked.iterations)
    return ScramSet(asked.name, asked.mechanism, kept)


def _rule(asked: AclCreation) -> Rule:
    """Return the rule; raises Refused for one that could never mean anything."""
    if asked.resource_pattern_type not in {Pattern.LITERAL, Pattern.PREFIXED}:
        raise Refused(Code.INVALID_REQUEST, "a rule's pattern is LITERAL or PREFIXED")
    if asked.resource_type not in set(ResourceType) - {ResourceType.ANY}:
        raise Refused(Code.INVALID_REQUEST, f"resource type {asked.resource_type} can't have rules")
    if asked.operation not in set(Operation) - {Operation.ANY}:
        raise Refused(Code.INVALID_REQUEST, f"there is no operation {asked.operation}")
    if asked.permission_type not in {Permission.DENY, Permission.ALLOW}:
        raise Refused(Code.INVALID_REQUEST, "a rule allows or denies")
    if not asked.resource_name:
        raise Refused(Code.INVALID_REQUEST, "Invalid empty resource name")
    if asked.resource_type == ResourceType.CLUSTER and asked.resource_name != CLUSTER_NAME:
        raise Refused(Code.INVALID_REQUEST, f"The only valid name for the CLUSTER resource is {CLUSTER_NAME}")
    if ":" not in asked.principal:
        raise Refused(Code.INVALID_REQUEST, f"principal {asked.principal!r}: it must be TYPE:NAME, e.g. User:alice")
    return Rule(
        resource_type=asked.resource_type,
        resource_name=asked.resource_name,
        pattern=asked.resource_pattern_type,
        principal=asked.principal,
        host=asked.host,
        operation=asked.operation,
        permission=asked.permission_type,
    )


def _filter(asked: DeleteAclsFilter) -> Filter:
    return Filter(
        resource_type=asked.resource_type_filter,
        resource_name=asked.resource_name_filter,
        pattern=asked.pattern_type_filter,
        principal=asked.principal_filter,
        host=asked.host_filter,
        operation=asked.operation,
        permission=asked.permission_type,
    )


def _told(rule: Rule) -> DeleteAclsMatchingAcl:
    return DeleteAclsMatchingAcl(
        resource_type=rule.resource_type,
        resource_name=rule.resource_name,
        pattern_type=rule.pattern,
        principal=rule.principal,
        host=rule.host,
        operation=rule.operation,
        permission_type=rule.permission,
    )
