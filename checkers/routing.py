"""`wrong-partition` (L4): a record lies in another partition than its key and its producer's partitioner demand.

Evidence: the third element of a record or an acknowledgement, with `record-key`, `partitioner` and `partitions` (how
many the topic had when it was sent). The named partitioners are computed; of any other one, two records of a topic
with the same key and number of partitions have to share a partition. Records without a key, and partitioners that are
not named (the producer chose the partition itself), are not judged.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from checkers.case import Case
from checkers.findings import Findings

CLASS = "wrong-partition"
_SEED, _M, _R = 0x9747B28C, 0x5BD1E995, 24
_MASK: Final = 0xFFFFFFFF
_WORD = 4


def murmur2(data: bytes) -> int:
    """Return Kafka's murmur2 hash of a record key, as an unsigned 32-bit number."""
    size = len(data)
    h = (_SEED ^ size) & _MASK
    whole = size - size % _WORD
    for at in range(0, whole, _WORD):
        k = int.from_bytes(data[at : at + _WORD], "little") * _M & _MASK
        k = (k ^ (k >> _R)) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    rest = int.from_bytes(data[whole:], "little")
    if whole < size:
        h = (h ^ rest) * _M & _MASK
    h = (h ^ (h >> 13)) * _M & _MASK
    return h ^ (h >> 15)


def _murmur2(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def _crc32(key: bytes, partitions: int) -> int:
    return zlib.crc32(key) % partitions


PARTITIONERS: Mapping[str, Callable[[bytes, int], int]] = {
    "murmur2": _murmur2,
    "murmur2_random": _murmur2,
    "consistent": _crc32,
    "consistent_random": _crc32,
}


def wrong_partitions(case: Case, findings: Findings) -> None:
    """Report records that lie in another partition than they have to."""
    first: dict[tuple[Any, ...], tuple[int, int]] = {}
    told: set[int] = set()
    judged = False
    for vid, call, key, extra in _keyed(case):
        topic, partition = _split(key)
        record_key, partitioner, partitions = extra["record-key"], extra["partitioner"], extra["partitions"]
        if partition is None or vid in told:
            continue
        judged = True
        known = PARTITIONERS.get(partitioner)
        writer = case.writer_call(vid)
        ops = list(dict.fromkeys((*([] if writer is None else [case.view.op(writer)]), case.view.op(call))))
        if known is not None:
            demanded = known(str(record_key).encode(), partitions)
            if demanded != partition:
                told.add(vid)
                findings.add(
                    CLASS,
                    ops,
                    f"{case.name(call)} shows {case.vid_value(vid)!r} in {key}, but {partitioner} puts the record key "
                    f"{record_key!r} into partition {demanded} of {partitions}.",
                    key=key,
                    value=case.vid_value(vid),
                )
            continue
        where, other = first.setdefault((topic, record_key, partitioner, partitions), (partition, call))
        if where != partition:
            told.add(vid)
            findings.add(
                CLASS,
                [case.view.op(other), *ops],
                f"The record key {record_key!r} lies in partition {where} of {topic} ({case.name(other)}) and in "
                f"partition {partition} ({case.name(call)}), with the same partitioner and {partitions} partitions.",
                key=key,
                value=case.vid_value(vid),
            )
    if not judged:
        findings.not_checked.append(CLASS)


def _keyed(case: Case) -> Iterator[tuple[int, int, Any, Mapping[str, Any]]]:
    """Yield (vid, call, key, third element) of sends and records that say how they were routed."""
    view, placement = case.view, case.placement
    for row, extra in view.send_extras.items():
        if _says(extra):
            yield int(placement.send_vid[row]), int(view.sends.call[row]), case.key(view.sends.key[row]), extra
    for row, extra in view.records.extras.items():
        if _says(extra):
            call, key = int(view.records.call[row]), case.key(view.records.key[row])
            yield int(placement.record_vid[row]), call, key, extra


def _says(extra: Any) -> bool:
    if not isinstance(extra, dict) or extra.get("record-key") is None or not isinstance(extra.get("partitioner"), str):
        return False
    return isinstance(extra.get("partitions"), int) and extra["partitions"] > 0


def _split(key: Any) -> tuple[Any, int | None]:
    topic, _, partition = str(key).rpartition("/")
    return topic, int(partition) if partition.isdigit() else None
