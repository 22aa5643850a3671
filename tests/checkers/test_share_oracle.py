"""Share groups, soundness by brute force: what the checkers call an anomaly no execution of a correct group explains."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from checkers.judge import judge
from checkers.options import CheckOptions
from checkers.share import rest, safety
from tests.checkers.share_oracle import LIMIT, LOCK_MS, NODES, Ask, Event, explains
from tests.checkers.story import MILLISECOND_NS, Story, poll, send

JUDGED = (safety.REDELIVERY, safety.DOUBLE, safety.COUNT, rest.LOST)
KINDS = ("fetch", "fetch", "fetch", "accept", "release", "reject", "renew")
GAPS_MS = (1, 1, 1, LOCK_MS // 2, LOCK_MS)
RESULTS = ("ok", "ok", "fail", None)
MOST = 6
QUIET_MS = LOCK_MS + 13_000


@st.composite
def histories(draw):
    """Requests of three members to two nodes, some of them at the same time, then perhaps the final ones."""
    asks = []
    for _ in range(draw(st.integers(1, MOST))):
        kind = draw(st.sampled_from(KINDS))
        results = (0, 1, 1, 2, 2, 3, LIMIT + 1, None) if kind == "fetch" else RESULTS
        ask = Ask(
            draw(st.integers(1, 3)), kind, draw(st.sampled_from(("n1", "n1", "n2"))), draw(st.sampled_from(results))
        )
        if kind == "fetch" and draw(st.integers(0, 3)) == 0:
            result = None if ask.result is None else draw(st.sampled_from(RESULTS))
            ask = ask._replace(rider=ask._replace(kind=draw(st.sampled_from(KINDS[3:-1])), result=result))
        asks.append(ask)
    overlaps = draw(st.lists(st.booleans(), min_size=len(asks), max_size=len(asks)))
    gaps = draw(st.lists(st.sampled_from(GAPS_MS), min_size=2 * len(asks), max_size=2 * len(asks)))
    return events_of(asks, overlaps, gaps, ends=draw(st.booleans()), last=draw(st.sampled_from(("n1", "n2"))))


def events_of(asks, overlaps, gaps, *, ends, last):
    events, now, open_ = [], 0, None
    gap = iter(gaps)
    for ask, overlap in zip(asks, overlaps, strict=True):
        now += next(gap)
        if open_ is not None and open_.process == ask.process:
            events += _both(now, "end", open_)
            open_ = None
        events += _both(now, "begin", ask)
        if overlap and open_ is None:
            open_ = ask
            continue
        now += next(gap)
        events += _both(now, "end", ask)
        if open_ is not None:
            events += _both(now, "end", open_)
            open_ = None
    if open_ is not None:
        events += _both(now + 1, "end", open_)
    if ends:
        now += 1
        events.append(Event(now, "healed"))
        for _ in range(2):
            now += QUIET_MS
            ask = Ask(9, "fetch", last, 0)
            events += [Event(now, "begin", ask), Event(now + 1, "end", ask)]
    return events


def _both(ms, what, ask):
    """Return the events of a request and of what rides on it."""
    riders = [] if ask.rider is None else [Event(ms, what, ask.rider)]
    return [*riders, Event(ms, what, ask)]


def story_of(events, *, deposed):
    story = Story()
    story.phase("main")
    story.ok(50, "send", [send("x", 7, 0)])
    if deposed:
        story.fault(1, "partition-leader")
    start = story.now
    numbers: dict[int, int] = {}
    riders = _riders(events)
    for event in events:
        if id(event.ask) in riders:
            continue
        story.now = start + event.ms * MILLISECOND_NS - MILLISECOND_NS
        if event.what == "healed":
            story.phase("drain")
            story.ok(60, "assign", ["x"], seek_to_beginning=True)
            story.ok(60, "poll", [poll(("x", [[0, 7]]))])
            story.drain("x", 1)
            start += 5 * MILLISECOND_NS
            continue
        ask = event.ask
        process = numbers.setdefault(ask.process, ask.process)
        begins = event.what == "begin"
        type_ = "invoke" if begins else _type(ask)
        story.event(process, type_, *_told(ask, begins=begins), group="g")
        if type_ == "info":
            numbers[ask.process] = process + 10
    return story


def _riders(events):
    return {id(event.ask.rider) for event in events if event.ask is not None and event.ask.rider is not None}


def _type(ask):
    if ask.result is None:
        return "info"
    return "ok" if ask.kind == "fetch" else ask.result


def _told(ask, *, begins):
    if ask.kind != "fetch":
        told = {"key": "x", "records": [[0, ask.kind]], "node": ask.node, "session": NODES.index(ask.node)}
        return "share-acknowledge", told
    rider = ask.rider
    asked = {} if rider is None else {"acknowledge": [["x", [[0, rider.kind]]]]}
    if begins:
        return "share-fetch", {"records-max": 5, **asked}
    shown = [["x", [[0, 7, ask.result]]]] if ask.result else []
    told = {"keys": ["x"], "node": ask.node, "session": NODES.index(ask.node), **asked}
    if rider is not None and ask.result is not None:
        told["acknowledged"] = [["x", rider.result or "info", None]]
    return "share-fetch", told if ask.result is None else told | {"lock-ms": LOCK_MS, "records": shown}


def as_members(events):
    """Return the events as the history numbers members: one that was not answered is never heard of again."""
    lives: Counter[int] = Counter()
    riders = _riders(events)
    renamed: dict[int, Ask] = {}
    found = []
    for event in events:
        if event.ask is None:
            found.append(event)
            continue
        if event.what == "begin":
            renamed[id(event.ask)] = event.ask._replace(process=event.ask.process + 10 * lives[event.ask.process])
        elif event.ask.result is None and id(event.ask) not in riders:
            lives[event.ask.process] += 1
        found.append(event._replace(ask=renamed[id(event.ask)]))
    return found


def found_in(events, *, deposed):
    options = CheckOptions(share_delivery_limit=LIMIT, anomalies=JUDGED)
    judgement = judge(story_of(events, deposed=deposed).ops, options)
    assert not [reason for reason in judgement.reasons if "crashed" in reason]
    return {anomaly.name for anomaly in judgement.anomalies}


@given(histories(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_what_is_found_no_correct_group_explains(events, deposed):
    if found := found_in(events, deposed=deposed):
        assert not explains(as_members(events), deposed=deposed), found


PROLOGUE = (Ask(3, "fetch", "n1", 1), Ask(3, "release", "n1", "ok"))
"""What a node has served, and remembers when another one has taken the lead from it."""


def two_leaders(*asks):
    return events_of([*PROLOGUE, *asks], [False] * (len(asks) + 2), [1] * 2 * (len(asks) + 2), ends=False, last="n2")


def test_leader_that_was_deposed_gives_away_what_its_successor_has_given():
    given_, again, accepted = Ask(1, "fetch", "n2", 2), Ask(2, "fetch", "n1", 2), Ask(1, "accept", "n2", "ok")
    lawful = two_leaders(given_, again, accepted)
    assert explains(as_members(lawful), deposed=True)
    assert found_in(lawful, deposed=True) == set()
    assert found_in(lawful, deposed=False) == {safety.DOUBLE}
    same = two_leaders(given_._replace(node="n1"), again, accepted._replace(node="n1"))
    assert not explains(as_members(same), deposed=True)
    assert found_in(same, deposed=True) == {safety.DOUBLE}
    later = two_leaders(given_._replace(node="n1"), again._replace(node="n2"), accepted._replace(node="n1"))
    assert not explains(as_members(later), deposed=True)
    assert found_in(later, deposed=True) == {safety.DOUBLE}


def test_what_is_found_of_two_leaders_no_correct_group_explains():
    rng = random.Random(11)
    lawful = 0
    for _ in range(400):
        asks = []
        for _ in range(rng.randint(2, 4)):
            process, node = rng.randint(1, 2), rng.choice(NODES)
            kind = rng.choice(("fetch", "fetch", *KINDS[3:]))
            asks.append(
                Ask(process, kind, node, rng.choice((0, 2, 2, 3)) if kind == "fetch" else rng.choice(RESULTS[:3]))
            )
        events, deposed = two_leaders(*asks), rng.random() < 0.7
        explained = explains(as_members(events), deposed=deposed)
        lawful += explained
        assert not explained or not found_in(events, deposed=deposed), asks
    assert lawful > 40


def test_much_of_what_no_correct_group_explains_is_found():
    rng = random.Random(7)
    impossible = found = 0
    for _ in range(400):
        count = rng.randint(2, 4)
        asks = [
            Ask(rng.randint(1, 2), "fetch", "n1", rng.choice((1, 1, 2, 3)))
            if rng.random() < 0.6
            else Ask(rng.randint(1, 2), rng.choice(KINDS[3:]), "n1", "ok")
            for _ in range(count)
        ]
        events = events_of(asks, [False] * count, [1] * 2 * count, ends=rng.random() < 0.5, last="n1")
        if not explains(as_members(events), deposed=False):
            impossible += 1
            found += bool(found_in(events, deposed=False))
    assert impossible > 200
    assert found > impossible * 0.6, (found, impossible)


def test_the_oracle_explains_what_correct_groups_do():
    given_, accepted = Ask(1, "fetch", "n1", 1), Ask(1, "accept", "n1", "ok")
    assert explains(events_of([given_, accepted], [False] * 2, [1] * 4, ends=True, last="n1"), deposed=False)
    again = Ask(2, "fetch", "n2", 2)
    released = [given_, Ask(1, "release", "n1", "ok"), again, Ask(2, "reject", "n2", "ok")]
    assert explains(events_of(released, [False] * 4, [1] * 8, ends=True, last="n2"), deposed=False)
    twice = [given_, accepted, Ask(2, "fetch", "n2", 1)]
    assert not explains(events_of(twice, [False] * 3, [1] * 6, ends=False, last="n2"), deposed=False)
