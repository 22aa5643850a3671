"""The scheduler's driver on a virtual clock: no threads, no waiting, the same run every time.

`perform(op, now_ns)` says what an op's completion is and when it comes. Time jumps from event to event, so a run takes
as long as its choices take to compute. Ties are broken by the order in which ops were dispatched.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from harness.generator import Generator
from harness.history import Op
from harness.scheduler import Dispatch, Done, Point, Scheduler, Wait

Perform = Callable[[Op, int], tuple[Op, int]]
"""(invocation, now in ns) -> (completion, ns at which it arrives; never before now)."""


def simulate(
    generator: Generator,
    concurrency: int,
    perform: Perform,
    record: Callable[[Op], None],
    others: Sequence[str] = (),
) -> int:
    """Run the generator to its end and give ops that are still out their completions; return the time in ns.

    Raises RuntimeError when nothing is out and the generator waits for no time: it would wait for ever.
    """
    scheduler = Scheduler(generator, concurrency, others)
    coming: list[tuple[int, int, Op]] = []
    dispatched = 0
    now_ns = 0
    while True:
        match scheduler.next(now_ns):
            case Dispatch(op):
                record(op)
                completion, at_ns = perform(op, now_ns)
                heapq.heappush(coming, (max(at_ns, now_ns), dispatched, completion))
                dispatched += 1
            case Point(op):
                record(op)
            case Wait(until_ns):
                if coming and (until_ns is None or coming[0][0] <= until_ns):
                    now_ns, _, completion = heapq.heappop(coming)
                    record(scheduler.complete(now_ns, completion)[0])
                elif until_ns is not None:
                    now_ns = max(now_ns, until_ns)
                else:
                    raise RuntimeError("the generator waits for an event, but no op is out: it would wait for ever")
            case Done():
                while coming:
                    now_ns, _, completion = heapq.heappop(coming)
                    record(scheduler.complete(now_ns, completion)[0])
                return now_ns
