"""The nemesis's client: what holds is remembered, waiting is bounded, nothing that fails gets out of invoke."""

from __future__ import annotations

import threading

import pytest

from harness.cluster.observer import answer
from harness.cluster.questions import LeaderOf
from harness.history import NEMESIS
from harness.store import JOURNAL
from nemesis import journal
from nemesis.client import AWAIT_LEADER_S, STALLED_WAIT_S, NemesisClient
from nemesis.fault import Act, Ask
from nemesis.performer import MAX_STEPS, WallClock
from tests.contracts.test_fault import AIM, KEY, invoked
from tests.nemesis.fake import FakeCluster, holds, nemesis


def test_fault_ids_count_up_and_the_client_serves_the_whole_run(tmp_path):
    client = nemesis(FakeCluster(), tmp_path)
    assert client.open(NEMESIS, lambda: 0) is client
    ids = []
    for _ in range(3):
        ids.append(invoked(client, "pause-leader", AIM).value["fault-id"])
        client.close()
        invoked(client, "heal", {"fault-id": ids[-1]})
        invoked(client, "recover", {"bound-s": 60.0})
    assert ids == [1, 2, 3]


def test_heal_without_an_id_heals_all_that_hold(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "pause-followers", AIM)
    invoked(client, "kill-leader", AIM | {"during": 1})
    healed = invoked(client, "heal").value
    assert healed["fault-ids"] == [2, 1]
    assert set(healed["evidence"]) == {"1", "2"}
    assert cluster.whole()
    assert invoked(client, "heal").value == {"fault-ids": [], "evidence": {}}


def test_heal_of_all_undoes_everything_before_it_waits_for_anything(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "pause-followers", AIM)
    invoked(client, "kill-leader", AIM | {"during": 1})
    began_s = cluster.time_s
    evidence = invoked(client, "heal").value["evidence"]
    assert evidence["2"]["answers_after_ms"] is not None
    assert cluster.time_s - began_s < 15.0  # a killed leader alone would wait in vain for a quorum of stopped nodes


def test_heal_of_one_waits_only_a_little_while_another_stalls_the_cluster(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "kill-leader", AIM)
    invoked(client, "kill-all", AIM | {"during": 1})
    began_s = cluster.time_s
    healed = invoked(client, "heal", {"fault-id": 1}).value
    assert healed["evidence"]["answers_after_ms"] is None
    assert cluster.time_s - began_s <= STALLED_WAIT_S + 1.0
    invoked(client, "heal", {"fault-id": 2})
    assert cluster.whole()


def test_second_fault_spares_what_the_first_one_holds(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    assert invoked(client, "kill-leader", AIM).value["nodes"] == ["n1"]
    assert invoked(client, "kill-all", AIM | {"during": 1}).value["nodes"] == ["n2", "n3"]


def test_second_fault_after_a_pause_aims_at_who_led_before_without_asking_stopped_nodes(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "pause-followers", AIM)
    cluster.mute = True  # stopped nodes swallow the question
    began_s = cluster.time_s
    told = invoked(client, "kill-leader", AIM | {"during": 1}).value
    assert told["nodes"] == ["n1"]
    assert told["bit"] is True
    assert cluster.time_s == began_s


def test_second_fault_whose_first_does_not_hold_is_a_fault_of_its_own(tmp_path):
    client = nemesis(FakeCluster(), tmp_path)
    evidence = invoked(client, "kill-leader", AIM | {"during": 77}).value["evidence"]
    assert evidence["new-leader"] == "n2"


def test_heal_of_what_does_not_hold_says_so(tmp_path):
    value = invoked(nemesis(FakeCluster(), tmp_path), "heal", {"fault-id": 9}).value
    assert value == {"fault-id": 9, "evidence": {"reason": "this fault does not hold"}}
    value = invoked(nemesis(FakeCluster(), tmp_path), "await-leader", {"of": 9}).value
    assert value == {"of": 9, "reason": "this fault does not hold"}


def test_await_leader_counts_from_the_injury(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "pause-followers", AIM)
    invoked(client, "kill-leader", AIM | {"during": 1})
    killed_s = cluster.time_s
    invoked(client, "heal", {"fault-id": 1})
    value = invoked(client, "await-leader", {"of": 2}).value
    assert value["key"] == KEY
    assert value["new-leader"] == answer(LeaderOf(KEY), cluster, cluster).leader != "n1"
    assert value["after_ms"] == pytest.approx((cluster.time_s - killed_s) * 1000, abs=1)


def test_await_leader_gives_up_at_its_bound(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "kill-all", AIM)
    began_s = cluster.time_s
    value = invoked(client, "await-leader", {"of": 1}).value
    assert (value["new-leader"], value["after_ms"]) == (None, None)
    assert AWAIT_LEADER_S <= cluster.time_s - began_s < AWAIT_LEADER_S + 1


def test_recover_gives_up_at_its_bound_and_says_so(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "kill-leader", AIM)
    began_s = cluster.time_s
    value = invoked(client, "recover", {"bound-s": 7.0}).value
    assert value == {"full-isr": False, "after_ms": None, "bound-s": 7.0}
    assert 7.0 <= cluster.time_s - began_s < 8.0


def test_await_stable_waits_for_full_isrs_and_equal_ends(tmp_path):
    cluster = FakeCluster(keys=("t0/0", "t0/1"))
    client = nemesis(cluster, tmp_path)
    invoked(client, "kill-leader", AIM)
    invoked(client, "heal")
    real = cluster.end_offsets

    def lagging(keys):
        ends = real(keys)
        return {k: (lso - (cluster.time_s < 30.0), hw) for k, (lso, hw) in ends.items()}

    cluster.end_offsets = lagging
    value = invoked(client, "await-stable", {"keys": ["t0/0", "t0/1"], "bound-s": 50.0}).value
    assert value["stable"] is True
    assert value["full-isr"] is True
    assert all(lso == hw for lso, hw in value["ends"].values())
    assert 30.0 <= cluster.time_s < 31.0


def test_await_stable_tells_what_it_last_saw_when_its_bound_passes(tmp_path):
    cluster = FakeCluster(keys=("t0/0", "t0/1"))
    client = nemesis(cluster, tmp_path)
    real = cluster.end_offsets
    cluster.end_offsets = lambda keys: {k: (0, hw) for k, (_, hw) in real(["t0/0"]).items()}
    value = invoked(client, "await-stable", {"keys": ["t0/0", "t0/1"], "bound-s": 5.0}).value
    assert value["stable"] is False
    assert value["ends"]["t0/0"][0] == 0 < value["ends"]["t0/0"][1]
    assert value["ends"]["t0/1"] is None
    assert 5.0 <= cluster.time_s < 6.0


def test_unknown_op_is_an_error_in_the_completion(tmp_path):
    told = invoked(nemesis(FakeCluster(), tmp_path), "explode")
    assert told.error == {"name": "NEMESIS_CRASHED", "message": "the nemesis knows no op 'explode'"}


class _Endless:
    name, summary, needs, expects = "endless", "never ends", frozenset(), "progress"

    def inject(self, aim):
        while True:
            yield Ask(LeaderOf(aim.keys[0]))

    def heal(self, injection):
        yield Act(())
        return {}


def test_plan_without_an_end_is_cut_off(tmp_path):
    cluster = FakeCluster()
    book = journal.Journal(tmp_path / JOURNAL)
    client = NemesisClient(
        cluster, cluster, book, (KEY,), answer=answer, holds=holds, clock=cluster, faults={"endless": _Endless()}
    )
    told = invoked(client, "endless", AIM)
    assert told.value["bit"] is False
    assert f"more than {MAX_STEPS} steps" in told.error["message"]


def test_run_that_is_told_to_stop_heals_without_waiting(tmp_path):
    cluster = FakeCluster()
    stop = threading.Event()
    book = journal.Journal(tmp_path / JOURNAL)
    client = NemesisClient(cluster, cluster, book, (KEY,), answer=answer, holds=holds, clock=WallClock(stop))
    stop.set()
    told = invoked(client, "kill-leader", AIM)
    assert told.value["bit"] is False  # nobody waited for the evidence
    healed = invoked(client, "heal")
    assert healed.value["evidence"]["1"]["answers_after_ms"] is None
    assert cluster.whole()
    assert cluster.time_s == 0.0


def test_wall_clock_moves_and_tells_when_to_stop():
    stop = threading.Event()
    clock = WallClock(stop)
    before_s = clock.now_s()
    assert clock.wait(0.001) is True
    assert clock.now_s() > before_s
    stop.set()
    assert clock.wait(60.0) is False
