"""Make a valid queue history of any size: 16 keys, 16 processes, 1.2 sends and about 5.9 polled records per operation.

    python -m bench.checkers.make_kafka OPERATIONS FILE [--seed N]

Every process is a consumer of all keys that polls from where it stopped; a record is visible once its transaction has
committed. 2 % of the transactions abort, 1 % end as info (half of them committed), and the file ends with reads of
everything by fresh processes. The history is valid under every checker.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import msgspec

KEYS = 16
PROCESSES = 16
NAMES = [f"t{key // 4}/{key % 4}" for key in range(KEYS)]
ABORTS, INFOS = 0.02, 0.01
POLL_LIMIT = 12
"""Most records that one poll returns."""


class _Log:
    """The partitions: per key a list of (value or None while undecided or aborted)."""

    def __init__(self) -> None:
        self.records: list[list[int | None]] = [[] for _ in range(KEYS)]
        self.stable = [0] * KEYS
        self.open: list[dict[int, None]] = [{} for _ in range(KEYS)]

    def append(self, key: int, value: int) -> int:
        offset = len(self.records[key])
        self.records[key].append(value)
        self.open[key][offset] = None
        return offset

    def decide(self, key: int, offset: int, *, committed: bool) -> None:
        if not committed:
            self.records[key][offset] = None
        del self.open[key][offset]
        self.stable[key] = next(iter(self.open[key]), len(self.records[key]))


def _poll(rng: random.Random, log: _Log, position: list[int], seen: list[tuple[int, int]]) -> list[Any]:
    """Return what a consumer polls; `position` moves, `seen` gets (key, where it stood before)."""
    answer = []
    left = rng.randint(POLL_LIMIT // 2, POLL_LIMIT)
    first = rng.randrange(KEYS)
    for step in range(KEYS):
        key = (first + step) % KEYS
        start, records = position[key], []
        at = start
        while at < log.stable[key] and left:
            value = log.records[key][at]
            if value is not None:
                records.append([at, value])
                left -= 1
            at += 1
        if at > start:
            seen.append((key, start))
            position[key] = at
        if records:
            answer.append([NAMES[key], records])
        if not left:
            break
    return answer


def operations(count: int, seed: int) -> Any:  # noqa: C901, PLR0912, PLR0915  one simulation, one loop
    """Yield the events of a history with `count` operations (and the final reads)."""
    rng = random.Random(seed)
    log = _Log()
    next_value = 0
    time = 0
    process_of = list(range(PROCESSES))
    fresh = PROCESSES
    position = [[0] * KEYS for _ in range(PROCESSES)]
    running: dict[int, tuple[str, list[Any]]] = {}

    def event(slot: int, kind: str, f: str, value: Any) -> dict[str, Any]:
        return {"time": time, "process": process_of[slot], "type": kind, "f": f, "value": value}

    begun = 0
    while begun < count or running:
        time += rng.randrange(20_000, 200_000)
        idle = [slot for slot in range(PROCESSES) if slot not in running]
        if begun < count and idle and (len(running) < 4 or rng.random() < 0.5):
            slot = rng.choice(idle)
            micro: list[Any] = []
            for _ in range(rng.choice((1, 2, 2, 3))):
                if rng.random() < 0.62:
                    micro.append(["send", rng.randrange(KEYS), next_value])
                    next_value += 1
                else:
                    micro.append(["poll"])
            kinds = {m[0] for m in micro}
            f = kinds.pop() if len(kinds) == 1 else "txn"
            running[slot] = (f, micro)
            begun += 1
            yield event(slot, "invoke", f, [["send", NAMES[m[1]], m[2]] if m[0] == "send" else m for m in micro])
            continue
        slot = rng.choice(list(running))
        f, micro = running.pop(slot)
        seen: list[tuple[int, int]] = []
        value: list[Any] = []
        placed = []
        for m in micro:
            if m[0] == "poll":
                value.append(["poll", _poll(rng, log, position[slot], seen)])
            else:
                offset = log.append(m[1], m[2])
                placed.append((m[1], offset))
                value.append(["send", NAMES[m[1]], [offset, m[2]]])
        luck = rng.random()
        committed = luck > ABORTS + INFOS / 2
        for key, offset in placed:
            log.decide(key, offset, committed=committed)
        kind = "fail" if luck < ABORTS else "info" if luck < ABORTS + INFOS else "ok"
        yield event(slot, kind, f, value)
        if kind == "fail":
            for key, start in reversed(seen):
                position[slot][key] = start
        if kind == "info":
            process_of[slot] = fresh
            fresh += 1
            position[slot] = [0] * KEYS if rng.random() < 0.02 else list(position[slot])
    for slot in range(1):
        process_of[slot] = fresh
        position[slot] = [0] * KEYS
        while any(position[slot][key] < log.stable[key] for key in range(KEYS)):
            time += 100_000
            yield event(slot, "invoke", "poll", [["poll"]])
            yield event(slot, "ok", "poll", [["poll", _poll(rng, log, position[slot], [])]])


def write(path: Path, count: int, seed: int) -> None:
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for index, event in enumerate(operations(count, seed)):
            file.write(encode({"index": index, **event}) + b"\n")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("operations", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    write(options.file, options.operations, options.seed)


if __name__ == "__main__":
    main(sys.argv[1:])
