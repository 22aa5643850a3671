"""Every execution of a correct share group that has one record, by brute force: can any of them give a history?

Two nodes, of which one leads at a time; each remembers what it read when it first served the group in its epoch, and
what it did since. Who leads changes whenever it likes; where `deposed` says so the former leader goes on, not knowing.
A request is done at any time between its invocation and its completion, or, without an answer, at any time until all
has healed, or never. Locks run out at any time after their end, but not much later. A member has one session with a
node; it closes when it likes, and then nothing is answered in it any more: what it had is given back, counted or not.

`explains` keeps the set of all states that are possible after each event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

LIMIT = 3
LOCK_MS = 3000
LATE_MS = 5000
"""How long after its end a lock may still hold."""
MAX_EPOCH = 3
NODES = ("n1", "n2")
FREE, HELD, DONE = "free", "held", "done"


class Ask(NamedTuple):
    """A request: `kind` is fetch, or what an acknowledgement says; `rider`: one that goes with a fetch.

    Both are done in either order, or, without an answer, only one of them.
    """

    process: int
    kind: str
    node: str
    result: object
    """Of a fetch the count, 0 for nothing; of an acknowledgement ok or fail; None: nobody was answered."""
    rider: Ask | None = None


class Event(NamedTuple):
    """`what`: begin or end of a request, or that all has healed ("healed")."""

    ms: int
    what: str
    ask: Ask | None = None


class Memory(NamedTuple):
    epoch: int
    status: str
    count: int
    holder: int
    since_ms: int


class World(NamedTuple):
    written: tuple[str, int]
    fence: int
    epoch: int
    leader: str
    known: tuple[Memory | None, ...]
    """What each node remembers; None: it does not lead, or has read nothing yet."""
    pending: frozenset[tuple[int, Ask, bool]]
    """(number, request, whether it was done)."""
    healed: bool
    closed: frozenset[tuple[int, str]] = frozenset()
    """Members' sessions with nodes that are over."""


def explains(events: list[Event], *, deposed: bool) -> bool:
    """Return whether a correct group may have given these events."""
    worlds = {World((FREE, 0), 1, 1, "n1", (None, None), frozenset(), False)}
    before_ms = 0
    for event in events:
        worlds = _closure(worlds, before_ms, event.ms, deposed)
        worlds = {after for world in worlds for after in _seen(world, event)}
        worlds = {world for world in worlds if not _is_overdue(world, event.ms)}
        before_ms = event.ms
    return bool(worlds)


def _is_overdue(world: World, now_ms: int) -> bool:
    """Return whether the leader holds on to a lock that is long over."""
    memory = world.known[NODES.index(world.leader)]
    return memory is not None and memory.status == HELD and memory.since_ms + LOCK_MS + LATE_MS < now_ms


def _seen(world: World, event: Event) -> Iterator[World]:
    if event.what == "healed":
        known = tuple(memory if memory is None or memory.epoch == world.epoch else None for memory in world.known)
        done = frozenset(one for one in world.pending if one[2])  # what is on its way arrives now, or never
        yield world._replace(known=known, healed=True, pending=done)
        return
    assert event.ask is not None
    number = _number(event.ask)
    if event.what == "begin":
        yield world._replace(pending=world.pending | {(number, event.ask, False)})
        return
    for one in world.pending:
        if one[0] != number:
            continue
        if event.ask.result is None:
            yield world  # it may be done later
        elif one[2]:
            yield world._replace(pending=world.pending - {one})


def _number(ask: Ask) -> int:
    return id(ask)


def _closure(worlds: set[World], from_ms: int, to_ms: int, deposed: bool) -> set[World]:
    found, left = set(worlds), list(worlds)
    while left:
        world = left.pop()
        for after in _steps(world, from_ms, to_ms, deposed):
            if after not in found:
                found.add(after)
                left.append(after)
    return found


def _steps(world: World, from_ms: int, to_ms: int, deposed: bool) -> Iterator[World]:
    if world.epoch < MAX_EPOCH and not world.healed:
        for node in NODES:
            old = world.known if deposed else (None, None)
            known = tuple(None if name == node else memory for name, memory in zip(NODES, old, strict=True))
            yield world._replace(epoch=world.epoch + 1, leader=node, known=known)
    for place, memory in enumerate(world.known):
        if memory is not None and NODES[place] != world.leader:
            yield _with(world, place, None)  # it hears that it was deposed
        if memory is not None and memory.status == HELD:
            if memory.since_ms + LOCK_MS <= to_ms:
                yield from _given_up(world, place, memory, memory.count)
            gone = world._replace(closed=world.closed | {(memory.holder, NODES[place])})
            yield from _given_up(gone, place, memory, memory.count - 1)  # Kafka 4.1
            yield from _given_up(gone, place, memory, memory.count)  # Kafka 4.2
    for number, ask, done in world.pending:
        if not done:
            for after, result in _do(world, ask, from_ms):
                if ask.result is None or result == ask.result:
                    kept = world.pending - {(number, ask, False)}
                    yield after._replace(pending=kept | {(number, ask, True)})


def _with(world: World, place: int, memory: Memory | None) -> World:
    known = tuple(memory if index == place else other for index, other in enumerate(world.known))
    return world._replace(known=known)


def _given_up(world: World, place: int, memory: Memory, count: int) -> Iterator[World]:
    status = DONE if count == memory.count and count >= LIMIT else FREE
    after = _with(world, place, memory._replace(status=status, count=count, holder=0))
    yield after  # what fails to be written is given up all the same
    if memory.epoch >= world.fence:
        yield after._replace(written=(status, count))


def _read(world: World, place: int) -> World | None:
    """Return the world in which a node has read the state, None where it may not."""
    if world.known[place] is not None:
        return world
    if NODES[place] != world.leader:
        return None
    return _with(world, place, Memory(world.epoch, *world.written, 0, 0))._replace(fence=world.epoch)


def _do(world: World, ask: Ask, now_ms: int) -> Iterator[tuple[World, object]]:
    place = NODES.index(ask.node)
    if (ask.process, ask.node) in world.closed:
        if ask.kind != "fetch":
            yield world, "fail"
        return
    if ask.kind == "fetch":
        if not world.healed:
            yield world, 0  # a state that is being read, a leader that is not found: nothing comes
        ready = _read(world, place)
        if ready is None:
            return
        memory = ready.known[place]
        assert memory is not None
        if memory.status == FREE:
            held = memory._replace(status=HELD, count=memory.count + 1, holder=ask.process, since_ms=now_ms)
            yield _with(ready, place, held), memory.count + 1
        else:
            yield ready, 0
        return
    yield world, "fail" if world.known[place] is None else None
    memory = world.known[place]
    if memory is None:
        ready = _read(world, place)
        memory = None if ready is None else ready.known[place]
        world = world if ready is None else ready
    if memory is None:
        return
    if memory.status == DONE:
        yield world, "ok"  # below the start: taken, of no effect
    if memory.status != HELD or memory.holder != ask.process:
        yield world, "fail"
    elif ask.kind == "renew":  # nothing is written: who was deposed does it, too
        yield _with(world, place, memory._replace(since_ms=now_ms)), "ok"
    elif memory.epoch < world.fence:
        yield _with(world, place, None), "fail"
    else:
        is_done = ask.kind in {"accept", "reject"} or memory.count >= LIMIT
        status = DONE if is_done else FREE
        after = _with(world, place, memory._replace(status=status, holder=0))
        yield after._replace(written=(status, memory.count)), "ok"
