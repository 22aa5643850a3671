"""What share groups, committed offsets and copies show is permitted by a loss of power only if that may explain it."""

from __future__ import annotations

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions, options_of_scenario
from checkers.phases import phases_of
from checkers.queue import case_of
from checkers.source import lines_of_ops
from checkers.taken import SETTLED_S, losses
from tests.anomalies.planting import rebalance
from tests.anomalies.share_stories import ack, fetch, finish, sent
from tests.anomalies.test_exactly_once import copy, inputs, outputs
from tests.checkers.story import Story, poll
from tests.checkers.test_permissions import lost, recovered

POWER, STATE = "unsynced loss", "unsynced loss of coordinators' state"
NODES = ("n1", "n2", "n3")
OFFSETS, TRANSACTIONS, SHARES = "__consumer_offsets/2", "__transaction_state/0", "__share_group_state/4"
TIMEOUT_S = 10.0


def dark(story, *keys, nodes=NODES, number=1, told=True):
    """All lose power at once; of these partitions the nodes have lost something."""
    sizes = {node: dict.fromkeys(keys, 7) if node in nodes else {} for node in NODES}
    evidence = {"bytes-lost": {node: sum(of.values()) for node, of in sizes.items()}}
    if told:
        evidence["partitions-lost"] = sizes
    lost(story, evidence, fault="lose-power-all", number=number, nodes=NODES)


def settled(story):
    recovered(story, full=True)
    story.wait(SETTLED_S + TIMEOUT_S + 1)


def permitted_by(story, name, **scenario):
    """Return what permits the class, which is found."""
    options = options_of_scenario({"nemesis": "all", "min_isr": 2, "transaction_timeout_s": TIMEOUT_S} | scenario)
    found = {anomaly.name: anomaly for anomaly in judge(story.ops, options).anomalies}
    assert name in found, found
    return found[name].permitted_by


def begun():
    story = Story()
    story.phase("main")
    return story


def commits(story):
    story.ok(0, "commit", [["x", 7]], group="g")


def regresses(story):
    story.ok(1, "committed", [["x", 5]], group="g")


def accepts(story):
    fetch(story, 2, (0, 1))
    ack(story, 2, 0)


def redelivers(story):
    fetch(story, 3, (0, 1))


def copies(story):
    copy(story, 1, 0, 11, 0, 1)


def copies_again(story):
    copy(story, 2, 0, 21, 2, 1)


def owns(story):
    rebalance(story, 1, 5, assigned=["x"])


def owns_too(story):
    rebalance(story, 2, 5, assigned=["x"])


FAMILIES = {
    "double-ownership": (owns, owns_too),
    "committed-offset-regression": (commits, regresses),
    "share-redelivery": (accepts, redelivers),
    "eos-duplicate": (copies, copies_again),
}
families = pytest.mark.parametrize("name", FAMILIES)


def told_of(name, *steps):
    """Return a story of the two halves of an anomaly, and of what comes before, between and after."""
    first, second = FAMILIES[name]
    story = begun()
    if name == "share-redelivery":
        sent(story, 0)
    elif name == "eos-duplicate":
        inputs(story)
    for step in steps:
        {"first": first, "second": second}.get(step, step)(story)
    if name == "share-redelivery":
        finish(story, 0, quiet=False)
        return story
    story.phase("drain")
    if name == "eos-duplicate":
        outputs(story, (0, 11, 0), (2, 21, 0))
        story.ok(9, "poll", [poll(("in", [[0, 1], [1, 2], [2, 3]]))])
        story.ok(5, "committed", [["in", 1]], group="g")
        for key, end in (("in", 3), ("out", 4)):
            story.drain(key, end)
        return story
    return story


def all_of(name):
    return {
        "double-ownership": OFFSETS,
        "committed-offset-regression": OFFSETS,
        "share-redelivery": SHARES,
        "eos-duplicate": TRANSACTIONS,
    }[name]


@families
def test_a_loss_between_what_proves_an_anomaly_explains_it(name):
    story = told_of(name, "first", lambda story: dark(story, all_of(name)), settled, "second")
    assert permitted_by(story, name) == STATE


@families
def test_a_loss_before_it_explains_it_until_coordinators_have_nothing_left_to_do(name):
    def loses(story):
        dark(story, all_of(name))

    def heals(story):
        recovered(story, full=True)

    assert permitted_by(told_of(name, loses, "first", "second"), name) == STATE
    assert permitted_by(told_of(name, loses, heals, "first", "second"), name) == STATE
    assert permitted_by(told_of(name, loses, settled, "first", "second"), name) is None


@families
def test_a_loss_that_comes_when_it_is_over_explains_nothing(name):
    story = told_of(name, "first", "second", lambda story: dark(story, all_of(name)))
    assert permitted_by(story, name) is None


@families
def test_of_two_losses_the_one_between_explains_it(name):
    def loses(story):
        dark(story, all_of(name), number=2)
        settled(story)

    def early(story):
        dark(story, all_of(name))
        settled(story)

    assert permitted_by(told_of(name, early, "first", loses, "second"), name) == STATE
    assert permitted_by(told_of(name, early, "first", "second", loses), name) is None


@pytest.mark.parametrize(
    ("name", "keys", "nodes", "told", "setting"),
    [
        ("committed-offset-regression", [OFFSETS], NODES, True, STATE),
        ("committed-offset-regression", [OFFSETS], ("n1", "n3"), True, STATE),
        ("committed-offset-regression", [OFFSETS], ("n1",), True, None),
        ("committed-offset-regression", [TRANSACTIONS], NODES, True, STATE),  # it may have been one of a transaction
        ("committed-offset-regression", [SHARES], NODES, True, None),
        ("committed-offset-regression", ["x"], NODES, True, None),
        ("committed-offset-regression", ["x"], NODES, False, POWER),
        ("share-redelivery", [SHARES], NODES, True, STATE),
        ("share-redelivery", [SHARES], ("n2",), True, None),
        ("share-redelivery", ["x"], NODES, True, POWER),  # another record may lie at its offset
        ("share-redelivery", ["y"], NODES, True, None),
        ("eos-duplicate", ["in"], NODES, True, POWER),
        ("eos-duplicate", [SHARES], NODES, True, None),
        ("eos-duplicate", [OFFSETS], ("n1",), True, None),
    ],
)
def test_a_loss_explains_what_hangs_on_partitions_of_which_as_many_nodes_as_it_takes_have_lost_something(
    name, keys, nodes, told, setting
):
    story = told_of(name, "first", lambda story: dark(story, *keys, nodes=nodes, told=told), settled, "second")
    assert permitted_by(story, name) == setting


@pytest.mark.parametrize(("second", "setting"), [("n2", STATE), ("n1", None)])
def test_two_nodes_that_lose_it_one_after_the_other_explain_it_once_both_have(second, setting):
    def one(node, number):
        return lambda story: lost(
            story,
            {"bytes-lost": 7, "partitions-lost": {node: {OFFSETS: 7}}},
            fault="lose-power",
            number=number,
            nodes=(node,),
        )

    name = "committed-offset-regression"
    story = told_of(name, "first", one("n1", 1), one(second, 2), settled, "second")
    assert permitted_by(story, name) == setting


@pytest.mark.parametrize(
    ("keys", "sent_late", "setting"),
    [([SHARES], False, STATE), ([SHARES], True, None), (["x"], True, POWER), (["y"], False, None)],
)
def test_a_record_that_nobody_is_given_was_passed_over_lawfully_only_if_it_was_there_or_its_offset_was(
    keys, sent_late, setting
):
    story = begun()
    if not sent_late:
        sent(story, 0)
    dark(story, *keys)
    settled(story)
    if sent_late:
        sent(story, 0)
    fetch(story, 2)
    finish(story, 0)
    assert permitted_by(story, "share-lost") == setting


@pytest.mark.parametrize(("keys", "setting"), [([OFFSETS], None), (["in"], POWER), (["out"], None), ([SHARES], None)])
def test_an_input_that_was_sent_late_is_lost_lawfully_only_where_its_offset_was_given_before(keys, setting):
    story = begun()
    dark(story, *keys)
    settled(story)
    inputs(story)
    copy(story, 1, 0, 11, 0, 1)
    copy(story, 1, 2, 13, 2, 3)
    story.phase("drain")
    outputs(story, (0, 11, 0), (2, 13, 2))
    story.ok(9, "poll", [poll(("in", [[0, 1], [1, 2], [2, 3]]))])
    story.ok(5, "committed", [["in", 3]], group="g")
    for key, end in (("in", 3), ("out", 4)):
        story.drain(key, end)
    assert permitted_by(story, "eos-loss") == setting


def test_what_is_told_first_is_what_no_loss_explains_and_all_of_it_counts():
    story = begun()
    commits(story)
    dark(story, OFFSETS)
    regresses(story)
    settled(story)
    story.ok(0, "commit", [["x", 9]], group="g")
    story.ok(1, "committed", [["x", 8]], group="g")
    options = options_of_scenario({"nemesis": "all", "min_isr": 2, "transaction_timeout_s": TIMEOUT_S})
    (anomaly,) = (one for one in judge(story.ops, options).anomalies if one.name == "committed-offset-regression")
    assert anomaly.count == 2
    assert anomaly.permitted_by is None
    assert [example.why.endswith("that this hangs on.") for example in anomaly.examples] == [True, False]


def test_more_than_is_kept_of_a_class_is_looked_through():
    """The first sixteen are explained, the one after them is not."""
    story = begun()
    for value in range(20):
        key = f"k{value}"
        story.ok(0, "commit", [[key, 7]], group="g")
    dark(story, OFFSETS)
    for value in range(20):
        story.ok(1, "committed", [[f"k{value}", 5]], group="g")
    settled(story)
    commits(story)
    regresses(story)
    assert permitted_by(story, "committed-offset-regression") is None


def test_a_node_that_says_nothing_of_partitions_may_have_lost_something_of_any():
    story = begun()
    lost(story, {"bytes-lost": 7}, number=1, nodes=("n1",))
    lost(story, {"bytes-lost": 7, "partitions-lost": {"n2": {OFFSETS: 7}}}, number=2, nodes=("n2",))
    case = case_of(lines_of_ops(story.ops), "told", CheckOptions(min_isr=2))
    first, second = losses(case, ("lose-power",), 2)
    assert phases_of(case.view).faults
    assert not first.took(OFFSETS)
    assert second.took(OFFSETS)
    assert not second.took(SHARES), "n1 alone"
    assert second.took_any(["__consumer_offsets"])
    assert not second.took_records


@pytest.mark.parametrize("min_isr", [1, 2, 3])
def test_coordinators_demand_two_nodes_at_most(min_isr):
    story = begun()
    dark(story, OFFSETS, "x/0", nodes=("n1", "n2"))
    case = case_of(lines_of_ops(story.ops), "told", CheckOptions(min_isr=min_isr))
    (loss,) = losses(case, ("lose-power",), min_isr)
    assert (loss.took(OFFSETS), loss.took("x/0")) == (True, min_isr < 3)
