"""One node as a process, with a raw connection to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from harness.cluster import ports
from harness.cluster.probe import Probe, ProbeError

ROOT = Path(__file__).parents[3]
WITHIN_S = 30.0


def until(condition, within_s=WITHIN_S, what="it"):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in time"
        signal.sigtimedwait([], 0.01)


class NodeProcess:
    """`start` returns when the node serves."""

    def __init__(self, folder, joins=None, **properties):
        """joins: the node whose cluster this one joins as a broker, with id 2; else it is alone, with both roles."""
        self.folder, self.joins = folder, joins
        self.port, self._quorum = ports.choose(2)
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        node_id, inner = (1, "CONTROLLER") if joins is None else (2, "NODES")
        (self.data / "meta.properties").write_text(f"version=1\nnode.id={node_id}\ncluster.id=one\n")
        given = {
            "node.id": node_id,
            "process.roles": "broker,controller" if joins is None else "broker",
            "listeners": f"CLIENT://127.0.0.1:{self.port},{inner}://127.0.0.1:{self._quorum}",
            "controller.quorum.voters": f"1@127.0.0.1:{(joins or self)._quorum}",
            "inter.broker.listener.name": inner,
            "log.dirs": self.data,
            "broker.heartbeat.interval.ms": 50,
            **{name.replace("_", "."): value for name, value in properties.items()},
        }
        (folder / "p").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self, *options):
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "broker", "--config", str(self.folder / "p"), *options]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        until(self.serves, what=f"the node's start ({self.log()[-500:]})")
        return self

    def serves(self):
        assert self.process.poll() is None, self.log()
        try:
            with Probe("127.0.0.1", self.port) as probe:
                return len(probe.metadata(()).brokers) == (1 if self.joins is None else 2)
        except ProbeError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WITHIN_S)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def rss_kib(self):
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)
