"""Each row of the outcome table is met by the real client; rows that can't be provoked are listed with the reason.

The proofs mostly wait for librdkafka's timers, so they are all run at once, in threads, when the first one is wanted.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from harness.clients import groups, settings
from harness.outcome import ANY, DELIBERATE_ABORT, DELIBERATE_CRASH, ROWS, TABLE, Stage
from tests.harness import outcome_plain_proofs, outcome_txn_proofs
from tests.harness.clients.mock_kafka import MockKafka
from tests.harness.outcome_scene import ABORTED, OPEN, TWO_BROKERS, Scene

pytestmark = pytest.mark.xdist_group("outcome-rows")
AT_ONCE = 8
TRIES = 3
PROOFS = (outcome_plain_proofs, outcome_txn_proofs)
"""The modules that fill OPEN and ABORTED when they are imported."""
ON_PURPOSE = {DELIBERATE_ABORT, DELIBERATE_CRASH}


def run(proof, key):
    """Return the proof's end. On a busy machine the op's bound may come first: that shows nothing, and is done again."""
    for _ in range(TRIES):
        done = run_once(proof, key)
        if key[2] == "_TIMED_OUT" or (done.error or {}).get("name") != "_TIMED_OUT":
            break
    return done


def run_once(proof, key):
    with MockKafka(brokers=2 if key in TWO_BROKERS else 1) as mock:
        scene = Scene(mock)
        try:
            return proof(scene)
        finally:
            scene.close()


def run_all(proofs, grace_s) -> dict[tuple, Future]:
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(AT_ONCE) as pool:
        patch.setattr(settings, "SOCKET_TIMEOUT_MS", 1000)
        patch.setattr(settings, "OP_GRACE_S", grace_s)
        patch.setattr(groups, "_named", lambda config, deadline: {1})  # see the clients' conftest
        return {key: pool.submit(run, proof, key) for key, proof in proofs.items()}


@pytest.fixture(scope="module")
def open_ends():
    """What the proofs came to that leave the transaction open, or have none."""
    return run_all(OPEN, 1.5)


@pytest.fixture(scope="module")
def aborted_ends():
    """What the proofs came to whose abort returned ok: it gets time enough."""
    return run_all(ABORTED, 6.0)


def name_of(key):
    transactional, stage, name = key
    return f"{'txn' if transactional else 'plain'}-{stage}-{'any' if name == ANY else name}"


def meets(key, done):
    """Check that the op met the row's error, and no other row's."""
    transactional, stage, name = key
    error = done.error
    if stage == Stage.ABORT and name not in ON_PURPOSE:
        error = error["abort"]
    assert error["stage"] == stage
    if name == ANY:
        assert (transactional, stage, error["name"]) not in TABLE
    else:
        assert error["name"] == name


@pytest.mark.parametrize("key", OPEN, ids=name_of)
def test_the_real_client_meets_the_row(open_ends, key):
    done = open_ends[key].result()
    meets(key, done)
    assert done.type == TABLE[key].outcome


@pytest.mark.parametrize("key", ABORTED, ids=name_of)
def test_after_an_abort_that_returned_ok_the_row_says_so(aborted_ends, key):
    done = aborted_ends[key].result()
    meets(key, done)
    assert "abort" not in done.error
    assert done.type == TABLE[key].aborted


def test_every_row_is_proven_or_says_why_it_is_not():
    unproven = {key for key, row in TABLE.items() if row.unproven}
    assert unproven.isdisjoint(OPEN)
    assert unproven | OPEN.keys() == TABLE.keys()
    assert ABORTED.keys() <= OPEN.keys()
    assert len(ROWS) == len(TABLE), "two rows for one stage and name"


def test_the_rows_that_can_not_be_provoked_are_these():
    of_shares = {Stage.SHARE_FETCH, Stage.ACKNOWLEDGE}  # tests/harness/clients/test_share_member.py
    unproven = {row for row in ROWS if row.unproven and row.stage not in of_shares}
    assert {(row.stage, row.name) for row in unproven if not row.transactional} == {
        (Stage.DELIVERY, "NOT_LEADER_FOR_PARTITION"),
        (Stage.POLL, "_MAX_POLL_EXCEEDED"),
        (Stage.POLL, "_ALL_BROKERS_DOWN"),
        (Stage.POLL, "_TRANSPORT"),
        (Stage.ASSIGN, "_STATE"),
        (Stage.SUBSCRIBE, "_STATE"),
        (Stage.COMMIT_OFFSETS, "_WAIT_COORD"),
        (Stage.COMMITTED, "UNSTABLE_OFFSET_COMMIT"),
        (Stage.COMMITTED, "_TRANSPORT"),
    }
    raw_fences = {row.name for row in unproven if row.transactional}
    assert raw_fences == {"PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"}
