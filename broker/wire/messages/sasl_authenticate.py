"""SaslAuthenticate (36): one message of the mechanism, and the answer to it (KIP-152)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class SaslAuthenticateRequest(Request, frozen=True, kw_only=True, gc=False):
    """What the mechanism says."""

    api: ClassVar[Api] = Api.SASL_AUTHENTICATE
    auth_bytes: bytes = b""


class SaslAuthenticateResponse(Response, frozen=True, kw_only=True, gc=False):
    """What it answers."""

    api: ClassVar[Api] = Api.SASL_AUTHENTICATE
    error_code: int = 0
    error_message: str | None = None
    auth_bytes: bytes = b""
    session_lifetime_ms: int = 0
