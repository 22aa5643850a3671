"""What executes operations: a `Client` for one logical process, opened by a `Clients` factory.

A client is single-threaded: the interpreter gives each worker thread one client and calls `invoke` from that thread
only. `invoke` never raises for what the system under test does: it returns the completion, `ok`, `fail` or `info` by
`harness.outcome`, after a bounded time. After `info` the interpreter closes the client and opens a new one for a new
process number, since nobody knows what the old session may still do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from harness.history import Op, Process

Now = Callable[[], int]
"""Nanoseconds since the run began, on the clock that the history uses."""


class Client(Protocol):
    """One logical process's connection to the system under test."""

    def invoke(self, op: Op) -> Op:
        """Perform the invocation and return its completion (index and time unassigned)."""
        ...

    def close(self) -> None:
        """Release the connection within a bounded time; called from the worker's thread, or another at the end."""
        ...


class Clients(Protocol):
    """Opens clients; shared by all workers, so it must be thread-safe."""

    def open(self, process: Process, now: Now) -> Client:
        """Return a client for a new process; connecting may be deferred to the first invoke."""
        ...


class AsyncClient(Protocol):
    """A client on a virtual clock: the same contract as `Client`, as coroutines that the clock drives."""

    async def invoke(self, op: Op) -> Op:
        """Perform the invocation and return its completion, after a bounded virtual time."""
        ...

    async def close(self) -> None:
        """Release the connection within a bounded virtual time."""
        ...


class AsyncClients(Protocol):
    """Opens clients on a virtual clock."""

    def open(self, process: Process, now: Now) -> AsyncClient:
        """Return a client for a new process; connecting is deferred to the first invoke."""
        ...
