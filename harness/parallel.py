"""Where the parts of a judgement are worked on: processes of this machine, or a Dask cluster.

Processes are forked when the columns exist already: they inherit them, only results travel. On a cluster the parts
travel; as many are made at a time as the cluster has threads. Both give results in the order of the parts.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from checkers.mapping import IN_TURN, Mapper
from harness.cluster.api import UsageError
from harness.process.signals import as_a_child

Part = TypeVar("Part")
Result = TypeVar("Result")

CONNECT_S = 10.0
"""How long a Dask scheduler has to answer."""

_inherited: tuple[Callable[[Any], Any], Sequence[Callable[[], Any]]] | None = None
"""What forked processes work on: it is set while a pool is being made and used."""


class Processes:
    """Forked processes, as many as asked for."""

    def __init__(self, jobs: int) -> None:
        self.width = jobs

    def map(self, work: Callable[[Part], Result], makes: Sequence[Callable[[], Part]]) -> list[Result]:
        """Return work(make()) for each make; each is made and worked on in one of the processes."""
        global _inherited  # noqa: PLW0603  a fork inherits what stands here; nothing is pickled
        if len(makes) < 2:
            return IN_TURN.map(work, makes)
        assert _inherited is None, "a mapper is used by one thread"
        _inherited = (work, makes)
        try:
            with warnings.catch_warnings():  # newer Pythons warn of threads; NumPy's and Arrow's hold no lock here
                warnings.simplefilter("ignore", DeprecationWarning)
                pool = multiprocessing.get_context("fork").Pool(min(self.width, len(makes)), initializer=as_a_child)
            with pool:
                return pool.map(_inherited_part, range(len(makes)), chunksize=1)
        finally:
            _inherited = None


def _inherited_part(number: int) -> Any:
    assert _inherited is not None, "a forked process inherits its work"
    work, makes = _inherited
    return work(makes[number]())


class Dask:
    """A Dask cluster; `client` is a distributed.Client."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.width = max(2, sum(client.nthreads().values()))

    def map(self, work: Callable[[Part], Result], makes: Sequence[Callable[[], Part]]) -> list[Result]:
        """Return work(make()) for each make: made here, worked on there."""
        results: list[Result] = []
        out: deque[Any] = deque()
        for make in makes:
            sent = self._client.scatter(make(), hash=False)  # beside the task: a shard may have hundreds of megabytes
            out.append(self._client.submit(work, sent, pure=False))
            del sent
            if len(out) >= 2 * self.width:
                results.append(out.popleft().result())
        results.extend(future.result() for future in out)
        return results


@contextmanager
def mapper(jobs: int, dask: str | None) -> Iterator[Mapper]:
    """Yield what works on parts. Raises UsageError where there is no Dask, or nothing answers at its address."""
    if dask is None:
        yield Processes(jobs) if jobs > 1 else IN_TURN
        return
    with client(dask) as connected:
        yield Dask(connected)


@contextmanager
def client(address: str) -> Iterator[Any]:
    """Yield a client of the Dask scheduler at `address` (tcp://host:port); UsageError where that can't be."""
    try:
        import distributed  # noqa: PLC0415  optional, and 0.5 s to import
    except ImportError as error:
        raise UsageError(
            f"--dask needs Dask, which is not installed ({error}): pip install 'kafka-harness[dask]'"
        ) from error
    base: Any = distributed.Client

    class Client(base):  # type: ignore[misc]  # an optional package's
        """One that ends where it can't begin: the other tries to at the interpreter's end, and prints that it can't."""

        def start(self, **settings: Any) -> None:
            try:  # its own time-out is for the connection alone: who takes it and says nothing is waited for
                super().start(callback_timeout=1.5 * CONNECT_S, **settings)
            except Exception:  # a door, too: whatever it was is raised again
                self.close()
                raise

    try:
        connected: Any = Client(address, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:  # a door: at an address there may be anything, and it fails in its own way
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"--dask {address}: no scheduler answers there ({why})") from error
    with connected:
        if not connected.nthreads():
            raise UsageError(f"--dask {address}: the scheduler has no workers")
        yield connected
