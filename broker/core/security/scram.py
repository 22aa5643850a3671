"""SCRAM on the server's side (RFC 5802, RFC 7677; Kafka: KIP-84): it never sees the password, nor keeps it.

    client: n,,n=USER,r=NONCE                 server: r=NONCE+OURS,s=SALT,i=ITERATIONS
    client: c=biws,r=NONCE+OURS,p=PROOF       server: v=SIGNATURE

What is kept of a password is two keys derived from it: whoever steals them can't log in with them. Channel binding is
not offered, as in Kafka.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

import msgspec

SHA_256, SHA_512 = 1, 2
"""Mechanisms as AlterUserScramCredentials numbers them."""
NAMES = {SHA_256: "SCRAM-SHA-256", SHA_512: "SCRAM-SHA-512"}
NUMBERS = {name: number for number, name in NAMES.items()}
HASHES = {SHA_256: "sha256", SHA_512: "sha512"}
LEAST_ITERATIONS, MOST_ITERATIONS = 4096, 16384
"""Bounds of Kafka."""
MAX_MESSAGE_BYTES = 4096
"""Nonces and proofs are short; a longer message is refused before it is read."""


class ScramError(Exception):
    """The client did not prove that it knows the password, or does not speak SCRAM; never tells which of both."""


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a password."""

    salt: bytes
    stored_key: bytes
    server_key: bytes
    iterations: int


def credential(mechanism: int, salt: bytes, salted_password: bytes, iterations: int) -> Credential:
    """Return what to keep of a password that was salted already."""
    kind = HASHES[mechanism]
    client_key = hmac.digest(salted_password, b"Client Key", kind)
    return Credential(
        salt=salt,
        stored_key=hashlib.new(kind, client_key).digest(),
        server_key=hmac.digest(salted_password, b"Server Key", kind),
        iterations=iterations,
    )


class ScramServer:
    """One authentication: `first`, then `final`; `user` is proven once `final` has returned."""

    def __init__(self, mechanism: int, find: Callable[[str], Credential | None], nonce: str) -> None:
        """find: the credential of a user; nonce: ours, fresh and random."""
        self._hash = HASHES[mechanism]
        self._find, self._nonce = find, nonce
        self._credential: Credential | None = None
        self._said = ""
        self.user = ""

    def first(self, message: bytes) -> bytes:
        """Answer the client's first message. Raises ScramError."""
        bare, header = _bare(_text(message))
        if header not in {"n,,", "y,,"}:
            raise ScramError("an authorization identity or channel binding is not supported")
        fields = _fields(bare)
        self.user = fields.get("n", "").replace("=2C", ",").replace("=3D", "=")
        self._credential = self._find(self.user)
        if self._credential is None or not fields.get("r"):
            raise ScramError("invalid credentials")
        self._gs2 = header
        self._nonce = fields["r"] + self._nonce
        salt = base64.b64encode(self._credential.salt).decode()
        answer = f"r={self._nonce},s={salt},i={self._credential.iterations}"
        self._said = f"{bare},{answer}"
        return answer.encode()

    def final(self, message: bytes) -> bytes:
        """Check the client's proof; return ours. Raises ScramError."""
        assert self._credential is not None, "first comes first"
        text = _text(message)
        without, _, proof = text.rpartition(",p=")
        fields = _fields(without)
        if fields.get("r") != self._nonce or _decoded(fields.get("c", "")) != self._gs2.encode():
            raise ScramError("invalid credentials")
        said = f"{self._said},{without}".encode()
        signature = hmac.digest(self._credential.stored_key, said, self._hash)
        given = _decoded(proof)
        if len(given) != len(signature):
            raise ScramError("invalid credentials")
        client_key = bytes(one ^ other for one, other in zip(given, signature, strict=True))
        if not hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), self._credential.stored_key):
            raise ScramError("invalid credentials")
        return b"v=" + base64.b64encode(hmac.digest(self._credential.server_key, said, self._hash))


def _text(message: bytes) -> str:
    if len(message) > MAX_MESSAGE_BYTES:
        raise ScramError("the message is too long")
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise ScramError("the message is no text") from None


def _bare(text: str) -> tuple[str, str]:
    """Return the client's first message without its header, and the header."""
    parts = text.split(",", 2)
    if len(parts) != 3:
        raise ScramError("not a first message of SCRAM")
    return parts[2], f"{parts[0]},{parts[1]},"


def _fields(text: str) -> dict[str, str]:
    return {part[0]: part[2:] for part in text.split(",") if part[1:2] == "="}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("invalid credentials") from None
