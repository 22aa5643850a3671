"""Which image a cluster's nodes run, and which one the helpers of network faults.

The node's image, in this order: what the user named; ours (`compose/image/build.sh`, no registry needed); the official
apache/kafka. One that is not in the engine is pulled, ours excepted: no registry has it.

A helper only needs iptables: it enters a node's network, which the official image, without root and iptables, can't
change itself. Our images can be their own helper; for others `compose/helper` is built from a registry's Debian.
"""

from __future__ import annotations

from typing import Any

import docker.errors
import requests

from harness.cluster.api import UsageError
from harness.cluster.distribution import major, resource
from harness.cluster.engine import guard

OURS = "kafka-harness/kafka"
OFFICIAL = "apache/kafka"
HELPER = "kafka-harness/helper:latest"
IPTABLES_LABEL = "kafka-harness.iptables"


def node_image(client: Any, version: str, image: str | None) -> str:
    """Return the image for a node of that Kafka version, which then is in the engine; else UsageError.

    image: what the user named; None chooses.
    """
    major(version)
    wanted = [image] if image else [f"{OURS}:{version}", f"{OFFICIAL}:{version}"]
    for name in wanted:
        if present(client, name):
            return name
    name = wanted[-1]
    reason = "no registry has it" if name.startswith(OURS) else _pull(client, name)
    if reason is None:
        return name
    build = f"sh {resource('image/build.sh')} {version}"
    raise UsageError(f"no image {name} ({reason}): build ours with `{build}`, or `docker pull {OFFICIAL}:{version}`")


def helper_image(client: Any, node: str) -> str:
    """Return an image that has iptables; builds it when the engine has none. UsageError when that fails."""
    if present(client, HELPER):
        return HELPER
    with guard(f"inspect the image {node}"):
        if IPTABLES_LABEL in client.images.get(node).labels:
            return node
    folder = resource("helper")
    try:
        client.images.build(path=str(folder), tag=HELPER, rm=True)
    except (docker.errors.DockerException, requests.RequestException, TypeError) as error:
        raise UsageError(
            f"no image {HELPER}, which network faults on {node} need, and it can't be built "
            f"({_short(error)}): `docker build --tag {HELPER} {folder}`"
        ) from error
    return HELPER


def present(client: Any, name: str) -> bool:
    """Return whether the engine has that image."""
    with guard(f"look for the image {name}"):
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            return False
    return True


def _pull(client: Any, name: str) -> str | None:
    """Pull it; return why that did not work."""
    repository, _, tag = name.rpartition(":")
    try:
        client.images.pull(repository or name, tag=tag if repository else "latest")
    except (docker.errors.DockerException, requests.RequestException) as error:
        return f"it can't be pulled: {_short(error)}"
    return None


def _short(error: Exception) -> str:
    said = getattr(error, "explanation", None) or str(error) or type(error).__name__
    return str(said).splitlines()[0][:200]
