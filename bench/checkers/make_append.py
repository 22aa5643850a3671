"""Make a strictly serializable list-append history: 10 live keys, 32 appends a key, 1-4 micro-ops a transaction.

python -m bench.checkers.make_append TRANSACTIONS FILE [--seed N]
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import msgspec

LIVE_KEYS = 10
APPENDS_PER_KEY = 32
PROCESSES = 16


def operations(count: int, seed: int) -> Any:
    rng = random.Random(seed)
    live = list(range(LIVE_KEYS))
    next_key = LIVE_KEYS
    lists: dict[int, list[int]] = {key: [] for key in live}
    appended = dict.fromkeys(live, 0)
    running: dict[int, list[Any]] = {}
    time = begun = 0
    while begun < count or running:
        time += rng.randrange(1_000, 100_000)
        process = rng.randrange(PROCESSES)
        if process in running:
            value = []
            for micro in running.pop(process):
                if micro[0] == "append":
                    lists[micro[1]].append(micro[2])
                    value.append(micro)
                else:
                    value.append(["r", micro[1], list(lists[micro[1]])])
            yield {"time": time, "process": process, "type": "ok", "f": "txn", "value": value}
        elif begun < count:
            value = []
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(LIVE_KEYS)
                key = live[place]
                if rng.random() < 0.5:
                    value.append(["r", key, None])
                    continue
                appended[key] += 1
                value.append(["append", key, appended[key]])
                if appended[key] == APPENDS_PER_KEY:
                    live[place] = next_key
                    lists[next_key], appended[next_key] = [], 0
                    next_key += 1
            running[process] = value
            begun += 1
            yield {"time": time, "process": process, "type": "invoke", "f": "txn", "value": value}


def write(path: Path, count: int, seed: int) -> None:
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for index, event in enumerate(operations(count, seed)):
            file.write(encode({"index": index, **event}) + b"\n")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transactions", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    write(options.file, options.transactions, options.seed)


if __name__ == "__main__":
    main(sys.argv[1:])
