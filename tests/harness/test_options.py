"""Options of the command line: what can't work is refused in one line that names the option."""

from __future__ import annotations

import re

import msgspec
import pytest

from checkers.options import PATIENCE_MS
from harness import launch
from harness.catalog import WORKLOADS
from harness.cli import guarded
from harness.clients.packing import BY_DEFAULT
from harness.cluster.api import UsageError
from harness.options import duration_s, pairs, scenario, scenario_of
from harness.report.command import repeat_command
from harness.scenario import Commands, Scenario, app_topics, topic_names
from nemesis.faults import FAULTS
from nemesis.plan import JITTER
from workloads.groups import QUICK_ALLOWED, QUICK_MEMBERS
from workloads.share import SHARE

GIVEN = {
    "workload": "txn",
    "cluster": "jvm",
    "nemesis": "none",
    "seed": None,
    "time_limit_s": 60.0,
    "concurrency": 10,
    "rate": 100.0,
    "isolation": "read_committed",
    "acks": "all",
    "idempotence": True,
    "compression": None,
    "value_size": None,
    "sub_via": "assign",
    "topics": 2,
    "partitions": 3,
    "replication": 3,
    "min_isr": 2,
    "topic_config": [],
    "broker_config": [],
    "abort_rate": 0.05,
    "crash_interval_s": 30.0,
    "transaction_timeout_s": 10.0,
    "group_protocol": "classic",
    "client": "librdkafka",
    "fault_interval_s": None,
    "upgrade_to": "",
    "app": "",
    "app_instances": 2,
    "app_guarantee": "exactly-once",
    "app_input": "",
    "app_output": "",
    "commands": None,
    "client_config": [],
    "fault_length_s": None,
    "recovery_bound_s": None,
    "nodes": 3,
    "controllers": 0,
    "kafka_version": "4.1.1",
    "image": None,
    "bootstrap": None,
    "bug": "",
}


def test_the_defaults_are_a_scenario_with_a_seed_and_kafka_timings():
    made = scenario(**GIVEN)
    assert isinstance(made, Scenario)
    assert made.seed >= 0
    assert (made.fault_length_s, made.fault_interval_s, made.recovery_bound_s) == (10.0, 30.0, 60.0)


@pytest.mark.parametrize("cluster", ["embedded", "jvm"])
def test_what_librdkafka_sends_is_packed_and_padded_unless_it_is_told(cluster):
    given = GIVEN | {"cluster": cluster}
    made = scenario(**given)
    assert (made.compression, made.value_size) == (BY_DEFAULT["compression"], BY_DEFAULT["value_size"])
    made = scenario(**given | {"compression": "none", "value_size": "0"})
    assert (made.compression, made.value_size) == ("none", "0")
    assert scenario_of(cluster=cluster).compression == "mixed"
    assert scenario_of(cluster=cluster, compression="zstd").compression == "zstd"


def test_faults_on_our_broker_hold_longer_than_a_client_waits_for_an_answer():
    made = scenario(**GIVEN | {"cluster": "embedded"})
    assert made.fault_length_s * JITTER[0] >= PATIENCE_MS / 1000
    assert (made.fault_length_s, made.fault_interval_s) == (Scenario().fault_length_s, Scenario().fault_interval_s)


def test_what_is_given_wins():
    made = scenario(**GIVEN | {"seed": 7, "fault_interval_s": 5.0, "sub_via": "assign,subscribe"})
    assert (made.seed, made.fault_interval_s, made.sub_via) == (7, 5.0, ("assign", "subscribe"))


def test_brokers_are_told_the_times_of_members_where_they_decide_them():
    ours = scenario(**GIVEN | {"group_protocol": "consumer", "cluster": "embedded"})
    theirs = scenario(**GIVEN | {"group_protocol": "consumer", "cluster": "jvm"})
    foreign = {"cluster": "existing", "bootstrap": "127.0.0.1:9092"}
    assert ours.broker_config == QUICK_MEMBERS
    assert theirs.broker_config == {**QUICK_MEMBERS, **QUICK_ALLOWED}
    assert scenario(**GIVEN | {"group_protocol": "consumer"} | foreign).broker_config == {}
    with pytest.raises(UsageError, match="--group-protocol new: it may be classic, consumer"):
        scenario(**GIVEN | {"group_protocol": "new"})


def test_apache_kafka_is_allowed_the_short_times_of_a_share_group():
    ours = scenario(**GIVEN | {"workload": "share", "cluster": "embedded"})
    theirs = scenario(**GIVEN | {"workload": "share", "cluster": "jvm"})
    assert ours.broker_config == SHARE.broker_config
    assert theirs.broker_config == {**SHARE.broker_config, **SHARE.kafka_config}


def test_a_cluster_that_runs_already_keeps_its_broker_settings():
    theirs = scenario(**GIVEN | {"workload": "compaction", "cluster": "existing", "bootstrap": "127.0.0.1:9092"})
    ours = scenario(**GIVEN | {"workload": "compaction"})
    assert theirs.topic_config == ours.topic_config == {**ours.topic_config, "cleanup.policy": "compact"}
    assert theirs.broker_config == {}
    assert ours.broker_config["log.cleaner.backoff.ms"] == "200"


NAMED = {"app": "true", "app_input": "orders", "app_output": "new.orders"}
THEIRS = {"cluster": "existing", "bootstrap": "127.0.0.1:9092"}
UPGRADE = {"nemesis": "kill-leader+upgrade-rolling"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"acks": "1"}, "--acks 1 needs --workload send-poll"),
        ({"compression": "brotli"}, "--compression brotli: it may be none, gzip"),
        ({"value_size": "many"}, "--value-size many: it must be bytes, N or N-M"),
        ({"value_size": "5-4"}, "--value-size 5-4: it must rise"),
        ({"value_size": "0-1000000"}, "--value-size 0-1000000: it must rise, to 900000 at most"),
        ({"acks": "2"}, "--acks 2"),
        ({"idempotence": False}, "--no-idempotence needs --workload send-poll"),
        ({"workload": "send-poll", "acks": "1"}, "--acks 1 needs --no-idempotence"),
        ({"replication": 4}, "--replication 4 is impossible with 3 nodes"),
        ({"min_isr": 4}, "--min-isr 4 is more than --replication 3"),
        ({"isolation": "serializable"}, "--isolation serializable"),
        ({"sub_via": "guess"}, "--sub-via guess"),
        ({"cluster": "existing"}, "--bootstrap"),
        ({"bootstrap": "localhost:9092"}, "--cluster existing"),
        ({"topic_config": ["x"]}, "--topic-config x"),
        ({"broker_config": ["=1"]}, "--broker-config =1"),
        ({"nemesis": "kill-leader, upgrade-rolling"}, "--nemesis upgrade-rolling needs --upgrade-to VERSION"),
        ({"workload": "app"}, "--workload app needs --app COMMAND"),
        (
            {"app": "true", "workload": "txn", "by_hand": frozenset({"app", "workload"})},
            "--app belongs to --workload app",
        ),
        ({"app": "true", "cluster": "simulated"}, "--app: no program of the real world runs on --cluster simulated"),
        ({"app": "true", "topics": 1, "by_hand": frozenset({"topics"})}, "needs an input and an output"),
        ({"app_instances": 3}, "--app-instances needs --app COMMAND"),
        ({"app_input": "a", "app_output": "b"}, "--app-input needs --app COMMAND"),
        (NAMED | {"app_output": ""}, "--app-input and --app-output need each other"),
        (NAMED | {"app_input": ""}, "--app-input and --app-output need each other"),
        (NAMED | {"app_input": "orders,"}, "--app-input orders,: '' is no topic's name"),
        (NAMED | {"app_output": "a b"}, "--app-output a b: 'a b' is no topic's name: letters"),
        (NAMED | {"app_output": ".."}, "--app-output ..: '..' is no topic's name"),
        (NAMED | {"app_output": "x" * 250}, "at most 249"),
        (NAMED | {"app_output": "__consumer_offsets"}, "__consumer_offsets is Kafka's own"),
        (NAMED | {"app_output": "new.orders,orders"}, "--app-output new.orders,orders: one is twice"),
        (NAMED | {"app_input": "a.b", "app_output": "a_b"}, "Kafka does not tell a.b and a_b apart"),
        (
            NAMED | {"topics": 3, "by_hand": frozenset({"topics"})},
            "--topics 3: --app-input and --app-output name 2; leave it out",
        ),
        (
            {"app": "true", "isolation": "read_uncommitted"},
            "--isolation read_uncommitted: what a program has committed",
        ),
        ({"app": "true", "topic_config": ["retention.ms=1000"]}, "--app: on topics that drop records by themselves"),
        ({"cluster": "simulated", "controllers": 3}, "--controllers 3 has no effect on --cluster simulated, only on"),
        (THEIRS | {"controllers": 3}, "--controllers 3 has no effect on --cluster existing, only on embedded"),
        (THEIRS | {"nodes": 5}, "--nodes 5 has no effect on --cluster existing, only on embedded"),
        (THEIRS | {"broker_config": ["a=1"]}, "--broker-config has no effect on --cluster existing"),
        ({"broker_config": ["log.dirs=x"]}, "--broker-config can't set log.dirs: the cluster sets it itself"),
        ({"app": "true", "app_guarantee": "at-most-once"}, "--app-guarantee at-most-once: it may be exactly-once"),
        ({"upgrade_to": "4.2.0"}, "--upgrade-to 4.2.0 needs --nemesis upgrade-rolling"),
        ({"upgrade_to": "4.2.0", "cluster": "compose"}, "--upgrade-to belongs to --cluster jvm"),
        (UPGRADE | {"upgrade_to": "4.1.1"}, "--upgrade-to 4.1.1 is not newer than --kafka-version 4.1.1"),
        (UPGRADE | {"upgrade_to": "3.9.2"}, "--upgrade-to 3.9.2 is not newer than --kafka-version 4.1.1"),
        (UPGRADE | {"upgrade_to": "latest"}, "not an Apache Kafka version: 'latest'"),
        (
            {"transaction_timeout_s": 901.0},
            "--transaction-timeout 901 is more than brokers allow: transaction.max.timeout.ms=900000",
        ),
        (
            {"transaction_timeout_s": 9.0, "broker_config": ["transaction.max.timeout.ms=8000"]},
            "--transaction-timeout 9 is more than brokers allow: transaction.max.timeout.ms=8000",
        ),
        ({"image": "kafka:mine"}, "--image kafka:mine has no effect on --cluster jvm, only on compose"),
        (
            {"cluster": "embedded", "kafka_version": "3.7.1"},
            "--kafka-version 3.7.1 has no effect on --cluster embedded",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_name(given, named):
    with pytest.raises(UsageError, match=named):
        scenario(**GIVEN | given)


def test_a_programs_topics_go_by_their_names_and_are_counted():
    made = scenario(**GIVEN | NAMED | {"app_input": "orders, refunds", "cluster": "existing", "bootstrap": "a:1"})
    assert (made.app_input, made.app_output, made.topics) == (("orders", "refunds"), ("new.orders",), 3)
    theirs = msgspec.structs.replace(made, prefix="r1-")
    assert topic_names(theirs) == ("orders", "refunds", "new.orders"), "a prefix would make others of them"
    assert app_topics(theirs) == (("orders", "refunds"), ("new.orders",))
    told = scenario(**GIVEN | NAMED | {"topics": 2, "by_hand": frozenset({"topics"})})
    assert told.topics == 2
    assert scenario_of(app="true", app_input=("orders",), app_output=("a", "b")).topics == 3


REMOTE = {"cluster": "remote", "bootstrap": "localhost:9092"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "nothing in it breaks anything: kill, stop, pause or cut"),
        ("kill = 'k'", "kill needs start"),
        ("stop = 's'", "stop needs start"),
        ("pause = 'p'", "pause needs resume"),
        ("cut = 'c'\njoin = 'j'", "cut needs dropped"),
        ("kil = 'k'", "unknown field `kil`"),
        ("kill = 7", "Expected `str`, got `int` - at `\\$.kill`"),
        ("timeout_s = 0", "timeout_s"),
        ("kill = ", "Invalid value"),
    ],
)
def test_a_file_of_commands_that_says_nothing_useful_is_refused_by_name(text, named, tmp_path):
    file = tmp_path / "commands.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=f"--commands {file}: .*{named}"):
        scenario(**GIVEN | REMOTE | {"commands": str(file)})


def test_commands_are_read_into_the_scenario_and_belong_to_one_cluster(tmp_path):
    file = tmp_path / "commands.toml"
    file.write_text("kill = 'k {id}'\nstart = 's {id}'\n[hosts]\n1 = 'one'\n")
    made = scenario(**GIVEN | REMOTE | {"commands": str(file)})
    assert made.commands == Commands(kill="k {id}", start="s {id}", hosts={"1": "one"}, file=str(file))
    assert f"--commands {file}" in repeat_command(made)
    assert ("kill-leader",) in launch.refuse_unknown(msgspec.structs.replace(made, nemesis="all"))
    with pytest.raises(UsageError, match=r"--nemesis pause-leader needs the power to pause, not on cluster remote"):
        launch.refuse_unknown(msgspec.structs.replace(made, nemesis="pause-leader"))
    with pytest.raises(UsageError, match="--commands belongs to --cluster remote, not to --cluster jvm"):
        scenario(**GIVEN | {"commands": str(file)})
    with pytest.raises(
        UsageError, match="--cluster remote needs --commands FILE; to break nothing, use --cluster exist"
    ):
        scenario(**GIVEN | REMOTE)
    with pytest.raises(UsageError, match=r"--commands no-such.toml: No such file"):
        scenario(**GIVEN | REMOTE | {"commands": "no-such.toml"})


@pytest.mark.parametrize("nemesis", ["upgrade-rolling", "kill-leader+upgrade-rolling", "all"])
def test_a_newer_version_is_taken_where_something_upgrades(nemesis):
    assert scenario(**GIVEN | {"nemesis": nemesis, "upgrade_to": "4.2.0"}).upgrade_to == "4.2.0"


@pytest.mark.parametrize(
    ("nemesis", "forgets"),
    [
        ("replica-away", True),
        ("kill-leader, replica-away", True),
        ("all", True),
        ("pause-leader", False),
        ("none", False),
    ],
)
def test_compaction_has_producers_forgotten_only_where_a_replica_is_to_miss_that(nemesis, forgets):
    made = scenario(**GIVEN | {"workload": "compaction", "nemesis": nemesis})
    assert ("producer.id.expiration.ms" in made.broker_config) is forgets
    assert {name for one in WORKLOADS.values() for name in one.fault_config} <= FAULTS.keys()


def test_what_has_no_effect_is_refused_even_where_it_is_the_default():
    with pytest.raises(
        UsageError, match=r"--kafka-version 4\.1\.1 has no effect on --cluster embedded, only on jvm and"
    ):
        scenario(by_hand=frozenset({"kafka_version"}), **GIVEN | {"cluster": "embedded"})
    with pytest.raises(UsageError, match="--transaction-protocol 2 has no effect on --cluster jvm"):
        scenario(by_hand=frozenset({"transaction_protocol"}), **GIVEN | {"transaction_protocol": 2})
    assert scenario(by_hand=frozenset({"transaction_protocol"}), **GIVEN | {"transaction_protocol": 1}).seed


@pytest.mark.parametrize("protocol", [1, 2])
def test_our_own_clients_speak_both_transaction_protocols_on_any_cluster(protocol):
    given = GIVEN | {"transaction_protocol": protocol, "client": "native"}
    made = scenario(by_hand=frozenset({"transaction_protocol", "client"}), **given)
    assert (made.client, made.transaction_protocol) == ("native", protocol)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"client": "java"}, "--client java: it may be librdkafka, native"),
        ({"client": "librdkafka", "cluster": "simulated"}, "--client librdkafka has no effect on --cluster simulated"),
        ({"client": "native", "app": "copier"}, "--client native does not go with --app"),
        (
            {"client": "native", "cluster": "existing", "bootstrap": "h:1", "client_config": ["security.protocol=SSL"]},
            "--client native knows neither TLS nor SASL",
        ),
    ],
)
def test_what_does_not_go_with_a_client_is_refused(changes, refusal):
    with pytest.raises(UsageError, match=re.escape(refusal)):
        scenario(by_hand=frozenset(changes), **GIVEN | changes)


def test_a_long_transaction_may_be_allowed():
    given = GIVEN | {"transaction_timeout_s": 901.0, "broker_config": ["transaction.max.timeout.ms=1000000"]}
    assert scenario(**given).transaction_timeout_s == 901.0


def test_pairs_keep_equals_signs_in_values():
    assert pairs("--x", ["a=b=c", " d = e "]) == {"a": "b=c", "d": "e"}


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1.5m", 90), ("8h", 28800), ("1d", 86400)])
def test_durations(text, seconds):
    assert duration_s("--duration", text) == seconds


@pytest.mark.parametrize("text", ["", "x", "8 hours", "-1s"])
def test_a_senseless_duration_is_refused(text):
    with pytest.raises(UsageError, match="--duration"):
        duration_s("--duration", text)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ([], {}),
        (["--workload", "share", "--acks", "all"], {"workload": "share", "acks": "all"}),
        (["--cluster", "jvm", "--topic-config", "a=b"], {"cluster": "jvm", "topic_config": {"a": "b"}}),
        (["--cluster", "simulated", "--partitions", "5"], {"cluster": "simulated", "partitions": 5}),
        (
            ["--sub-via", "assign,subscribe", "--nemesis-length", "2"],
            {"sub_via": ["assign", "subscribe"], "fault_length_s": 2},
        ),
    ],
)
def test_fields_make_the_scenario_that_the_command_line_makes_of_its_options(monkeypatch, line, fields):
    made = []
    monkeypatch.setattr(launch, "run", lambda scenario, *_, **__: made.append(scenario) or 0)
    assert guarded(["run", "--seed", "7", *line]) == 0
    assert made == [scenario_of(seed=7, **fields)]
