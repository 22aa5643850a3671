"""The provider's side of `harness.cluster.wires`: starts that process, finds it again, and steers it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.cluster import ports
from harness.cluster.api import ClusterError

ANSWER_TIMEOUT_S: Final = 5.0
"""It answers within milliseconds; a machine under load may let it wait."""
STALL_S: Final = 0.3
"""How long a connection that has lost something stands still before it is reset."""
ROOT: Final = Path(__file__).resolve().parents[2]
"""Where the packages lie: a process that is started from here finds them."""
_MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A port that leads to another one; `source` and `target` are node names, or CLIENTS."""

    source: str
    target: str
    port: int
    to: int


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
            "wires": [
                {"source": wire.source, "target": wire.target, "port": wire.port, "to": wire.to} for wire in wires
            ],
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
