"""A small language for histories in tests: each method appends events, time passes by one millisecond per event."""

from __future__ import annotations

from typing import Any

from harness.history import HARNESS, NEMESIS, Op

MILLISECOND_NS = 1_000_000


class Story:
    """A history under construction; `ops` is what a checker takes."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.now = 0

    def event(self, process: Any, type_: Any, f: str, value: Any = None, **fields: Any) -> Op:
        self.now += MILLISECOND_NS
        op = Op(process=process, type=type_, f=f, value=value, index=len(self.ops), time=self.now, **fields)
        self.ops.append(op)
        return op

    def begin(self, process: int, f: str, value: Any = None, **fields: Any) -> Op:
        return self.event(process, "invoke", f, asked(value), **fields)

    def call(self, process: int, type_: str, f: str, value: Any = None, **fields: Any) -> Op:
        """Append an invocation and its completion right after it; return the completion."""
        self.begin(process, f, value)
        return self.event(process, type_, f, value, **fields)

    def ok(self, process: int, f: str, value: Any = None, **fields: Any) -> Op:
        return self.call(process, "ok", f, value, **fields)

    def fail(self, process: int, f: str, value: Any = None, **fields: Any) -> Op:
        return self.call(process, "fail", f, value, **fields)

    def info(self, process: int, f: str, value: Any = None, **fields: Any) -> Op:
        return self.call(process, "info", f, value, **fields)

    def phase(self, name: str) -> Op:
        return self.event(HARNESS, "info", "phase", name)

    def drain(self, key: str, end: int | None, **fields: Any) -> Op:
        value = {"key": key, "end": end, "lso": end, "read-to": end, "complete": end is not None} | fields
        return self.event(HARNESS, "info", "drain", value)

    def fault(self, fault_id: int, name: str, *, bit: bool = True, expects: str = "progress") -> Op:
        self.event(NEMESIS, "invoke", name, {"keys": ["x"]})
        value = {"fault-id": fault_id, "nodes": ["n1"], "keys": ["x"], "evidence": {}, "bit": bit, "expects": expects}
        return self.event(NEMESIS, "info", name, value)

    def heal(self, fault_id: int) -> Op:
        self.event(NEMESIS, "invoke", "heal", {"fault-id": fault_id})
        return self.event(NEMESIS, "info", "heal", {"fault-id": fault_id, "evidence": {}})

    def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1000) * MILLISECOND_NS


def asked(value: Any) -> Any:
    """Return what an invocation holds of a completion's micro-ops."""
    if not isinstance(value, list) or not value or not isinstance(value[0], list):
        return value
    return [
        ["poll"] if m[0] == "poll" else [m[0], m[1], m[2][1] if isinstance(m[2], list) else m[2]]
        for m in value
        if m[0] in ("poll", "send")
    ]


def send(key: Any, value: Any, offset: int | None = None) -> list[Any]:
    return ["send", key, value if offset is None else [offset, value]]


def poll(*keys: tuple[Any, list[list[Any]]]) -> list[Any]:
    """poll(("x", [[0, 1], [1, 2]])): what one poll returned."""
    return ["poll", [[key, records] for key, records in keys]]
