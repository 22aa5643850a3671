"""Server-side assignors and the step of one member: fair, sticky, and never two owners."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.group.consumer import records
from broker.core.group.consumer.assignors import ASSIGNORS, Wish, range_, uniform
from broker.core.group.consumer.places import sort
from broker.core.group.consumer.reconcile import Current, MemberState, Reconciler

TOPICS = st.sets(st.sampled_from("abcd"), max_size=4).map(lambda topics: tuple(sorted(topics)))
COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 7), max_size=4)
PLACES = st.sets(st.tuples(st.sampled_from("abcd"), st.integers(0, 7)), max_size=8).map(sort)
WISHES = st.dictionaries(
    st.text("xyz", min_size=1, max_size=3),
    st.builds(Wish, topics=TOPICS, had=PLACES, instance_id=st.none() | st.text("i", min_size=1, max_size=3)),
    max_size=6,
)


@given(st.sampled_from(sorted(ASSIGNORS)), WISHES, COUNTS)
def test_every_partition_that_somebody_wants_has_one_owner_who_wants_it(name, wishes, counts):
    found = ASSIGNORS[name](wishes, counts)
    assert found.keys() == wishes.keys()
    places = [place for owned in found.values() for place in owned]
    wanted = {topic for wish in wishes.values() for topic in wish.topics if topic in counts}
    assert sorted(places) == sorted((topic, index) for topic in wanted for index in range(counts[topic]))
    assert all(topic in wishes[member].topics for member, owned in found.items() for topic, _ in owned)


@given(WISHES, COUNTS)
def test_uniform_is_fair_wherever_subscriptions_allow(wishes, counts):
    found = uniform(wishes, counts)
    for member, owned in found.items():
        for topic in {topic for topic, _ in owned}:
            for other, wish in wishes.items():
                if topic in wish.topics:
                    assert len(owned) - len(found[other]) <= 1, f"{member} has too much beside {other}"


@given(WISHES, COUNTS)
def test_uniform_changes_nothing_when_nothing_changed(wishes, counts):
    found = uniform(wishes, counts)
    again = {member: Wish(wish.topics, found[member], wish.instance_id) for member, wish in wishes.items()}
    assert uniform(again, counts) == found


def test_uniform_moves_no_more_than_a_new_member_gets():
    wishes = {name: Wish(("a",), ()) for name in "xy"}
    had = uniform(wishes, {"a": 6})
    grown = {name: Wish(("a",), had.get(name, ())) for name in "xyz"}
    now = uniform(grown, {"a": 6})
    assert [len(now[name]) for name in "xyz"] == [2, 2, 2]
    assert all(set(now[name]) <= set(had[name]) for name in "xy")


def test_range_gives_equal_partitions_of_equal_topics_to_one_member():
    wishes = {"x": Wish(("a", "b"), ()), "y": Wish(("a", "b"), ())}
    found = range_(wishes, {"a": 3, "b": 3})
    assert found == {"x": (("a", 0), ("a", 1), ("b", 0), ("b", 1)), "y": (("a", 2), ("b", 2))}


def test_static_members_keep_their_place_in_the_order():
    wishes = {"z": Wish(("a",), (), "i1"), "b": Wish(("a",), (), "i2"), "a": Wish(("a",), ())}
    assert range_(wishes, {"a": 3}) == {"z": (("a", 0),), "b": (("a", 1),), "a": (("a", 2),)}


@given(st.data())
def test_no_partition_is_handed_out_while_another_member_may_still_use_it(data):
    """Members and coordinator talk in any order; a member owns what it was told last, until it hears otherwise."""
    step, names = Reconciler().step, ("x", "y", "z")
    places = sort([("a", index) for index in range(4)])
    current = dict.fromkeys(names, Current())
    owned = dict.fromkeys(names, ())
    epoch, target = 0, dict.fromkeys(names, ())
    for _ in range(data.draw(st.integers(1, 25))):
        if data.draw(st.booleans()):
            epoch += 1
            owners = [data.draw(st.sampled_from(names)) for _ in places]
            target = {n: sort(p for p, o in zip(places, owners, strict=True) if o == n) for n in names}
        name = data.draw(st.sampled_from(names))
        taken = {place for other in names if other != name for place in current[other].held}
        current[name] = step(current[name], target[name], epoch, owned[name], taken)
        owned[name] = current[name].assigned
        everything = [place for other in names for place in owned[other]]
        assert len(everything) == len(set(everything))
        assert current[name].epoch <= epoch
    for _ in range(3):
        for name in names:
            taken = {place for other in names if other != name for place in current[other].held}
            current[name] = step(current[name], target[name], epoch, owned[name], taken)
            owned[name] = current[name].assigned
    assert owned == target
    assert {now.state for now in current.values()} == {MemberState.STABLE}


IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
STORED = st.sets(st.tuples(IDS, st.integers(0, 2**31 - 1)), max_size=6).map(sort)
NAMES = st.text(max_size=20)
MAYBE = st.none() | NAMES
SUBSCRIPTIONS = st.builds(
    records.Subscription,
    instance_id=MAYBE,
    rack_id=MAYBE,
    client_id=NAMES,
    host=NAMES,
    topics=st.lists(NAMES, max_size=4).map(tuple),
    regex=MAYBE,
    rebalance_timeout_ms=st.integers(-1, 2**31 - 1),
    assignor=MAYBE,
    classic=st.none()
    | st.builds(
        records.ClassicMember,
        session_timeout_ms=st.integers(0, 2**31 - 1),
        protocols=st.lists(st.tuples(NAMES, st.binary(max_size=9)), max_size=3).map(tuple),
    ),
)
VALUES = st.one_of(
    st.tuples(
        st.just(records.GROUP),
        st.builds(records.GroupEpoch, st.integers(0, 2**31 - 1), st.integers(-(2**63), 2**63 - 1)),
    ),
    st.tuples(st.just(records.MEMBER), SUBSCRIPTIONS),
    st.tuples(st.just(records.TARGET_EPOCH), st.integers(0, 2**31 - 1)),
    st.tuples(st.just(records.TARGET), STORED),
    st.tuples(
        st.just(records.CURRENT),
        st.builds(
            Current,
            epoch=st.integers(-2, 2**31 - 1),
            previous_epoch=st.integers(-2, 2**31 - 1),
            state=st.sampled_from(MemberState),
            assigned=STORED,
            revoking=STORED,
        ),
    ),
)


@given(NAMES, NAMES, VALUES)
def test_records_read_back_what_they_wrote(group, member, kind_and_value):
    kind, value = kind_and_value
    about_members = kind in {records.MEMBER, records.TARGET, records.CURRENT}
    key = records.Key(kind, group, member if about_members else "")
    assert records.decode_key(records.encode_key(key)) == key
    assert records.decode_value(key, records.encode_value(value)) == value
