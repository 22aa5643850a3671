"""SaslHandshake (17): which mechanism the client will authenticate with (KIP-43)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Request, Response


class SaslHandshakeRequest(Request, frozen=True, kw_only=True, gc=False):
    """The mechanism."""

    api: ClassVar[Api] = Api.SASL_HANDSHAKE
    mechanism: str = ""


class SaslHandshakeResponse(Response, frozen=True, kw_only=True, gc=False):
    """Whether it is enabled, and which ones are."""

    api: ClassVar[Api] = Api.SASL_HANDSHAKE
    error_code: int = 0
    mechanisms: tuple[str, ...] = ()
