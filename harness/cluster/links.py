"""Cut links between containers, one direction at a time, with iptables in the nodes' own network namespaces.

A node's image need not have iptables nor root. A helper container shares the node's network namespace
(`--network container:NODE`) with NET_ADMIN, and sleeps; each command is an exec in it (0.1 s). It has two chains of
its own, called from INPUT and OUTPUT. A cut of source -> target is one DROP rule for the other node's address, marked
with a comment: in the target's namespace (INPUT), or in the source's (OUTPUT). Either stops the packets. Clients come
through the bridge's gateway, so they still reach a node that is cut off from all others. The rules' packet counters
are the evidence that a cut bit.

A namespace dies with its node, and the rules in it: a node that starts again has a new, open one. So that no packet
slips through, the rule is at the *other* end while a node starts:

    cut          at the target; at the source when the target is dead; remembered when both are dead
    starting     before a node starts, its cuts are put at the other end, where that one lives
    started      after it, those whose other end is dead are put at this one

Addresses are fixed for a cluster's life. The rules are gone with `down`, as the namespaces are.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Mapping
from typing import Any

import docker.errors

from harness.cluster.api import ClusterError
from harness.cluster.engine import RUN_LABEL, guard

IN, OUT = "KAFKA-HARNESS-IN", "KAFKA-HARNESS-OUT"
HELPER_LABEL = "kafka-harness.helper"
STARTED_LABEL = "kafka-harness.started"
SETUP = f"""
for tool in iptables iptables-legacy; do
  if $tool -w -N {IN} && $tool -w -N {OUT} && $tool -w -I INPUT -j {IN} && $tool -w -I OUTPUT -j {OUT}; then
    echo $tool >/tmp/tool; exec sleep infinity
  fi
done
echo 'neither iptables nor iptables-legacy works here' >&2; exit 1
"""
"""nftables is not in every kernel; the older interface may be."""
AWAIT = "for i in $(seq 100); do [ -s /tmp/tool ] && break; sleep 0.05; done; tool=$(cat /tmp/tool) || exit 1; "
"""A command waits up to 5 s for the set-up; without a tool it fails."""

Cut = tuple[str, str]
"""Source and target."""


class Links:
    """The cuts of one cluster. Safe to be used by several threads."""

    def __init__(
        self,
        client: Any,
        project: str,
        image: Callable[[], str],
        container: Callable[[str], Any],
        addresses: Mapping[str, str],
    ) -> None:
        """Remember how to reach the engine; nothing is started until the first cut.

        image: the helper's; container: a node's container, freshly inspected; addresses: by node name.
        """
        self._client, self._project, self._image = client, project, image
        self._container, self._addresses = container, addresses
        self._cuts: dict[Cut, set[str]] = {}
        """Each active cut, and at which nodes its rule was put."""
        self._helpers: dict[str, Any] = {}
        self._lock = threading.RLock()

    def cut(self, source: str, target: str) -> None:
        """Drop packets from source to target; safe when they are dropped already."""
        with self._lock:
            self._cuts.setdefault((source, target), set())
            if not self._put((source, target), target):
                self._put((source, target), source)

    def join(self, source: str, target: str) -> None:
        """Let them pass again; safe when they do, and when another process of ours made the cut."""
        with self._lock:
            cut = (source, target)
            for node in self._cuts.get(cut, set(cut)) & set(cut):
                helper = self._helper(node)
                if helper is not None:
                    self._run(
                        helper,
                        # A rule's text is that of the command which deletes it, quoting and all: hence the eval.
                        f"$tool -w -S | grep -F {shlex.quote(_comment(cut))} | sed s/^-A/-D/ |"
                        " while read -r rule; do eval $tool -w $rule || exit 1; done",
                        f"join {source} -> {target}",
                    )
            self._cuts.pop(cut, None)

    def dropped(self, source: str, target: str) -> int:
        """Return how many packets the cut has dropped since it was made; 0 when not cut.

        What a node's namespace had counted is lost when the node is killed.
        """
        cut = (source, target)
        packets = 0
        with self._lock:
            for node in self._cuts.get(cut, ()):
                helper = self._helper(node)
                if helper is not None:
                    listing = self._run(helper, "$tool -w -nvxL", f"read the counters of {node}")
                    lines = [line for line in listing.splitlines() if _comment(cut) in line]
                    packets += sum(int(match[1]) for line in lines if (match := re.match(r"\s*(\d+)\s", line)))
        return packets

    def starting(self, node: str) -> None:
        """Put the cuts of a dead node that will be started at their other ends."""
        with self._lock:
            for cut, where in self._cuts.items():
                if node in cut:
                    where.discard(node)
                    self._put(cut, _other(cut, node))

    def started(self, node: str) -> None:
        """Put the cuts of a node that was just started here, where their other end is dead."""
        with self._lock:
            for cut, where in self._cuts.items():
                if node in cut and not where:
                    self._put(cut, node)

    def _put(self, cut: Cut, node: str) -> bool:
        """Put the cut's rule into the node's namespace, once; return whether the node lives."""
        source, target = cut
        helper = self._helper(node)
        if helper is None:
            self._cuts[cut].discard(node)
            return False
        match = f"{IN} -s {self._addresses[source]}" if node == target else f"{OUT} -d {self._addresses[target]}"
        rule = f"{match}/32 -m comment --comment {shlex.quote(_comment(cut))} -j DROP"
        self._run(helper, f"$tool -w -C {rule} 2>/dev/null || $tool -w -A {rule}", f"cut {source} -> {target}")
        self._cuts[cut].add(node)
        return True

    def _helper(self, node: str) -> Any:
        """Return the helper in the node's present network namespace; None when the node is not running."""
        container = self._container(node)
        state = container.attrs["State"]
        if not state["Running"]:
            return None
        with guard(f"start a helper in the network of {node}"):
            helper = self._helpers.get(node) or self._find(node)
            if helper is not None and helper.labels.get(STARTED_LABEL) != state["StartedAt"]:
                _remove(helper)  # it sits in the namespace of the node's former life
                helper = None
            self._helpers[node] = helper or self._start(node, container.id, state["StartedAt"])
        return self._helpers[node]

    def _find(self, node: str) -> Any:
        """Return the helper that another process of ours has left there."""
        labels = [f"{RUN_LABEL}={self._project}", f"{HELPER_LABEL}={node}"]
        return next(iter(self._client.containers.list(filters={"label": labels})), None)

    def _start(self, node: str, container_id: str, started: str) -> Any:
        return self._client.containers.run(
            self._image(),
            entrypoint=["/bin/sh", "-c", SETUP],
            command=[],
            detach=True,
            init=True,
            user="0",
            cap_add=["NET_ADMIN"],
            network_mode=f"container:{container_id}",
            labels={RUN_LABEL: self._project, HELPER_LABEL: node, STARTED_LABEL: started},
        )

    def _run(self, helper: Any, command: str, what: str) -> str:
        with guard(what):
            code, output = helper.exec_run(["/bin/sh", "-c", AWAIT + command], user="0")
        text: str = output.decode(errors="replace")
        if code != 0:
            raise ClusterError(f"can't {what}: {text.strip()[:300]}")
        return text


def _other(cut: Cut, node: str) -> str:
    source, target = cut
    return source if node == target else target


def _comment(cut: Cut) -> str:
    """Return the mark of a cut's rules; it is part of no other cut's."""
    return f"kafka-harness cut {cut[0]} to {cut[1]}."


def _remove(helper: Any) -> None:
    try:
        helper.remove(force=True, v=True)
    except docker.errors.NotFound:
        return
