"""Members of a share group: what they were given they say something of, once, or nothing; at the end they accept."""

from __future__ import annotations

from collections import Counter

from harness.generator import SECOND_NS, Context, Emit, Pending
from harness.scenario import Scenario
from workloads.share import LOCK_S, MAX_SENDS, POISON, READ_BOUND_S, SETTLED_S, SHARE, renews

KEYS = ("t0/0", "t0/1")
SCENARIO = Scenario(workload="share", topics=1, partitions=2, seed=2, crash_interval_s=5.0)
EVERYONE = (0, 1, 2)


class Group:
    """Each op ends at once; a fetch gives the next record of a key, as long as there are any left."""

    def __init__(self, left=10_000):
        self.left, self.next, self.now = left, 0, 0
        self.asked, self.done = [], []

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
            self.asked.append(op)
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
        key, node = KEYS[self.next // 2 % 2], str(self.next % 2)
        records = [[key, [[self.next * 2, self.next * 2, 1], [self.next * 2 + 1, self.next * 2 + 1, 1]]]]
        return op.completed("ok", value={"keys": list(KEYS), "node": node, "records": records})


def said_in(op):
    """Return (key, offset, kind) of all that an invocation says."""
    if op.f == "share-acknowledge":
        return [(op.value["key"], offset, kind) for offset, kind in op.value["records"]]
    ridden = op.value.get("acknowledge", ()) if op.f == "share-fetch" else ()
    return [(key, offset, kind) for key, records in ridden for offset, kind in records]


def test_everything_that_the_workload_is_about_happens():
    group = Group()
    group.drive(SHARE.generator(SCENARIO, KEYS), 3000)
    kinds = Counter(op.f for op in group.done)
    assert set(kinds) == {"send", "txn", "share-fetch", "share-acknowledge", "share-leave", "crash"}
    said = Counter(kind for op in group.asked for _, _, kind in said_in(op))
    assert said["accept"] > said["release"] > said["reject"] > 0
    assert said["renew"] > 0
    ridden = [op.value["acknowledge"] for op in group.asked if op.f == "share-fetch" and "acknowledge" in op.value]
    assert ridden
    assert any(len(keys) > 1 for keys in ridden), "what came from one node goes there together"
    assert any(op.abort for op in group.done if op.f == "txn")
    values = [micro[2] for op in group.done if op.f in {"send", "txn"} for micro in op.value]
    assert len(set(values)) == len(values)


def test_a_member_speaks_once_of_what_it_has_and_never_of_what_it_had_before_it_died_or_left():
    group = Group()
    group.drive(SHARE.generator(SCENARIO, KEYS), 3000)
    held = {process: set() for process in EVERYONE}
    given = said = 0
    for asked, op in zip(group.asked, group.done, strict=True):
        for key, offset, kind in said_in(asked):
            assert (key, offset) in held[op.process]
            if kind != "renew":
                held[op.process].remove((key, offset))
                said += 1
        if op.f == "share-fetch":
            places = {(key, offset) for key, records in op.value["records"] for offset, *_ in records}
            held[op.process] |= places
            given += len(places)
        elif op.f in {"share-leave", "crash"}:
            held[op.process] = set()
    assert 0.5 * given < said < given, "of some nothing is said"


def test_what_goes_with_a_fetch_came_from_one_node():
    group = Group()
    group.drive(SHARE.generator(SCENARIO, KEYS), 3000)
    node_of = {
        (key, offset): op.value["node"]
        for op in group.done
        if op.f == "share-fetch"
        for key, records in op.value["records"]
        for offset, *_ in records
    }
    for op in group.asked:
        assert len({node_of[key, offset] for key, offset, _ in said_in(op)}) <= 1


def test_some_records_are_released_whenever_they_are_given():
    group = Group()
    group.drive(SHARE.generator(SCENARIO, KEYS), 3000)
    kinds = {kind for op in group.asked for _, offset, kind in said_in(op) if offset % (POISON * MAX_SENDS) == 0}
    assert kinds - {"renew"} == {"release"}


def test_a_member_sleeps_over_what_it_has_and_what_it_renewed_it_keeps_for_longer_than_a_lock():
    group = Group()
    group.drive(SHARE.generator(SCENARIO, KEYS), 3000)
    given, late, kept = {}, Counter(), Counter()
    renewed = set()
    for asked, op in zip(group.asked, group.done, strict=True):
        for key, offset, kind in said_in(asked):
            if kind == "renew":
                renewed.add(offset)
            elif asked.time - given[key, offset] > LOCK_S * SECOND_NS:
                (kept if offset in renewed else late)[kind] += 1
        if op.f == "share-fetch":
            given |= {(key, offset): asked.time for key, records in op.value["records"] for offset, *_ in records}
    assert late["accept"] > 0
    assert kept["accept"] > 0


def test_locks_are_renewed_where_the_cluster_does_it():
    assert renews(Scenario(cluster="simulated"))
    assert renews(Scenario(cluster="jvm", kafka_version="4.2.0"))
    assert not renews(Scenario(cluster="compose", kafka_version="4.1.1"))
    assert not renews(Scenario(cluster="existing", kafka_version="4.2.0"))


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
