"""DescribeUserScramCredentials (50): which users have which credentials (KIP-554)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class UserName(Part, frozen=True, kw_only=True, gc=False):
    """A user."""

    name: str = ""


class DescribeUserScramCredentialsRequest(Request, frozen=True, kw_only=True, gc=False):
    """`users` None: all."""

    api: ClassVar[Api] = Api.DESCRIBE_USER_SCRAM_CREDENTIALS
    users: tuple[UserName, ...] | None = None


class CredentialInfo(Part, frozen=True, kw_only=True, gc=False):
    """A mechanism and its iterations; never the secret."""

    mechanism: int = 0
    iterations: int = 0


class DescribeUserScramCredentialsResult(Part, frozen=True, kw_only=True, gc=False):
    """A user."""

    user: str = ""
    error_code: int = 0
    error_message: str | None = None
    credential_infos: tuple[CredentialInfo, ...] = ()


class DescribeUserScramCredentialsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per user."""

    api: ClassVar[Api] = Api.DESCRIBE_USER_SCRAM_CREDENTIALS
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    results: tuple[DescribeUserScramCredentialsResult, ...] = ()
