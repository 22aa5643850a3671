"""Making topics: what is asked for, what is refused and how, and the wait for full ISRs. The admin client is a fake:
librdkafka's mock cluster knows no CreateTopics."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from harness.clients import topics
from harness.clients.topics import create_topics, keys
from harness.cluster.api import ClusterError, UsageError
from harness.scenario import Scenario

SCENARIO = Scenario(topics=2, partitions=2, replication=3, min_isr=2)
FULL = (1, [1, 2, 3])


class FakeAdmin:
    """Answers CreateTopics with an error or none, a list of them in turn, and metadata from a list of looks.

    The last error and the last look stay.
    """

    def __init__(self, error=None, looks=(FULL,)):
        self.errors = list(error) if isinstance(error, list) else [error]
        self.looks, self.asked, self.requests = list(looks), [], []

    def create_topics(self, new_topics, **_):
        self.asked = self.asked or new_topics
        self.requests.append([topic.topic for topic in new_topics])
        futures = {}
        for topic in new_topics:
            futures[topic.topic] = future = Future()
            error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(KafkaException(KafkaError(error, "said the broker")))
        return futures

    def list_topics(self, topic=None, timeout=-1):
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if look is None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        leader, isrs = look
        partitions = {n: SimpleNamespace(leader=leader, isrs=isrs) for n in range(2)}
        return SimpleNamespace(topics={t.topic: SimpleNamespace(partitions=partitions) for t in self.asked})


def test_keys_are_topic_and_partition_behind_the_prefix():
    assert keys(SCENARIO) == ("t0/0", "t0/1", "t1/0", "t1/1")
    assert keys(Scenario(topics=1, partitions=1, prefix="r1-")) == ("r1-t0/0",)


def test_topics_of_a_programs_own_have_no_prefix_and_are_refused_where_they_exist():
    named = {"app": "true", "app_input": ("orders",), "app_output": ("new.orders",)}
    scenario = Scenario(partitions=2, prefix="r1-", **named)
    assert create_topics("x:1", scenario, FakeAdmin()) == ("orders/0", "orders/1", "new.orders/0", "new.orders/1")
    assert topics.inputs_of(scenario) == ("orders/0", "orders/1")
    with pytest.raises(UsageError, match="topic orders: it exists already, with other records: delete it, or use a f"):
        create_topics("x:1", scenario, FakeAdmin(error=KafkaError.TOPIC_ALREADY_EXISTS))


def test_topics_are_asked_for_as_the_scenario_says_and_their_keys_returned():
    admin = FakeAdmin()
    scenario = Scenario(topics=1, partitions=2, replication=3, min_isr=2, topic_config={"retention.ms": "-1"})
    assert create_topics("x:1", scenario, admin) == ("t0/0", "t0/1")
    (topic,) = admin.asked
    assert (topic.topic, topic.num_partitions, topic.replication_factor) == ("t0", 2, 3)
    assert topic.config == {"min.insync.replicas": "2", "retention.ms": "-1"}


def test_it_waits_until_every_partition_has_a_leader_and_its_full_isr():
    admin = FakeAdmin(looks=[None, (-1, [1, 2, 3]), (1, [1]), FULL])
    assert len(create_topics("x:1", SCENARIO, admin)) == 4
    assert admin.looks == [FULL]


def test_a_cluster_that_never_gets_ready_is_named_with_what_is_missing(monkeypatch):
    monkeypatch.setattr(topics, "READY_S", 0.3)
    with pytest.raises(ClusterError, match=r"without a leader or a full ISR: t0/0, t0/1, t1/0, t1/1"):
        create_topics("x:1", SCENARIO, FakeAdmin(looks=[(1, [1])]))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KafkaError.TOPIC_ALREADY_EXISTS, "exists already"),
        (KafkaError.INVALID_REPLICATION_FACTOR, "--replication 3: the cluster has not so many brokers"),
        (KafkaError.INVALID_CONFIG, "--topic-config"),
        (KafkaError.INVALID_PARTITIONS, "--partitions 2"),
        (KafkaError.POLICY_VIOLATION, "policy"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "does not let this client"),
    ],
)
def test_what_the_caller_can_correct_is_a_usage_error_in_one_line(error, said):
    with pytest.raises(UsageError, match=said) as refused:
        create_topics("x:1", SCENARIO, FakeAdmin(error=error))
    assert "said the broker" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_fails_on_the_way_is_asked_for_again_and_may_have_been_made_all_the_same(monkeypatch):
    monkeypatch.setattr(topics, "AGAIN_S", 0.0)
    admin = FakeAdmin(error=[None, KafkaError._TRANSPORT, KafkaError.NOT_CONTROLLER, KafkaError.TOPIC_ALREADY_EXISTS])
    assert len(create_topics("x:1", SCENARIO, admin)) == 4
    assert admin.requests == [["t0", "t1"], ["t1"], ["t1"]]


def test_a_topic_with_the_runs_own_prefix_is_the_runs_own():
    """The client's library may have asked twice, and lost the first answer."""
    scenario = Scenario(topics=1, partitions=2, prefix="20261127-a1b2c3-")
    assert len(create_topics("x:1", scenario, FakeAdmin(error=KafkaError.TOPIC_ALREADY_EXISTS))) == 2


def test_any_other_refusal_is_the_clusters_fault(monkeypatch):
    monkeypatch.setattr(topics, "CREATE_S", 0.0)
    with pytest.raises(ClusterError, match="_TIMED_OUT"):
        create_topics("x:1", SCENARIO, FakeAdmin(error=KafkaError._TIMED_OUT))


@pytest.mark.parametrize("fields", [{"min_isr": 4}, {"min_isr": 0}, {"topics": 0}, {"partitions": 0}])
def test_impossible_numbers_are_refused_before_anything_is_sent(fields):
    admin = FakeAdmin()
    with pytest.raises(UsageError, match="--"):
        create_topics("x:1", Scenario(**fields), admin)
    assert admin.asked == []


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(topics, "CREATE_S", 1.0)
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1"):
        create_topics("127.0.0.1:1", SCENARIO)
