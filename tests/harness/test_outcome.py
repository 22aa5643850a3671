"""The outcome table as a function: unsure is info, a time-out is never fail, the transaction decides for its sends."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from harness.history import FAIL, INFO, OK
from harness.outcome import (
    ANY,
    CODES,
    DELIBERATE_ABORT,
    DELIBERATE_CRASH,
    ROWS,
    TIMEOUTS,
    UNSENT,
    Course,
    Failure,
    Stage,
    canonical,
    outcome,
    transaction,
)
from tests.harness import outcome_page

OURS = {ANY, DELIBERATE_ABORT, DELIBERATE_CRASH, UNSENT}
NAMES = sorted({name for name in dir(KafkaError) if name.lstrip("_").isupper()} | {row.name for row in ROWS})
FAILURES = st.builds(
    lambda stage, name: Failure(stage=stage, name=name), st.sampled_from(Stage), st.sampled_from(NAMES)
)
COMMIT_FAILURES = st.sampled_from(NAMES).map(lambda name: Failure(stage=Stage.COMMIT, name=name))


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("name", sorted(TIMEOUTS))
def test_a_timeout_is_never_fail(stage, name):
    failure = Failure(stage=stage, name=name)
    assert outcome(failure) == outcome(failure, retries=False) == INFO
    assert transaction(Course(stopped=failure)) == INFO


@pytest.mark.parametrize("stage", Stage)
def test_what_the_table_does_not_name_is_info(stage):
    failure = Failure(stage=stage, name="SOMETHING_NEW")
    assert outcome(failure) == INFO
    assert transaction(Course(stopped=failure)) == (FAIL if stage == Stage.BEGIN else INFO)


@given(FAILURES, FAILURES | st.none())
def test_a_transaction_is_ok_only_when_commit_returned_ok(failure, abort):
    assert transaction(Course(commit_called=True)) == OK
    assert transaction(Course(stopped=failure, abort=abort)) != OK
    assert transaction(Course(stopped=failure, abort_ok=True)) != OK


@given(COMMIT_FAILURES, FAILURES | st.none())
def test_a_commit_without_an_answer_is_info_unless_an_abort_was_accepted(commit, abort):
    assert transaction(Course(commit_called=True, commit=commit, abort=abort)) == INFO


@given(COMMIT_FAILURES)
def test_an_abort_proves_that_a_commit_was_not_done_but_for_two_errors(commit):
    came_to = transaction(Course(commit_called=True, commit=commit, abort_ok=True))
    uncertain = {"UNKNOWN_PRODUCER_ID", "INVALID_PRODUCER_ID_MAPPING"}
    assert came_to == (INFO if commit.name in uncertain else FAIL)


@given(FAILURES)
def test_an_abort_that_returned_ok_before_any_commit_is_fail(failure):
    if failure.stage != Stage.COMMIT:
        assert transaction(Course(stopped=failure, abort_ok=True)) == FAIL


@pytest.mark.parametrize("name", ["_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH"])
def test_a_fence_before_commit_is_fail_and_after_it_info(name):
    fence = Failure(stage=Stage.ABORT, name=name)
    on_purpose = Failure(stage=Stage.ABORT, name=DELIBERATE_ABORT)
    assert transaction(Course(stopped=Failure(stage=Stage.DELIVERY, name=name))) == FAIL
    assert transaction(Course(stopped=on_purpose, abort=fence)) == FAIL
    commit = Failure(stage=Stage.COMMIT, name="_TIMED_OUT")
    assert transaction(Course(commit_called=True, commit=commit, abort=fence)) == INFO


def test_a_refused_record_is_fail_outside_a_transaction_and_nothing_by_itself_inside():
    refused = Failure(stage=Stage.DELIVERY, name="INVALID_RECORD")
    assert outcome(refused) == FAIL
    assert transaction(Course(stopped=refused)) == INFO


def test_too_few_replicas_is_certain_only_for_a_client_that_never_retries():
    refused = Failure(stage=Stage.DELIVERY, name="NOT_ENOUGH_REPLICAS")
    assert (outcome(refused), outcome(refused, retries=False)) == (INFO, FAIL)


def test_a_crash_on_purpose_is_info_and_an_abort_on_purpose_what_it_came_to():
    crash = Course(stopped=Failure(stage=Stage.ABORT, name=DELIBERATE_CRASH))
    abort = Failure(stage=Stage.ABORT, name=DELIBERATE_ABORT)
    assert transaction(crash) == INFO
    assert (transaction(Course(stopped=abort)), transaction(Course(stopped=abort, abort_ok=True))) == (INFO, FAIL)


def test_kafkas_names_and_numbers_lead_to_the_same_rows():
    assert canonical("NOT_LEADER_OR_FOLLOWER") == canonical(6) == "NOT_LEADER_FOR_PARTITION"
    assert canonical("MESSAGE_TOO_LARGE") == canonical(10) == "MSG_SIZE_TOO_LARGE"
    assert outcome(Failure(stage=Stage.DELIVERY, name="MESSAGE_TOO_LARGE")) == FAIL
    assert canonical(4711) == "4711"


def test_every_name_is_librdkafkas_and_every_number_is_kafkas():
    names = {row.name for row in ROWS} - OURS
    assert {name for name in names if not hasattr(KafkaError, name)} == set()
    assert {code: KafkaError(code).name() for code in CODES} == dict(CODES)
    assert {name for name in names if not name.startswith("_")} <= set(CODES.values())


def test_an_error_in_the_history_has_name_message_stage_and_what_librdkafka_said():
    failure = Failure(stage=Stage.COMMIT, name="_TIMED_OUT", code=-185, message="m", retriable=True)
    assert failure.to_history() == {
        "code": -185,
        "name": "_TIMED_OUT",
        "message": "m",
        "retriable": True,
        "stage": "commit",
    }
    ours = Failure(stage=Stage.ABORT, name=DELIBERATE_ABORT)
    assert ours.to_history() == {"name": DELIBERATE_ABORT, "message": "", "stage": "abort"}


def test_the_page_shows_the_rows_as_they_are():
    page = outcome_page.PAGE.read_text()
    begin, end = page.index(outcome_page.BEGIN) + len(outcome_page.BEGIN), page.index(outcome_page.END)
    shown = page[begin:end].strip()
    assert shown == outcome_page.rows().strip(), "write it anew: python -m tests.harness.outcome_page"
