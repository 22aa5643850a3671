"""Who is on a connection: nobody yet, or a principal; and the SASL exchange that makes one of the other.

    needs SASL:  expected -> (SaslHandshake names a mechanism) -> started -> (SaslAuthenticate, once or twice) -> known
                 after SaslHandshake version 0 the frames that follow hold the mechanism's messages and nothing else
    else:        known with the first request: the subject of a TLS client's certificate, or User:ANONYMOUS

Until somebody is known only ApiVersions and the SASL requests are answered; anything else closes the connection. A
failure is told once, without saying what was wrong, and the connection is closed after it. Who is known may begin
again (KIP-368), with the mechanism that it began with and as nobody else.
"""

from __future__ import annotations

import hmac
import secrets
import ssl
from collections.abc import Callable
from typing import Any

from broker.core.errors import Code
from broker.core.security.acl import ANONYMOUS
from broker.core.security.scram import NUMBERS, Credential, ScramError, ScramServer
from broker.io.security import PLAIN, Door
from broker.wire.errors import WireError
from broker.wire.messages.sasl_authenticate import SaslAuthenticateRequest, SaslAuthenticateResponse
from broker.wire.messages.sasl_handshake import SaslHandshakeRequest, SaslHandshakeResponse

NONCE_BYTES = 24
_ATTRIBUTES = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "streetAddress": "STREET",
    "userId": "UID",
}
_ESCAPED = frozenset(',=+<>#;"\\')

Find = Callable[[int, str], Credential | None]
"""(mechanism, user) -> the credential that is kept."""


class Session:
    """See the module."""

    def __init__(self, door: Door, find: Find) -> None:
        self._door, self._find = door, find
        self._mechanism: str | None = None
        self._scram: ScramServer | None = None
        self.principal: str | None = None if door.mechanisms or door.tls is not None else ANONYMOUS
        self.is_refused = False
        """The connection is to be closed when what was said is sent."""
        self.is_bare = False
        """The next frame is a message of the mechanism, without a request around it."""

    def tls(self, certificate: Any) -> None:
        """Take the certificate of a TLS client (`SSLSocket.getpeercert`), empty unless one was checked."""
        if not self._door.mechanisms:
            self.principal = f"User:{_subject(certificate)}" if certificate else ANONYMOUS

    def handshake(self, message: SaslHandshakeRequest, version: int) -> SaslHandshakeResponse:
        """Take the mechanism that the client names. Who begins again does so with version 1 at the least."""
        mechanisms = self._door.mechanisms
        if not mechanisms or (version == 0 and self.principal is not None):
            return SaslHandshakeResponse(error_code=Code.ILLEGAL_SASL_STATE)
        known = self._mechanism if self.principal is not None else None
        if message.mechanism not in mechanisms or known not in {None, message.mechanism}:
            self.is_refused = self.principal is None
            return SaslHandshakeResponse(error_code=Code.UNSUPPORTED_SASL_MECHANISM, mechanisms=mechanisms)
        self._mechanism = message.mechanism
        self.is_bare = version == 0
        self._scram = None
        if message.mechanism in NUMBERS:
            number = NUMBERS[message.mechanism]
            nonce = secrets.token_urlsafe(NONCE_BYTES)
            self._scram = ScramServer(number, lambda user: self._find(number, user), nonce)
        return SaslHandshakeResponse(mechanisms=mechanisms)

    def authenticate(self, message: SaslAuthenticateRequest) -> SaslAuthenticateResponse:
        """Take one message of the mechanism."""
        if self._mechanism is None:
            self.is_refused = True
            return SaslAuthenticateResponse(
                error_code=Code.ILLEGAL_SASL_STATE, error_message="SaslHandshake comes first"
            )
        try:
            answer = self._plain(message.auth_bytes) if self._mechanism == PLAIN else self._step(message.auth_bytes)
        except ScramError:
            self.is_refused = True
            return SaslAuthenticateResponse(
                error_code=Code.SASL_AUTHENTICATION_FAILED,
                error_message=f"Authentication failed during authentication with {self._mechanism}",
            )
        return SaslAuthenticateResponse(auth_bytes=answer)

    def bare(self, message: bytes) -> bytes:
        """Take one message of the mechanism that came without a request; return the one to send. Raises WireError."""
        answer = self.authenticate(SaslAuthenticateRequest(auth_bytes=message))
        if answer.error_code:
            raise WireError(answer.error_message or "")
        self.is_bare = self.principal is None
        return answer.auth_bytes

    def _plain(self, message: bytes) -> bytes:
        """RFC 4616: [authzid] NUL user NUL password."""
        try:
            wanted, user, given = message.decode().split("\0")
        except ValueError:
            raise ScramError("not a message of PLAIN") from None
        password = self._door.password(user)
        if password is None or wanted not in {"", user} or not hmac.compare_digest(given.encode(), password.encode()):
            raise ScramError("invalid credentials")
        self._become(user)
        return b""

    def _step(self, message: bytes) -> bytes:
        scram = self._scram
        if scram is None:
            raise ScramError("it is over")
        if not scram.user:
            return scram.first(message)
        answer = scram.final(message)
        self._scram = None
        self._become(scram.user)
        return answer

    def _become(self, user: str) -> None:
        principal = f"User:{user}"
        if self.principal not in {None, principal}:
            raise ScramError("somebody else was here")
        self.principal = principal


def peer_certificate(tls: ssl.SSLObject | None) -> Any:
    """Return the certificate that the other end of a TLS connection showed, if it was checked."""
    return tls.getpeercert() if tls is not None else None


def _subject(certificate: Any) -> str:
    """Return the name in a certificate, most special first, as Java and Kafka write it (RFC 2253).

    What would mean something there is escaped: no name of one part reads like a name of several.
    """
    parts = [
        "+".join(f"{_ATTRIBUTES.get(name, name)}={_escaped(value)}" for name, value in rdn)
        for rdn in certificate.get("subject", ())
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    text = "".join(f"\\{one}" if one in _ESCAPED else one for one in value).replace("\0", "\\00")
    inner = text.strip(" ")
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return "\\ " * before + inner + "\\ " * after if inner else "\\ " * len(text)
