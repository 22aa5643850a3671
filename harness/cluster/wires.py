"""Links in user space: a process that carries the connections of a cluster on loopback, and can hold them up.

Started by the provider (`harness.cluster.wiring`), a process of its own: a busy harness does not slow replication down,
and a killed one cuts nothing. It needs no privileges and works wherever TCP does.

A *wire* is a port on a loopback address that leads to one of 127.0.0.1: one per (node, peer) in the direction in which
connections are opened (two, where a peer listens for brokers and for controllers), and one per node for its clients.
Bytes from a to b run forward on a wire (a, b) and backward on a wire (b, a); the *gate* (a, b) stands in the way of
both:

    cut      bytes are held (read up to a bound, then TCP makes the sender wait); connections stay open, the end of a
             connection is held like its bytes; a new connection gets no further than this process. `join` lets all of
             it go on, in order: bytes are late, never missing.
    delay    every byte is as much later
    loss     with the drawn chance per received piece the connection stalls, both ways, and is then reset: what TCP does
             about lost packets, since a stream can't lose bytes

On a client's wire requests of some kinds can be intercepted, too; only that knows Kafka (`harness.cluster.proxy`).

Steered over a socket on loopback, one JSON object a line: {"token", "do", ...} -> {"ok": true, ...} or {"error": text}.
The token is the cluster's id: another program that has found the port cuts nothing.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from harness.cluster.api import CLIENTS, Interception
from harness.cluster.proxy import Interceptor, Traffic

LOOPBACK: Final = "127.0.0.1"
MAX_HELD_BYTES: Final = 256 * 1024
"""What a connection may have waiting here in one direction before its sender must wait: as much as kernels buffer."""
MAX_LINE_BYTES: Final = 64 * 1024
CONNECT_TIMEOUT_S: Final = 5.0
"""On loopback a connection stands or is refused at once; a stopped node's kernel answers for it too."""
LATE_ANSWER_S: Final = 5.0
"""For a node to answer a request that was late, and to find its connection closed."""
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends a reset."""


class Gate:
    """What stands between source and target; see the module. `held_bytes` counts since the cut."""

    def __init__(self) -> None:
        self.is_cut = False
        self.held_bytes = 0
        self.delay_s = 0.0
        self.loss = 0.0
        self.stall_s = 0.0
        self.shaped_pieces = 0
        self.interceptor: Interceptor | None = None
        self.crossings: dict[Crossing, None] = {}

    def cut(self) -> None:
        """Hold what comes from now on."""
        if not self.is_cut:
            self.is_cut, self.held_bytes = True, 0

    def join(self) -> None:
        """Let everything go on."""
        self.is_cut, self.held_bytes = False, 0
        for crossing in list(self.crossings):
            crossing.go_on()

    def shape(self, delay_s: float, loss: float, stall_s: float) -> None:
        """Set delay and loss; what is under way keeps its time."""
        self.delay_s, self.loss, self.stall_s = delay_s, loss, stall_s
        self.shaped_pieces = 0

    def intercept(self, what: Interception, rng: random.Random) -> None:
        """Strike requests from now on."""
        self.release()
        self.interceptor = Interceptor(what, rng)

    def release(self) -> None:
        """Intercept nothing any more; what is held reaches its node now."""
        self.interceptor = None
        for crossing in list(self.crossings):
            if crossing.carried.is_late:
                crossing.carried.deliver()


class Crossing(asyncio.Protocol):
    """One end of a carried connection: what it receives goes to the other end, through the gate of its direction."""

    def __init__(self, carried: Carried, gate: Gate) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Crossing | None = None
        self.has_ended = False
        self.carried, self._gate = carried, gate
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._waiting_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._other_is_slow = False
        gate.crossings[self] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; data is forwarded as soon as the other end stands."""
        self.transport = cast("asyncio.Transport", transport)
        self.carried.opened(self)

    def data_received(self, data: bytes) -> None:
        """Pass it on, or hold it."""
        if self.carried.traffic is not None:
            data = self.carried.watch(self, data)
            if not data:
                return
        gate, other = self._gate, self.other
        is_lost = bool(gate.loss) and self.carried.rng.random() < gate.loss
        if is_lost:
            self.carried.stall(gate.stall_s)
        gate.shaped_pieces += is_lost or bool(gate.delay_s)
        ready = other is not None and other.transport is not None and not self.carried.is_stalled
        if ready and not gate.is_cut and not gate.delay_s and not self._waiting:
            other.transport.write(data)  # type: ignore[union-attr]  # ready says so
            return
        if gate.is_cut:
            gate.held_bytes += len(data)
        self._waiting.append((asyncio.get_running_loop().time() + gate.delay_s, data))
        self._waiting_bytes += len(data)
        self._decide_reading()
        self.go_on()

    def go_on(self) -> None:
        """Send what may go now; plan the rest."""
        loop, other = asyncio.get_running_loop(), self.other
        if self._gate.is_cut or self.carried.is_stalled:
            return
        if other is None or other.transport is None:
            self.carried.try_to_open()
            return
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            other.transport.write(data)
        self._decide_reading()
        if self._waiting and self._timer is None:
            self._timer = loop.call_at(self._waiting[0][0], self._due)
        elif not self._waiting and self.has_ended:
            other.transport.close()

    def _due(self) -> None:
        self._timer = None
        self.go_on()

    def _decide_reading(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self._other_is_slow or self._waiting_bytes >= MAX_HELD_BYTES:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """This end does not read: the other one must wait."""
        self._slow(slow=True)

    def resume_writing(self) -> None:
        """It reads again."""
        self._slow(slow=False)

    def _slow(self, *, slow: bool) -> None:
        if self.other is not None:
            self.other._other_is_slow = slow
            self.other._decide_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of a connection goes the way of its bytes."""
        del exc
        self.transport, self.has_ended = None, True
        if self is self.carried.near and self.carried.is_late:
            return
        if self.other is None or self.other.has_ended:
            self.carried.close()
        else:
            self.go_on()

    def leave(self) -> None:
        """Forget everything."""
        self._gate.crossings.pop(self, None)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()


class Carried:
    """One connection from a source to a target: two crossings, the second of which opens when both gates are open."""

    def __init__(self, gates: tuple[Gate, Gate], port: int, rng: random.Random, *, of_client: bool = False) -> None:
        self.rng = rng
        self.is_stalled = False
        self.is_late = False
        """The client's end is gone, the node's end waits for a request that is late."""
        self.traffic = Traffic(self._caught, self.close) if of_client else None
        self.near = Crossing(self, gates[0])
        self._far: Crossing | None = None
        self._gates, self._port = gates, port
        self._opening: asyncio.Task[None] | None = None

    def opened(self, crossing: Crossing) -> None:
        """One end stands."""
        cast("asyncio.Transport", crossing.transport).get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        if crossing is not self.near:
            self.near.other, crossing.other = crossing, self.near
            if self.near.has_ended:
                self.close()
            else:
                self.near.go_on()
            return
        for gate in self._gates:
            if gate.is_cut:
                gate.held_bytes += 1  # the opening of the connection, or its answer
                gate.crossings[self.near] = None
        self.try_to_open()

    def try_to_open(self) -> None:
        """Open the far end, once, when nothing is in the way."""
        if self._opening is None and not any(gate.is_cut for gate in self._gates):
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        self._gates[1].crossings.pop(self.near, None)
        self._far = Crossing(self, self._gates[1])
        far = self._far
        try:
            connecting = asyncio.get_running_loop().create_connection(lambda: far, LOOPBACK, self._port)
            await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError):
            self.close()

    def stall(self, stall_s: float) -> None:
        """Let nothing pass any more; reset both ends in a while."""
        if not self.is_stalled:
            self.is_stalled = True
            asyncio.get_running_loop().call_later(stall_s, self.close)

    def watch(self, crossing: Crossing, data: bytes) -> bytes:
        """Return what is to be passed on; see `harness.cluster.proxy`. What is held up otherwise is not intercepted."""
        traffic = cast("Traffic", self.traffic)
        if crossing is not self.near:
            return traffic.back(data)
        gate, far = self._gates[0], self._far
        is_free = far is not None and far.transport is not None and not (gate.is_cut or gate.delay_s or self.is_stalled)
        return traffic.forth(data, gate.interceptor if is_free else None)

    def _caught(self) -> None:
        traffic, near = cast("Traffic", self.traffic), self.near
        late_ms = traffic.by.what.late_ms if traffic.by is not None else None
        self.is_late = True
        if near.transport is not None:
            self._abort(near.transport)
        asyncio.get_running_loop().call_later((late_ms or 0) / 1000, self.deliver)

    def deliver(self) -> None:
        """Send the late request, if that has not been done; its answer goes nowhere."""
        traffic = cast("Traffic", self.traffic)
        late, traffic.late = bytes(traffic.late), bytearray()
        if late and self._far is not None and self._far.transport is not None:
            self._far.transport.write(late)
            asyncio.get_running_loop().call_later(LATE_ANSWER_S, self.close)

    @staticmethod
    def _abort(transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    def close(self) -> None:
        """Reset both ends."""
        for gate in self._gates:
            gate.crossings.pop(self.near, None)
        for crossing in (self.near, self._far):
            if crossing is not None:
                crossing.leave()
                if crossing.transport is not None and not crossing.transport.is_closing():
                    self._abort(crossing.transport)


class Exchange:
    """All gates and wires of a cluster; answers the commands."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = plan
        self._rng = random.Random(plan.get("seed", 0))
        self._gates: dict[tuple[str, str], Gate] = {}
        self._servers: list[asyncio.Server] = []

    def gate(self, source: str, target: str) -> Gate:
        """Return what stands between the two."""
        return self._gates.setdefault((source, target), Gate())

    async def open(self) -> None:
        """Listen on every wire, then for commands: who reaches the commands, finds all wires open."""
        loop = asyncio.get_running_loop()
        for wire in self._plan["wires"]:
            gates = self.gate(wire["source"], wire["target"]), self.gate(wire["target"], wire["source"])
            carrier = self._carrier(gates, wire["to"], of_client=wire["source"] == CLIENTS)
            self._servers.append(await loop.create_server(carrier, wire["host"], wire["port"], backlog=512))
        control = await asyncio.start_server(self._serve, LOOPBACK, self._plan["control"], limit=MAX_LINE_BYTES)
        self._servers.append(control)

    def close(self) -> None:
        """Close the ports, and reset what is carried."""
        for server in self._servers:
            server.close()
        for gate in self._gates.values():
            for crossing in list(gate.crossings):
                crossing.carried.close()

    def _carrier(self, gates: tuple[Gate, Gate], port: int, *, of_client: bool) -> Any:
        return lambda: Carried(gates, port, self._rng, of_client=of_client).near

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # whoever asked has gone, or sent a line without end
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            if asked["token"] != self._plan["token"]:
                return {"error": "these are another cluster's wires"}
            return {"ok": True, **self._do(asked)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _do(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["do"] == "ping":
            return {}
        gate = self._gates[asked["source"], asked["target"]]
        match asked["do"]:
            case "cut":
                gate.cut()
            case "join":
                gate.join()
            case "shape":
                gate.shape(float(asked["delay_s"]), float(asked["loss"]), float(asked["stall_s"]))
            case "shaped":
                return {"pieces": gate.shaped_pieces}
            case "intercept":
                what = asked["what"]
                gate.intercept(Interception(**{**what, "apis": tuple(what["apis"])}), self._rng)
            case "release":
                gate.release()
            case "intercepted":
                return {"requests": dict(gate.interceptor.counts) if gate.interceptor is not None else {}}
            case "held":
                return {"bytes": gate.held_bytes if gate.is_cut else 0}
            case other:
                raise ValueError(f"unknown command {other!r}")
        return {}


async def serve(plan: Mapping[str, Any]) -> None:
    """Carry until the process is ended."""
    await Exchange(plan).open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
