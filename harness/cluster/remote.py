"""A cluster that somebody else runs, whose nodes and links the user's own commands break and mend.

`harness.cluster.existing` with powers: what kills, starts, stops or pauses a node, and what cuts a link, is said by
commands (`Commands`: by SSH, kubectl, docker, whatever reaches the nodes), which run here, in a shell. Names in braces
stand for the node that is meant: {node} (n1), {id} (1), {host} and {port} (of the address that it advertises, or of
`hosts`); of a link {source}, {source_id}, {source_host}, {target}, {target_id} and {target_host}. A command that does
not end well, or not within `timeout_s`, is a failure of the harness's means and no word about Kafka: ClusterError.

Whether a node's process runs is asked of the `running` command: its exit status 0 says yes (a number in its output is
taken for the process id), 1 says no. Without that command a node runs whose port accepts connections. It is asked where
something was done, and where `harness heal` wants to know; in between a node is what it was made, since questions are
many and a command by SSH takes its time. States of a node: runs -> down (killed, stopped) -> runs; runs <-> paused.
"""

from __future__ import annotations

import dataclasses
import re
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from harness.cluster.api import ClusterError, ClusterSpec, Node, UsageError
from harness.cluster.existing import ExistingCluster, spec_of
from harness.cluster.probe import split_address
from harness.scenario import Commands

PROVIDER: Final = "remote"
GONE_S: Final = 60.0
"""For a node that was killed or stopped to be gone: Kafka takes up to 30 s to hand its leaderships over."""
LOOK_EVERY_S: Final = 0.2
CONNECT_S: Final = 3.0
SAID: Final = 200
"""Characters of what a command said that an error repeats."""
UNKNOWN_ID: Final = 0
"""In place of a process id that nobody told."""


class RemoteCluster(ExistingCluster):
    """Satisfies Killable, Stoppable, Pausable and Partitionable, as far as there are commands (`powers_of`)."""

    provider = PROVIDER

    def __init__(self, spec: ClusterSpec) -> None:
        """Check the bootstrap's form; nothing is asked yet, and no command is run."""
        if spec.commands is None:
            raise UsageError("a cluster that commands break needs --commands FILE")
        super().__init__(spec)
        self._commands = spec.commands
        self._down: set[str] = set()
        self._paused: set[str] = set()
        self._is_certain = True
        """Whether what was done to nodes is all known: not where another process did it."""

    def describe(self) -> dict[str, Any]:
        """Return the handles: the nodes' addresses and the commands too, so that a killed run can be healed."""
        nodes = {
            node.name: {"id": node.id, "roles": sorted(node.roles), "address": node.address} for node in self._nodes
        }
        return super().describe() | {"nodes": nodes, "commands": msgspec.to_builtins(self._commands)}

    # Killable

    def kill(self, node: str) -> None:
        """Run `kill`; return when the node does not run any more, ClusterError when it goes on."""
        self._end("kill", node, demanded=True)

    def start(self, node: str) -> None:
        """Run `start`."""
        self._of_node("start", node)
        self._down.discard(node)

    def pid(self, node: str) -> int | None:
        """Return the process id (0 where none is told), None when the node does not run, or may not: see `_end`."""
        if self._is_certain:
            return None if node in self._down else UNKNOWN_ID
        return self._runs(node)

    # Stoppable

    def stop(self, node: str) -> None:
        """Run `stop`; return when the node does not run any more, or after a bound although it does."""
        self._end("stop", node, demanded=False)

    # Pausable

    def pause(self, node: str) -> None:
        """Run `pause`; ClusterError where `paused` does not say so then."""
        self._paused.add(node)  # before: a command that failed may have done it all the same
        self._of_node("pause", node)
        if self._commands.paused and self._said("paused", node) is None:
            raise ClusterError(f"{node} is not paused, says `{self._commands.paused}`")

    def resume(self, node: str) -> None:
        """Run `resume`."""
        self._of_node("resume", node)
        self._paused.discard(node)

    def paused(self, node: str) -> bool:
        """Return whether the node is paused; where nobody can say, whether it may be: to resume it does no harm."""
        if self._is_certain or not self._commands.paused:
            return node in self._paused or not self._is_certain
        return self._said("paused", node) is not None

    # Partitionable

    def cut(self, source: str, target: str) -> None:
        """Run `cut`."""
        self._of_link("cut", source, target)

    def join(self, source: str, target: str) -> None:
        """Run `join`; it has to be safe where nothing is cut."""
        self._of_link("join", source, target)

    def dropped(self, source: str, target: str) -> int:
        """Return the number that `dropped` prints."""
        said = self._of_link("dropped", source, target)
        number = re.search(r"\d+", said)
        if number is None:
            raise ClusterError(
                f"`{self._commands.dropped}` printed no number for {source} to {target}: {said[:SAID]!r}"
            )
        return int(number[0])

    # Commands

    def _end(self, what: str, node: str, *, demanded: bool) -> None:
        self._down.add(node)  # before: after a command that failed it may be dead, and is to be started
        self._of_node(what, node)
        deadline = time.monotonic() + GONE_S
        while self._runs(node) is not None:
            if time.monotonic() > deadline:
                if demanded:
                    raise ClusterError(f"{node} still runs {GONE_S:g} s after `{getattr(self._commands, what)}`")
                self._down.discard(node)
                return
            time.sleep(LOOK_EVERY_S)

    def _runs(self, node: str) -> int | None:
        if self._commands.running:
            return self._said("running", node)
        try:
            with socket.create_connection(split_address(self._named(node).address), CONNECT_S):
                return UNKNOWN_ID
        except OSError:
            return None

    def _said(self, what: str, node: str) -> int | None:
        """Return the first number that a command printed (UNKNOWN_ID without one), None where its status says no."""
        done = self._run(what, self._places(node), allowed=(0, 1))
        if done.returncode:
            return None
        number = re.search(r"\d+", done.stdout)
        return int(number[0]) if number else UNKNOWN_ID

    def _of_node(self, what: str, node: str) -> str:
        return self._run(what, self._places(node)).stdout

    def _of_link(self, what: str, source: str, target: str) -> str:
        places: dict[str, str] = {}
        for end, node in (("source", source), ("target", target)):
            found = self._places(node)
            places |= {end: found["node"], f"{end}_id": found["id"], f"{end}_host": found["host"]}
        return self._run(what, places).stdout

    def _named(self, name: str) -> Node:
        for node in self._nodes:
            if node.name == name:
                return node
        raise ClusterError(f"no node {name!r}: there are {', '.join(node.name for node in self._nodes)}")

    def _places(self, name: str) -> dict[str, str]:
        node = self._named(name)
        host, port = split_address(node.address) if node.address else ("", 0)
        return {
            "node": name,
            "id": str(node.id),
            "host": self._commands.hosts.get(str(node.id), host),
            "port": str(port),
        }

    def _run(
        self, what: str, places: Mapping[str, str], allowed: tuple[int, ...] = (0,)
    ) -> subprocess.CompletedProcess[str]:
        command = re.sub(r"\{(\w+)\}", lambda found: places.get(found[1], found[0]), getattr(self._commands, what))
        try:
            done = subprocess.run(  # noqa: S602 - the user's own command, in the shell that it is written for
                command,
                shell=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._commands.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{what}: `{command}` did not end within {self._commands.timeout_s:g} s") from None
        if done.returncode not in allowed:
            said = " ".join((done.stderr or done.stdout).split())[-SAID:]
            raise ClusterError(f"{what}: `{command}` ended with status {done.returncode}: {said or 'it said nothing'}")
        return done


def powers_of(commands: Commands) -> frozenset[str]:
    """Return what can be done to a cluster with these commands, as `nemesis.fault.Power` names it."""
    needed = {
        "kill": ("kill", "start"),
        "stop": ("stop", "start"),
        "pause": ("pause", "resume"),
        "partition": ("cut", "join", "dropped"),
    }
    return frozenset(power for power, names in needed.items() if all(getattr(commands, name) for name in names))


def from_handles(handles: Mapping[str, Any]) -> RemoteCluster:
    """Return the cluster that `describe` told about, as it was told: its brokers may all be down."""
    commands = msgspec.convert(handles["commands"], Commands)
    try:
        cluster = RemoteCluster(dataclasses.replace(spec_of(handles), commands=commands))
    except UsageError as error:
        raise ClusterError(str(error)) from error
    cluster._cluster_id = handles["cluster-id"]
    cluster._nodes = tuple(
        Node(name, told["id"], told["address"], frozenset(told["roles"])) for name, told in handles["nodes"].items()
    )
    cluster._is_certain = False
    return cluster


def remove(handles: Mapping[str, Any]) -> None:
    """Do nothing: it is not ours. What a run did to it is undone from its journal."""
