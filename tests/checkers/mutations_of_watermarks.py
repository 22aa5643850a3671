"""Mutations of single answers about the ends of a log, and of what an abort leaves; of runs of `kafka_evidence`."""

from __future__ import annotations

from harness.history import HARNESS
from tests.checkers.kafka_evidence import run
from tests.checkers.kafka_model import RU
from tests.checkers.mutating import change, mutation, polls


def _answers(ops):
    """Yield (place, op) of answers to ListOffsets that name a partition's ends."""
    for place, op in enumerate(ops):
        if op.f == "probe" and op.type == "ok" and op.value["api"] == "ListOffsets" and "hw" in op.value:
            yield place, op


def _is_ours(ops):
    return any(op.process == HARNESS and op.f == "drain" for op in ops)


def _said(ops, place, **ends):
    ops[place] = change(ops[place], value=ops[place].value | {k.replace("_", "-"): v for k, v in ends.items()})
    return ops


def _read(ops):
    """Return (key, offset) of what ok polls showed."""
    return {(key, record[1]): record[0] for _, _, key, records in polls(ops) for record in records}


@mutation("impossible-watermark", model=run)
def last_stable_offset_is_above_the_high_watermark(ops, rng):
    answers = [(place, op) for place, op in _answers(ops) if "log-start" in op.value]
    if not answers or not _is_ours(ops):
        return None
    place, op = rng.choice(answers)
    return _said(ops, place, lso=op.value["hw"] + 1)


@mutation("impossible-watermark", model=run)
def high_watermark_is_above_what_is_sent_later(ops, rng):
    read = _read(ops)
    for place, op in _answers(ops) if _is_ours(ops) else ():
        for later in ops[place + 1 :]:
            if later.type == "invoke" and later.f in ("send", "txn"):
                for micro in later.value:
                    if micro[0] == "send" and micro[1] == op.value["key"] and (micro[1], micro[2]) in read:
                        return _said(ops, place, hw=read[micro[1], micro[2]] + 1)
    return None


@mutation("impossible-watermark", model=run)
def last_stable_offset_is_above_an_open_transaction(ops, rng):
    read = _read(ops)
    for place, op in _answers(ops) if _is_ours(ops) else ():
        for later in ops[place + 1 :]:
            if later.type == "ok" and later.f == "txn" and later.commit_time and later.commit_time > op.time:
                for micro in later.value:
                    known = micro[0] == "send" and isinstance(micro[2], list) and micro[1] == op.value["key"]
                    if known and (micro[1], micro[2][1]) in read:
                        return _said(ops, place, lso=micro[2][0] + 1, hw=max(op.value["hw"], micro[2][0] + 1))
    return None


@mutation("impossible-watermark", model=run)
def last_leader_answers_less_than_what_was_read(ops, rng):
    if not _is_ours(ops):
        return None
    last = {op.value["key"]: place for place, op in _answers(ops)}
    for before, _, key, records in polls(ops):
        if key in last and before < last[key] and records:
            return _said(ops, last[key], hw=records[-1][0], lso=min(records[-1][0], ops[last[key]].value["lso"]))
    return None


@mutation("impossible-watermark", model=run, logs_keep_their_start=True)
def log_begins_late(ops, rng):
    answers = [place for place, op in _answers(ops) if op.value["lso"] > 0 and _is_ours(ops)]
    return _said(ops, rng.choice(answers), log_start=1) if answers else None


def _aborted(ops):
    """Yield (key, offset, value) of acknowledged sends of failed transactions that read_uncommitted readers show."""
    shown = {
        (key, record[0]) for _, op, key, records in polls(ops) if op.isolation == RU for record in records[:-1]
    }  # and they read on
    for op in ops:
        if op.f == "txn" and op.type == "fail":
            for micro in op.value:
                if micro[0] == "send" and isinstance(micro[2], list) and (micro[1], micro[2][0]) in shown:
                    yield micro[1], *micro[2][:2]


@mutation("isolation-mismatch", model=run)
def uncommitted_reading_lacks_an_aborted_record(ops, rng):
    if not _is_ours(ops):
        return None
    for key, offset, _ in _aborted(ops):
        for _, _, polled, records in polls(ops, ok=False):
            if polled == key:
                records[:] = [record for record in records if record[0] != offset]
        return ops
    return None


@mutation("inconsistent-offsets", model=run)
def another_record_lies_where_an_aborted_one_was_acknowledged(ops, rng):
    read = _read(ops)
    for op in ops if _is_ours(ops) else ():
        if op.f == "txn" and op.type == "fail":
            for micro in op.value:
                if micro[0] == "send" and isinstance(micro[2], list):
                    others = [at for (key, value), at in read.items() if key == micro[1] and value != micro[2][1]]
                    if others:
                        micro[2][0] = min(others)
                        return ops
    return None


@mutation("epoch-regression", model=run)
def epoch_ended_where_records_lie_behind(ops, rng):
    shown = {}
    for _, _, key, records in polls(ops):
        for record in records:
            if len(record) > 2:
                shown[key, record[2]["epoch"]] = max(record[0], shown.get((key, record[2]["epoch"]), 0))
    last = {op.value["key"]: op.value["epoch"] for _, op in _answers(ops)}
    for place, op in enumerate(ops) if _is_ours(ops) else ():
        of_last = op.f == "probe" and op.type == "ok" and last.get(op.value.get("key")) == op.value.get("epoch")
        if of_last and op.value["api"] == "OffsetForLeaderEpoch":
            highest = shown.get((op.value["key"], op.value["asked"]))
            if highest is not None:
                return _said(ops, place, end=highest)
    return None
