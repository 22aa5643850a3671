"""What a power loss takes of a container's volume: `harness.cluster.unsynced`, through the engine.

The engine's files are not ours to touch. A helper with the dead node's volume, made for the moment, tells the recovery
points that the node has checkpointed and how big the newest segment of each partition is; another one cuts. Contents
are not looked at: a segment that is synced in part, since it was the newest when the node was stopped in order, is left
as it is.
"""

from __future__ import annotations

import random
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Final

from harness.cluster.api import Key
from harness.cluster.engine import RUN_LABEL, guard
from harness.cluster.unsynced import QUORUM, key_of

_LOOK: Final = "cat recovery-point-offset-checkpoint 2>/dev/null; stat -c '%s %n' */*.log 2>/dev/null; true"
_POINT: Final = re.compile(r"^(\S+) (\d+) (\d+)$")
_FILE: Final = re.compile(r"^(\d+) ((\S+)-(\d+))/(\d{20})\.log$")


class Volumes:
    """The volumes of a project's nodes."""

    def __init__(
        self, client: Any, project: str, image: Callable[[], str], container: Callable[[str], Any], data: str
    ) -> None:
        """Remember how to reach the engine; `data` is where a node's partitions are, as for `harness.cluster.links`."""
        self._client, self._project, self._image = client, project, image
        self._container, self._data = container, data

    def lose(self, node: str, topics: Collection[str], rng: random.Random) -> Counter[Key]:
        """Cut off what a dead node had not synced of these topics; return how many bytes went of each partition.

        Raises ClusterError.
        """
        sizes = unsynced(self.run(node, _LOOK, f"look at the disk of {node}"), topics)
        kept = {file: 0 if rng.random() < 1 / 2 else rng.randrange(size) for file, size in sizes.items()}
        if kept:
            cuts = [f"truncate -s {size} {shlex.quote(file)}" for file, size in kept.items()]
            self.run(node, " && ".join(cuts), f"cut the logs of {node}")
        return Counter({key_of(file.partition("/")[0]): size - kept[file] for file, size in sizes.items()})

    def run(self, node: str, command: str, what: str) -> str:
        """Run a shell command where the node's partitions are; return what it said. Raises ClusterError."""
        with guard(what):
            output: bytes = self._client.containers.run(
                self._image(),
                entrypoint=["/bin/sh", "-c", f"cd {shlex.quote(self._data)} && {{ {command}; }}"],
                command=[],
                remove=True,
                user="0",
                network_mode="none",
                volumes_from=[self._container(node).id],
                labels={RUN_LABEL: self._project},
            )
        return output.decode(errors="replace")


def unsynced(said: str, topics: Collection[str]) -> dict[str, int]:
    """Return the newest segments of these topics of which nothing is synced, `folder/file`, with their sizes in bytes.

    said: the lines of the recovery points' checkpoint, and of `size folder/file` for each segment.
    """
    points: dict[str, int] = {}
    newest: dict[str, tuple[int, str, int]] = {}
    for line in said.splitlines():
        if point := _POINT.match(line):
            points[f"{point[1]}-{point[2]}"] = int(point[3])
        elif (file := _FILE.match(line)) and file[3] in topics and file[3] != QUORUM:
            found = (int(file[5]), line.partition(" ")[2], int(file[1]))
            newest[file[2]] = max(newest.get(file[2], found), found)
    return {file: size for log, (base, file, size) in newest.items() if size and points.get(log, 0) <= base}
