"""Elections and ISR changes of one partition, case by case and as properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.core.controller.partition_change import Election, Rules, change
from broker.core.metadata.records import PartitionState


def state(**fields):
    base = {
        "topic_id": "t",
        "index": 0,
        "replicas": (1, 2, 3),
        "isr": (1, 2, 3),
        "leader": 1,
        "leader_epoch": 5,
        "partition_epoch": 7,
    }
    return PartitionState(**{**base, **fields})


def rules(*alive, min_isr=2, elr=True, compares=False):
    return Rules(is_active=set(alive).__contains__, min_isr=min_isr, elr=elr, compares=compares)


def test_a_fenced_leader_gives_way_to_the_next_in_the_isr():
    new = change(state(), rules(2, 3), isr=(2, 3))
    assert (new.leader, new.isr, new.elr, new.leader_epoch, new.partition_epoch) == (2, (2, 3), (), 6, 8)


def test_a_fenced_follower_leaves_leader_and_epoch_alone():
    new = change(state(), rules(1, 2), isr=(1, 2))
    assert (new.leader, new.leader_epoch, new.partition_epoch) == (1, 5, 8)


def test_an_isr_that_grows_keeps_the_leader_epoch():
    new = change(state(isr=(1, 2)), rules(1, 2, 3), isr=(1, 2, 3))
    assert (new.isr, new.leader_epoch, new.partition_epoch) == ((1, 2, 3), 5, 8)


def test_who_leaves_an_isr_below_the_minimum_stays_eligible():
    new = change(state(isr=(1, 2)), rules(1), isr=(1,))
    assert (new.isr, new.elr, new.leader) == ((1,), (2,), 1)
    empty = change(new, rules(), isr=())
    assert (empty.isr, empty.elr, empty.leader, empty.last_leader) == ((), (2, 1), -1, 1)
    back = change(empty, rules(2))
    assert (back.isr, back.elr, back.leader) == ((2,), (1,), 2)


def test_eligible_replicas_are_forgotten_when_the_isr_is_large_enough():
    new = change(state(isr=(1,), elr=(2, 3)), rules(1, 2), isr=(1, 2))
    assert (new.isr, new.elr) == ((1, 2), ())


def test_who_leads_alone_by_a_lower_minimum_leaves_nobody_eligible():
    new = change(state(isr=(), elr=(2, 3), leader=-1, last_leader=1), rules(2, min_isr=1))
    assert (new.isr, new.elr, new.leader) == ((2,), (), 2)


def test_an_unclean_stop_costs_isr_and_elr():
    new = change(state(isr=(1,), elr=(2,), leader=1), rules(1), isr=(1,), unclean=2)
    assert new.elr == ()
    gone = change(state(isr=(1,), leader=1), rules(), isr=(), unclean=1)
    assert (gone.isr, gone.elr, gone.leader, gone.last_leader) == ((), (), -1, 1)
    assert change(gone, rules(3)) is None
    back = change(gone, rules(1, 3))
    assert (back.leader, back.isr, back.last_leader) == (1, (1,), -1)


def test_who_was_struck_off_is_known_until_the_isr_is_large_enough_again():
    struck = change(state(isr=(1,), elr=(2, 3)), rules(1), isr=(1,), unclean=2)
    assert (struck.elr, struck.last_known_elr) == ((3,), (2,))
    empty = change(struck, rules(), isr=(), unclean=1)
    assert (empty.elr, empty.last_known_elr) == ((3,), (2, 1))
    none = change(empty, rules(1, 2), unclean=3)
    assert (none.leader, none.elr, none.last_known_elr) == (1, (), ()), "without comparison the last leader leads"
    none = change(empty, rules(1, 2, compares=True), unclean=3)
    assert (none.leader, none.elr, none.last_known_elr) == (-1, (), (2, 1, 3))
    best = change(none, rules(1, 2, 3, compares=True), best=3)
    assert (best.leader, best.isr, best.elr, best.last_known_elr) == (3, (3,), (), (2, 1))
    assert (best.leader_epoch, best.last_leader) == (none.leader_epoch + 1, -1)
    joined = change(best, rules(1, 2, 3), isr=(3, 1), vouched=True)
    assert (joined.isr, joined.last_known_elr) == ((3, 1), ())


def test_who_is_back_first_after_a_loss_of_all_is_known_though_the_others_are_still_said_to_be_in_sync():
    alive = rules(2, 3, compares=True)
    first = change(state(), alive, isr=(2, 3), unclean=1)
    assert (first.leader, first.isr, first.last_known_elr) == (2, (2, 3), (1,))
    second = change(first, alive, isr=(3,), unclean=2)
    assert (second.leader, second.isr, second.last_known_elr) == (3, (3,), (1, 2))
    third = change(second, rules(compares=True), isr=(), unclean=3)
    assert (third.leader, third.isr, third.elr, third.last_known_elr) == (-1, (), (), (1, 2, 3))


def test_of_who_was_fenced_before_the_last_ones_only_what_kafka_would_take_is_waited_for():
    """All lose power while the controller lives: the last known leader, whom Kafka would elect, is one of the compared."""
    first = change(state(), rules(2, 3, compares=True), isr=(2, 3))
    second = change(first, rules(3, compares=True), isr=(3,))
    none = change(second, rules(compares=True), isr=())
    assert (none.isr, none.elr, none.last_leader) == ((), (2, 3), 3)
    struck = change(change(none, rules(compares=True), unclean=2), rules(compares=True), unclean=3)
    assert (struck.leader, set(struck.last_known_elr), struck.last_leader) == (-1, {2, 3}, 3)
    assert change(struck, rules(1, compares=True)) is None, "who was fenced first leads no sooner"
    assert change(struck, rules(3)).leader == 3, "as Kafka has it"


def test_a_leader_that_asks_for_an_isr_lives_and_has_all():
    struck = change(state(), rules(2, 3), isr=(2, 3), unclean=1)
    assert change(struck, rules(2, 3), isr=(3,)).last_known_elr == (1,), "2 is silent"
    assert change(struck, rules(2, 3), election=Election.PREFERRED) is None
    assert change(struck, rules(1, 2, 3), isr=(2, 3, 1), vouched=True).last_known_elr == ()
    larger = state(replicas=(1, 2, 3, 4), isr=(1, 2, 3, 4))
    struck = change(larger, rules(2, 3, 4), isr=(2, 3, 4), unclean=1)
    fenced = change(struck, rules(2, 3), isr=(2, 3))
    assert fenced.last_known_elr == (1,), "who went may have lost what it had, too"
    assert change(fenced, rules(2, 3), isr=(2, 3), vouched=True).last_known_elr == ()
    assert change(struck, rules(2, 3, 4), isr=(2, 3), vouched=True).last_known_elr == ()


def test_who_leads_without_a_look_at_the_logs_settles_the_matter():
    waits = state(isr=(), leader=-1, last_leader=1, last_known_elr=(2, 1))
    compares = rules(1, 3, compares=True)
    assert change(waits, compares) is None
    trusted = change(waits, compares, election=Election.UNCLEAN)
    assert (trusted.leader, trusted.isr, trusted.last_known_elr) == (1, (1,), ())
    any_one = change(waits, rules(3, compares=True), election=Election.UNCLEAN)
    assert (any_one.leader, any_one.isr, any_one.last_known_elr) == (3, (3,), ())


def test_one_replica_alone_has_nobody_to_be_compared_with():
    alone = state(replicas=(1,), isr=(), leader=-1, last_leader=1, last_known_elr=(1,))
    assert change(alone, rules(1, compares=True)).leader == 1


def test_who_leaves_the_replicas_is_not_known_any_more():
    moving = state(replicas=(1, 2, 3, 4), adding=(4,), removing=(2,), isr=(1,), elr=(), last_known_elr=(2, 3))
    assert change(moving, rules(1, 3, 4), replicas=(1, 3, 4), adding=(), removing=()).last_known_elr == (3,)


def test_without_elr_the_last_member_stays_in_the_isr():
    new = change(state(isr=(1,)), rules(2, 3, elr=False), isr=())
    assert (new.isr, new.leader) == ((1,), -1)
    assert change(new, rules(2, 3, elr=False)) is None
    back = change(new, rules(1, 2, elr=False))
    assert (back.leader, back.isr) == (1, (1,))


def test_unclean_election_takes_any_live_replica_and_makes_the_isr_anew():
    new = change(state(isr=(1,), leader=-1), rules(3, elr=False), election=Election.UNCLEAN)
    assert (new.leader, new.isr, new.leader_epoch) == (3, (3,), 6)


def test_a_preferred_election_moves_the_leader_home():
    new = change(state(leader=2), rules(1, 2, 3), election=Election.PREFERRED)
    assert (new.leader, new.leader_epoch) == (1, 6)
    assert change(state(), rules(1, 2, 3), election=Election.PREFERRED) is None


def test_a_reassignment_completes_when_all_targets_are_in_sync():
    moving = state(replicas=(4, 1, 2, 3), adding=(4,), removing=(1,))
    assert change(moving, rules(1, 2, 3, 4), isr=(1, 2, 4)) is not None
    assert change(moving, rules(1, 2, 3, 4), isr=(1, 2, 4)).removing == (1,)
    done = change(moving, rules(1, 2, 3, 4), isr=(1, 2, 3, 4))
    assert (done.replicas, done.isr, done.leader, done.adding, done.removing) == ((4, 2, 3), (2, 3, 4), 4, (), ())


replicas = st.permutations([1, 2, 3]).map(tuple)
subset = st.sets(st.sampled_from([1, 2, 3]))


@given(
    replicas,
    st.lists(st.tuples(subset, subset, st.sampled_from(list(Election)), st.none() | st.integers(1, 3)), max_size=8),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
)
def test_every_change_leaves_a_lawful_partition(order, steps, elr, compares, min_isr):
    partition = state(replicas=order, isr=order, leader=order[0])
    for alive, isr, election, unclean in steps:
        wanted = tuple(r for r in order if r in isr and r in partition.isr)
        given_rules = rules(*alive, min_isr=min_isr, elr=elr, compares=compares)
        new = change(partition, given_rules, isr=wanted, election=election, unclean=unclean)
        if new is None:
            continue
        assert new.partition_epoch == partition.partition_epoch + 1
        assert (new.leader == partition.leader) or new.leader_epoch > partition.leader_epoch
        assert set(new.isr) <= set(new.replicas)
        assert not set(new.isr) & set(new.elr)
        known = {*new.isr, *new.elr, *new.last_known_elr}
        assert len(known) == len(new.isr) + len(new.elr) + len(new.last_known_elr)
        if elr and new.leader == -1 and len(new.isr) < min_isr:
            assert known >= {*partition.isr, *partition.elr, *partition.last_known_elr}, "nobody is forgotten"
        assert new.leader == -1 or (new.leader in new.isr and new.leader in alive)
        assert elr or new.isr
        clean = new.leader == -1 or new.leader in partition.isr or new.leader in partition.elr
        assert clean or election is Election.UNCLEAN or (new.leader == partition.last_leader and not compares)
        partition = new
