"""The observer: whom it believes when nodes disagree, and what it says when nobody answers."""

import time

import pytest

from harness.cluster.observer import ClusterObserver, answer, holds
from harness.cluster.questions import (
    Controller,
    Coordinated,
    Coordinator,
    Dropped,
    FullIsr,
    IsrShrunk,
    LeaderElected,
    LeaderOf,
    NodeAnswers,
    PacketsDropped,
    Pid,
    Stable,
    Stopped,
)
from tests.harness.cluster.fake_cluster import View, cluster_of

FULL = (1, 2, 3)
KEY = "t0/0"
QUICK_S = 0.5


PATIENT_S = 20.0
"""Where nobody is silent, no time-out is met, on a busy machine neither."""
INTERNAL = "__consumer_offsets/0"


def watching(cluster, *topics):
    return ClusterObserver(cluster, topics, timeout_s=PATIENT_S)


def three(partitions=()):
    """Three nodes of one mind."""
    return {name: View(partitions=dict(partitions)) for name in ("n1", "n2", "n3")}


def test_leader_isr_and_replicas_are_node_names():
    with cluster_of(three({KEY: (2, 1, (2, 3))})) as cluster:
        (state,) = watching(cluster).partitions([KEY])
    assert (state.key, state.leader, state.isr, state.replicas) == (KEY, "n2", ("n2", "n3"), ("n1", "n2", "n3"))


def test_the_highest_epoch_wins_over_what_most_say():
    views = three({KEY: (1, 4, FULL)})
    views["n3"].partitions[KEY] = (3, 5, (3, 2))
    with cluster_of(views) as cluster:
        (state,) = watching(cluster).partitions([KEY])
    assert (state.leader, state.isr) == ("n3", ("n3", "n2"))


def test_the_leaders_own_word_on_its_isr_wins_within_an_epoch():
    views = three({KEY: (1, 4, FULL)})
    views["n1"].partitions[KEY] = (1, 4, (1, 2))
    with cluster_of(views) as cluster:
        (state,) = watching(cluster).partitions([KEY])
    assert state.isr == ("n1", "n2")


def test_without_the_leaders_word_most_win():
    views = three({KEY: (1, 4, (1, 2))})
    views["n1"].silent = True
    views["n4"] = View(partitions={KEY: (1, 4, FULL)})
    with cluster_of(views) as cluster:
        (state,) = ClusterObserver(cluster, timeout_s=QUICK_S).partitions([KEY])
    assert state.isr == ("n1", "n2")


def test_no_leader_is_none():
    with cluster_of(three({KEY: (-1, 4, (1,))})) as cluster:
        (state,) = watching(cluster).partitions([KEY])
        assert state.leader is None
        assert not holds(LeaderElected(KEY), watching(cluster), cluster)


def test_an_unknown_partition_is_missing():
    with cluster_of(three({KEY: (1, 1, FULL)})) as cluster:
        assert list(watching(cluster).partitions(["t0/9", "other/0"])) == []
        assert answer(LeaderOf("t0/9"), watching(cluster), cluster) is None


def test_no_key_means_all_of_the_runs_topics_and_none_of_the_internal_ones():
    with cluster_of(
        three({KEY: (1, 1, FULL), "t1/0": (2, 1, FULL), "mine/1": (3, 1, FULL), INTERNAL: (1, 1, FULL)})
    ) as cluster:
        assert [state.key for state in watching(cluster, "t0", "t1").partitions(())] == ["t0/0", "t1/0"]


def test_silent_and_dead_nodes_cost_one_time_out_at_most():
    views = three({KEY: (2, 1, FULL)})
    views["n1"].silent = True
    with cluster_of(views) as cluster:
        observer = ClusterObserver(cluster, timeout_s=QUICK_S)
        cluster.kill("n3")
        began = time.monotonic()
        assert observer.partitions([KEY])[0].leader == "n2"
        assert time.monotonic() - began < 3 * QUICK_S
        cluster.kill("n2")
        assert list(observer.partitions([KEY])) == []
        assert observer.controller() is None
        assert observer.coordinator("group", "g") is None
        assert observer.end_offsets([KEY]) == {}


def test_the_controller_is_the_leader_of_the_highest_quorum_epoch():
    views = three()
    views["n1"].controller = (1, 7)
    views["n2"].controller = views["n3"].controller = (3, 8)
    with cluster_of(views) as cluster:
        assert answer(Controller(), watching(cluster), cluster) == "n3"


def coordinated_by(leader, named=(2, 2, 2)):
    """Three nodes that name a coordinator each, and agree on the leader of what keeps the transactional id x."""
    kept = {f"__transaction_state/{index}": (leader if index == 0 else 1, 4, FULL) for index in range(5)}
    views = three(kept | {INTERNAL: (3, 1, FULL)})
    for view, node in zip(views.values(), named, strict=True):
        view.coordinator = node
    return views


X = Coordinator("transaction", "x")
"""Java's hash of x is 120, so that the first of five partitions keeps it."""


def test_the_coordinator_leads_the_partition_that_the_hash_names_and_is_whom_most_name():
    with cluster_of(coordinated_by(leader=2, named=(1, 2, 2))) as cluster:
        state = answer(X, watching(cluster), cluster)
        assert (state.key, state.leader, state.replicas) == ("__transaction_state/0", "n2", ("n1", "n2", "n3"))
        assert holds(Coordinated(X), watching(cluster), cluster)
        assert not holds(Coordinated(X, frozenset({"n2"})), watching(cluster), cluster)
        assert answer(Coordinator("group", "g"), watching(cluster), cluster) is None, "n2 is named, n3 leads"


def test_a_share_coordinator_is_asked_for_by_the_topics_id_and_keeps_one_partition_of_one_group():
    kept = {f"__share_group_state/{index}": (2 if index == 4 else 1, 4, FULL) for index in range(5)}
    views = three(kept | {KEY: (3, 1, FULL)})
    for view in views.values():
        view.coordinator = 2
    about = Coordinator("share", f"g:{KEY}")
    with cluster_of(views) as cluster:
        assert answer(about, watching(cluster), cluster) is None, "nobody tells the topic's id"
        for view in views.values():
            view.ids["t0"] = bytes(range(16))
        state = answer(about, watching(cluster), cluster)
        assert {key for view in views.values() for key in view.found} == {"g:AAECAwQFBgcICQoLDA0ODw:0"}
        assert (state.key, state.leader) == ("__share_group_state/4", "n2")
        assert not holds(Coordinated(about, frozenset({"n2"})), watching(cluster), cluster)
        views["n1"].ids["t0"] = bytes(16)
        assert answer(about, watching(cluster), cluster) == state, "who has just heard of the topic does not know it"
        views["n1"].ids["t0"] = bytes(range(1, 17))
        assert answer(about, watching(cluster), cluster) is None, "it was made anew"


@pytest.mark.parametrize("views", [coordinated_by(leader=3), coordinated_by(leader=-1), three()])
def test_nobody_is_the_coordinator_where_nodes_and_metadata_disagree_or_nothing_is_kept(views):
    with cluster_of(views) as cluster:
        assert answer(X, watching(cluster), cluster) is None
        assert not holds(Coordinated(X), watching(cluster), cluster)


def test_ends_come_from_the_leaders_as_lso_and_hw():
    views = three({KEY: (1, 1, FULL), "t0/1": (2, 1, FULL), "t0/2": (3, 1, FULL)})
    views["n1"].ends, views["n2"].ends = {KEY: (5, 9)}, {"t0/1": (7, 7)}
    with cluster_of(views) as cluster:
        observer = watching(cluster)
        assert observer.end_offsets(["t0/0", "t0/1", "t0/2"]) == {KEY: (5, 9), "t0/1": (7, 7)}
        assert holds(Stable(("t0/1",)), observer, cluster)
        assert not holds(Stable(("t0/0", "t0/1")), observer, cluster), "a transaction is open"
        assert not holds(Stable(("t0/2",)), observer, cluster), "nobody could say"


def test_ends_that_only_a_minority_can_vouch_for_are_not_told():
    views = three({KEY: (1, 1, FULL)})
    views["n1"].ends = {KEY: (9, 9)}
    with cluster_of(views) as cluster:
        observer = watching(cluster)
        cluster.kill("n2")
        assert observer.end_offsets([KEY]) == {KEY: (9, 9)}
        cluster.kill("n3")
        assert observer.partitions([KEY])[0].leader == "n1", "a deposed leader would say the same"
        assert observer.end_offsets([KEY]) == {}
        assert not holds(Stable((KEY,)), observer, cluster)


@pytest.mark.parametrize(
    ("other_than", "held"), [(frozenset(), True), (frozenset({"n2"}), False), (frozenset({"n1"}), True)]
)
def test_a_leader_is_elected_when_it_is_none_of_those(other_than, held):
    with cluster_of(three({KEY: (2, 1, FULL)})) as cluster:
        assert holds(LeaderElected(KEY, other_than), watching(cluster), cluster) is held


def test_full_isr_needs_every_replica_of_the_internal_topics_too():
    with cluster_of(three({KEY: (2, 1, FULL)})) as cluster:
        assert holds(FullIsr(), watching(cluster), cluster)
    with cluster_of(three({KEY: (2, 1, FULL), INTERNAL: (1, 1, (1, 3))})) as cluster:
        assert not holds(FullIsr(), watching(cluster), cluster)
    with cluster_of(three({KEY: (2, 1, FULL), "mine/0": (1, 1, (1, 3))})) as cluster:
        assert holds(FullIsr(), watching(cluster, "t0"), cluster)


def test_an_isr_with_a_dead_or_unlisted_node_in_it_is_not_full():
    views = three({KEY: (2, 1, FULL)})
    with cluster_of(views) as cluster:
        cluster.kill("n3")
        assert not holds(FullIsr(), watching(cluster), cluster)
        cluster.start("n3")
        views["n1"].brokers = (1, 2)
        assert not holds(FullIsr(), watching(cluster), cluster)
        views["n1"].brokers = FULL
        assert holds(FullIsr(), watching(cluster), cluster)


def test_a_cluster_without_a_partition_has_no_full_isr():
    with cluster_of(three()) as cluster:
        assert not holds(FullIsr(), watching(cluster), cluster)


def test_an_isr_has_shrunk_when_none_of_the_nodes_is_in_it():
    with cluster_of(three({KEY: (2, 1, (2, 3))})) as cluster:
        observer = watching(cluster)
        assert holds(IsrShrunk(KEY, frozenset({"n1"})), observer, cluster)
        assert not holds(IsrShrunk(KEY, frozenset({"n1", "n3"})), observer, cluster)
        assert not holds(IsrShrunk("t0/9", frozenset({"n1"})), observer, cluster), "nobody could say"


def test_a_node_answers_when_another_lists_it_and_it_speaks_itself():
    views = three()
    with cluster_of(views) as cluster:
        observer = ClusterObserver(cluster, timeout_s=QUICK_S)
        assert holds(NodeAnswers("n2"), observer, cluster)
        views["n1"].brokers = views["n3"].brokers = (1, 3)
        assert not holds(NodeAnswers("n2"), observer, cluster), "only its own word"
        views["n1"].brokers = FULL
        views["n2"].silent = True
        assert not holds(NodeAnswers("n2"), observer, cluster)
        assert not holds(NodeAnswers("n9"), observer, cluster)


def test_a_lone_broker_answers_by_its_own_word():
    with cluster_of({"n1": View(brokers=(1,))}) as cluster:
        assert holds(NodeAnswers("n1"), watching(cluster), cluster)


def test_a_controller_answers_while_it_fetches_like_the_others():
    views = three()
    for view in views.values():
        view.controller, view.voters = (4, 1), {4: 100_000, 5: 99_500, 6: 90_000}
    with cluster_of(views, controllers=(4, 5, 6)) as cluster:
        observer = watching(cluster)
        assert [holds(NodeAnswers(name), observer, cluster) for name in ("c4", "c5", "c6")] == [True, True, False]
        assert observer.controller() == "c4"
        cluster.kill("c5")
        assert not holds(NodeAnswers("c5"), observer, cluster)


def test_what_the_cluster_has_no_power_for_is_none():
    with cluster_of(three()) as cluster:
        observer = watching(cluster)
        assert answer(Pid("n1"), observer, cluster) == 1
        assert answer(Stopped("n1"), observer, cluster) is None
        assert answer(Dropped("n1", "n2"), observer, cluster) is None
        assert not holds(PacketsDropped("n1", "n2"), observer, cluster)
