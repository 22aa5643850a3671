"""The scheduler's driver on threads and the real clock.

One worker thread per process; each has one client and calls it from that thread only. The main thread alone talks to
the scheduler and writes the history: an invocation is in the page cache before its worker hears of it. A completion is
stamped when the main thread takes it, so that file order is time order and an op's interval is never too short.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.client import Client, Clients, Now
from harness.generator import Generator
from harness.history import INFO, Op, Process
from harness.process.mailbox import Mailbox
from harness.scheduler import Dispatch, Done, Point, Scheduler, Wait

LAST_CALLS_S = 20.0
"""How long the end of a run waits for ops that are still out: a call blocks for about its transaction time-out."""

CLOSE_S = 10.0
"""How long the end of a run waits for clients to close; they run in daemon threads, so nothing hangs on them."""


@dataclass(frozen=True, slots=True)
class _Ended:
    process: Process


class Worker(threading.Thread):
    """Runs one process's client: opens it, invokes ops from its inbox, renews it after `info`."""

    def __init__(self, process: Process, clients: Clients, now: Now, outbox: Mailbox[Op | _Ended]) -> None:
        """Prepare the thread; the client is opened in it."""
        super().__init__(name=f"worker-{process}", daemon=True)
        self.inbox: queue.SimpleQueue[Op | None] = queue.SimpleQueue()
        self._process = process
        self._clients = clients
        self._now = now
        self._outbox = outbox

    def run(self) -> None:
        """Serve the inbox until None comes."""
        client: Client | None = None
        while (op := self.inbox.get()) is not None:
            given_up, client = (client, None) if op.process != self._process else (None, client)
            self._process = op.process
            try:
                if given_up is not None:
                    given_up.close()
                if client is None:
                    client = self._clients.open(op.process, self._now)
                completion = client.invoke(op)
            except Exception as error:  # noqa: BLE001  a door: a client's bug must not end the run, and proves nothing
                completion = op.completed(INFO, error={"name": "CLIENT_CRASHED", "message": repr(error)})
            self._outbox.put(completion)
        if client is not None:
            client.close()
        self._outbox.put(_Ended(self._process))


class Interpreter:
    """Drives a generator to its end on real threads. `record` is called for every op, from one thread, in order."""

    def __init__(
        self,
        generator: Generator,
        concurrency: int,
        clients: Clients,
        others: Mapping[str, Clients],
        record: Callable[[Op], None],
    ) -> None:
        """Prepare; `others` maps process names (nemesis, probe/n1) to what opens their clients."""
        self._scheduler = Scheduler(generator, concurrency, tuple(others))
        self._record = record
        self._began_ns = time.monotonic_ns()
        self._outbox: Mailbox[Op | _Ended] = Mailbox()
        names: list[Process] = [*range(concurrency), *others]
        self._workers = {
            p: Worker(p, clients if isinstance(p, int) else others[p], self.now, self._outbox) for p in names
        }
        self._all = tuple(self._workers.values())

    def now(self) -> int:
        """Return ns since the run began."""
        return time.monotonic_ns() - self._began_ns

    def post(self, event: Op) -> None:
        """Hand in a point event from any thread (Ctrl-C, a rebalance callback)."""
        self._outbox.put(event)

    def run(self) -> None:
        """Run to the generator's end, then give ops that are still out a bounded time to complete."""
        for worker in self._all:
            worker.start()
        try:
            done = self._loop()
            self._last_calls(len(done.busy))
        finally:
            self._close()

    def _loop(self) -> Done:
        while True:
            while not self._outbox.empty():
                self._take(self._outbox.get())
            match self._scheduler.next(self.now()):
                case Dispatch(op):
                    self._record(op)
                    self._workers[op.process].inbox.put(op)
                case Point(op):
                    self._record(op)
                case Wait(until_ns):
                    self._wait(until_ns)
                case Done() as done:
                    return done

    def _wait(self, until_ns: int | None) -> None:
        timeout_s = None if until_ns is None else max(0.0, (until_ns - self.now()) / 1e9)
        try:
            self._take(self._outbox.get(timeout_s))
        except queue.Empty:
            return

    def _take(self, event: Op | _Ended) -> bool:
        """Record an event from a worker or from outside; return whether it completes an op."""
        if isinstance(event, _Ended):
            return False
        if event.process not in self._workers:
            self._record(self._scheduler.point(self.now(), event))
            return False
        stamped, renewed = self._scheduler.complete(self.now(), event)
        self._record(stamped)
        if renewed is not None:
            self._workers[renewed] = self._workers.pop(event.process)
        return True

    def _last_calls(self, busy: int) -> None:
        deadline = time.monotonic() + LAST_CALLS_S
        while busy and (left := deadline - time.monotonic()) > 0:
            try:
                busy -= self._take(self._outbox.get(left))
            except queue.Empty:
                return

    def _close(self) -> None:
        for worker in self._all:
            worker.inbox.put(None)
        deadline = time.monotonic() + CLOSE_S
        for worker in self._all:
            worker.join(max(0.0, deadline - time.monotonic()))
