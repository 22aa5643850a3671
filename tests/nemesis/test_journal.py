"""The journal tells what was done and not undone, whatever tore it, and heals no more than that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.actions import Cut, Intercept, Join, Kill, Pause, Release, Resume, Skew, Start, Unskew
from harness.cluster.api import APIS, ClusterError, Interception
from harness.store import JOURNAL
from nemesis.actions import from_json, in_words, inverse, nodes_of, to_json, undo
from nemesis.journal import Journal, heal, outstanding
from tests.nemesis.fake import FakeCluster

NODES = ("n1", "n2", "n3")
nodes = st.sampled_from(NODES)
interceptions = st.builds(
    Interception,
    st.lists(st.sampled_from(sorted(APIS)), min_size=1).map(tuple),
    st.integers(1, 1_000_000),
    st.none() | st.integers(0, 5000),
    st.none() | st.integers(1, 9),
)
injuries = st.one_of(
    st.builds(Kill, nodes),
    st.builds(Pause, nodes),
    st.builds(Intercept, nodes, interceptions),
    st.builds(Skew, nodes, st.integers(-120_000, 120_000), st.integers(0, 1000)),
    st.tuples(nodes, nodes).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: Cut(*pair)),
)
undoings = st.one_of(
    st.builds(Start, nodes),
    st.builds(Resume, nodes),
    st.builds(Release, nodes),
    st.builds(Unskew, nodes),
    st.builds(Join, nodes, nodes),
)


@given(st.one_of(injuries, undoings))
def test_action_comes_back_from_json_unchanged(action):
    assert from_json(to_json(action)) == action


@given(injuries)
def test_every_injury_has_an_inverse_and_no_inverse_has_one(injury):
    back = inverse(injury)
    assert back is not None
    assert inverse(back) is None


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kill": 1},
        {"explode": "n1"},
        {"cut": ["n1"]},
        {"kill": "n1", "start": "n1"},
        {"cut": "n1"},
        {"intercept": ["n1", {"apis": 3}]},
    ],
)
def test_what_is_no_action_is_refused(document):
    with pytest.raises(ValueError, match="not an action"):
        from_json(document)


def test_injury_undoes_nothing():
    with pytest.raises(ValueError, match="undoes nothing"):
        undo(Kill("n1"), FakeCluster())


def test_action_in_words_reads_like_a_command():
    assert in_words(Start("n1")) == "start n1"
    assert in_words(Join("n1", "n2")) == "join n1 n2"
    assert in_words(Skew("n1", -1500)) == "skew n1 by -1.5 s"
    assert in_words(Skew("n1", 90_000, 250)) == "skew n1 by 90 s, to and fro every 0.25 s"
    assert in_words(Unskew("n1")) == "unskew n1"
    once, some = Interception(("EndTxn",), most=1), Interception(("Produce", "EndTxn"), 250_000, 1500)
    assert in_words(Intercept("n1", once)) == "intercept n1 the answers to 1 request: EndTxn"
    assert in_words(Intercept("n1", some)) == "intercept n1 25 % of all requests, 1.5 s late: Produce, EndTxn"


def test_cut_touches_both_its_ends_and_each_node_counts_once():
    assert nodes_of([Cut("n2", "n1"), Cut("n1", "n2"), Kill("n3")]) == ("n2", "n1", "n3")


def test_outstanding_is_what_was_done_and_not_healed_newest_first(tmp_path):
    path = tmp_path / JOURNAL
    with Journal(path) as journal:
        journal.do(1, "kill-leader", [Kill("n1")])
        journal.do(2, "partition-leader", [Cut("n2", "n3"), Cut("n3", "n2")])
        journal.do(3, "pause-leader", [Pause("n2")])
        journal.do(1, "kill-leader", [Start("n1")])
        journal.healed(1, "kill-leader")
    assert outstanding(path) == [(3, (Resume("n2"),)), (2, (Join("n3", "n2"), Join("n2", "n3")))]


def test_started_but_not_marked_healed_is_outstanding_and_not_started_twice(tmp_path):
    cluster = FakeCluster()
    with Journal(tmp_path / JOURNAL) as journal:
        journal.do(1, "kill-leader", [Kill("n1")])
        journal.do(1, "kill-leader", [Start("n1")])
    assert heal(tmp_path, cluster) == ["kill-leader (fault 1): start n1: not needed"]
    assert cluster.calls == []


def test_no_journal_means_nothing_to_heal(tmp_path):
    assert outstanding(tmp_path / JOURNAL) == []
    assert heal(tmp_path, FakeCluster()) == []
    assert not (tmp_path / JOURNAL).exists()


def test_torn_last_line_is_dropped_and_cut_off_when_opened_again(tmp_path):
    path = tmp_path / JOURNAL
    with Journal(path) as journal:
        journal.do(1, "kill-leader", [Kill("n1")])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"fault-id":2,"fa')
    assert outstanding(path) == [(1, (Start("n1"),))]
    with Journal(path) as journal:
        journal.healed(1, "kill-leader")
    assert path.read_bytes().startswith(whole + b'{"fault-id":1,')
    assert outstanding(path) == []


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[1]\n", b'{"fault-id":1}\n', b'{"fault-id":1,"do":[{"fly":"n1"}]}\n']
)
def test_damaged_journal_is_told_with_file_and_line(line, tmp_path):
    path = tmp_path / JOURNAL
    with Journal(path) as journal:
        journal.do(1, "kill-leader", [Kill("n1")])
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(ClusterError, match=r"faults\.jsonl:2"):
        outstanding(path)


def test_heal_goes_on_after_a_failure_and_leaves_it_outstanding(tmp_path):
    cluster = FakeCluster()
    cluster.kill("n1")
    cluster.pause("n2")
    with Journal(tmp_path / JOURNAL) as journal:
        journal.do(1, "kill-leader", [Kill("n1")])
        journal.do(2, "pause-leader", [Pause("n2")])
    cluster.broken = {"start"}
    lines = heal(tmp_path, cluster)
    assert lines[0] == "pause-leader (fault 2): resume n2"
    assert lines[1].startswith("kill-leader (fault 1): start n1: failed: ")
    assert outstanding(tmp_path / JOURNAL) == [(1, (Start("n1"),))]
    cluster.broken = set()
    assert heal(tmp_path, cluster) == ["kill-leader (fault 1): start n1"]
    assert cluster.whole()


@given(st.lists(st.tuples(injuries, st.booleans()), max_size=12))
def test_any_injuries_done_or_only_announced_are_healed(tmp_path_factory, done):
    folder = tmp_path_factory.mktemp("run")
    cluster = FakeCluster()
    with Journal(folder / JOURNAL) as journal:
        for fault_id, (injury, happened) in enumerate(done, start=1):
            journal.do(fault_id, "some-fault", [injury])
            if happened:
                match injury:
                    case Kill(node):
                        cluster.kill(node)
                    case Pause(node):
                        cluster.pause(node)
                    case Cut(source, target):
                        cluster.cut(source, target)
    lines = heal(folder, cluster)
    assert len(lines) == len(done)
    assert cluster.whole()
    assert outstanding(folder / JOURNAL) == []
