"""What is asked of access rules and credentials; their changes are the controller's (`controller.security`).

Without an authorizer requests about ACLs hear SECURITY_DISABLED, as from a Kafka without one.
"""

from __future__ import annotations

from broker.core.config import BrokerConfig
from broker.core.errors import Code
from broker.core.metadata.image import Image, scram_key
from broker.core.security import scram
from broker.core.security.acl import Filter, Rule
from broker.wire.messages.create_acls import AclCreationResult, CreateAclsRequest, CreateAclsResponse
from broker.wire.messages.delete_acls import DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse
from broker.wire.messages.describe_acls import (
    AclDescription,
    DescribeAclsRequest,
    DescribeAclsResource,
    DescribeAclsResponse,
)
from broker.wire.messages.describe_user_scram_credentials import (
    CredentialInfo,
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
)

_WHY, _WHY_NOT_TOLD = "No Authorizer is configured.", "No Authorizer is configured on the broker"


def describe_acls(config: BrokerConfig, image: Image, request: DescribeAclsRequest) -> DescribeAclsResponse:
    """Return the rules that the filter matches, by resource."""
    if not config.has_authorizer:
        return DescribeAclsResponse(error_code=Code.SECURITY_DISABLED, error_message=_WHY_NOT_TOLD)
    wanted = Filter(
        resource_type=request.resource_type_filter,
        resource_name=request.resource_name_filter,
        pattern=request.pattern_type_filter,
        principal=request.principal_filter,
        host=request.host_filter,
        operation=request.operation,
        permission=request.permission_type,
    )
    found: dict[tuple[int, str, int], list[Rule]] = {}
    for rule in image.acls.values():
        if wanted.matches(rule):
            found.setdefault((rule.resource_type, rule.resource_name, rule.pattern), []).append(rule)
    return DescribeAclsResponse(
        resources=tuple(
            DescribeAclsResource(
                resource_type=kind, resource_name=name, pattern_type=pattern, acls=tuple(map(_told, rules))
            )
            for (kind, name, pattern), rules in found.items()
        )
    )


def _told(rule: Rule) -> AclDescription:
    return AclDescription(
        principal=rule.principal, host=rule.host, operation=rule.operation, permission_type=rule.permission
    )


def create_acls(config: BrokerConfig, request: CreateAclsRequest) -> CreateAclsResponse | None:
    """Refuse each, or leave it to the controller."""
    if config.has_authorizer:
        return None
    result = AclCreationResult(error_code=Code.SECURITY_DISABLED, error_message=_WHY)
    return CreateAclsResponse(results=(result,) * len(request.creations))


def delete_acls(config: BrokerConfig, request: DeleteAclsRequest) -> DeleteAclsResponse | None:
    """Refuse each, or leave it to the controller."""
    if config.has_authorizer:
        return None
    result = DeleteAclsFilterResult(error_code=Code.SECURITY_DISABLED, error_message=_WHY)
    return DeleteAclsResponse(filter_results=(result,) * len(request.filters))


def describe_scram(image: Image, request: DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse:
    """Return which credentials the users have; none named: everybody who has any."""
    named = [user.name for user in request.users or ()]
    users = list(dict.fromkeys(named or (key.partition(":")[2] for key in image.scram)))
    results = tuple(_twice(user) if named.count(user) > 1 else _user(image, user) for user in users)
    return DescribeUserScramCredentialsResponse(results=results)


def _twice(user: str) -> DescribeUserScramCredentialsResult:
    why = f"Cannot describe SCRAM credentials for the same user twice in a single request: {user}"
    return DescribeUserScramCredentialsResult(user=user, error_code=Code.DUPLICATE_RESOURCE, error_message=why)


def _user(image: Image, user: str) -> DescribeUserScramCredentialsResult:
    kept = {mechanism: image.scram.get(scram_key(mechanism, user)) for mechanism in scram.NAMES}
    infos = tuple(
        CredentialInfo(mechanism=mechanism, iterations=one.iterations)
        for mechanism, one in kept.items()
        if one is not None
    )
    if infos:
        return DescribeUserScramCredentialsResult(user=user, credential_infos=infos)
    return DescribeUserScramCredentialsResult(
        user=user,
        error_code=Code.RESOURCE_NOT_FOUND,
        error_message=f"Attempt to describe a user credential that does not exist: {user}",
    )
