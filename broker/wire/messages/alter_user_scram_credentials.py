"""AlterUserScramCredentials (51): credentials for SCRAM are set and removed (KIP-554)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ScramCredentialDeletion(Part, frozen=True, kw_only=True, gc=False):
    """One that goes."""

    name: str = ""
    mechanism: int = 0


class ScramCredentialUpsertion(Part, frozen=True, kw_only=True, gc=False):
    """One that is set; the password was salted by the client."""

    name: str = ""
    mechanism: int = 0
    iterations: int = 0
    salt: bytes = b""
    salted_password: bytes = b""


class AlterUserScramCredentialsRequest(Request, frozen=True, kw_only=True, gc=False):
    """What goes, then what is set."""

    api: ClassVar[Api] = Api.ALTER_USER_SCRAM_CREDENTIALS
    deletions: tuple[ScramCredentialDeletion, ...] = ()
    upsertions: tuple[ScramCredentialUpsertion, ...] = ()


class AlterUserScramCredentialsResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one user."""

    user: str = ""
    error_code: int = 0
    error_message: str | None = None


class AlterUserScramCredentialsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per user."""

    api: ClassVar[Api] = Api.ALTER_USER_SCRAM_CREDENTIALS
    throttle_time_ms: int = 0
    results: tuple[AlterUserScramCredentialsResult, ...] = ()
