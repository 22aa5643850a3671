"""The share partition against an oracle that knows every record by itself: one owner, nothing skipped, nothing twice."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.core.errors import Code, Refused
from broker.core.share.partition import (
    ACCEPT,
    GAP,
    REJECT,
    RELEASE,
    RENEW,
    Acknowledgement,
    Batch,
    SharePartition,
    State,
    Want,
)
from broker.core.share.state import combined

MAX_DELIVERIES = 2
MAX_LOCKS = 12
LOCK_MS = 100
MEMBERS = st.sampled_from(["a", "b", "c"])


class Oracle:
    """One record: its state as it counts, how often it was delivered, whose it is and until when."""

    def __init__(self, state=State.AVAILABLE, count=0):
        self.state, self.count, self.owner, self.until_ms, self.pending = state, count, "", 0, False


class SharePartitions(RuleBasedStateMachine):
    """Rules are what members, clocks and coordinators do; `records` is the truth by offset, `stored` what is written."""

    def __init__(self):
        super().__init__()
        self.now_ms = 0
        self.records = {}
        self.batches = []
        self.log_start = self.end = 0
        self.stored, self.stored_start = (), 0
        self.in_flight = None
        self.delivered_done = set()

    @initialize(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6))
    def begin(self, sizes):
        self.partition = SharePartition(0, 1, max_deliveries=MAX_DELIVERIES)
        for size in sizes:
            self.produce(size, 0)

    @rule(size=st.integers(1, 4), gap=st.integers(0, 2))
    def produce(self, size, gap):
        first = self.end + gap  # compacted away, or a marker's place that a look-up never returns
        self.batches.append((first, first + size - 1))
        self.records.update({offset: Oracle() for offset in range(first, first + size)})
        self.end = first + size

    def read(self, at):
        return [batch for batch in self.batches if batch[1] >= at]

    @rule(member=MEMBERS, most=st.integers(1, 8), exact=st.booleans(), size=st.integers(1, 5))
    def acquire(self, member, most, exact, size):
        at = self.partition.next_offset
        if not self.partition.may_acquire(MAX_LOCKS):
            return
        free = [o for o, one in sorted(self.records.items()) if self.is_free(o, one)]
        got = self.partition.acquire(
            self.read(at), at, member, Want(most, exact=exact, batch_size=size), MAX_LOCKS, self.now_ms + LOCK_MS
        )
        offsets = [offset for one in got for offset in range(one.first, one.last + 1)]
        assert offsets == free[: len(offsets)], "the first free ones, in order, none left out"
        if free and free[0] < self.partition.start + MAX_LOCKS:
            assert offsets, "there was something to get"
        if exact:
            assert len(offsets) <= most
        for one in got:
            for offset in range(one.first, one.last + 1):
                record = self.records[offset]
                record.state, record.owner, record.until_ms = State.ACQUIRED, member, self.now_ms + LOCK_MS
                record.count += 1
                assert record.count == one.count <= MAX_DELIVERIES

    def is_free(self, offset, record):
        return record.state is State.AVAILABLE and not record.pending and offset >= self.log_start

    @rule(
        member=MEMBERS,
        first=st.integers(0, 40),
        size=st.integers(1, 6),
        kinds=st.lists(st.sampled_from([GAP, ACCEPT, RELEASE, REJECT, RENEW]), min_size=6, max_size=6),
        one=st.booleans(),
    )
    def acknowledge(self, member, first, size, kinds, one):
        last = first + size - 1
        types = tuple(kinds[:1] if one else kinds[:size])
        named = {offset: types[0 if one else offset - first] for offset in range(first, last + 1)}
        meant = {offset: kind for offset, kind in named.items() if offset >= self.partition.start}
        may = all(offset in self.records and self.is_owned(offset, member) for offset in meant)
        ack = Acknowledgement(first, last, types)
        assert self.is_taken(member, ack) is may
        if not may:
            return
        for offset, kind in meant.items():
            self.settle(offset, kind)

    @precondition(lambda self: any(one.owner for one in self.records.values()))
    @rule(
        data=st.data(),
        size=st.integers(1, 6),
        kind=st.sampled_from([ACCEPT, RELEASE, RELEASE, RELEASE, REJECT, RENEW]),
        stranger=st.integers(0, 9),
    )
    def acknowledge_what_is_owned(self, data, size, kind, stranger):
        first = data.draw(st.sampled_from([o for o, one in sorted(self.records.items()) if one.owner]))
        owner = self.records[first].owner
        last = first
        while last - first + 1 < size and last + 1 in self.records and self.is_owned(last + 1, owner):
            last += 1
        member = owner if stranger else "stranger"
        may = all(self.is_owned(offset, member) for offset in range(first, last + 1))
        ack = Acknowledgement(first, last, (kind,))
        assert self.is_taken(member, ack) is may, "only the owner, and only in time"
        if not may:
            return
        for offset in range(first, last + 1):
            self.settle(offset, kind)

    def is_taken(self, member, ack):
        try:
            self.partition.acknowledge(member, [ack], self.now_ms, self.now_ms + LOCK_MS)
        except Refused as refused:
            return refused.code is not Code.INVALID_RECORD_STATE
        return True

    def is_owned(self, offset, member):
        record = self.records[offset]
        return record.state is State.ACQUIRED and record.owner == member and record.until_ms > self.now_ms

    def settle(self, offset, kind):
        record = self.records[offset]
        if kind == RENEW:
            record.until_ms = self.now_ms + LOCK_MS
            return
        record.owner, record.pending = "", True
        if kind == RELEASE:
            record.state = State.ARCHIVED if record.count >= MAX_DELIVERIES else State.AVAILABLE
        else:
            record.state = State.ACKNOWLEDGED if kind == ACCEPT else State.ARCHIVED

    @rule(member=MEMBERS, rarely=st.integers(0, 2))
    def close(self, member, rarely):
        if rarely:
            return
        self.partition.close(member)
        for record in self.records.values():
            if record.state is State.ACQUIRED and record.owner == member:
                record.state, record.owner, record.pending = State.AVAILABLE, "", True
                record.count -= 1

    @rule(passed_ms=st.sampled_from([1, 5, 20, LOCK_MS // 2, LOCK_MS]), looks=st.booleans())
    def time(self, passed_ms, looks):
        self.now_ms += passed_ms
        if not looks:
            return
        if self.partition.deadline_ms > self.now_ms:
            assert not any(r.state is State.ACQUIRED and r.until_ms <= self.now_ms for r in self.records.values())
            return
        self.partition.expire(self.now_ms)
        for offset, record in self.records.items():
            if record.state is State.ACQUIRED and record.until_ms <= self.now_ms:
                self.settle(offset, RELEASE)

    @precondition(lambda self: self.in_flight is None)
    @rule()
    def write(self):
        what = self.partition.write()
        if what is not None:
            pending = {offset for offset, record in self.records.items() if record.pending}
            self.in_flight = what, pending

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def written(self):
        what, pending = self.in_flight
        self.in_flight = None
        self.store(what)
        self.partition.written()
        for offset in pending:
            if offset in self.records:
                self.records[offset].pending = False
                if self.records[offset].state in {State.ACKNOWLEDGED, State.ARCHIVED}:
                    self.delivered_done.add(offset)

    def store(self, what):
        assert what.start >= self.stored_start
        self.stored, self.stored_start = combined(self.stored, what.batches, what.start), what.start
        done = sum(one.last - one.first + 1 for one in self.stored if one.state in {2, 4})
        assert done <= what.done, "what was passed over counts, too"

    @rule(happened=st.booleans(), rarely=st.integers(0, 3))
    def failover(self, happened, rarely):
        """Another leader reads what is written; a write that was under way may have happened."""
        if rarely:
            return
        if self.in_flight is not None and happened:
            self.store(self.in_flight[0])
        self.in_flight = None
        self.partition = SharePartition(self.stored_start, 1, self.stored, max_deliveries=MAX_DELIVERIES)
        self.partition.deleted(self.log_start)
        states = {o: one for one in self.stored for o in range(one.first, one.last + 1)}
        for offset, record in self.records.items():
            stored = states.get(offset)
            record.owner, record.pending = "", False
            if offset < self.partition.start:
                assert record.state in {State.ACKNOWLEDGED, State.ARCHIVED}, f"{offset} is skipped"
            elif stored is None:
                assert offset not in self.delivered_done, f"{offset} was done with, and is forgotten"
                record.state, record.count = State.AVAILABLE, 0
            else:
                record.state, record.count = State(stored.state), stored.count

    @rule(by=st.integers(1, 3), rarely=st.integers(0, 5))
    def deleted(self, by, rarely):
        if rarely:
            return
        self.log_start = min(self.log_start + by, self.end)
        self.partition.deleted(self.log_start)
        for offset in [offset for offset in self.records if offset < self.log_start]:
            del self.records[offset]

    @invariant()
    def agrees(self):
        if not hasattr(self, "partition"):
            return
        runs = self.partition.runs
        at = self.partition.start
        for run in runs:
            assert run.first == at <= run.last, "without holes"
            at = run.last + 1
        assert at == self.partition.end
        seen = {offset: run for run in runs for offset in range(run.first, run.last + 1)}
        for offset, record in self.records.items():
            run = seen.get(offset)
            if run is not None:
                assert (run.state, run.count, run.member) == (record.state, record.count, record.owner), offset
                assert bool(run.mark) is record.pending
            elif offset < self.partition.start:
                assert record.state in {State.ACKNOWLEDGED, State.ARCHIVED}, f"{offset} is skipped"
                assert not record.pending
            else:
                assert record.state is State.AVAILABLE
                assert not record.count


TestSharePartitions = SharePartitions.TestCase
TestSharePartitions.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def acquired(partition, *batches, member="a", most=100, exact=False):
    at = partition.next_offset
    got = partition.acquire(batches, at, member, Want(most, exact=exact), MAX_LOCKS, 100)
    return [(one.first, one.last, one.count) for one in got]


def fresh(start=0, batches=()):
    return SharePartition(start, 1, batches, max_deliveries=MAX_DELIVERIES)


def test_whole_batches_are_given_unless_no_more_is_wanted_than_said():
    assert acquired(fresh(), (0, 4), (5, 9), most=3) == [(0, 4, 1)]
    assert acquired(fresh(), (0, 4), (5, 9), most=7, exact=True) == [(0, 6, 1)]


def test_a_record_that_was_delivered_too_often_is_archived():
    partition = fresh()
    for count in range(1, MAX_DELIVERIES + 1):
        assert acquired(partition, (0, 0)) == [(0, 0, count)]
        partition.acknowledge("a", [Acknowledgement(0, 0, (RELEASE,))], 0, 100)
        partition.write()
        partition.written()
    assert acquired(partition, (0, 0)) == []
    assert partition.start == 1


def test_what_is_released_is_not_given_away_before_that_is_written():
    partition = fresh()
    acquired(partition, (0, 0), (1, 1), most=1)
    partition.acknowledge("a", [Acknowledgement(0, 0, (RELEASE,))], 0, 100)
    assert acquired(partition, (0, 0), (1, 1), most=1, member="b") == [(1, 1, 1)]
    assert partition.write().batches == (Batch(0, 0, State.AVAILABLE, 1),)
    partition.written()
    assert acquired(partition, (0, 0), (1, 1), member="b") == [(0, 0, 2)]


def test_a_new_leader_delivers_again_what_was_not_acknowledged_and_nothing_else():
    partition = fresh(5, [Batch(6, 6, 2, 1), Batch(8, 9, 0, 1)])
    assert [(run.first, run.last, run.state, run.count) for run in partition.runs] == [
        (5, 5, State.AVAILABLE, 0),
        (6, 6, State.ACKNOWLEDGED, 1),
        (7, 7, State.AVAILABLE, 0),
        (8, 9, State.AVAILABLE, 1),
    ]
    assert acquired(partition, (0, 20)) == [(5, 5, 1), (7, 7, 1), (8, 9, 2), (10, 20, 1)]


def test_the_window_is_bounded():
    partition = fresh()
    assert acquired(partition, *((n, n) for n in range(30))) == [(0, MAX_LOCKS - 1, 1)]
    assert not partition.may_acquire(MAX_LOCKS)


@pytest.mark.parametrize(
    ("acks", "code"),
    [
        ([Acknowledgement(0, 0, (9,))], Code.INVALID_REQUEST),
        ([Acknowledgement(0, 2, (1, 1))], Code.INVALID_REQUEST),
        ([Acknowledgement(2, 1, (1,))], Code.INVALID_REQUEST),
        ([Acknowledgement(0, 1, (1,)), Acknowledgement(1, 2, (1,))], Code.INVALID_REQUEST),
        ([Acknowledgement(0, 9, (1,))], Code.INVALID_RECORD_STATE),
    ],
)
def test_a_refused_acknowledgement_changes_nothing(acks, code):
    partition = fresh()
    acquired(partition, (0, 4))
    with pytest.raises(Refused) as refused:
        partition.acknowledge("a", acks, 0, 100)
    assert refused.value.code is code
    assert partition.write() is None


def test_a_lock_that_is_renewed_holds_longer():
    partition = fresh()
    acquired(partition, (0, 0))
    assert not partition.acknowledge("a", [Acknowledgement(0, 0, (RENEW,))], 50, 150)
    assert not partition.expire(100)
    assert partition.deadline_ms == 150
    assert partition.expire(150)
