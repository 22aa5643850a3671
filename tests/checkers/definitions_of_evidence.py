"""The classes of groups, copies, scans and epochs by their definitions, as plain loops: slow and obvious.

For foreign histories without log starts whose completions all have invocations. `judge_slowly(ops)` returns class ->
count (class -> None where it can't be judged).
"""

from __future__ import annotations

from collections import defaultdict

from tests.checkers.definitions import completions, sends_of

RC, RU = "read_committed", "read_uncommitted"


def seen_by(op):
    for micro in op.value or ():
        if micro[0] == "poll" and len(micro) > 1:
            for key, records in micro[1]:
                for record in records:
                    yield key, record[0], record[1], record[2] if len(record) > 2 else {}


def isolations(calls):
    said = {}
    for _, op in calls:
        if op.isolation:
            said[op.process] = op.isolation
    return lambda process: said.get(process, RC)


def judge_slowly(ops):
    calls = completions([op for op in ops if isinstance(op.process, int)])
    done = [op for _, op in calls]
    level = isolations(calls)
    found = {"isolation-mismatch": mismatches(done, level), "epoch-regression": falls(done)}
    found["double-ownership"] = owners(ops)
    return found | copies(done, level)


def mismatches(done, level):
    """Count scans that lack a value which the readers of the other isolation show to be there."""
    seen = {RC: defaultdict(set), RU: defaultdict(set)}
    for op in done:
        for key, offset, value, _ in seen_by(op):
            seen[level(op.process)][key].add((offset, value))
    sure = {(key, value) for op in done if op.type == "ok" for key, _, value in sends_of(op)}
    rc_ok = {(k, v) for op in done if op.type == "ok" and level(op.process) == RC for k, _, v, _ in seen_by(op)}
    for op in done:
        mine = {(key, value) for key, _, value in sends_of(op)}
        if op.type == "info" and mine & rc_ok:
            sure |= mine
    count = 0
    for place, op in enumerate(done):
        if op.f != "assign" or op.type != "ok" or not op.seek_to_beginning:
            continue
        read = defaultdict(set)
        for later in done[place + 1 :]:
            if later.process != op.process:
                continue
            if later.type != "ok" or later.f in ("assign", "subscribe") or later.rebalance_log:
                break
            for key, offset, value, _ in seen_by(later):
                read[key].add((offset, value))
        for key in set(op.value) & read.keys():
            other = RU if level(op.process) == RC else RC
            last = max(offset for offset, _ in read[key])
            expected = {
                (offset, value)
                for offset, value in seen[other][key]
                if offset <= last and (other == RC or (key, value) in sure)
            }
            offsets = {offset for offset, _ in read[key]}
            count += any(offset not in offsets for offset, _ in expected)
    return count


def falls(done):
    """Count offsets whose lowest epoch is below one seen at a lower offset, and records that are seen in several."""
    epochs, of_record = defaultdict(lambda: defaultdict(set)), defaultdict(set)
    for op in done:
        for key, offset, value, extra in seen_by(op):
            if "epoch" in extra:
                epochs[key][offset].add(extra["epoch"])
                of_record[key, offset, value].add(extra["epoch"])
    count = sum(len(several) > 1 for several in of_record.values())
    for by_offset in epochs.values():
        for offset, here in by_offset.items():
            before = [epoch for other, there in by_offset.items() if other < offset for epoch in there]
            count += bool(before) and min(here) < max(before)
    return count


def owners(ops):
    """Count members that are dealt a key in a generation in which another one, still alive, holds it."""
    count, held = 0, {}
    for op in ops:
        if op.f == "rebalance":
            value = op.value
            for key in (*value["revoked"], *value["lost"]):
                held.pop((key, value["process"]), None)
            for key in value["assigned"]:
                for (other, process), generation in held.items():
                    count += other == key and process != value["process"] and generation == value["generation"]
                held[key, value["process"]] = value["generation"]
        elif isinstance(op.process, int) and (op.type == "info" or op.f in ("crash", "assign", "subscribe")):
            held = {place: generation for place, generation in held.items() if place[1] != op.process}
    return count


def copies(done, level):
    """Count sources with several outputs, and neighbours out of order, below the last committed offset of each key."""
    names = ("eos-duplicate", "eos-reorder")
    reads = [op for op in done if op.f == "committed" and op.type == "ok"]
    ends = dict(reads[-1].value) if reads else {}
    outputs = defaultdict(dict)
    for op in done:
        for key, offset, _, extra in seen_by(op):
            if level(op.process) == RC and "source" in extra:
                outputs[extra["source"][0]].setdefault((key, offset), extra["source"][1])
    starts = defaultdict(list)
    for op in done:
        if op.group:
            for key, offset, _, _ in seen_by(op):
                starts[key].append(offset)
    found = dict.fromkeys(names, 0)
    for key, placed in outputs.items():
        inside = {p: s for p, s in placed.items() if starts[key] and min(starts[key]) <= s < (ends.get(key) or 0)}
        by_source, by_key = defaultdict(list), defaultdict(list)
        for place, source in sorted(inside.items()):
            by_source[source].append(place)
        for places in by_source.values():
            found["eos-duplicate"] += len(places) > 1
            if len(places) == 1:
                by_key[places[0][0]].append((places[0][1], inside[places[0]]))
        for pairs in by_key.values():
            pairs.sort()
            found["eos-reorder"] += sum(
                source < max((s for _, s in pairs[:at]), default=-1) for at, (_, source) in enumerate(pairs)
            )
    return found
