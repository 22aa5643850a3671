"""Classic groups, member by member, on a clock of our own."""

from __future__ import annotations

from itertools import count

import pytest

from broker.core.errors import Code, Refused
from broker.core.group.group import Group, State
from broker.core.group.group_records import (
    GroupKey,
    Offset,
    OffsetKey,
    decode_group,
    decode_key,
    decode_offset,
    encode_group,
    encode_key,
    encode_offset,
)
from broker.core.group.members import Sender
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

SESSION, REBALANCE = 1000, 3000


class Bench:
    """A group whose log answers at once, unless `saves` is taken over."""

    def __init__(self, delay_ms=0):
        self.answers, self.saves, ids = {}, None, count()
        self.group = Group(
            "g",
            answer=self.answers.__setitem__,
            save=self.save,
            new_id=lambda: str(next(ids)),
            initial_delay_ms=delay_ms,
        )
        self.requests = count()

    def save(self, group, then):
        if self.saves is None:
            then(Code.NONE)
        else:
            self.saves.append(then)

    def join(self, member="", now=0, *, instance=None, protocols=("range",), needs_id=False, kind="consumer"):
        request = next(self.requests)
        asked = JoinGroupRequest(
            member_id=member,
            group_instance_id=instance,
            session_timeout_ms=SESSION,
            rebalance_timeout_ms=REBALANCE,
            protocol_type=kind,
            protocols=tuple(JoinGroupRequestProtocol(name=name, metadata=name.encode()) for name in protocols),
        )
        self.group.join(request, asked, Sender("client", "host"), now, needs_id=needs_id)
        return request

    def sync(self, member, generation, now=0, assignments=(), instance=None):
        request = next(self.requests)
        given = tuple(SyncGroupRequestAssignment(member_id=m, assignment=a) for m, a in assignments)
        self.group.sync(
            request,
            SyncGroupRequest(member_id=member, group_instance_id=instance, generation_id=generation, assignments=given),
            now,
        )
        return request

    def stable(self, *instances):
        """Bring members into a stable generation; return their ids, the leader first."""
        requests = [self.join(instance=instance) for instance in instances]
        ids = [self.answers[requests[0]].member_id]
        while len(ids) < len(instances):
            again = self.join(ids[0])
            ids = [self.answers[request].member_id for request in [again, *requests[1:]] if request in self.answers]
        generation = self.group.generation
        for member in ids:
            self.sync(member, generation, assignments=[(m, m.encode()) for m in ids])
        assert self.group.state is State.STABLE
        return ids


def refusal(function, *args, **kwargs):
    with pytest.raises(Refused) as refused:
        function(*args, **kwargs)
    return refused.value.code


def test_the_first_generation_waits_for_others_to_come():
    bench = Bench(delay_ms=500)
    first, second = bench.join(), bench.join(now=100)
    bench.group.tick(499)
    assert first not in bench.answers
    bench.group.tick(500)
    one, two = bench.answers[first], bench.answers[second]
    assert one.generation_id == two.generation_id == 1
    assert one.leader == two.leader == one.member_id
    assert len(one.members) == 2
    assert two.members == ()


def test_a_new_member_comes_twice_when_it_must():
    bench = Bench()
    request = bench.join(needs_id=True)
    answer = bench.answers[request]
    assert answer.error_code == Code.MEMBER_ID_REQUIRED
    assert bench.answers[bench.join(answer.member_id, needs_id=True)].generation_id == 1


def test_assignments_reach_everybody_when_they_are_replicated():
    bench = Bench()
    first = bench.join()
    one = bench.answers[first].member_id
    second = bench.join()
    again = bench.join(one)
    two, generation = bench.answers[second].member_id, bench.answers[again].generation_id
    bench.saves = []
    follower = bench.sync(two, generation)
    leading = bench.sync(one, generation, assignments=[(one, b"1"), (two, b"2")])
    assert not {follower, leading} & bench.answers.keys()
    bench.saves.pop()(Code.NONE)
    assert (bench.answers[leading].assignment, bench.answers[follower].assignment) == (b"1", b"2")
    assert bench.group.state is State.STABLE


def test_an_assignment_that_is_not_replicated_leaves_the_group_unstable():
    bench = Bench()
    one = bench.answers[bench.join()].member_id
    bench.saves = []
    leading = bench.sync(one, 1, assignments=[(one, b"1")])
    bench.saves.pop()(Code.NOT_COORDINATOR)
    assert bench.answers[leading].error_code == Code.NOT_COORDINATOR
    assert bench.group.state is State.COMPLETING


def test_a_join_makes_everybody_join_again_and_the_late_are_out():
    bench = Bench()
    one, two = bench.stable(None, None)
    generation = bench.group.generation
    third = bench.join(now=10)
    assert bench.group.beat(one, None, generation, 10) is Code.REBALANCE_IN_PROGRESS
    bench.join(one, now=20)
    assert third not in bench.answers
    bench.group.beat(two, None, generation, 2900)
    bench.group.tick(10 + REBALANCE)
    assert bench.answers[third].generation_id == generation + 1
    assert two not in bench.group.members
    assert refusal(bench.group.beat, two, None, generation, 3020) is Code.UNKNOWN_MEMBER_ID


def test_a_silent_member_is_out_after_its_session():
    bench = Bench()
    one, two = bench.stable(None, None)
    generation = bench.group.generation
    bench.group.beat(one, None, generation, 900)
    assert bench.group.deadline_ms <= SESSION
    bench.group.tick(SESSION)
    assert two not in bench.group.members
    assert bench.group.state is State.PREPARING


def test_a_former_member_is_refused_by_generation_and_id():
    bench = Bench()
    (one,) = bench.stable(None)
    assert refusal(bench.group.check, one, None, 0) is Code.ILLEGAL_GENERATION
    assert refusal(bench.group.check, "x", None, 1) is Code.UNKNOWN_MEMBER_ID


def test_a_static_member_comes_back_without_a_rebalance_and_fences_its_old_self():
    bench = Bench()
    one, two = bench.stable("a", "b")
    generation = bench.group.generation
    request = bench.join(instance="b")
    new = bench.answers[request].member_id
    assert new != two
    assert (bench.answers[request].generation_id, bench.group.state) == (generation, State.STABLE)
    assert refusal(bench.group.beat, two, "b", generation, 0) is Code.FENCED_INSTANCE_ID
    assert bench.answers[bench.sync(new, generation, instance="b")].assignment == two.encode()
    assert bench.group.beat(one, "a", generation, 0) is Code.NONE


def test_static_members_that_are_silent_together_keep_their_generation():
    bench = Bench()
    one, two = bench.stable("a", "b")
    for member in bench.group.members.values():
        member.session_timeout_ms = 100 * REBALANCE
    generation = bench.group.generation
    bench.group.leave(one, "a", 0)
    for turn in range(1, 4):
        bench.group.tick(turn * REBALANCE)
    now = 3 * REBALANCE
    assert bench.group.state is State.PREPARING
    assert bench.group.beat(two, "b", generation, now) is Code.REBALANCE_IN_PROGRESS, (
        "what it has read may be committed"
    )
    assert bench.answers[bench.join(two, now, instance="b")].generation_id == generation + 1


def test_the_first_generation_waits_no_longer_than_a_rebalance_may_take():
    bench = Bench(delay_ms=10 * REBALANCE)
    first = bench.join()
    assert bench.group.deadline_ms == REBALANCE
    bench.group.tick(REBALANCE)
    assert bench.answers[first].generation_id == 1


def test_members_agree_on_an_assignor_that_all_can_do():
    bench = Bench(delay_ms=10)
    requests = [bench.join(protocols=p) for p in (("a", "b"), ("b", "a"), ("b",))]
    bench.group.tick(10)
    assert {bench.answers[request].protocol_name for request in requests} == {"b"}
    assert refusal(bench.join, protocols=("c",)) is Code.INCONSISTENT_GROUP_PROTOCOL
    assert refusal(bench.join, kind="connect") is Code.INCONSISTENT_GROUP_PROTOCOL


def test_the_last_to_leave_empties_the_group():
    bench = Bench()
    (one,) = bench.stable(None)
    bench.group.leave(one, None, 5)
    assert bench.group.state is State.EMPTY
    assert refusal(bench.group.leave, one, None, 5) is Code.UNKNOWN_MEMBER_ID


def test_a_member_that_does_not_sync_is_out_in_time():
    bench = Bench(delay_ms=10)
    first, second = bench.join(), bench.join()
    bench.group.tick(10)
    one, two = bench.answers[first].member_id, bench.answers[second].member_id
    waiting = bench.sync(two, 1, now=20)
    bench.group.tick(10 + SESSION)
    assert bench.answers[waiting].error_code == Code.REBALANCE_IN_PROGRESS
    assert one not in bench.group.members


def test_records_come_back_as_they_were_written():
    bench = Bench()
    bench.stable("a", None)
    value = decode_group(encode_group(bench.group, 7))
    assert (value.generation, value.leader, value.protocol) == (bench.group.generation, bench.group.leader, "range")
    assert {m.id: m.assignment for m in value.members} == {m.id: m.assignment for m in bench.group.members.values()}
    for key in (OffsetKey("g", "t", 3), GroupKey("g")):
        assert decode_key(encode_key(key)) == key
    offset = Offset(5, -1, "note", 99)
    assert decode_offset(encode_offset(offset)) == offset
