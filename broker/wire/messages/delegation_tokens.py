"""CreateDelegationToken (38), RenewDelegationToken (39), ExpireDelegationToken (40), DescribeDelegationToken (41).

Tokens are credentials that a user makes and hands on (KIP-48).
"""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class Principal(Part, frozen=True, kw_only=True, gc=False):
    """An owner or a renewer."""

    principal_type: str = ""
    principal_name: str = ""


class CreateDelegationTokenRequest(Request, frozen=True, kw_only=True, gc=False):
    """For whom, and how long it may be renewed; no owner: who asks."""

    api: ClassVar[Api] = Api.CREATE_DELEGATION_TOKEN
    owner_principal_type: str | None = None
    owner_principal_name: str | None = None
    renewers: tuple[Principal, ...] = ()
    max_lifetime_ms: int = -1


class CreateDelegationTokenResponse(Response, frozen=True, kw_only=True, gc=False):
    """The token."""

    api: ClassVar[Api] = Api.CREATE_DELEGATION_TOKEN
    error_code: int = 0
    principal_type: str = ""
    principal_name: str = ""
    token_requester_principal_type: str = ""
    token_requester_principal_name: str = ""
    issue_timestamp_ms: int = 0
    expiry_timestamp_ms: int = 0
    max_timestamp_ms: int = 0
    token_id: str = ""
    hmac: bytes = b""
    throttle_time_ms: int = 0


class RenewDelegationTokenRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which one, and for how long."""

    api: ClassVar[Api] = Api.RENEW_DELEGATION_TOKEN
    hmac: bytes = b""
    renew_period_ms: int = -1


class RenewDelegationTokenResponse(Response, frozen=True, kw_only=True, gc=False):
    """Until when it is good."""

    api: ClassVar[Api] = Api.RENEW_DELEGATION_TOKEN
    error_code: int = 0
    expiry_timestamp_ms: int = 0
    throttle_time_ms: int = 0


class ExpireDelegationTokenRequest(Request, frozen=True, kw_only=True, gc=False):
    """Which one, and when."""

    api: ClassVar[Api] = Api.EXPIRE_DELEGATION_TOKEN
    hmac: bytes = b""
    expiry_time_period_ms: int = -1


class ExpireDelegationTokenResponse(Response, frozen=True, kw_only=True, gc=False):
    """Until when it is good."""

    api: ClassVar[Api] = Api.EXPIRE_DELEGATION_TOKEN
    error_code: int = 0
    expiry_timestamp_ms: int = 0
    throttle_time_ms: int = 0


class DescribeDelegationTokenRequest(Request, frozen=True, kw_only=True, gc=False):
    """Whose; null: everybody's."""

    api: ClassVar[Api] = Api.DESCRIBE_DELEGATION_TOKEN
    owners: tuple[Principal, ...] | None = None


class DescribedDelegationToken(Part, frozen=True, kw_only=True, gc=False):
    """A token."""

    principal_type: str = ""
    principal_name: str = ""
    token_requester_principal_type: str = ""
    token_requester_principal_name: str = ""
    issue_timestamp: int = 0
    expiry_timestamp: int = 0
    max_timestamp: int = 0
    token_id: str = ""
    hmac: bytes = b""
    renewers: tuple[Principal, ...] = ()


class DescribeDelegationTokenResponse(Response, frozen=True, kw_only=True, gc=False):
    """The tokens."""

    api: ClassVar[Api] = Api.DESCRIBE_DELEGATION_TOKEN
    error_code: int = 0
    tokens: tuple[DescribedDelegationToken, ...] = ()
    throttle_time_ms: int = 0
