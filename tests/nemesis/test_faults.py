"""Each fault aims at whom it says, and its evidence is what happened."""

from __future__ import annotations

import pytest

from tests.contracts.test_fault import AIM, KEY, invoked
from tests.nemesis.fake import FakeCluster, nemesis


def killed(cluster: FakeCluster) -> list[str]:
    return [node for what, node in cluster.calls if what == "kill"]


def state(cluster: FakeCluster):
    return cluster.partitions([KEY])[0]


def test_kill_leader_kills_the_leader_and_records_the_next_one(tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path), "kill-leader", AIM).value
    assert killed(cluster) == ["n1"]
    assert value["nodes"] == ["n1"]
    assert value["evidence"]["pid"] == 1000
    assert value["evidence"]["pid-gone"] is True
    assert value["evidence"]["new-leader"] == state(cluster).leader == "n2"
    assert 2900 <= value["evidence"]["after_ms"] <= 3500


def test_kill_leader_aims_at_who_leads_now(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    first = invoked(client, "kill-leader", AIM).value
    invoked(client, "heal", {"fault-id": first["fault-id"]})
    invoked(client, "recover", {"bound-s": 60.0})
    second = invoked(client, "kill-leader", AIM).value
    assert (first["nodes"], second["nodes"]) == (["n1"], ["n2"])
    assert second["bit"] is True


def test_kill_leader_without_an_election_did_not_bite(tmp_path):
    cluster = FakeCluster()
    cluster.machines["n2"].pid = cluster.machines["n3"].pid = None  # no quorum: the metadata stay as they are
    value = invoked(nemesis(cluster, tmp_path), "kill-leader", AIM).value
    assert value["evidence"]["pid-gone"] is True
    assert value["bit"] is False
    assert "no leader other than n1" in value["evidence"]["reason"]


def test_only_replica_killed_leaves_the_partition_leaderless_and_that_is_a_bite(tmp_path):
    cluster = FakeCluster(replication=1)
    value = invoked(nemesis(cluster, tmp_path), "kill-leader", AIM).value
    assert value["bit"] is True
    assert value["evidence"]["leaderless"] is True
    assert value["evidence"]["new-leader"] is None


def test_leader_that_runs_no_process_is_a_miss(tmp_path):
    cluster = FakeCluster()
    cluster.machines["n1"].pid = None
    value = invoked(nemesis(cluster, tmp_path), "kill-leader", AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "no process to kill on n1"
    assert killed(cluster) == []


@pytest.mark.parametrize(("draw", "node"), [(0.0, "n2"), (0.49, "n2"), (0.5, "n3"), (0.99, "n3")])
def test_kill_follower_takes_a_follower_by_the_draw(draw, node, tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path), "kill-follower", {"keys": [KEY], "draw": draw}).value
    assert killed(cluster) == value["nodes"] == [node]
    assert value["evidence"]["was-in-isr"] is True
    assert 2900 <= value["evidence"]["isr_shrunk_after_ms"] <= 3500
    assert node not in state(cluster).isr


def test_kill_follower_prefers_one_in_the_isr(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].isr = ["n1", "n3"]
    cluster.machines["n2"].fenced = True
    value = invoked(nemesis(cluster, tmp_path), "kill-follower", {"keys": [KEY], "draw": 0.0}).value
    assert value["nodes"] == ["n3"]


@pytest.mark.parametrize("name", ["kill-follower", "pause-followers"])
def test_partition_without_followers_is_a_miss(name, tmp_path):
    cluster = FakeCluster(replication=1)
    value = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert value["bit"] is False
    assert "has no follower" in value["evidence"]["reason"]
    assert cluster.calls == []


@pytest.mark.parametrize(("draw", "node"), [(0.0, "n1"), (0.4, "n2"), (0.99, "n3")])
def test_kill_random_kills_one_broker_by_the_draw(draw, node, tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path), "kill-random", {"keys": [KEY], "draw": draw}).value
    assert killed(cluster) == value["nodes"] == [node]


def test_kill_random_takes_only_nodes_that_run(tmp_path):
    cluster = FakeCluster()
    cluster.machines["n1"].pid = cluster.machines["n2"].pid = None
    assert invoked(nemesis(cluster, tmp_path), "kill-random", AIM).value["nodes"] == ["n3"]


def test_kill_all_kills_every_broker_and_heals_them_all(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "kill-all", AIM).value
    assert killed(cluster) == value["nodes"] == ["n1", "n2", "n3"]
    assert value["evidence"]["pid"] == {"n1": 1000, "n2": 1001, "n3": 1002}
    healed = invoked(client, "heal", {"fault-id": 1}).value["evidence"]
    assert sorted(healed["pid"]) == ["n1", "n2", "n3"]
    assert all(ms is not None for ms in healed["answers_after_ms"].values())


@pytest.mark.parametrize("name", ["kill-random", "kill-all", "lose-power-all"])
def test_nothing_to_kill_is_a_miss(name, tmp_path):
    cluster = FakeCluster()
    for machine in cluster.machines.values():
        machine.pid = None
    value = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert value["bit"] is False
    assert value["nodes"] == []


def test_kill_leaders_kills_the_leader_and_its_successor_and_starts_the_first_one_first(tmp_path):
    cluster = FakeCluster(nodes=5)
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "kill-leaders", AIM).value
    assert killed(cluster) == value["nodes"] == ["n1", "n2"]
    assert value["evidence"]["new-leader"] == "n2"
    assert sorted(value["evidence"]["pid"]) == ["n1", "n2"]
    invoked(client, "heal", {"fault-id": 1})
    assert [node for what, *nodes in cluster.calls if what == "start" for node in nodes] == ["n1", "n2"]
    assert cluster.whole()


def test_kill_leaders_without_a_successor_has_not_bitten_and_is_healed(tmp_path):
    cluster = FakeCluster(replication=1)
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "kill-leaders", AIM).value
    assert value["bit"] is False
    assert killed(cluster) == value["nodes"] == ["n1"]
    invoked(client, "heal", {"fault-id": 1})
    assert cluster.whole()


def test_slow_follower_slows_the_last_replica_that_is_in_sync(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].isr = ["n1", "n2"]
    cluster.machines["n3"].fenced = True
    value = invoked(nemesis(cluster, tmp_path), "slow-follower", {"keys": [KEY], "draw": 0.5}).value
    assert value["nodes"] == ["n2"]
    assert value["evidence"]["delay_ms"] == 140
    assert {end for link in cluster.shapes for end in link} == {"n1", "n2", "n3"}
    assert all("n2" in link for link in cluster.shapes)


def test_slow_follower_without_a_follower_in_sync_is_a_miss(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].isr = ["n1"]
    value = invoked(nemesis(cluster, tmp_path), "slow-follower", AIM).value
    assert value["bit"] is False
    assert "no follower in sync" in value["evidence"]["reason"]


def test_lose_power_all_takes_the_power_of_every_broker(tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path), "lose-power-all", AIM).value
    assert cluster.calls == [("blackout", "n1"), ("blackout", "n2"), ("blackout", "n3")]
    assert value["expects"] == "stall"


def test_a_power_loss_tells_how_much_it_took(tmp_path):
    value = invoked(nemesis(FakeCluster(), tmp_path), "lose-power", AIM).value
    assert value["evidence"]["bytes-lost"] == 1000


def last_replica(cluster, folder):
    client = nemesis(cluster, folder)
    return client, invoked(client, "last-replica", AIM).value


def test_last_replica_stops_the_followers_takes_the_leaders_power_and_starts_the_leader_first(tmp_path):
    cluster = FakeCluster(nodes=5)
    client, value = last_replica(cluster, tmp_path)
    assert cluster.calls == [("stop", "n2"), ("stop", "n3"), ("blackout", "n1")]
    assert value["bit"] is True
    assert value["nodes"] == ["n1", "n2", "n3"]
    assert (value["evidence"]["last"], value["evidence"]["bytes-lost"]) == ("n1", 1000)
    assert set(value["evidence"]["isr_shrunk_after_ms"]) == {"n2", "n3"}
    healed = invoked(client, "heal", {"fault-id": value["fault-id"]}).value
    assert cluster.calls[3] == ("start", "n1")
    assert sorted(cluster.calls[4:]) == [("start", "n2"), ("start", "n3")]
    assert "last-led_after_ms" in healed["evidence"]
    assert cluster.whole()


def test_last_replica_that_is_not_alone_keeps_its_power(tmp_path):
    cluster = FakeCluster()  # two of three: the quorum is gone, and nobody can shrink the ISR
    client, value = last_replica(cluster, tmp_path)
    assert cluster.calls == [("stop", "n2"), ("stop", "n3")]
    assert value["bit"] is False
    assert "n1 was not left alone in the ISR" in value["evidence"]["reason"]
    invoked(client, "heal", {"fault-id": value["fault-id"]})
    assert cluster.whole()


def test_last_replica_that_lost_nothing_is_a_miss(tmp_path):
    cluster = FakeCluster(nodes=5)
    cluster.unsynced = 0
    _, value = last_replica(cluster, tmp_path)
    assert value["bit"] is False
    assert "had synced all" in value["evidence"]["reason"]


@pytest.mark.parametrize(("dead", "reason"), [("n2", "no process to end on n2"), ("", "it has no follower")])
def test_last_replica_without_its_followers_is_a_miss_that_touches_nothing(dead, reason, tmp_path):
    cluster = FakeCluster(nodes=5) if dead else FakeCluster(replication=1)
    if dead:
        cluster.machines[dead].pid = None
    _, value = last_replica(cluster, tmp_path)
    assert value["bit"] is False
    assert reason in value["evidence"]["reason"]
    assert cluster.calls == []


def test_kill_controller_kills_who_leads_the_quorum_and_names_the_next(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].leader = "n3"
    value = invoked(nemesis(cluster, tmp_path), "kill-controller", AIM).value
    assert killed(cluster) == value["nodes"] == ["n1"]
    assert (value["evidence"]["new-controller"], value["evidence"]["quorum-epoch"]) == ("n2", 7)
    assert value["evidence"]["after_ms"] is not None


def test_kill_controller_without_a_quorum_touches_nothing(tmp_path):
    cluster = FakeCluster()
    cluster.machines["n2"].pid = cluster.machines["n3"].pid = None
    value = invoked(nemesis(cluster, tmp_path), "kill-controller", AIM).value
    assert value["bit"] is False
    assert "no active controller" in value["evidence"]["reason"]
    assert killed(cluster) == []


def test_where_no_replica_may_be_away_no_fault_is_expected_to_let_anything_through(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path, spare_replicas=False)
    assert invoked(client, "kill-leader", AIM).value["expects"] == "stall"


def test_pause_leader_stops_the_leader_and_the_leadership_moves(tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path), "pause-leader", AIM).value
    assert cluster.calls == [("pause", "n1")]
    assert value["evidence"]["stopped"] is True
    assert value["evidence"]["new-leader"] == "n2"


def test_pause_leader_without_an_election_did_not_bite(tmp_path):
    cluster = FakeCluster()
    cluster.machines["n2"].stopped = cluster.machines["n3"].stopped = True
    value = invoked(nemesis(cluster, tmp_path), "pause-leader", AIM).value
    assert value["evidence"]["stopped"] is True
    assert value["bit"] is False


def test_pause_followers_stops_them_all_without_waiting_for_the_metadata(tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path), "pause-followers", AIM).value
    assert cluster.calls == [("pause", "n2"), ("pause", "n3")]
    assert value["evidence"] == {
        "stopped": {"n2": True, "n3": True},
        "leader": "n1",
        "isr-before": ["n1", "n2", "n3"],
    }
    assert cluster.time_s == 0.0


def test_pause_of_followers_that_were_out_of_the_isr_did_not_bite(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].isr = ["n1"]
    value = invoked(nemesis(cluster, tmp_path), "pause-followers", AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "no follower was in the ISR before"


def test_one_follower_that_is_not_stopped_is_no_bite(tmp_path):
    cluster = FakeCluster()
    cluster.machines["n3"].pid = None
    value = invoked(nemesis(cluster, tmp_path), "pause-followers", AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "not stopped: n3"


def test_node_that_another_started_is_not_started_again(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    invoked(client, "kill-leader", AIM)
    cluster.start("n1")
    healed = invoked(client, "heal", {"fault-id": 1})
    assert healed.error is None
    assert [call for call in cluster.calls if call[0] == "start"] == [("start", "n1")]


LEADERS_LINKS = {(a, b) for a, b in [("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")]}
CLIENTS_LINKS = {("clients", "n1"), ("n1", "clients")}


@pytest.mark.parametrize(
    ("name", "links"), [("slow-links", LEADERS_LINKS), ("lossy-links", LEADERS_LINKS | CLIENTS_LINKS)]
)
def test_bad_links_are_the_leaders_both_ways_and_their_pieces_are_counted(name, links, tmp_path):
    cluster = FakeCluster()
    value = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert {call[1:] for call in cluster.calls if call[0] == "shape"} == links
    assert value["nodes"] == ["n1"]
    assert value["evidence"]["pieces"].keys() == {f"{a}>{b}" for a, b in links}
    assert value["bit"] is any(value["evidence"]["pieces"].values())
    assert value["bit"] is True
    assert state(cluster).leader == "n1"


@pytest.mark.parametrize(("draw", "delay_ms"), [(0.0, 10), (0.5, 45), (0.999, 79)])
def test_the_draw_chooses_the_delay(draw, delay_ms, tmp_path):
    value = invoked(nemesis(FakeCluster(), tmp_path), "slow-links", {"keys": [KEY], "draw": draw}).value
    assert value["evidence"]["delay_ms"] == delay_ms


@pytest.mark.parametrize("name", ["slow-links", "lossy-links"])
def test_links_on_which_nothing_was_late_or_lost_did_not_bite(name, tmp_path):
    cluster = FakeCluster()
    cluster.ignored = {"shape"}
    value = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "nothing was late or lost on any of the links"


@pytest.mark.parametrize(("name", "late_ms"), [("lose-answers", None), ("late-requests", 1800)])
def test_requests_to_the_leader_are_singled_out_by_their_api_until_the_heal(name, late_ms, tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, name, AIM).value
    assert [call for call in cluster.calls if call[0] == "intercept"] == [("intercept", "n1")]
    assert value["nodes"] == ["n1"]
    assert value["bit"] is True
    assert value["evidence"]["requests"]["EndTxn"] > 0
    assert value["evidence"].get("late_ms") == late_ms
    assert state(cluster).leader == "n1"
    cluster.wait(5.0)
    healed = invoked(client, "heal", {"fault-id": value["fault-id"]}).value
    assert healed["evidence"]["requests"]["EndTxn"] > value["evidence"]["requests"]["EndTxn"]
    assert cluster.whole()


@pytest.mark.parametrize("name", ["lose-answers", "late-requests"])
def test_where_no_request_was_struck_nothing_bit(name, tmp_path):
    cluster = FakeCluster()
    cluster.ignored = {"intercept"}
    value = invoked(nemesis(cluster, tmp_path), name, AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "no request to n1 was struck within 10 s"


def test_cut_clients_cuts_them_off_from_the_leader_alone_and_nobody_is_elected(tmp_path):
    cluster = FakeCluster()
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "cut-clients", AIM).value
    assert {call[1:] for call in cluster.calls if call[0] == "cut"} == CLIENTS_LINKS
    assert value["bit"] is True
    assert value["evidence"]["dropped"] > 0
    cluster.wait(10.0)
    assert state(cluster).leader == "n1"
    healed = invoked(client, "heal", {"fault-id": value["fault-id"]}).value
    assert healed["evidence"]["dropped"] >= value["evidence"]["dropped"]
    assert cluster.whole()


def test_clients_that_send_nothing_can_not_be_cut_off(tmp_path):
    cluster = FakeCluster()
    cluster.ignored = {"cut"}
    value = invoked(nemesis(cluster, tmp_path), "cut-clients", AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "no client sent anything to n1 within 5 s"


def test_slow_links_of_a_single_node_are_a_miss(tmp_path):
    value = invoked(nemesis(FakeCluster(nodes=1, replication=1), tmp_path), "slow-links", AIM).value
    assert value["bit"] is False
    assert value["evidence"]["reason"] == "n1 has no link to another node"


def test_a_disk_that_is_full_and_never_written_has_not_bitten_and_is_healed(tmp_path):
    cluster = FakeCluster()
    cluster.ignored.add("fill")
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "fill-disk", AIM).value
    assert value["bit"] is False
    assert value["nodes"] == ["n1"]
    invoked(client, "heal", {"fault-id": 1})
    assert cluster.calls == [("fill", "n1"), ("kill", "n1"), ("start", "n1")]
    assert cluster.whole()


def test_rot_is_aimed_at_a_follower_in_sync_and_says_how_many_bytes_it_changed(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].isr = ["n1", "n3"]
    value = invoked(nemesis(cluster, tmp_path), "rot-follower", AIM).value
    assert cluster.calls == [("rot", "n3", KEY)]
    assert (value["nodes"], value["evidence"]["bytes-changed"]) == (["n3"], 1)


def test_nothing_that_rots_is_a_miss_and_is_healed(tmp_path):
    cluster = FakeCluster()
    cluster.checkpointed.add(KEY)
    client = nemesis(cluster, tmp_path)
    value = invoked(client, "rot-follower", AIM).value
    assert (value["bit"], value["evidence"]["reason"]) == (False, "all was checkpointed")
    invoked(client, "heal", {"fault-id": 1})
    assert cluster.whole()


def test_without_a_follower_in_sync_nothing_rots(tmp_path):
    cluster = FakeCluster()
    cluster.partitions_by_key[KEY].isr = ["n1"]
    value = invoked(nemesis(cluster, tmp_path), "rot-follower", AIM).value
    assert (value["bit"], cluster.calls) == (False, [])
