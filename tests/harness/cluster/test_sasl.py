"""SASL as a client: RFC 7677's example word for word, and servers that are not what they say."""

import base64
import hashlib

import pytest

from broker.core.security import scram as broker_scram
from harness.cluster.sasl import SaslError, conversation, scram

NONCE = "rOprNGfwEbeRWgbNEkqO"
FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
LAST = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def talk():
    return scram("sha256", "user", "pencil", NONCE)


def test_rfc_7677s_example_is_said_word_for_word():
    said = talk()
    assert next(said) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert said.send(FIRST) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    with pytest.raises(StopIteration):
        said.send(LAST)


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (LAST.replace(b"6rri", b"7rri"), "does not prove that it knows the password"),
        (b"", "does not prove"),
        (b"e=other-error", "other-error"),
        (b"v=?", "not base64"),
    ],
)
def test_a_server_that_does_not_know_the_password_is_not_believed(last, why):
    said = talk()
    next(said)
    said.send(FIRST)
    with pytest.raises(SaslError, match=why):
        said.send(last)


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (FIRST.replace(b"rOpr", b"xOpr"), "not a first answer"),
        (b"r=" + NONCE.encode() + b",s=W22Z,i=4096", "not a first answer"),
        (FIRST.replace(b"4096", b"1"), "1 iterations are asked for"),
        (FIRST.replace(b"4096", b"99999999"), "99999999 iterations"),
        (FIRST.replace(b"i=4096", b"i=many"), "not a first answer"),
        (b"\xff", "no text"),
    ],
)
def test_a_first_answer_that_is_none_is_refused(first, why):
    said = talk()
    next(said)
    with pytest.raises(SaslError, match=why):
        said.send(first)


def test_the_password_is_not_told():
    said = talk()
    told = next(said) + said.send(FIRST)
    assert b"pencil" not in told
    assert base64.b64encode(b"pencil") not in told


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_names_and_passwords_of_any_letters_are_understood_by_a_server(mechanism):
    number = broker_scram.NUMBERS[mechanism]
    salted = hashlib.pbkdf2_hmac(broker_scram.HASHES[number], "pä,ss=".encode(), b"salt", 4096)
    kept = broker_scram.credential(number, b"salt", salted, 4096)
    server = broker_scram.ScramServer(number, {"a,l=ice": kept}.get, "theirs")
    said = conversation(mechanism, "a,l=ice", "pä,ss=")
    proof = said.send(server.first(next(said)))
    with pytest.raises(StopIteration):
        said.send(server.final(proof))
    assert server.user == "a,l=ice"


def test_plain_tells_user_and_password_in_one_message():
    said = conversation("PLAIN", "alice", "sécret")
    assert next(said) == "\0alice\0sécret".encode()
    with pytest.raises(StopIteration):
        said.send(b"")
