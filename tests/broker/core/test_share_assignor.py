"""Who reads what in a share group: every partition has a reader, every member something to read, loads are even."""

from hypothesis import given
from hypothesis import strategies as st

from broker.core.group.share.assignor import simple

MEMBERS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)
COUNTS = st.dictionaries(st.sampled_from("xyz"), st.integers(1, 5), min_size=1)


def readers(found):
    by_place = {}
    for member, places in found.items():
        for place in places:
            by_place.setdefault(place, []).append(member)
    return by_place


@given(members=MEMBERS, counts=COUNTS, before=MEMBERS, earlier=COUNTS)
def test_equal_members_read_as_evenly_as_it_goes(members, counts, before, earlier):
    def assigned(who, what, had):
        return simple(dict.fromkeys(who, tuple(sorted(what))), had, {t: tuple(range(n)) for t, n in what.items()})

    found = assigned(members, counts, assigned(before, earlier, {}))
    places = [(topic, index) for topic, count in counts.items() for index in range(count)]
    by_place = readers(found)
    assert sorted(by_place) == sorted(places)
    loads = [len(found[member]) for member in members]
    assert min(loads) >= 1
    assert max(loads) - min(loads) <= 1
    if len(places) >= len(members):
        assert all(len(one) == 1 for one in by_place.values())
    else:
        assert max(loads) == 1
    assert assigned(members, counts, found) == found, "who has what it shall have keeps it"


@given(
    wishes=st.dictionaries(
        st.sampled_from("abcdef"), st.sets(st.sampled_from("xyz")).map(sorted).map(tuple), min_size=1
    ),
    counts=COUNTS,
)
def test_members_read_what_they_subscribe_to_and_nothing_is_left_unread(wishes, counts):
    found = simple(wishes, {}, {topic: tuple(range(count)) for topic, count in counts.items()})
    for member, places in found.items():
        assert {topic for topic, _ in places} <= set(wishes[member])
        assert bool(places) == any(topic in counts for topic in wishes[member])
    wanted = {topic for topics in wishes.values() for topic in topics if topic in counts}
    assert {topic for topic, _ in readers(found)} == wanted
    assert len(readers(found)) == sum(counts[topic] for topic in wanted)
