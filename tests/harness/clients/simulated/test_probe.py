"""What probes ask simulated nodes: every question of `harness.clients.questions`, at leaders and followers."""

from __future__ import annotations

import pytest

from harness.clients.packing import CODECS
from harness.clients.questions import QUESTIONS
from harness.clients.simulated.probe import SimulatedProbes
from harness.history import FAIL, INVOKE, OK, Op
from tests.harness.clients.simulated.scene import OpScene

SENT = 40


def written():
    """Return a scene whose first partition holds SENT records."""
    made = OpScene(seed=4, workload="send-poll")
    client = made.open()
    for value in range(SENT):
        assert made.do(client, "send", [["send", made.keys[0], value]]).type == OK
    made.loop.run_until(made.loop.now_ns + 2_000_000_000)
    return made


@pytest.fixture(name="scene", scope="module")
def _scene():
    return written()


def ask(scene, node_id, **value):
    names = {node.id: node.name for node in scene.cluster.nodes.values()}
    client = SimulatedProbes(scene.loop, scene.cluster.network, node_id, names).open("probe", lambda: 0)
    return scene.run(client.invoke(Op(process=f"probe/n{node_id}", type=INVOKE, f="probe", value=value)))


def leader(scene):
    return int(ask(scene, 1, api="Metadata", key=scene.keys[0]).value["leader"][1:])


def test_every_replica_tells_the_same_batches(scene):
    key = scene.keys[0]
    logs = [ask(scene, node_id, api="ReplicaLog", key=key) for node_id in (1, 2, 3)]
    assert [one.type for one in logs] == [OK] * 3
    assert [one.value["hw"] for one in logs] == [SENT] * 3
    assert [one.value["log-start"] for one in logs] == [0] * 3
    assert len(logs[0].value["batches"]) > 1
    assert logs[0].value["batches"] == logs[1].value["batches"] == logs[2].value["batches"]
    assert sorted(logs[0].value["isr"]) == ["n1", "n2", "n3"]


def test_one_answer_to_a_consumer_tells_its_last_offset_and_both_watermarks(scene):
    told = ask(scene, leader(scene), api="Fetch", key=scene.keys[0], isolation="read_committed")
    assert (told.value["hw"], told.value["lso"], told.value["last-offset"]) == (SENT, SENT, SENT - 1)


@pytest.mark.parametrize("codec", CODECS)
def test_the_leader_finds_the_first_record_of_a_time_within_a_batch_too(codec):
    made = OpScene(seed=4, workload="send-poll", compression=codec)
    client, key = made.open(), made.keys[0]
    assert made.do(client, "send", [["send", key, value] for value in range(SENT)]).type == OK
    assert made.do(client, "send", [["send", key, SENT + value] for value in range(3)]).type == OK
    told = [ask(made, node_id, api="TimeIndex", key=key) for node_id in (1, 2, 3)]
    (one,) = [answer.value for answer in told if answer.type == OK]  # followers have no say
    assert [known for *_, known in one["times"]] == [0, 10, 21, 31, 42]
    for wanted, answer, there, known in one["times"]:
        assert there == wanted
        assert answer <= known
    assert one["times"][0][1] == 0
    assert one["times"][-1][1] >= SENT


def test_the_quorum_is_told_alike_by_every_node(scene):
    told = {
        tuple(ask(scene, node, api="DescribeQuorum").value[name] for name in ("leader", "epoch")) for node in (1, 2)
    }
    assert len(told) == 1


def test_a_leader_in_its_first_epoch_and_a_follower_are_asked_in_vain_where_an_epoch_ended(scene):
    for node_id in (1, 2, 3):
        assert ask(scene, node_id, api="OffsetForLeaderEpoch", key=scene.keys[0]).type == FAIL


def test_a_partition_that_nobody_knows_is_a_fail(scene):
    for api in set(QUESTIONS) - {"DescribeQuorum"}:
        answer = ask(scene, 1, api=api, key="nowhere/0")
        assert answer.type == FAIL, api
        assert answer.error["name"] == "_PROBE"


def test_all_nodes_tell_the_same_topic_id():
    scene = written()
    told = {ask(scene, node, api="Metadata", key=scene.keys[0]).value["topic-id"] for node in (1, 2, 3)}
    assert len(told) == 1
    assert len(told.pop()) == 32


def test_the_next_leader_tells_where_the_epoch_before_ended():
    scene = written()
    key, first = scene.keys[0], leader(scene)
    scene.cluster.nodes[first].kill()
    other = first % 3 + 1

    def moved():
        state = ask(scene, other, api="Metadata", key=key)
        return state.type == OK and state.value["leader"] not in {None, f"n{first}"}

    for _ in range(100):
        if moved():
            break
        scene.loop.run_until(scene.loop.now_ns + 100_000_000)
    after = ask(scene, other, api="Metadata", key=key).value
    told = ask(scene, int(after["leader"][1:]), api="OffsetForLeaderEpoch", key=key)
    assert told.type == OK, told.error
    assert told.value == {
        "api": "OffsetForLeaderEpoch",
        "key": key,
        "asked": after["epoch"] - 1,
        "epoch": after["epoch"],
        "end": SENT,
    }
