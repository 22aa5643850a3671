"""Who reads what: everything once, evenly; cooperatively, nothing that still has an owner is given to another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.sim.client.assignors import (
    Subscription,
    assign,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)
from broker.sim.client.config import COOPERATIVE, RANGE

topics = st.sampled_from(["a", "b", "topic-three"])
places = st.lists(st.tuples(topics, st.integers(0, 9)), unique=True, max_size=8)
groups = st.dictionaries(
    st.text("mnop", min_size=1, max_size=3),
    st.builds(Subscription, st.lists(topics, unique=True, min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=5,
)
counts = st.fixed_dictionaries({"a": st.integers(0, 5), "b": st.integers(0, 5), "topic-three": st.integers(0, 5)})


@given(st.lists(topics, unique=True).map(tuple), places)
def test_members_metadata_and_shares_survive_the_wire(wanted, owned):
    subscription = Subscription(wanted, tuple(sorted(owned)))
    assert decode_subscription(encode_subscription(subscription)) == subscription
    assert sorted(decode_assignment(encode_assignment(owned))) == sorted(owned)
    assert decode_assignment(b"") == ()


@given(groups, counts)
def test_a_range_gives_every_partition_to_one_who_wants_its_topic_in_even_shares(members, sizes):
    shares = assign(RANGE, members, sizes)
    given_out = [key for share in shares.values() for key in share]
    wanted = {topic for one in members.values() for topic in one.topics}
    assert sorted(given_out) == sorted((topic, i) for topic in wanted for i in range(sizes[topic]))
    for member, share in shares.items():
        assert {topic for topic, _ in share} <= set(members[member].topics)
    for topic in wanted:
        held = [sum(key[0] == topic for key in shares[m]) for m in members if topic in members[m].topics]
        assert max(held) - min(held) <= 1


@given(groups, counts)
def test_cooperative_shares_settle_in_two_generations_and_never_overlap(members, sizes):
    for _ in range(3):
        shares = assign(COOPERATIVE, members, sizes)
        given_out = [key for share in shares.values() for key in share]
        assert len(given_out) == len(set(given_out))
        owned = {key: m for m, one in members.items() for key in one.owned}
        for member, share in shares.items():
            assert all(owned.get(key, member) == member for key in share)
        members = {m: Subscription(one.topics, tuple(shares[m])) for m, one in members.items()}
    wanted = {topic for one in members.values() for topic in one.topics}
    assert sorted(given_out) == sorted((topic, i) for topic in wanted for i in range(sizes[topic]))


def test_a_member_that_comes_takes_from_the_others_only_what_is_more_than_their_share():
    everything = tuple(("a", i) for i in range(4))
    members = {"old": Subscription(("a",), everything), "new": Subscription(("a",))}
    first = assign(COOPERATIVE, members, {"a": 4})
    assert first == {"new": [], "old": [("a", 0), ("a", 1)]}
    members["old"] = Subscription(("a",), tuple(first["old"]))
    assert assign(COOPERATIVE, members, {"a": 4}) == {"new": [("a", 2), ("a", 3)], "old": [("a", 0), ("a", 1)]}


def test_an_unknown_assignor_is_named():
    with pytest.raises(ValueError, match="sticky"):
        assign("sticky", {"m": Subscription(("a",))}, {"a": 1})
