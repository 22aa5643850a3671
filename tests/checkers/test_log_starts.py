"""A log start that moves excuses what lies below it only where something may move it."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions, options_of_scenario
from checkers.verdict import Validity
from tests.checkers.story import Story, poll, send

DAY_MS = 24 * 3600 * 1000


def moved(*, deleted: bool = False):
    """Five acknowledged records; then a node answers that the log begins at the last, and nobody finds the others."""
    story = Story()
    story.phase("main")
    for number in range(5):
        story.ok(0, "send", [send("x", number, number)])
    story.ok(1, "poll", [poll(("x", [[0, 0], [1, 1]]))])
    if deleted:
        story.ok(3, "delete-records", ["x", 4])
    story.event("probe/n1", "invoke", "probe", {"api": "ListOffsets", "key": "x"})
    answer = {"api": "ListOffsets", "key": "x", "log-start": 4, "hw": 5, "lso": 5, "epoch": 1, "log-end": 5}
    story.event("probe/n1", "ok", "probe", answer)
    story.phase("drain")
    story.ok(2, "poll", [poll(("x", [[4, 4]]))])
    story.drain("x", 5)
    return story.ops


def test_records_below_a_log_start_that_nothing_may_move_are_lost():
    judgement = judge(moved(), options_of_scenario({"cluster": "embedded"}))
    assert judgement.validity is Validity.INVALID
    assert {"lost-write", "unseen"} <= {anomaly.name for anomaly in judgement.anomalies}


def test_records_that_somebody_deleted_are_not_lost():
    assert judge(moved(deleted=True), options_of_scenario({"cluster": "embedded"})).validity is Validity.VALID


@pytest.mark.parametrize(
    "scenario",
    [
        {"topic_config": {"retention.ms": "3000"}},
        {"topic_config": {"retention.bytes": "1000"}},
        {"broker_config": {"log.retention.ms": "3000"}},
        {"broker_config": {"log.retention.minutes": "1"}},
        {"broker_config": {"log.retention.hours": "1"}},
        {"broker_config": {"log.retention.bytes": "1000"}},
        {"broker_config": {"log.cleanup.policy": "compact"}},
        {"cluster": "existing"},
    ],
)
def test_records_below_a_log_start_that_may_move_are_not_lost(scenario):
    judgement = judge(moved(), options_of_scenario(scenario))
    assert not {"lost-write", "unseen"} & {anomaly.name for anomaly in judgement.anomalies}


def test_a_history_of_which_nobody_knows_the_settings_is_judged_by_its_log_starts():
    assert judge(moved(), CheckOptions()).validity is Validity.VALID


@pytest.mark.parametrize(
    ("of_brokers", "of_topics", "retention_ms"),
    [
        ({"log.retention.ms": "5000"}, {}, 5000),
        ({"log.retention.ms": "5000"}, {"retention.ms": "7000"}, 7000),
        ({"log.retention.ms": "5000", "log.retention.minutes": "1"}, {}, 5000),
        ({"log.retention.minutes": "1", "log.retention.hours": "2"}, {}, 60_000),
        ({"log.retention.hours": "168"}, {}, None),
        ({"log.retention.hours": "-1"}, {}, None),
        ({"log.retention.ms": str(DAY_MS)}, {}, None),
        ({"log.retention.bytes": "1000"}, {}, 0),
        ({"log.retention.bytes": "1000"}, {"retention.bytes": "-1"}, None),
    ],
)
def test_what_brokers_say_of_all_topics_counts_where_a_topic_does_not_say_otherwise(
    of_brokers, of_topics, retention_ms
):
    options = options_of_scenario({"broker_config": of_brokers, "topic_config": of_topics})
    assert options.retention_ms == retention_ms
    assert options.logs_keep_their_start == (retention_ms is None)


def test_brokers_settings_of_compaction_count():
    said = {
        "log.cleanup.policy": "compact",
        "log.cleaner.delete.retention.ms": "2000",
        "log.cleaner.min.compaction.lag.ms": "50",
    }
    options = options_of_scenario({"broker_config": said})
    assert (options.compacted, options.delete_retention_ms, options.min_compaction_lag_ms) == (True, 2000, 50)
    assert not options_of_scenario({"broker_config": said, "topic_config": {"cleanup.policy": "delete"}}).compacted


def test_topic_that_is_only_compacted_does_not_expire():
    config = {"cleanup.policy": "compact", "retention.ms": "1000"}
    assert options_of_scenario({"topic_config": config}).retention_ms is None
    assert options_of_scenario({"topic_config": config | {"cleanup.policy": "compact,delete"}}).retention_ms == 1000
