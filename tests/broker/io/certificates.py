"""Certificates for tests, made by the machine's openssl: an authority, and keys that it has signed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """One authority in a folder; `store(name)` is a PEM file with a key and its certificate."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            # CI must not lose these tests in silence: .ci/run installs openssl and says that it must be there.
            missing = pytest.fail if os.environ.get("HARNESS_REQUIRE_OPENSSL") == "1" else pytest.skip
            missing("no openssl on this machine")
        self.folder = folder
        self.trusted = folder / "authority.pem"
        self._key = folder / "authority.key"
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority",
                  "-keyout", self._key, "-out", self.trusted)  # fmt: skip

    def store(self, name: str, *, host: str = "127.0.0.1") -> Path:
        key, request, certificate = (self.folder / f"{name}.{suffix}" for suffix in ("key", "csr", "crt"))
        self._run(
            "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/O=tests/CN={name}", "-keyout", key, "-out", request
        )
        names = self.folder / f"{name}.ext"
        names.write_text(f"subjectAltName=IP:{host}\n")
        self._run("x509", "-req", "-in", request, "-CA", self.trusted, "-CAkey", self._key, "-CAcreateserial",
                  "-days", "2", "-extfile", names, "-out", certificate)  # fmt: skip
        both = self.folder / f"{name}.pem"
        both.write_text(key.read_text() + certificate.read_text())
        return both

    def _run(self, *arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
