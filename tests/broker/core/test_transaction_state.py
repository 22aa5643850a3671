"""The states of a transactional id, request by request, and as properties over random requests."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import Code, Refused
from broker.core.transaction.state import (
    LAST_EPOCH,
    End,
    Init,
    State,
    Transaction,
    add,
    complete,
    end,
    fence,
    init,
    verify,
)
from broker.core.transaction.transaction_hash import partition_for

NEW = Init(-1, -1, 60_000)
PLACES = (("t", 0), ("t", 1))


def transaction(**fields):
    return Transaction(**{"id": "x", "producer_id": 7, "epoch": 4, "timeout_ms": 60_000, **fields})


def refusal(function, *args):
    with pytest.raises(Refused) as refused:
        function(*args)
    return refused.value.code


def test_each_init_raises_the_epoch():
    assert init(transaction(), NEW, 99).epoch == 5
    assert init(transaction(state=State.COMPLETE_COMMIT), NEW, 99).state is State.EMPTY


def test_an_id_that_nobody_has_is_given_to_whoever_comes_whatever_it_shows():
    fresh = transaction(epoch=-1)
    for shown in (NEW, Init(0, 0, 60_000), Init(7, 3, 60_000), Init(1234, LAST_EPOCH, 60_000)):
        got = init(fresh, shown, 99)
        assert (got.state, got.producer_id, got.epoch, got.last_epoch) == (State.EMPTY, 7, 0, -1)
    assert refusal(init, init(fresh, NEW, 99), Init(1234, 0, 60_000), 99) is Code.PRODUCER_FENCED


def test_init_over_an_ongoing_transaction_aborts_it_under_a_new_epoch():
    ongoing = add(transaction(), 7, 4, PLACES, 1)
    fenced = init(ongoing, NEW, 99)
    assert (fenced.state, fenced.epoch, fenced.partitions) == (State.PREPARE_ABORT, 5, PLACES)
    assert refusal(init, fenced, NEW, 99) is Code.CONCURRENT_TRANSACTIONS
    assert refusal(add, complete(fenced), 7, 4, PLACES, 1) is Code.PRODUCER_FENCED
    assert init(complete(fenced), NEW, 99).epoch == 6


def test_the_last_epochs_lead_to_a_new_producer_id():
    got = init(transaction(epoch=LAST_EPOCH - 1), NEW, 99)
    assert (got.producer_id, got.epoch, got.previous_producer_id) == (99, 0, 7)
    fenced = fence(add(transaction(epoch=LAST_EPOCH - 1), 7, LAST_EPOCH - 1, PLACES, 1))
    assert fenced.epoch == LAST_EPOCH
    assert init(complete(fenced), NEW, 99).producer_id == 99


def test_v2_near_the_last_epoch_moves_to_the_new_id_at_completion_and_a_retry_learns_it():
    ongoing = add(transaction(epoch=LAST_EPOCH - 1), 7, LAST_EPOCH - 1, PLACES, 1)
    ask = End(7, LAST_EPOCH - 1, commit=True, v2=True)
    prepared = end(ongoing, ask, 99, 1)
    assert (prepared.producer_id, prepared.epoch, prepared.next_producer_id) == (7, LAST_EPOCH, 99)
    done = complete(prepared)
    assert (done.producer_id, done.epoch, done.state) == (99, 0, State.COMPLETE_COMMIT)
    assert end(done, ask, 100, 1) is done


def test_the_markers_of_an_end_say_by_which_protocol_it_was_asked_for():
    by_v2 = end(add(transaction(), 7, 4, PLACES, 1), End(7, 4, commit=True, v2=True), 99, 1)
    assert (by_v2.version, by_v2.epoch) == (2, 5)
    by_v1 = end(add(complete(by_v2), 7, 5, PLACES, 2), End(7, 5, commit=True, v2=False), 99, 2)
    assert (by_v1.version, by_v1.epoch) == (0, 5)


def test_a_producer_may_bump_its_own_epoch_and_repeat_that():
    ask = Init(7, 4, 60_000)
    bumped = init(transaction(state=State.COMPLETE_ABORT), ask, 99)
    assert bumped.epoch == 5
    assert init(bumped, ask, 99).epoch == 5
    assert refusal(init, bumped, Init(7, 3, 1), 99) is Code.PRODUCER_FENCED
    assert refusal(init, bumped, Init(8, 5, 1), 99) is Code.PRODUCER_FENCED


@pytest.mark.parametrize("commit", [True, False])
def test_v1_end_may_be_repeated_but_not_turned_round(commit):
    ongoing = add(transaction(), 7, 4, PLACES, 1)
    ask, opposite = End(7, 4, commit, v2=False), End(7, 4, not commit, v2=False)
    prepared = end(ongoing, ask, 99, 1)
    assert prepared.epoch == 4
    assert refusal(end, prepared, ask, 99, 1) is Code.CONCURRENT_TRANSACTIONS
    assert refusal(end, prepared, opposite, 99, 1) is Code.INVALID_TXN_STATE
    done = complete(prepared)
    assert end(done, ask, 99, 1) is done
    assert refusal(end, done, opposite, 99, 1) is Code.INVALID_TXN_STATE


def test_v2_end_raises_the_epoch_so_that_a_late_end_changes_nothing():
    ask = End(7, 4, commit=False, v2=True)
    done = complete(end(add(transaction(), 7, 4, PLACES, 1), ask, 99, 1))
    assert (done.epoch, done.last_epoch) == (5, 4)
    following = add(done, 7, 5, PLACES, 2)
    assert refusal(end, following, ask, 99, 2) in {Code.PRODUCER_FENCED, Code.INVALID_TXN_STATE}
    assert refusal(end, following, End(7, 4, commit=True, v2=True), 99, 2) in {
        Code.PRODUCER_FENCED,
        Code.INVALID_TXN_STATE,
    }


def test_v1_late_abort_hits_the_next_transaction_as_published():
    """KAFKA-17754: what protocol v1 can't prevent, Apache Kafka 4.1.1 shows it too."""
    ask = End(7, 4, commit=False, v2=False)
    done = complete(end(add(transaction(), 7, 4, PLACES, 1), ask, 99, 1))
    assert end(add(done, 7, 4, PLACES, 2), ask, 99, 2).state is State.PREPARE_ABORT


def test_v2_may_abort_an_empty_transaction_but_not_commit_it():
    assert end(transaction(), End(7, 4, commit=False, v2=True), 99, 1).state is State.PREPARE_ABORT
    assert refusal(end, transaction(), End(7, 4, commit=True, v2=True), 99, 1) is Code.INVALID_TXN_STATE
    assert refusal(end, transaction(), End(7, 4, commit=False, v2=False), 99, 1) is Code.INVALID_TXN_STATE


def test_verification_wants_exactly_this_transaction():
    ongoing = add(transaction(), 7, 4, PLACES[:1], 1)
    assert verify(ongoing, 7, 4, PLACES[:1]) is None
    assert refusal(verify, ongoing, 7, 4, PLACES) is Code.TRANSACTION_ABORTABLE
    assert refusal(verify, ongoing, 7, 3, PLACES[:1]) is Code.PRODUCER_FENCED
    assert (
        refusal(verify, complete(end(ongoing, End(7, 4, commit=True, v2=False), 99, 1)), 7, 4, PLACES[:1])
        is Code.TRANSACTION_ABORTABLE
    )


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["init", "add", "commit", "abort", "complete", "fence"]), st.integers(-1, 1), st.booleans()
    ),
    max_size=30,
)


@given(REQUESTS, st.sampled_from([0, LAST_EPOCH - 3]))
def test_identities_only_rise_and_never_pass_the_last_epoch(requests, epoch):
    value, ids = transaction(epoch=epoch), 100
    for kind, shift, v2 in requests:
        old, ids = value, ids + 1
        names_an_epoch = kind in {"add", "commit", "abort"} or (kind == "init" and not v2)
        if names_an_epoch and old.epoch + shift == LAST_EPOCH:
            continue  # only fencing takes it, and nobody is told: no producer can ask with it
        try:
            if kind == "init":
                value = init(old, NEW if v2 else Init(old.producer_id, old.epoch + shift, 5), ids)
            elif kind == "add":
                value = add(old, old.producer_id, old.epoch + shift, PLACES, 1)
            elif kind in {"commit", "abort"}:
                value = end(old, End(old.producer_id, old.epoch + shift, kind == "commit", v2), ids, 1)
            elif kind == "complete" and old.state.is_prepared:
                value = complete(old)
            elif kind == "fence" and old.state is State.ONGOING:
                value = fence(old)
        except Refused:
            continue
        assert (value.producer_id, value.epoch) >= (old.producer_id, old.epoch)
        assert value.epoch <= LAST_EPOCH
        assert value.epoch < LAST_EPOCH or value.state in {
            State.PREPARE_COMMIT,
            State.PREPARE_ABORT,
            State.COMPLETE_ABORT,
        }
        assert msgspec.json.decode(msgspec.json.encode(value), type=Transaction) == value


@pytest.mark.parametrize(
    ("name", "code"), [("", 0), ("a", 97), ("hello", 99162322), ("polygenelubricants", -2147483648)]
)
def test_names_hash_as_java_strings(name, code):
    expected = 0 if code == -(2**31) else abs(code) % 50
    assert partition_for(name, 50) == expected


def test_only_the_last_producer_of_an_id_that_ran_out_of_epochs_gets_the_next_one_by_asking_again():
    last = transaction(epoch=LAST_EPOCH - 1)
    replaced = init(last, NEW, 99)
    retried = init(last, Init(7, LAST_EPOCH - 1, 60_000), 99)
    ended = complete(end(add(last, 7, LAST_EPOCH - 1, PLACES, 1), End(7, LAST_EPOCH - 1, True, True), 99, 2))
    for state in (replaced, retried, ended):
        assert (state.producer_id, state.epoch) == (99, 0)
        for zombie in (0, 3, LAST_EPOCH - 2, LAST_EPOCH):
            assert refusal(init, state, Init(7, zombie, 60_000), 100) is Code.PRODUCER_FENCED
    for state in (retried, ended):
        again = init(state, Init(7, LAST_EPOCH - 1, 60_000), 100)
        assert (again.producer_id, again.epoch) == (99, 0)
    assert refusal(init, replaced, Init(7, LAST_EPOCH - 1, 60_000), 100) is Code.PRODUCER_FENCED


def test_a_replaced_producer_does_not_hear_that_its_successors_transaction_is_its_own():
    replaced = init(transaction(epoch=LAST_EPOCH - 1), NEW, 99)
    by_v1 = complete(end(add(replaced, 99, 0, PLACES, 1), End(99, 0, True, False), -1, 2))
    assert (by_v1.state, by_v1.epoch) == (State.COMPLETE_COMMIT, 0)
    assert refusal(end, by_v1, End(7, LAST_EPOCH - 1, True, True), -1, 3) is Code.INVALID_PRODUCER_ID_MAPPING
