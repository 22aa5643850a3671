"""Mutations of what groups, sessions, epochs and probes show; most of runs of `kafka_evidence`."""

from __future__ import annotations

from harness.history import Op
from tests.checkers.kafka_evidence import run
from tests.checkers.kafka_model import RC, RU
from tests.checkers.mutating import change, log_of, mutation, polls, sends


def _outputs(ops):
    """Return (key, offset) -> the records (lists) that show it, of outputs that name their source."""
    found = {}
    for _, op, key, records in polls(ops, ok=False):
        for record in records:
            if len(record) > 2 and "source" in record[2]:
                found.setdefault((key, record[0]), []).append((op.isolation, record))
    return {place: [r for _, r in seen] for place, seen in found.items() if any(level == RC for level, _ in seen)}


def _committed_log(ops, key):
    """Return the records of a key that read_committed readers saw."""
    seen = {
        record[0]: record for _, op, k, rs in polls(ops, ok=False) if k == key and op.isolation == RC for record in rs
    }
    return [seen[offset] for offset in sorted(seen)]


def _resource(records, source):
    for record in records:
        record[2] = record[2] | {"source": list(source)}


def _judged(ops):
    """Whether the group's end is known: some stable read shows committed offsets."""
    return any(op.f == "committed" and any(offset for _, offset in op.value) for op in ops if op.type == "ok")


def _pairs(ops):
    outputs = _outputs(ops)
    for one, first in outputs.items():
        for other, second in outputs.items():
            if one < other and first[0][2]["source"][0] == second[0][2]["source"][0]:
                yield one, other, first, second


@mutation("eos-duplicate", model=run)
def input_is_copied_twice(ops, rng):
    for _, _, first, second in _pairs(ops) if _judged(ops) else ():
        _resource(second, first[0][2]["source"])
        return ops
    return None


@mutation("eos-loss", model=run)
def output_was_made_from_no_input(ops, rng):
    complete = [op for op in ops if op.f == "drain"]
    for records in _outputs(ops).values() if complete and _judged(ops) else ():
        _resource(records, (records[0][2]["source"][0], 10**6))
        return ops
    return None


@mutation("eos-reorder", model=run)
def copies_change_places(ops, rng):
    for one, other, first, second in _pairs(ops) if _judged(ops) else ():
        if one[0] == other[0]:
            sources = first[0][2]["source"], second[0][2]["source"]
            _resource(first, sources[1])
            _resource(second, sources[0])
            return ops
    return None


def _assigned(ops):
    for place, op in enumerate(ops):
        if op.f == "rebalance" and op.value["assigned"]:
            yield place, op


@mutation("double-ownership", model=run)
def generation_deals_a_key_to_two_members(ops, rng):
    for place, op in _assigned(ops):
        other = change(op, value=op.value | {"process": 999, "member": "m999"})
        return [*ops[: place + 1], other, *ops[place + 1 :]]
    return None


@mutation("resume-gap", model=run)
def member_goes_on_behind_the_committed_offset(ops, rng):
    for place, op in _assigned(ops):
        key, process = op.value["assigned"][0], op.value["process"]
        done = [(n, o) for n, o in enumerate(ops) if o.f == "txn" and o.type == "ok" and o.offsets and n < place]
        unsure = any(o.type == "info" and o.f == "txn" and o.offsets and o.offsets[0][0] == key for o in ops)
        if unsure or not any(o.offsets[0][0] == key for _, o in done):
            continue
        begun = next((n for n in range(place, len(ops)) if ops[n].process == process and ops[n].type == "invoke"), None)
        if begun is None:
            continue
        for n, later, polled, records in polls(ops, ok=False):
            if n > begun and later.process == process:
                behind = [one for one in _committed_log(ops, key) if one[0] > records[0][0]]
                if polled == key and len(behind) > 1 and n == _first_poll(ops, begun, process):
                    records[:] = [list(behind[-1])]
                    return ops
                break
    return None


def _first_poll(ops, begun, process):
    return next(n for n in range(begun, len(ops)) if ops[n].process == process and ops[n].type != "invoke")


@mutation("zombie-commit", model=run)
def fenced_session_commits(ops, rng):
    copies = [
        (n, op)
        for n, op in enumerate(ops)
        if op.type == "ok" and op.f == "txn" and op.extra and "init-time" in op.extra and op.offsets
    ]
    shown = {source for records in _outputs(ops).values() for source in [tuple(records[0][2]["source"])]}
    for n, op in copies:
        for _, later in copies:
            fences = later.txn_id == op.txn_id and later.extra["init-time"] > op.extra["init-time"]
            if fences and (op.offsets[0][0], op.offsets[0][1] - 1) in shown:
                ops[n] = change(op, commit_time=later.extra["init-time"] + 1)
                return ops
    return None


@mutation("cross-transaction", model=run)
def late_end_of_a_transaction_commits_the_next(ops, rng):
    last = {}
    for n, op in enumerate(ops):
        if op.f != "txn" or op.type == "invoke" or op.txn_id is None:
            continue
        before = last.get(op.txn_id)
        last[op.txn_id] = n
        if before is None or not _both(ops[before], op) or ops[before].process != op.process:
            continue
        out, (place, value, *_) = op.value[1][1], op.value[1][2]
        for _, reader, key, records in polls(ops):
            if key == out and reader.isolation == RC:
                records.append([place, value])
                ops[before] = change(ops[before], extra=dict(ops[before].extra) | {"end-attempts": 2})
                return ops
    return None


def _both(earlier, later):
    """Whether one transaction that committed is followed by one that aborted."""
    ended = all(op.extra and "init-time" in op.extra for op in (earlier, later))
    return ended and earlier.type == "ok" and later.type == "fail"


def _scan(ops, process, isolation, key, records):
    fields = {"process": process, "time": ops[-1].time + 1}
    return [
        *ops,
        Op(type="invoke", f="assign", value=[key], seek_to_beginning=True, **fields),
        Op(type="ok", f="assign", value=[key], seek_to_beginning=True, isolation=isolation, **fields),
        Op(type="invoke", f="poll", value=[["poll"]], **fields),
        Op(type="ok", f="poll", value=[["poll", [[key, records]]]], isolation=isolation, **fields),
    ]


def _full(ops):
    """Return (key, its records) of a partition with two committed records at least."""
    for key in sorted({key for _, _, key, _ in polls(ops)}):
        log = [list(one) for one in log_of(ops, key)]
        if len(log) > 1:
            return key, log
    return None


@mutation("isolation-mismatch")
def committed_scan_lacks_the_first_record(ops, rng):
    full = _full(ops)
    if full is None:
        return None
    key, log = full
    sent = {(micro[1], micro[2][1]) for _, _, micro in sends(ops)}
    log = [one for one in log if (key, one[1]) in sent]
    return _scan(_scan(ops, 900, RU, key, log), 901, RC, key, log[1:]) if len(log) > 1 else None


@mutation("isolation-mismatch")
def uncommitted_scan_lacks_the_first_record(ops, rng):
    full = _full(ops)
    return None if full is None else _scan(ops, 900, RU, full[0], full[1][1:])


@mutation("stale-poll", fresh=True)
def fresh_scan_passes_over_an_acknowledged_record(ops, rng):
    for _, _, micro in sends(ops):
        log = [list(one) for one in log_of(ops, micro[1])]
        if [micro[2][0], micro[2][1]] in log and log[-1][1] != micro[2][1]:
            log.remove([micro[2][0], micro[2][1]])
            return _scan(ops, 900, RU, micro[1], log)
    return None


def _probe(ops, node, key, answer, **asked):
    value = {"key": key, **asked}
    at = ops[-1].time
    return [
        *ops,
        Op(process=f"probe/{node}", type="invoke", f="probe", value=value, time=at + 1),
        Op(process=f"probe/{node}", type="ok", f="probe", value=value | answer, time=at + 2),
    ]


def _acked(ops):
    """Yield (key, offset, epoch) of acknowledged records that were polled."""
    epochs = {
        (key, record[1]): record[2]["epoch"]
        for _, _, key, records in polls(ops)
        for record in records
        if len(record) > 2 and "epoch" in record[2]
    }
    for _, _, micro in sends(ops):
        if (micro[1], micro[2][1]) in epochs:
            yield micro[1], micro[2][0], epochs[micro[1], micro[2][1]]


@mutation("stale-poll", model=run, fresh=True)
def leader_answers_an_end_below_what_it_acknowledged(ops, rng):
    for key, offset, epoch in _acked(ops):
        return _probe(ops, "n7", key, {"hw": offset, "lso": offset, "epoch": epoch}, api="ListOffsets")
    return None


@mutation("deposed-leader-ack", model=run)
def epoch_ended_below_its_acknowledged_record(ops, rng):
    for key, offset, epoch in _acked(ops):
        return _probe(ops, "n7", key, {"end": offset, "epoch": 99}, api="OffsetForLeaderEpoch", asked=epoch)
    return None


@mutation("epoch-regression", model=run)
def epoch_falls_along_the_log(ops, rng):
    for _, _, _, records in polls(ops):
        if len(records) > 1:
            records[0][2] = records[0][2] | {"epoch": 99}
            return ops
    return None


@mutation("min-isr-violation", model=run, min_isr=2)
def acknowledged_with_too_few_in_sync(ops, rng):
    sampled = {op.value["key"] for op in ops if op.f == "probe" and op.value.get("api") == "Metadata"}
    for key in (key for key, _, _ in _acked(ops) if key not in sampled):
        isr = {"leader": "n7", "isr": ["n7"], "partition-epoch": 99}
        head = [change(op, time=ops[0].time) for op in _probe(ops[:1], "n7", key, isr, api="Metadata")[1:]]
        return _probe([*head, *ops], "n7", key, isr, api="Metadata")
    return None


@mutation("wrong-partition")
def record_lies_where_its_key_does_not_belong(ops, rng):
    for _, _, key, records in polls(ops):
        partition = int(key.rpartition("/")[2])
        wrong = next(word for word in ("a", "b", "c", "d", "e", "f") if _partition(word) != partition)
        records[0][2:] = [{"record-key": wrong, "partitioner": "consistent", "partitions": 2}]
        return ops
    return None


def _partition(word):
    from zlib import crc32  # noqa: PLC0415  only this mutation needs it

    return crc32(word.encode()) % 2


@mutation("replica-divergence")
def replica_holds_another_batch(ops, rng):
    key = next((key for _, _, key, _ in polls(ops)), None)
    if key is None:
        return None
    answer = {"hw": 9, "log-start": 0, "batches": [[0, 3, "a"], [4, 8, "b"]]}
    ops = _probe(ops, "n1", key, answer, api="ReplicaLog")
    return _probe(ops, "n2", key, answer | {"batches": [[0, 3, "a"], [4, 8, "x"]]}, api="ReplicaLog")


@mutation("metadata-divergence", model=run)
def quorum_epoch_has_two_leaders(ops, rng):
    if not any(op.f == "probe" and op.value.get("api") == "DescribeQuorum" for op in ops):
        return None
    return _probe(ops, "n2", "__cluster_metadata", {"leader": "n2", "epoch": 7}, api="DescribeQuorum")


@mutation("time-index-wrong", model=run)
def time_index_names_an_older_record(ops, rng):
    for _, _, key, records in polls(ops):
        offset, _, seen = records[0]
        return _probe(ops, "n1", key, {"offset": offset, "epoch": 9}, api="ListOffsets", timestamp=seen["ts"] + 1)
    return None


@mutation("log-start-regression")
def log_start_goes_back(ops, rng):
    answer = {"hw": 9, "lso": 9, "epoch": 1}
    ops = _probe(ops, "n1", "t9/0", answer | {"log-start": 4}, api="ListOffsets")
    return _probe(ops, "n1", "t9/0", answer | {"log-start": 3}, api="ListOffsets")


@mutation("two-leaders")
def epoch_has_two_leaders(ops, rng):
    ops = _probe(ops, "n1", "t9/0", {"leader": "n1", "epoch": 3}, api="Metadata")
    return _probe(ops, "n2", "t9/0", {"leader": "n2", "epoch": 3}, api="Metadata")


@mutation("read-past-hw")
def fetch_shows_more_than_the_watermark(ops, rng):
    return _probe(ops, "n1", "t9/0", {"hw": 5, "lso": 5, "last-offset": 5, "again": 5}, api="Fetch")


def _group_op(ops, process, type_, f, value, done):
    at = ops[-1].time
    return [
        *ops,
        Op(process=process, type="invoke", f=f, value=value, group="g", time=at + 1),
        Op(process=process, type=type_, f=f, value=done, group="g", time=at + 2),
    ]


def _commit(ops, process, offset, type_="ok"):
    return _group_op(ops, process, type_, "commit", [["in/0", offset]], [["in/0", offset]])


def _committed(ops, process, offset):
    return _group_op(ops, process, "ok", "committed", {"group": "g"}, [["in/0", offset]])


@mutation("committed-offset-regression")
def committed_offset_falls_back(ops, rng):
    return _committed(_commit(_commit(ops, 900, 3), 900, 7), 901, 3)


@mutation("fenced-commit-applied")
def refused_commit_shows(ops, rng):
    return _committed(_commit(_commit(ops, 900, 7), 902, 5, "fail"), 901, 5)


@mutation("nonlinearizable", fresh=True)
def committed_offset_goes_back_and_forth(ops, rng):
    return _committed(_committed(_commit(_commit(ops, 900, 3), 900, 7), 901, 3), 901, 7)


@mutation("stuck-consumer")
def consumer_stands_still(ops, rng):
    key = next((key for _, _, key, _ in polls(ops)), None)
    if key is None:
        return None
    at = ops[-1].time
    ops = _scan(ops, 900, RC, key, [])
    for poll in range(30):
        fields = {"process": 900, "f": "poll", "time": at + poll * 4 * 10**9 + 9}
        ops = [*ops, Op(type="invoke", value=[["poll"]], **fields), Op(type="ok", value=[["poll", []]], **fields)]
    return ops
