"""Who may come in: the protocols of the listeners, TLS, users and the authorizer, from Kafka's properties.

    listener.security.protocol.map            NAME:PLAINTEXT | SSL | SASL_PLAINTEXT | SASL_SSL
    sasl.enabled.mechanisms                   PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
    plain.sasl.jaas.config                    PlainLoginModule required user_NAME="PASSWORD" ...;
    ssl.keystore.location, ssl.truststore.location, ssl.key.password, ssl.client.auth (none, requested, required)
    authorizer.class.name, super.users, allow.everyone.if.no.acl.found

`listener.name.LISTENER.` before a `plain.` or `ssl.` property makes it that listener's own. Stores are PEM files
(ssl.keystore.type=PEM): the key and its certificates, and the certificates that are trusted. SCRAM users are made by
AlterUserScramCredentials. The nodes' listener speaks PLAINTEXT or SSL: with `ssl.client.auth=required` only who has a
certificate of the trusted authority can act as a node; without TLS keep that listener where clients can't reach it.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Literal, get_args

from broker.core.security.acl import Authorizer
from broker.core.security.scram import NUMBERS
from broker.io.properties import Properties, SettingsError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
PLAIN = "PLAIN"
AUTHORIZERS = ("org.apache.kafka.metadata.authorizer.StandardAuthorizer",)
NAMES = frozenset(
    {
        "allow.everyone.if.no.acl.found",
        "authorizer.class.name",
        "sasl.enabled.mechanisms",
        "super.users",
    }
)
OF_LISTENER = frozenset(
    {
        "plain.sasl.jaas.config",
        "ssl.client.auth",
        "ssl.key.password",
        "ssl.keystore.location",
        "ssl.keystore.type",
        "ssl.truststore.location",
        "ssl.truststore.type",
    }
)
"""May stand alone, or behind `listener.name.LISTENER.`."""
_OPTION = re.compile(r"""(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))""")
_LISTENER = re.compile(r"listener\.name\.[a-z0-9_-]+\.(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """How a listener lets in."""

    protocol: Protocol = "PLAINTEXT"
    mechanisms: tuple[str, ...] = ()
    """Of SASL; empty: nobody has to say who they are."""
    users: tuple[tuple[str, str], ...] = ()
    """Names and passwords for PLAIN."""
    tls: ssl.SSLContext | None = None

    def password(self, user: str) -> str | None:
        """Return the user's password for PLAIN, None for nobody's."""
        return dict(self.users).get(user)


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Both doors, how other nodes are reached, and who decides; None: everything is allowed."""

    clients: Door = Door()
    nodes: Door = Door()
    to_nodes: ssl.SSLContext | None = None
    authorizer: Authorizer | None = None


OPEN = Security()
"""Nobody has to say who they are, and everybody may do everything."""


def is_known(name: str) -> bool:
    """Return whether it is a property of security."""
    match = _LISTENER.fullmatch(name)
    return name in NAMES or (match[1] if match else name) in OF_LISTENER


def security(given: Properties, clients: str, nodes: str) -> Security:
    """Return what the properties say of the listeners with these names; raises SettingsError."""
    protocols = _protocols(given)
    inner = _door(given, nodes, protocols.get(nodes, "PLAINTEXT"))
    if inner.protocol.startswith("SASL"):
        raise SettingsError(f"listener.security.protocol.map: {nodes} (the nodes' listener) speaks PLAINTEXT or SSL")
    return Security(
        clients=_door(given, clients, protocols.get(clients, _by_name(clients))),
        nodes=inner,
        to_nodes=_context(given, nodes, ssl.PROTOCOL_TLS_CLIENT) if inner.tls else None,
        authorizer=_authorizer(given),
    )


def _by_name(listener: str) -> Protocol:
    """Return the protocol of a listener that the map does not name: its own name, as in Kafka, or none."""
    return next((one for one in get_args(Protocol) if one == listener), "PLAINTEXT")


def _protocols(given: Properties) -> dict[str, Protocol]:
    found: dict[str, Protocol] = {}
    for part in given.words("listener.security.protocol.map", ""):
        name, _, text = part.partition(":")
        protocol = next((one for one in get_args(Protocol) if one == text.upper()), None)
        if protocol is None:
            raise SettingsError(
                f"listener.security.protocol.map={part}: it must be NAME:{'|'.join(get_args(Protocol))}"
            )
        found[name] = protocol
    return found


def _door(given: Properties, listener: str, protocol: Protocol) -> Door:
    tls = _context(given, listener, ssl.PROTOCOL_TLS_SERVER) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return Door(protocol=protocol, tls=tls)
    mechanisms = tuple(given.words("sasl.enabled.mechanisms", ""))
    unknown = [one for one in mechanisms if one != PLAIN and one not in NUMBERS]
    if unknown or not mechanisms:
        raise SettingsError(
            f"sasl.enabled.mechanisms={','.join(unknown)}: {protocol} needs some of {PLAIN}, {', '.join(NUMBERS)}"
        )
    users = _users(_own(given, listener, "plain.sasl.jaas.config") or "") if PLAIN in mechanisms else ()
    if PLAIN in mechanisms and not users:
        raise SettingsError('plain.sasl.jaas.config: PLAIN needs users: ... required user_NAME="PASSWORD";')
    return Door(protocol=protocol, mechanisms=mechanisms, users=users, tls=tls)


def _users(jaas: str) -> tuple[tuple[str, str], ...]:
    options = {match[1]: _unquoted(match[2]) if match[2] is not None else match[3] for match in _OPTION.finditer(jaas)}
    return tuple((name.removeprefix("user_"), text) for name, text in options.items() if name.startswith("user_"))


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _own(given: Properties, listener: str, name: str) -> str | None:
    return given.values.get(f"listener.name.{listener.lower()}.{name}", given.values.get(name))


def _context(given: Properties, listener: str, side: ssl._SSLMethod) -> ssl.SSLContext:
    """Return the TLS of a listener, or (PROTOCOL_TLS_CLIENT) of those who call it."""
    key, trusted = _own(given, listener, "ssl.keystore.location"), _own(given, listener, "ssl.truststore.location")
    for name in ("ssl.keystore.type", "ssl.truststore.type"):
        kind = _own(given, listener, name)
        if kind not in {None, "PEM"}:
            raise SettingsError(f"{name}={kind}: only PEM is supported")
    if key is None:
        raise SettingsError(f"ssl.keystore.location is missing: the listener {listener} speaks TLS")
    wish = (_own(given, listener, "ssl.client.auth") or "none").lower()
    wishes = {"none": ssl.CERT_NONE, "requested": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    if wish not in wishes:
        raise SettingsError(f"ssl.client.auth={wish}: it must be one of {', '.join(wishes)}")
    if trusted is None and (wish != "none" or side == ssl.PROTOCOL_TLS_CLIENT):
        raise SettingsError(f"ssl.truststore.location is missing: the listener {listener} checks certificates")
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(key, password=_own(given, listener, "ssl.key.password"))
        if trusted is not None:
            context.load_verify_locations(trusted)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the key or certificates of the listener {listener} can't be read: {error}") from error
    if side == ssl.PROTOCOL_TLS_SERVER:
        context.verify_mode = wishes[wish]
    else:
        context.check_hostname = False  # a node may be reached through a link: its certificate is what counts
    return context


def _authorizer(given: Properties) -> Authorizer | None:
    name = given.values.get("authorizer.class.name", "")
    if not name:
        return None
    if name not in AUTHORIZERS:
        raise SettingsError(f"authorizer.class.name={name}: it must be {AUTHORIZERS[0]}")
    open_text = given.values.get("allow.everyone.if.no.acl.found", "false").lower()
    if open_text not in {"true", "false"}:
        raise SettingsError(f"allow.everyone.if.no.acl.found={open_text}: it must be true or false")
    users = [part.strip() for part in given.values.get("super.users", "").split(";") if part.strip()]
    wrong = [user for user in users if not user.startswith("User:")]
    if wrong:
        raise SettingsError(f"super.users={wrong[0]}: it must be User:NAME, several with ;")
    return Authorizer(users, allow_if_no_rule=open_text == "true")
