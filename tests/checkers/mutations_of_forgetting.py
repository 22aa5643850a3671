"""Mutations of what scans and reads of compacted and expiring topics show, of runs of `kafka_forgets`."""

from __future__ import annotations

from harness.history import NEMESIS
from tests.checkers.kafka_forgets import KEEP_MS, compacted, expiring
from tests.checkers.kafka_model import MILLI
from tests.checkers.mutating import change, mutation

COMPACTED = {"compacted": True, "delete_retention_ms": KEEP_MS}
EXPIRING = {"retention_ms": KEEP_MS}


def _scans(ops):
    """Yield (place, when it began, op, the records it shows, to be changed in place) of every scan."""
    begun = {}
    for place, op in enumerate(ops):
        if op.f == "scan" and op.type == "invoke":
            begun[op.process] = op.time
        elif op.f == "scan" and op.type == "ok":
            for micro in op.value:
                if not micro[1]:
                    micro[1].append([op.extra["key"], []])
                yield place, begun[op.process], op, micro[1][0][1]


def _writes(ops, key):
    """Return the sends to a key that may be committed: (op, when it began, offset, value, what else was sent)."""
    begun, found = {}, []
    for op in ops:
        if op.type == "invoke":
            begun[op.process] = op.time
        elif op.f in ("send", "txn") and op.type != "fail":
            found += [
                (op, begun[op.process], *micro[2]) for micro in op.value if micro[0] == "send" and micro[1] == key
            ]
    return found


def _last_words(ops, key, before, *, tombstone):
    """Yield the certain last writes of record keys, done before a time, and the older values of the same record key."""
    writes = _writes(ops, key)
    for name in dict.fromkeys(seen["record-key"] for *_, seen in writes):
        mine = [write for write in writes if write[4]["record-key"] == name]
        if any(offset is None for _, _, offset, _, _ in mine):
            continue
        *older, last = sorted(mine, key=lambda write: write[2])
        op, _, _, _, seen = last
        if op.type == "ok" and op.time < before and bool(seen.get("tombstone")) == tombstone:
            yield last, [write for write in older if write[0].type == "ok" and not write[4].get("tombstone")]


@mutation("compaction-lost-latest", model=compacted, **COMPACTED)
def scan_lacks_the_last_value_of_a_key(ops, rng):
    for _, begun, op, records in _scans(ops):
        for (_, _, offset, _, seen), _ in _last_words(ops, op.extra["key"], begun, tombstone=False):
            if offset < op.extra["end"]:
                records[:] = [record for record in records if record[2]["record-key"] != seen["record-key"]]
                return ops
    return None


@mutation("tombstone-resurrected", model=compacted, **COMPACTED)
def deleted_key_comes_back(ops, rng):
    """Two short scans of a key, one after the other, show an older value; its tombstone is gone. No fault was there."""
    if any(op.process == NEMESIS for op in ops):
        return None
    scans = [scan for scan in _scans(ops) if scan[2].time - scan[1] < KEEP_MS * MILLI]
    for _, begun, one, first in scans:
        for _, later, other, second in scans:
            if later <= one.time or one.extra["key"] != other.extra["key"]:
                continue
            for (_, _, offset, _, seen), older in _last_words(ops, one.extra["key"], begun, tombstone=True):
                if older and offset < one.extra["end"]:
                    _, _, place, value, what = older[-1]
                    for records in (first, second):
                        kept = [r for r in records if r[2]["record-key"] != seen["record-key"]]
                        records[:] = sorted([*kept, [place, value, what]], key=lambda record: record[0])
                    return ops
    return None


@mutation("compaction-reordered", model=compacted, **COMPACTED)
def scan_shows_two_records_in_the_wrong_order(ops, rng):
    for _, _, _, records in _scans(ops):
        if len(records) > 1:
            records[0], records[1] = records[1], records[0]
            return ops
    return None


@mutation("compaction-too-early", model=compacted, **COMPACTED)
def tombstone_is_gone_at_once(ops, rng):
    for _, begun, op, records in _scans(ops):
        for (_, sent, offset, _, seen), _ in _last_words(ops, op.extra["key"], begun, tombstone=True):
            if offset < op.extra["end"] and op.time - sent < KEEP_MS * MILLI:
                records[:] = [record for record in records if record[2]["record-key"] != seen["record-key"]]
                return ops
    return None


@mutation("premature-deletion", model=expiring, **EXPIRING)
def young_record_has_expired(ops, rng):
    for _, begun, op, records in _scans(ops):
        for write, sent, offset, _, _ in _writes(ops, op.extra["key"]):
            young = op.time - sent < KEEP_MS * MILLI
            if write.f == "send" and write.type == "ok" and young and write.time < begun and offset < op.extra["end"]:
                records[:] = [record for record in records if record[0] > offset]
                return ops
    return None


@mutation("premature-deletion", model=expiring, **EXPIRING)
def young_record_is_gone_from_the_midst(ops, rng):
    for _, begun, op, records in _scans(ops):
        for write, sent, offset, _, _ in _writes(ops, op.extra["key"]):
            young = op.time - sent < KEEP_MS * MILLI
            if write.f == "send" and write.type == "ok" and young and write.time < begun:
                inside = [at for at, record in enumerate(records) if record[0] == offset]
                if inside and 0 < inside[0] < len(records) - 1:
                    del records[inside[0]]
                    return ops
    return None


@mutation("offset-reset-silent", model=expiring, **EXPIRING)
def reader_is_moved_without_a_word(ops, rng):
    for place, op in enumerate(ops):
        if op.f == "read-at" and op.type == "ok" and op.value[0][1]:
            record = op.value[0][1][0][1][0]
            if record[0] == op.extra["at"]:
                record[0] += 1
                ops[place] = change(op, extra=op.extra | {"told": None})
                return ops
    return None
