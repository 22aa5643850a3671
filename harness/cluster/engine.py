"""The Docker engine and Docker Compose, as the providers of clusters use them.

Two doors to one engine: the `docker` package for control (kill, pause, exec, logs), and Docker Compose, the plugin
(`docker compose`) or Debian's docker-compose 1.29, for up and down. Both find the engine as every Docker client does
(DOCKER_HOST, else the local socket).

Everything that is made for a run carries the label `kafka-harness.run=PROJECT`, and a project's name is drawn anew for
each cluster: `sweep` removes what carries it and nothing else. Errors of the engine become ClusterError; that there is
no engine, or no Compose, is a UsageError of one line.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.utils
import requests

from harness.cluster.api import ClusterError, UsageError

RUN_LABEL = "kafka-harness.run"
NODE_LABEL = "kafka-harness.node"

CALL_TIMEOUT_S = 60
"""One call of the engine's API; a start took 2 s at worst on a busy machine."""
COMPOSE_TIMEOUT_S = 180
"""`up` or `down` of some ten containers; three take 2-4 s."""
VERSION_TIMEOUT_S = 30
SWEEP_ROUNDS = 5
SWEEP_PAUSE_S = 0.5
"""A network can't be removed while the engine still takes its last container away."""


def connect() -> Any:
    """Return a client of the engine, to be closed by the caller. UsageError, in one line, when none answers."""
    client = None
    try:
        _knock()
        client = docker.from_env(timeout=CALL_TIMEOUT_S)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        if client is not None:
            client.close()
        where = os.environ.get("DOCKER_HOST", "its usual socket")
        raise UsageError(
            f"no Docker engine answers at {where}: start Docker (or .ci/engine start FOLDER), or set DOCKER_HOST"
        ) from error
    return client


def _knock() -> None:
    """Raise OSError when nobody listens at the engine's local socket: the package would leave its own one open."""
    address = docker.utils.parse_host(os.environ.get("DOCKER_HOST") or None)
    if address.startswith("http+unix://"):
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(address.removeprefix("http+unix://"))


@contextlib.contextmanager
def guard(what: str) -> Iterator[None]:
    """Turn the engine's errors into a ClusterError that says what was being done."""
    try:
        yield
    except docker.errors.APIError as error:
        raise ClusterError(f"Docker can't {what}: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise ClusterError(f"Docker can't {what}: {error}") from error


@cache
def compose_command() -> tuple[str, ...]:
    """Return the command of Docker Compose: the plugin, else docker-compose. UsageError when there is neither."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) is None:
            continue
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            answer = subprocess.run(  # noqa: S603 - one of the two commands above, found on the user's PATH
                [*command, "version"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=False
            )
            if answer.returncode == 0:
                return command
    raise UsageError("no Docker Compose: install the `docker compose` plugin, or docker-compose 1.29")


def compose(project: str, file: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Run one command of Docker Compose for that project, in bounded time. ClusterError with its words if it fails."""
    command = [*compose_command(), "--project-name", project, "--file", str(file), *arguments]
    what = f"docker compose {arguments[0]}"
    try:
        answer = subprocess.run(  # noqa: S603 - Docker Compose with a file of ours
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPOSE_TIMEOUT_S,
            check=False,
            env={**os.environ, **environment},
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{what} took longer than {COMPOSE_TIMEOUT_S} s") from error
    except OSError as error:
        raise ClusterError(f"{what} does not run: {error}") from error
    if answer.returncode != 0:
        lines = [line.strip() for line in answer.stderr.splitlines() if line.strip()]
        reasons = [line for line in lines if "error" in line.lower() or "cannot" in line.lower()] or lines[-1:]
        raise ClusterError(f"{what} failed ({answer.returncode}): {' | '.join(reasons)[:500]}")


def containers(client: Any, project: str) -> dict[str, Any]:
    """Return the nodes' containers of a project by node name, dead ones too."""
    with guard("list containers"):
        found = client.containers.list(all=True, filters={"label": [f"{RUN_LABEL}={project}", NODE_LABEL]})
        return {container.labels[NODE_LABEL]: container for container in found}


def free_subnet(client: Any, project: str) -> str:
    """Return a subnet that the engine would give to a new network now: it knows the machine's other networks."""
    with guard("find a free subnet"):
        network = client.networks.create(f"{project}-subnet", driver="bridge", labels={RUN_LABEL: project})
        try:
            subnet: str = network.attrs["IPAM"]["Config"][0]["Subnet"]
        finally:
            network.remove()
    return subnet


def sweep(client: Any, project: str) -> None:
    """Remove every container, network and volume that carries the project's label; ClusterError if some can't be."""
    label = {"label": f"{RUN_LABEL}={project}"}
    left: list[str] = []
    for _ in range(SWEEP_ROUNDS):
        with guard(f"list what {project} left"):
            found = client.containers.list(all=True, filters=label, ignore_removed=True)
            others = [*client.networks.list(filters=label), *client.volumes.list(filters=label)]
        if not found and not others:
            return
        left = []
        for container in found:
            left += _try(container.name, lambda container=container: container.remove(force=True, v=True))
        for other in others:
            left += _try(other.name, other.remove)
        time.sleep(SWEEP_PAUSE_S if left else 0)
    if left:
        raise ClusterError(f"Docker can't remove what {project} left: {'; '.join(left)[:500]}")


def _try(name: str, remove: Any) -> list[str]:
    """Remove one thing; return what stood in the way. That it is gone already is fine."""
    try:
        remove()
    except docker.errors.NotFound:
        return []
    except (docker.errors.APIError, requests.RequestException) as error:
        return [f"{name}: {getattr(error, 'explanation', None) or error}"]
    return []
