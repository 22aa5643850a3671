"""How clients get into a cluster that somebody else runs: TLS, SASL, or both, in librdkafka's names for settings.

A scenario holds `client_config` as it was given. A value `env:NAME` stands for an environment variable, which is looked
at when a connection needs it; a secret may be given in no other way, so that scenarios, handles, reports and commands
never hold one. `Credentials` are what comes of it: secrets and all, for memory only, and so without a telling `repr`.

What is missing, contradicts itself, or would have no effect is refused here, in one line that repeats no value but
names and paths.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Protocol, Self, runtime_checkable

from harness.cluster.api import Cluster, UsageError

OPTION: Final = "--client-config"
FROM_ENVIRONMENT: Final = "env:"
PROTOCOL: Final = "security.protocol"
PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
PLAIN: Final = "PLAIN"
SCRAM: Final[Mapping[str, str]] = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
"""Mechanisms and their hashes, as hashlib calls them."""
MECHANISMS: Final = (PLAIN, *SCRAM)
_MECHANISM, _MECHANISM_TOO = "sasl.mechanism", "sasl.mechanisms"
_USER, _PASSWORD = "sasl.username", "sasl.password"
_AUTHORITY, _CERTIFICATE, _KEY = "ssl.ca.location", "ssl.certificate.location", "ssl.key.location"
_KEY_PASSWORD: Final = "ssl.key.password"  # noqa: S105  a setting's name
_IDENTIFIES, _VERIFIES = "ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification"
_PROBE: Final = "probe"
"""In place of a file: librdkafka looks for the machine's own authorities."""
SECRET: Final = frozenset({_PASSWORD, _KEY_PASSWORD})
_ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {_IDENTIFIES: ("https", "none"), _VERIFIES: ("true", "false")}
_FILES: Final = (_AUTHORITY, _CERTIFICATE, _KEY)
_OF_SASL: Final = (_MECHANISM, _MECHANISM_TOO, _USER, _PASSWORD)
_OF_TLS: Final = (*_FILES, _KEY_PASSWORD, _IDENTIFIES, _VERIFIES)
KNOWN: Final = (PROTOCOL, *_OF_SASL, *_OF_TLS)


@dataclass(frozen=True)
class Credentials:
    """Settings that open connections; none for a plain listener. The same ones are equal, and hash so."""

    settings: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """librdkafka's, with their values."""

    @classmethod
    def of(cls, client_config: Mapping[str, str]) -> Self:
        """Return what `client_config` says, environment variables looked up; raises UsageError as `refuse` does."""
        for name, value in client_config.items():
            if name not in KNOWN:
                raise UsageError(f"{OPTION} {name}: it is not one of {', '.join(KNOWN)}")
            if name in SECRET and not value.startswith(FROM_ENVIRONMENT):
                raise UsageError(
                    f"{OPTION} {name} is a secret: give it as {name}=env:NAME, NAME a variable that has it"
                )
        return cls(tuple((name, _looked_up(name, value)) for name, value in client_config.items()))

    @classmethod
    def among(cls, config: Mapping[str, object]) -> Self:
        """Return those among settings that librdkafka is given, with their values."""
        return cls(tuple((name, str(config[name])) for name in KNOWN if name in config))

    @cached_property
    def _values(self) -> Mapping[str, str]:
        return dict(self.settings)

    @property
    def _protocol(self) -> str:
        return self._values.get(PROTOCOL, PROTOCOLS[0]).upper()

    @property
    def is_encrypted(self) -> bool:
        """Whether connections speak TLS."""
        return self._protocol.endswith("SSL")

    @property
    def sasl(self) -> tuple[str, str, str] | None:
        """Mechanism, user and password; None without SASL."""
        if not self._protocol.startswith("SASL_"):
            return None
        mechanism = self._values.get(_MECHANISM) or self._values.get(_MECHANISM_TOO, "")
        return mechanism, self._values.get(_USER, ""), self._values.get(_PASSWORD, "")

    def tls(self) -> ssl.SSLContext:
        """Return what TLS connections are made with, as librdkafka 2 makes them; raises UsageError for bad files."""
        return _context(self)

    def refuse(self) -> None:
        """Raise UsageError, one line, for what can't be used or has no effect."""
        given = self._values
        if self._protocol not in PROTOCOLS:
            raise UsageError(f"{OPTION} {PROTOCOL}: it may be {', '.join(PROTOCOLS)}")
        for name, allowed in _ALLOWED.items():
            if name in given and given[name] not in allowed:
                raise UsageError(f"{OPTION} {name}: it may be {' or '.join(allowed)}")
        self._refuse_sasl()
        if not self.is_encrypted:
            self._refuse_ineffective(_OF_TLS, "SSL")
            return
        for one, other in ((_CERTIFICATE, _KEY), (_KEY, _CERTIFICATE), (_KEY_PASSWORD, _KEY)):
            if one in given and other not in given:
                raise UsageError(f"{OPTION} {one} needs {OPTION} {other}=FILE")
        self.tls()

    def _refuse_sasl(self) -> None:
        given = self._values
        if self.sasl is None:
            self._refuse_ineffective(_OF_SASL, "SASL_SSL")
            return
        if _MECHANISM in given and _MECHANISM_TOO in given:
            raise UsageError(f"{OPTION} {_MECHANISM} and {_MECHANISM_TOO} are the same: give one of them")
        if self.sasl[0] not in MECHANISMS:
            raise UsageError(f"{OPTION} {_MECHANISM}: with {self._protocol} it has to be {', '.join(MECHANISMS)}")
        for name, how in ((_USER, "USER"), (_PASSWORD, "env:NAME")):
            if not given.get(name):
                raise UsageError(f"{OPTION} {PROTOCOL}={self._protocol} needs {OPTION} {name}={how}")

    def _refuse_ineffective(self, names: tuple[str, ...], needed: str) -> None:
        for name in names:
            if name in self._values:
                raise UsageError(f"{OPTION} {name} has no effect without {OPTION} {PROTOCOL}={needed} or the like")


NO_CREDENTIALS: Final = Credentials()
"""For a plain listener."""


@runtime_checkable
class Guarded(Protocol):
    """A cluster whose listeners may want TLS or SASL."""

    def credentials(self) -> Credentials:
        """Return what clients get in with."""
        ...


def credentials_of(cluster: Cluster) -> Credentials:
    """Return what clients get into the cluster with."""
    return cluster.credentials() if isinstance(cluster, Guarded) else NO_CREDENTIALS


def _looked_up(name: str, value: str) -> str:
    if not value.startswith(FROM_ENVIRONMENT):
        return value
    variable = value.removeprefix(FROM_ENVIRONMENT)
    if not os.environ.get(variable):
        raise UsageError(f"{OPTION} {name}={value}: the environment has no {variable or 'variable without a name'}")
    return os.environ[variable]


@lru_cache(maxsize=16)
def _context(credentials: Credentials) -> ssl.SSLContext:
    """Return the context, made once: the observer opens several connections a second."""
    given = dict(credentials.settings)
    authority, certificate, key = (given.get(name) for name in _FILES)
    for name in _FILES:
        if name in given and given[name] != _PROBE and not Path(given[name]).exists():
            raise UsageError(f"{OPTION} {name}: there is no file {given[name]}")
    is_verified = given.get(_VERIFIES) != "false"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = is_verified and given.get(_IDENTIFIES) != "none"
    if not is_verified:
        context.verify_mode = ssl.CERT_NONE
    what = f"{_AUTHORITY}: {authority}"
    try:
        if authority is None or authority == _PROBE:
            context.load_default_certs()
        elif Path(authority).is_dir():
            context.load_verify_locations(capath=authority)
        else:
            context.load_verify_locations(cafile=authority)
        what = f"{_CERTIFICATE} or {_KEY}: {certificate} or {key}"
        if certificate is not None:
            # Without a password given OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, key, given.get(_KEY_PASSWORD, ""))
    except (ssl.SSLError, OSError) as error:
        raise UsageError(f"{OPTION} {what} can't be used: {said(error)}") from error
    return context


def said(error: OSError) -> str:
    """Return what an error of TLS or of a file says, without its place in OpenSSL's sources."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the node closed the connection"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__
