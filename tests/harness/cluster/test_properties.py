"""The configuration of a node: what a provider owns can't be overridden, what a user asks for wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster.api import UsageError
from harness.cluster.properties import CONTROLLER_LISTENER, Listener, node_properties, plan, render

CLIENT = Listener(name="CLIENT", bind="127.0.0.1:20001", advertised="127.0.0.1:20001")
QUORUM = Listener(name=CONTROLLER_LISTENER, bind="127.0.0.1:20002")


def properties(member, listeners, *, brokers=3, version="4.1.1", overrides=None):
    return node_properties(
        member,
        listeners=listeners,
        voters={2: "127.0.0.1:20004", 1: "127.0.0.1:20002"},
        brokers=brokers,
        log_dir="/data",
        version=version,
        overrides=overrides or {},
    )


def test_combined_nodes_have_both_roles():
    assert [(member.name, member.id, sorted(member.roles)) for member in plan(3, 0)] == [
        (f"n{number}", number, ["broker", "controller"]) for number in (1, 2, 3)
    ]


def test_isolated_controllers_come_after_the_brokers():
    assert [(member.name, member.id, *member.roles) for member in plan(2, 1)] == [
        ("n1", 1, "broker"),
        ("n2", 2, "broker"),
        ("c1", 3, "controller"),
    ]


@pytest.mark.parametrize(("nodes", "controllers"), [(0, 0), (-1, 3), (3, -1)])
def test_an_impossible_number_of_nodes_is_named(nodes, controllers):
    with pytest.raises(UsageError, match=str(min(nodes, controllers))):
        plan(nodes, controllers)


def test_a_combined_node_listens_for_clients_and_for_the_quorum():
    made = properties(plan(1, 0)[0], [CLIENT, QUORUM])
    assert made["listeners"] == "CLIENT://127.0.0.1:20001,CONTROLLER://127.0.0.1:20002"
    assert made["advertised.listeners"] == "CLIENT://127.0.0.1:20001"
    assert made["inter.broker.listener.name"] == "CLIENT"
    assert made["controller.quorum.voters"] == "1@127.0.0.1:20002,2@127.0.0.1:20004"
    assert made["process.roles"] == "broker,controller"


def test_a_controller_advertises_nothing_to_clients():
    made = properties(plan(1, 1)[1], [QUORUM])
    assert made["listeners"] == "CONTROLLER://127.0.0.1:20002"
    assert "advertised.listeners" not in made
    assert "inter.broker.listener.name" not in made


@pytest.mark.parametrize(("brokers", "copies", "in_sync"), [(1, "1", "1"), (2, "2", "2"), (3, "3", "2"), (5, "3", "2")])
def test_internal_topics_have_as_many_copies_as_the_brokers_allow(brokers, copies, in_sync):
    made = properties(plan(1, 0)[0], [CLIENT, QUORUM], brokers=brokers)
    assert made["transaction.state.log.replication.factor"] == made["offsets.topic.replication.factor"] == copies
    assert made["transaction.state.log.min.isr"] == made["min.insync.replicas"] == in_sync


def test_what_the_user_asks_for_wins():
    made = properties(plan(1, 0)[0], [CLIENT, QUORUM], overrides={"broker.session.timeout.ms": "9000", "x.y": "z"})
    assert (made["broker.session.timeout.ms"], made["x.y"]) == ("9000", "z")


@pytest.mark.parametrize("name", ["listeners", "node.id", "log.dirs", "controller.quorum.voters", "process.roles"])
def test_what_the_provider_owns_is_refused_in_one_line(name):
    with pytest.raises(UsageError, match=name) as refused:
        properties(plan(1, 0)[0], [CLIENT, QUORUM], overrides={name: "1"})
    assert "\n" not in str(refused.value)


def test_share_groups_are_not_configured_where_they_do_not_exist():
    assert not [name for name in properties(plan(1, 0)[0], [CLIENT], version="3.7.1") if name.startswith("share.")]
    assert [name for name in properties(plan(1, 0)[0], [CLIENT], version="4.1.1") if name.startswith("share.")]


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=20), max_size=5))
def test_a_properties_file_says_what_was_put_in(wanted):
    assert load(render(wanted)) == wanted


def load(text):
    """Read as java.util.Properties does, for one logical line per property."""
    assert text.isascii()
    found = {}
    for line in text.split("\n")[:-1]:
        words, name, position = [""], None, 0
        while position < len(line):
            char = line[position]
            position += 1
            if char == "\\":
                char = line[position]
                position += 1
                if char == "u":
                    char = chr(int(line[position : position + 4], 16))
                    position += 4
                else:
                    char = {"n": "\n", "r": "\r", "t": "\t"}.get(char, char)
            elif char == "=" and name is None:
                name = words[0]
                words = [""]
                continue
            words[0] += char
        found[name] = words[0]
    return {_joined(name): _joined(value) for name, value in found.items()}


def _joined(text):
    """Join the UTF-16 units of a text."""
    return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be")
