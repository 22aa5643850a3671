"""The provider's side of `harness.cluster.wires`: starts that process, finds it again, and steers it.

`Linked` is what clusters whose connections run through wires have in common: Partitionable, Shapeable, Interceptable.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from harness.cluster import ports
from harness.cluster.api import CLIENTS, ClusterError, Interception
from harness.cluster.group import NodeGroup

ANSWER_TIMEOUT_S: Final = 5.0
"""It answers within milliseconds; a machine under load may let it wait."""
WIRES_TIMEOUT_S: Final = 20.0
"""For the process to open its ports: a fraction of a second on a quiet machine."""
POLL_S: Final = 0.01
FOLDER: Final = "wires"
"""Beside the nodes' folders: the plan and the log of the process."""
STALL_S: Final = 0.3
"""How long a connection that has lost something stands still before it is reset."""
ROOT: Final = Path(__file__).resolve().parents[2]
"""Where the packages lie: a process that is started from here finds them."""
_MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A port that leads to one of 127.0.0.1; `source` and `target` are node names, or CLIENTS."""

    source: str
    target: str
    port: int
    to: int
    host: str = ports.LOOPBACK
    """Where it listens: an address of this machine's loopback."""


@dataclass(frozen=True, slots=True)
class Wires:
    """The wires of one cluster. Every method raises ClusterError when the process does not answer."""

    cluster_id: str
    control: int

    def mark(self) -> str:
        """Return the word that only this process's command line holds."""
        return f"harness.wires={self.cluster_id}"

    def start(self, folder: Path, wires: list[Wire]) -> subprocess.Popen[bytes]:
        """Start the process; `folder` gets its plan and its log."""
        folder.mkdir(parents=True, exist_ok=True)
        plan = {
            "token": self.cluster_id,
            "control": self.control,
            "wires": [asdict(wire) for wire in wires],
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        with (folder / "wires.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
                [sys.executable, "-X", self.mark(), "-m", "harness.cluster.wires", str(folder / "plan.json")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
            )

    def await_answers(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Return when the started process answers; ClusterError, naming the log in `folder`, when it does not."""
        deadline = time.monotonic() + WIRES_TIMEOUT_S
        log = folder / "wires.log"
        while not self.answers():
            if process.poll() is not None:
                raise ClusterError(f"the cluster's links ended at once: see {log}")
            if time.monotonic() > deadline:
                raise ClusterError(f"the cluster's links were not there within {WIRES_TIMEOUT_S:g} s: see {log}")
            time.sleep(POLL_S)

    def answers(self) -> bool:
        """Return whether the process is there: then every wire is open."""
        try:
            self._ask(do="ping")
        except ClusterError:
            return False
        return True

    def cut(self, source: str, target: str) -> None:
        """Hold what goes from source to target."""
        self._ask(do="cut", source=source, target=target)

    def join(self, source: str, target: str) -> None:
        """Let it go on."""
        self._ask(do="join", source=source, target=target)

    def held(self, source: str, target: str) -> int:
        """Return how many bytes the cut has held so far; 0 when not cut."""
        return int(self._ask(do="held", source=source, target=target)["bytes"])

    def shape(self, source: str, target: str, *, delay_s: float = 0.0, loss: float = 0.0) -> None:
        """Set delay, and the chance per received piece that a connection stalls for `STALL_S` and is then reset."""
        self._ask(do="shape", source=source, target=target, delay_s=delay_s, loss=loss, stall_s=STALL_S)

    def shaped(self, source: str, target: str) -> int:
        """Return how many pieces were late or lost since delay and loss were set; 0 without."""
        return int(self._ask(do="shaped", source=source, target=target)["pieces"])

    def intercept(self, node: str, what: Interception) -> None:
        """Strike clients' requests to the node from now on."""
        self._ask(do="intercept", source=CLIENTS, target=node, what=asdict(what))

    def release(self, node: str) -> None:
        """Intercept nothing more, and let the node have what is held."""
        self._ask(do="release", source=CLIENTS, target=node)

    def intercepted(self, node: str) -> dict[str, int]:
        """Return how many requests it was done to since then, by API; {} when nothing is intercepted."""
        return dict(self._ask(do="intercepted", source=CLIENTS, target=node)["requests"])

    def _ask(self, **asked: Any) -> dict[str, Any]:
        line = json.dumps({"token": self.cluster_id, **asked}).encode() + b"\n"
        try:
            with socket.create_connection((ports.LOOPBACK, self.control), timeout=ANSWER_TIMEOUT_S) as connection:
                connection.sendall(line)
                with connection.makefile("rb") as answers:
                    said = json.loads(answers.readline(_MAX_ANSWER_BYTES))
        except (OSError, ValueError) as error:
            raise ClusterError(f"the cluster's links do not answer on port {self.control} ({error})") from error
        if "error" in said:
            raise ClusterError(f"the cluster's links refuse {asked}: {said['error']}")
        answer: dict[str, Any] = said
        return answer


class Linked:
    """A cluster of processes on loopback whose links can be cut, slow and lossy; `_wires` is None without links."""

    _group: NodeGroup
    _wires: Wires | None

    # Partitionable

    def cut(self, source: str, target: str) -> None:
        """Hold every byte from source to target; their connections stay open."""
        self._linked().cut(self._end(source), self._end(target))

    def join(self, source: str, target: str) -> None:
        """Let them go on; safe when not cut."""
        self._linked().join(self._end(source), self._end(target))

    def dropped(self, source: str, target: str) -> int:
        """Return how many bytes the cut has held so far; 0 when not cut."""
        return self._linked().held(self._end(source), self._end(target))

    # Shapeable

    def shape(self, source: str, target: str, delay_s: float, loss: float) -> None:
        """Make every byte from source to target late; with that chance a piece stalls and resets its connection."""
        self._linked().shape(self._end(source), self._end(target), delay_s=delay_s, loss=loss)

    def smooth(self, source: str, target: str) -> None:
        """Let them go undisturbed; safe when not shaped."""
        self._linked().shape(self._end(source), self._end(target))

    def shaped(self, source: str, target: str) -> int:
        """Return how many pieces were late or lost so far; 0 when not shaped."""
        return self._linked().shaped(self._end(source), self._end(target))

    # Interceptable

    def intercept(self, node: str, what: Interception) -> None:
        """Lose answers of the node to clients, or have their requests come late; see `harness.cluster.proxy`."""
        self._linked().intercept(self._end(node), what)

    def release(self, node: str) -> None:
        """Let requests and answers pass, those that are held, too; safe when nothing is intercepted."""
        self._linked().release(self._end(node))

    def intercepted(self, node: str) -> dict[str, int]:
        """Return how many requests it was done to so far, by API; {} when nothing is intercepted."""
        return self._linked().intercepted(self._end(node))

    def _linked(self) -> Wires:
        if self._wires is None:
            raise ClusterError("this cluster runs without links (--no-links): nothing can be cut or slowed down")
        return self._wires

    def _end(self, name: str) -> str:
        if name != CLIENTS:
            self._group.process(name)  # names the nodes that there are, if it is none of them
        return name
