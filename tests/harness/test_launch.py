"""What `harness run` refuses before it starts anything."""

import pytest

from harness import catalog, store
from harness.cli import guarded
from harness.cluster.api import UsageError
from harness.cluster.observer import observer_of
from harness.equipment import RealEquipment
from harness.launch import own_prefix, refuse_unknown
from harness.lifetime import spec_of
from harness.scenario import Scenario
from nemesis.faults import ALL, UPGRADE

OF_LINKS = {"partition-leader", "slow-links", "lossy-links", "cut-clients", "lose-answers", "late-requests"}


@pytest.mark.parametrize("nemesis", sorted(OF_LINKS))
def test_faults_of_links_are_refused_without_links(nemesis):
    assert refuse_unknown(Scenario(cluster="embedded", nemesis=nemesis)) == ((nemesis,),)
    with pytest.raises(UsageError, match=f"--nemesis {nemesis} needs the power to .*(partition|shape|intercept)"):
        refuse_unknown(Scenario(cluster="embedded", nemesis=nemesis, links=False))


def test_all_faults_without_links_are_those_that_need_none():
    names = {name for (name,) in refuse_unknown(Scenario(cluster="embedded", nemesis=ALL, links=False))}
    assert "kill-leader" in names
    assert not names & OF_LINKS


def test_only_a_run_that_names_another_version_draws_upgrades():
    for upgrade_to in ("", "4.2.0"):
        drawn = refuse_unknown(Scenario(cluster="jvm", nemesis=ALL, upgrade_to=upgrade_to))
        assert ((UPGRADE,) in drawn) is bool(upgrade_to)


def test_a_run_draws_its_faults_from_those_that_were_not_refused(tmp_path):
    scenario = Scenario(cluster="embedded", nemesis=ALL, links=False, time_limit_s=600.0)
    cluster = catalog.provider("embedded").create(spec_of(scenario, tmp_path))
    choices = refuse_unknown(scenario)
    RealEquipment(choices).nemesis(scenario, cluster, observer_of(cluster), ("t0/0",), tmp_path)
    drawn = {fault for entry in store.read_json(tmp_path / store.PLAN)["entries"] for fault in entry["faults"]}
    assert drawn == {name for (name,) in choices}


def test_two_runs_of_the_same_millisecond_have_names_of_their_own(tmp_path):
    folder = tmp_path / "20261126T232843.089"
    prefixes = {own_prefix(folder) for _ in range(20)}
    assert len(prefixes) == 20
    assert all(prefix.startswith("20261126T232843.089-") and prefix.endswith("-") for prefix in prefixes)


def test_a_run_that_was_too_short_for_any_fault_is_vacuous_and_stays_so_when_it_is_judged_again(tmp_path, capsys):
    short = ["--cluster", "simulated", "--no-swarm", "--nemesis", ALL, "--time-limit", "1", "--nemesis-interval", "99"]
    results = ["--results", str(tmp_path)]
    assert guarded(["run", *short, *results, "--seed", "8", "--json"]) == 2
    assert "none was ever injected" in capsys.readouterr().out
    assert guarded(["check", str(tmp_path / "latest"), "--json"]) == 2
    assert guarded(["replay", str(tmp_path / "latest"), *results, "--json"]) == 2


@pytest.mark.parametrize("owner", ["[]", '{"pid": 1}', "{"])
def test_one_damaged_folder_does_not_keep_the_others_from_being_healed(tmp_path, capsys, owner):
    for name, text in (("a", owner), ("b", '{"pid": 1, "started": "never", "done": false}')):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        store.write_json(folder / store.SCENARIO, Scenario())
        (folder / store.OWNER).write_text(text)
    assert guarded(["heal", str(tmp_path / "runs" / "a")]) == 254
    assert "owner.json" in capsys.readouterr().err
    assert guarded(["heal", "--results", str(tmp_path)]) == 255
    told = capsys.readouterr()
    assert "runs/a: can't read" in told.out
    assert "healed 1 abandoned run" in told.out
    assert not told.err
    assert store.read_json(tmp_path / "runs" / "b" / store.OWNER)["done"] is True


@pytest.mark.parametrize("option", [("--duration", "0s"), ("--max-disk-gb", "nan")])
def test_a_soak_of_nothing_is_refused(tmp_path, capsys, option):
    assert guarded(["soak", "--duration", "1s", *option, "--results", str(tmp_path)]) == 254
    line = capsys.readouterr().err
    assert option[0] in line
    assert line.count("\n") == 1
