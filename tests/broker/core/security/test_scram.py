"""SCRAM: the exchange of RFC 7677, and everything that a client may get wrong."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.security import scram
from broker.core.security.scram import ScramError, ScramServer, credential


def b64(data):
    return base64.b64encode(data).decode()


def rfc7677():
    """Return the server of the example in RFC 7677, section 3: user `user`, password `pencil`."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096)
    kept = credential(scram.SHA_256, salt, salted, 4096)
    return ScramServer(scram.SHA_256, {"user": kept}.get, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")


def test_the_example_of_the_standard():
    server = rfc7677()
    first = server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = server.final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert final == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert server.user == "user"


def proof(kind, password, salt, iterations, said):
    """What a client computes, written down from the RFC and not from the server's code."""
    salted = hashlib.pbkdf2_hmac(kind, password.encode(), salt, iterations)
    key = hmac.new(salted, b"Client Key", kind).digest()
    signature = hmac.new(hashlib.new(kind, key).digest(), said, kind).digest()
    return bytes(one ^ other for one, other in zip(key, signature, strict=True))


def login(mechanism, kept_password, given_password):
    kind, salt = scram.HASHES[mechanism], b"salty"
    kept = credential(mechanism, salt, hashlib.pbkdf2_hmac(kind, kept_password.encode(), salt, 4096), 4096)
    server = ScramServer(mechanism, {"a,=b": kept}.get, "ours")
    bare = "n=a=2C=3Db,r=theirs"
    first = server.first(f"n,,{bare}".encode()).decode()
    final = "c=biws,r=theirsours"
    given_proof = proof(kind, given_password, salt, 4096, f"{bare},{first},{final}".encode())
    server.final(f"{final},p={b64(given_proof)}".encode())
    return server.user


@pytest.mark.parametrize("mechanism", [scram.SHA_256, scram.SHA_512])
def test_who_knows_the_password_gets_in_and_who_does_not_stays_out(mechanism):
    assert login(mechanism, "geheim", "geheim") == "a,=b"
    with pytest.raises(ScramError):
        login(mechanism, "geheim", "Geheim")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n,,",
        b"\xff\xfe",
        b"p=tls-unique,,n=user,r=x",
        b"n,a=admin,n=user,r=x",
        b"n,,n=nobody,r=x",
        b"n,,n=user",
        b"n,,n=user,r=" + b"x" * 5000,
    ],
)
def test_a_first_message_that_is_wrong_is_refused(message):
    with pytest.raises(ScramError):
        rfc7677().first(message)


@given(st.binary(max_size=120) | st.text(max_size=120).map(str.encode))
def test_no_final_message_but_the_right_one_gets_in(message):
    server = rfc7677()
    server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    with pytest.raises(ScramError):
        server.final(message)


def test_a_final_message_with_another_nonce_or_binding_is_refused():
    for final in ("c=biws,r=other", "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"):
        server = rfc7677()
        first = server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").decode()
        said = f"n=user,r=rOprNGfwEbeRWgbNEkqO,{first},{final}".encode()
        right = proof("sha256", "pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096, said)
        with pytest.raises(ScramError):
            server.final(f"{final},p={b64(right)}".encode())
