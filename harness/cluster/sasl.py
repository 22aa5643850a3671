"""SASL on the client's side: the messages of PLAIN (RFC 4616) and SCRAM (RFC 5802, RFC 7677; Kafka: KIP-84).

A conversation yields what to send and is sent what was answered; it returns when both sides are satisfied. SCRAM proves
the password without telling it, and that the server knows it, too: a server that does not is a SaslError.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Generator
from functools import lru_cache
from typing import Final

from harness.credentials import PLAIN, SCRAM

Conversation = Generator[bytes, bytes, None]

NONCE_BYTES: Final = 24
LEAST_ITERATIONS: Final = 4096
"""RFC 7677; with fewer a listener could guess the password from the proof."""
MOST_ITERATIONS: Final = 1_000_000
"""Kafka's bound is 16384; so many take a second."""
HEADER: Final = "n,,"
"""No channel binding, nobody else's identity."""


class SaslError(Exception):
    """What was answered is no answer of the mechanism, or the server does not know the password."""


def conversation(mechanism: str, user: str, password: str) -> Conversation:
    """Return the conversation of one of `harness.credentials.MECHANISMS`."""
    if mechanism == PLAIN:
        return _plain(user, password)
    return scram(SCRAM[mechanism], user, password, secrets.token_urlsafe(NONCE_BYTES))


def _plain(user: str, password: str) -> Conversation:
    yield f"\0{user}\0{password}".encode()


def scram(kind: str, user: str, password: str, nonce: str) -> Conversation:
    """Talk SCRAM with a hash as hashlib calls it; nonce: fresh and random."""
    bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
    answer = _text((yield f"{HEADER}{bare}".encode()))
    fields = _fields(answer)
    theirs, iterations = fields.get("r", ""), fields.get("i", "")
    if not theirs.startswith(nonce) or theirs == nonce or not iterations.isdecimal():
        raise SaslError(f"not a first answer of SCRAM{_told(fields)}")
    if not LEAST_ITERATIONS <= int(iterations) <= MOST_ITERATIONS:
        raise SaslError(f"{iterations} iterations are asked for: {LEAST_ITERATIONS} to {MOST_ITERATIONS} are done")
    without = f"c={base64.b64encode(HEADER.encode()).decode()},r={theirs}"
    salted = _salted(kind, password, _decoded(fields.get("s", "")), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", kind)
    said = f"{bare},{answer},{without}".encode()
    signature = hmac.digest(hashlib.new(kind, client_key).digest(), said, kind)
    proof = bytes(one ^ other for one, other in zip(client_key, signature, strict=True))
    last = _fields(_text((yield f"{without},p={base64.b64encode(proof).decode()}".encode())))
    expected = hmac.digest(hmac.digest(salted, b"Server Key", kind), said, kind)
    if not hmac.compare_digest(_decoded(last.get("v", "")), expected):
        raise SaslError(f"the server does not prove that it knows the password{_told(last)}")


@lru_cache(maxsize=64)
def _salted(kind: str, password: str, salt: bytes, iterations: int) -> bytes:
    """Return the salted password: milliseconds of work, the same for each connection to one cluster."""
    return hashlib.pbkdf2_hmac(kind, password.encode(), salt, iterations)


def _told(fields: dict[str, str]) -> str:
    return f": {fields['e']}" if "e" in fields else ""


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise SaslError("an answer that is no text") from None


def _fields(text: str) -> dict[str, str]:
    return {part[0]: part[2:] for part in text.split(",") if part[1:2] == "="}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise SaslError("an answer that is not base64 where it has to be") from None
