"""Members of a share group: what they were given they say something of, once, or nothing; at the end they accept."""

from __future__ import annotations

from collections import Counter

from harness.generator import SECOND_NS, Context, Emit, Pending
from harness.scenario import Scenario
from workloads.share import LOCK_S, READ_BOUND_S, SETTLED_S, SHARE

KEYS = ("t0/0", "t0/1")
SCENARIO = Scenario(workload="share", topics=1, partitions=2, seed=2, crash_interval_s=5.0)
EVERYONE = (0, 1, 2)


class Group:
    """Each op ends at once; a fetch gives the next record of a key, as long as there are any left."""

    def __init__(self, left=10_000):
        self.left, self.next, self.now = left, 0, 0
        self.done = []

    def drive(self, generator, count):
        free = list(EVERYONE)
        for _ in range(count):
            answer = generator.op(Context(self.now, tuple(free), EVERYONE, 3))
            while isinstance(answer, Pending):
                self.now = max(self.now, answer.until_ns)
                answer = answer.successor.op(Context(self.now, tuple(free), EVERYONE, 3))
            if answer is None:
                return None
            assert isinstance(answer, Emit)
            op = answer.op
            free.remove(op.process)
            free.append(op.process)
            context = Context(self.now, tuple(free), EVERYONE, 3)
            generator = answer.successor.update(context, op)
            self.now += 50_000_000
            done = self.complete(op)
            self.done.append(done)
            generator = generator.update(Context(self.now, tuple(free), EVERYONE, 3), done)
        return generator

    def complete(self, op):
        if op.f == "crash":
            return op.completed("info")
        if op.f != "share-fetch":
            return op.completed("ok")
        self.left -= 1
        if self.left < 0:
            return op.completed("ok", value={"keys": list(KEYS), "records": []})
        self.next += 1
        records = [["t0/0", [[self.next * 2, self.next, 1], [self.next * 2 + 1, self.next, 1]]]]
        return op.completed("ok", value={"keys": list(KEYS), "records": records})


def test_everything_that_the_workload_is_about_happens():
    group = Group()
    group.drive(SHARE.generator(SCENARIO, KEYS), 3000)
    kinds = Counter(op.f for op in group.done)
    assert set(kinds) == {"send", "txn", "share-fetch", "share-acknowledge", "share-leave", "crash"}
    said = Counter(kind for op in group.done if op.f == "share-acknowledge" for _, kind in op.value["records"])
    assert said["accept"] > said["release"] > said["reject"] > 0
    assert any(op.abort for op in group.done if op.f == "txn")
    values = [micro[2] for op in group.done if op.f in {"send", "txn"} for micro in op.value]
    assert len(set(values)) == len(values)


def test_a_member_speaks_once_of_what_it_has_and_never_of_what_it_had_before_it_died_or_left():
    group = Group()
    group.drive(SHARE.generator(SCENARIO, KEYS), 3000)
    held = {process: set() for process in EVERYONE}
    given = said = 0
    for op in group.done:
        if op.f == "share-fetch":
            offsets = {offset for _, records in op.value["records"] for offset, *_ in records}
            held[op.process] |= offsets
            given += len(offsets)
        elif op.f == "share-acknowledge":
            offsets = {offset for offset, _ in op.value["records"]}
            assert offsets <= held[op.process]
            held[op.process] -= offsets
            said += len(offsets)
        elif op.f in {"share-leave", "crash"}:
            held[op.process] = set()
    assert 0.5 * given < said < given, "of some nothing is said"


def test_at_the_end_all_is_accepted_and_asked_for_in_vain_for_long():
    group = Group(left=40)
    assert group.drive(SHARE.after(SCENARIO), 100_000) is None
    assert {op.f for op in group.done} == {"share-fetch", "share-acknowledge"}
    assert {kind for op in group.done if op.f == "share-acknowledge" for _, kind in op.value["records"]} == {"accept"}
    last = max(place for place, op in enumerate(group.done) if op.f == "share-acknowledge")
    assert sum(len(op.value["records"]) for op in group.done if op.f == "share-acknowledge") == 80
    assert (len(group.done) - last) * 0.05 > LOCK_S + SETTLED_S


def test_the_end_has_a_bound():
    group = Group()
    assert group.drive(SHARE.after(SCENARIO), 100_000) is None
    assert group.now <= (READ_BOUND_S + 1) * SECOND_NS
