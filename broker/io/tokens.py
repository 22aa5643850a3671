"""Delegation tokens (KIP-48): there are none, as in an Apache Kafka whose properties name no secret for them.

Who comes without saying who it is may not even ask, as in Kafka: DelegationTokenManager, KafkaApis.allowTokenRequests.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.core.errors import Code
from broker.core.security.acl import ANONYMOUS
from broker.io.security import Door
from broker.wire.message import Request, Response
from broker.wire.messages.delegation_tokens import (
    CreateDelegationTokenRequest,
    CreateDelegationTokenResponse,
    DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse,
    ExpireDelegationTokenRequest,
    ExpireDelegationTokenResponse,
    RenewDelegationTokenRequest,
    RenewDelegationTokenResponse,
)

_ANSWERS: dict[type[Request], Callable[..., Response]] = {
    CreateDelegationTokenRequest: CreateDelegationTokenResponse,
    RenewDelegationTokenRequest: RenewDelegationTokenResponse,
    ExpireDelegationTokenRequest: ExpireDelegationTokenResponse,
    DescribeDelegationTokenRequest: DescribeDelegationTokenResponse,
}
REQUESTS = frozenset(_ANSWERS)


def refused(message: Request, door: Door, principal: str | None) -> Response:
    """Return the answer to a request of tokens."""
    is_known = bool(door.mechanisms) or (door.tls is not None and principal not in {None, ANONYMOUS})
    code = Code.DELEGATION_TOKEN_AUTH_DISABLED if is_known else Code.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED
    return _ANSWERS[type(message)](error_code=code)
