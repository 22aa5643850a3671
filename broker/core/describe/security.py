"""What is asked of rules, quotas and credentials where there are none.

No authorizer is configured: requests about ACLs hear SECURITY_DISABLED, as from a Kafka without one. There are no
quotas and no SCRAM users either, and that is an answer, not an error.
"""

from __future__ import annotations

from broker.core.errors import Code
from broker.wire.messages.create_acls import AclCreationResult, CreateAclsRequest, CreateAclsResponse
from broker.wire.messages.delete_acls import DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse
from broker.wire.messages.describe_acls import DescribeAclsRequest, DescribeAclsResponse
from broker.wire.messages.describe_client_quotas import DescribeClientQuotasRequest, DescribeClientQuotasResponse
from broker.wire.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
)

_WHY = "No Authorizer is configured."


def describe_acls(request: DescribeAclsRequest) -> DescribeAclsResponse:
    """Refuse."""
    del request
    return DescribeAclsResponse(error_code=Code.SECURITY_DISABLED, error_message=_WHY)


def create_acls(request: CreateAclsRequest) -> CreateAclsResponse:
    """Refuse each."""
    result = AclCreationResult(error_code=Code.SECURITY_DISABLED, error_message=_WHY)
    return CreateAclsResponse(results=(result,) * len(request.creations))


def delete_acls(request: DeleteAclsRequest) -> DeleteAclsResponse:
    """Refuse each."""
    result = DeleteAclsFilterResult(error_code=Code.SECURITY_DISABLED, error_message=_WHY)
    return DeleteAclsResponse(filter_results=(result,) * len(request.filters))


def describe_client_quotas(request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse:
    """Return that nobody has a quota."""
    del request
    return DescribeClientQuotasResponse(entries=())


def describe_scram(request: DescribeUserScramCredentialsRequest) -> DescribeUserScramCredentialsResponse:
    """Return that there are no such users."""
    return DescribeUserScramCredentialsResponse(
        results=tuple(
            DescribeUserScramCredentialsResult(
                user=user.name,
                error_code=Code.RESOURCE_NOT_FOUND,
                error_message="Attempt to describe a user credential that does not exist",
            )
            for user in request.users or ()
        )
    )
