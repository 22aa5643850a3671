"""What can be done to the nodes and links of a cluster by a test, and the record of what was done."""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.cluster.actions import (
    Action,
    Blackout,
    Cut,
    Fill,
    Intercept,
    Join,
    Kill,
    Pause,
    Release,
    Resume,
    Rot,
    Shape,
    Skew,
    Smooth,
    Stop,
    Unskew,
)
from harness.cluster.api import APIS, Cluster, ClusterError, Interceptable, Interception, Killable, UsageError
from nemesis.actions import in_words, nodes_of, perform, undo


class Breakable:
    """A cluster whose nodes go by their names; faults hold until their counterparts, or the healing of all of them."""

    cluster: Cluster
    _began_s: float
    _done: list[tuple[float, Action]]
    """What was done since the last healing, and when."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes, dead ones and separate controllers too."""
        return tuple(node.name for node in self.cluster.nodes())

    def kill(self, node: str) -> None:
        """End the node's process at once (SIGKILL); returns when it is gone."""
        self._do(Kill(node))

    def lose_power(self, *nodes: str) -> None:
        """End the nodes' processes at once, and take what they had not synced."""
        self._do(*(Blackout(node) for node in nodes))

    def fill_disk(self, node: str) -> None:
        """Have every further write of the node refused: it ends with the next one. `start` or `heal` makes room.

        Not on `compose`.
        """
        self._do(Fill(node))

    def rot(self, node: str, topic: str, partition: int = 0) -> None:
        """Kill the node, and change a byte of its replica that it will check when it starts, if there is one.

        Not on `compose`.
        """
        self._do(Rot(node, f"{topic}/{partition}"))

    def stop(self, node: str) -> None:
        """Stop the node in order (SIGTERM): it hands over what it leads. What is there still after 30 s is killed.

        A frozen node is: it would end at some later moment, when it goes on.
        """
        self._do(Stop(node))
        if isinstance(self.cluster, Killable) and self.cluster.pid(node) is not None:
            self._do(Kill(node))

    def pause(self, node: str) -> None:
        """Freeze the node's processes (SIGSTOP): its connections stay, and it answers nothing."""
        self._do(Pause(node))

    def resume(self, node: str) -> None:
        """Let a paused node go on. Safe when it runs."""
        undo(Resume(node), self.cluster)

    def cut(self, source: str, target: str) -> None:
        """Let nothing pass from source to target, one way; `"clients"` is an end too on `embedded` and `jvm`."""
        self._do(Cut(source, target))

    def join(self, source: str, target: str) -> None:
        """Undo `cut`. Safe when nothing is cut."""
        undo(Join(source, target), self.cluster)

    def isolate(self, node: str) -> None:
        """Cut the node off from all other nodes, both ways; clients still reach it. `heal` ends it."""
        others = [other for other in self.nodes if other != node]
        self._do(*(cut for other in others for cut in (Cut(node, other), Cut(other, node))))

    def shape(self, source: str, target: str, *, delay_s: float = 0.0, loss: float = 0.0) -> None:
        """Make what goes from source to target late, and lose pieces of it with that chance (0 to 1), one way.

        A connection that has lost something stalls and is reset. `"clients"` is an end too. Not on `compose`.
        """
        self._do(Shape(source, target, delay_ms=round(delay_s * 1e3), loss_ppm=round(loss * 1e6)))

    def smooth(self, source: str, target: str) -> None:
        """Undo `shape`. Safe when nothing is shaped."""
        undo(Smooth(source, target), self.cluster)

    def lose_answers(self, node: str, *apis: str, times: int | None = 1) -> None:
        """Have the node execute clients' next requests to these APIs, and reset their connections instead of answering.

        times: how many requests; None: all, until `release` or `heal`. APIs by their names, such as "EndTxn"; by
        default all of `harness.cluster.api.APIS`. On `embedded`, and on `jvm` where it has links.
        """
        self._do(Intercept(node, Interception(_known(apis), most=times)))

    def delay_requests(self, node: str, *apis: str, late_s: float, times: int | None = 1) -> None:
        """Hold clients' next requests to these APIs, reset their connections, and let the node have them that late.

        A client sends its request again meanwhile: the late one comes when it is further on.
        """
        self._do(Intercept(node, Interception(_known(apis), late_ms=round(late_s * 1000), most=times)))

    def intercepted(self, node: str) -> int:
        """Return how many requests to the node that was done to; 0 when nothing is intercepted."""
        if not isinstance(self.cluster, Interceptable):
            return 0
        return sum(self.cluster.intercepted(node).values())

    def release(self, node: str) -> None:
        """Let requests to the node pass again, and those that are held, at once. Safe when nothing is intercepted."""
        undo(Release(node), self.cluster)

    def skew(self, node: str, *, offset_s: float, every_s: float = 0.0) -> None:
        """Let the clock on the node's wall be off by so much, or with `every_s` jump to and fro so often.

        Shows within about a second. On a cluster made for it: `clocks=True`.
        """
        self._do(Skew(node, round(offset_s * 1000), round(every_s * 1000)))

    def unskew(self, node: str) -> None:
        """Set the node's clock right. Safe when it is."""
        undo(Unskew(node), self.cluster)

    def faults(self) -> tuple[str, ...]:
        """Return what was done since the last `heal`, one line each, with the seconds since the start."""
        return tuple(f"{at_s:.2f} s {in_words(action)}" for at_s, action in self._done)

    def _do(self, *actions: Action) -> None:
        if unknown := set(nodes_of(actions)) - set(self.nodes):
            raise UsageError(f"no node {', '.join(sorted(unknown))}: there are {', '.join(self.nodes)}")
        for action in actions:
            self._done.append((time.monotonic() - self._began_s, action))  # before: it may be cut short when it is done
            try:
                perform(action, self.cluster)
            except ClusterError:
                self._done.pop()
                raise


def _known(apis: Sequence[str]) -> tuple[str, ...]:
    if unknown := [api for api in apis if api not in APIS]:
        raise UsageError(f"no API {', '.join(unknown)} to intercept: there are {', '.join(APIS)}")
    return tuple(apis or APIS)
