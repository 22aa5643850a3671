"""What a node's container leaves for the reader: its log, its configuration, and its last words.

Every copy is bounded: the newest `LOG_BYTES` of a log are kept. A container that is gone, or has no such file, leaves
nothing and stops nobody.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections import deque
from pathlib import Path
from typing import Any

import docker.errors
import requests

LOG_BYTES = 32 * 1024 * 1024
PROPERTIES = "/opt/kafka/config/server.properties"
PROPERTIES_BYTES = 1024 * 1024
LAST_LINES = 200
"""Where the reason of an end is looked for."""


def collect(container: Any, folder: Path) -> None:
    """Copy the container's log and server.properties into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
        (folder / "server.log").write_bytes(_newest(container))
    with contextlib.suppress(docker.errors.DockerException, requests.RequestException, tarfile.TarError):
        (folder / "server.properties").write_bytes(_file(container, PROPERTIES))


def last_words(container: Any) -> str:
    """Return the last line of the container's log that tells of an error, else its last line."""
    try:
        text: str = container.logs(tail=LAST_LINES).decode(errors="replace")
    except (docker.errors.DockerException, requests.RequestException) as error:
        return f"its log can't be read ({error})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if any(word in line for word in ("FATAL", "ERROR", "Exception", "rror:"))]
    return (told or lines or ["it said nothing"])[-1][:300]


def _newest(container: Any) -> bytes:
    chunks: deque[bytes] = deque()
    size = 0
    for chunk in container.logs(stream=True, follow=False):
        chunks.append(chunk)
        size += len(chunk)
        while size - len(chunks[0]) >= LOG_BYTES:
            size -= len(chunks.popleft())
    return b"".join(chunks)[-LOG_BYTES:]


def _file(container: Any, path: str) -> bytes:
    stream, _ = container.get_archive(path)
    archive = bytearray()
    for chunk in stream:
        archive += chunk
        if len(archive) > PROPERTIES_BYTES:
            break
    with tarfile.open(fileobj=io.BytesIO(bytes(archive))) as tar:
        member = tar.extractfile(Path(path).name)
        return b"" if member is None else member.read()
