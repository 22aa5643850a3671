"""From the options of the command line to a scenario: what can't work is refused here, before anything runs."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import msgspec

from checkers.options import options_of_scenario
from harness import swarm
from harness.catalog import WORKLOADS
from harness.clients.packing import BY_DEFAULT
from harness.clients.settings import refuse_impossible
from harness.cluster.api import UsageError
from harness.cluster.distribution import line
from harness.cluster.properties import refuse_owned
from harness.credentials import Credentials
from harness.scenario import APP, NATIVE, Commands, Compression, Driver, Guarantee, Isolation, Scenario
from harness.swarm import SIMULATED
from nemesis.faults import ALL, UPGRADE
from workloads.api import Workload
from workloads.groups import CONSUMER, QUICK_ALLOWED, QUICK_MEMBERS

EXISTING, REMOTE = "existing", "remote"
THEIRS = (EXISTING, REMOTE)
"""The clusters that somebody else runs."""
OURS = ("embedded", SIMULATED)
"""The clusters of our own broker."""
UPGRADABLE = "jvm"
"""The cluster whose nodes can run another version."""
SEED_BITS = 31
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)?")
_UNIT_S = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

BY_CLUSTER: dict[str, dict[str, float]] = {
    "kafka": {"fault_length_s": 10.0, "fault_interval_s": 30.0, "recovery_bound_s": 60.0},
    "embedded": {"fault_length_s": 4.0, "fault_interval_s": 1.0, "recovery_bound_s": 15.0},
    "simulated": {"fault_length_s": 8.0, "fault_interval_s": 4.0, "recovery_bound_s": 60.0},
}
"""DESIGN.md, Defaults: Apache Kafka needs about 5 s to fail over and 20 s to be whole again, our broker 1 s and 2 s.

A fault on our broker holds longer than that: a client gives a request to a paused leader up after 3 s, and until then
nothing may succeed, which would be vacuous. Simulated time is cheap, and the simulated network, disks and time-outs may
be slow ones.
"""


ONLY_ON = (
    ("kafka_version", "--kafka-version", ("jvm", "compose")),
    ("image", "--image", ("compose",)),
    ("client", "--client", ("embedded", "jvm", "compose", *THEIRS)),
    ("transaction_protocol", "--transaction-protocol", (SIMULATED,)),
    ("controllers", "--controllers", ("embedded", "jvm", "compose")),
    ("nodes", "--nodes", ("embedded", "jvm", "compose", SIMULATED)),
)
"""(field, option, the clusters on which it has an effect)."""
WITHOUT_EFFECT = {"transaction_protocol": 1, "controllers": 0, "client": NATIVE}
"""What holds elsewhere anyway, so that it may be said: librdkafka speaks version 1, simulated nodes are controllers and
have clients of our own."""
_OPTIONS = {"fault_interval_s": "--nemesis-interval", "fault_length_s": "--nemesis-length"}
"""Options that have other names than their fields."""
_NAMED = ("app_input", "app_output")
"""Fields that hold names of topics."""
_LEGAL = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""A topic's name, but for "." and ".." (org.apache.kafka.common.internals.Topic)."""
_OF_KAFKA = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"})
"""Topics that clusters make themselves."""
_NOT_ASKED = frozenset({"scripted", "prefix"})
"""Fields of a scenario that nobody who runs one chooses."""


def finite(option: str, value: float) -> float:
    """Return the number; raises UsageError for `nan` and `inf`, which parse as numbers."""
    if not math.isfinite(value):
        raise UsageError(f"{option} {value}: it must be a number")
    return value


def scenario(*, fixed: frozenset[str] | None = None, by_hand: frozenset[str] = frozenset(), **given: Any) -> Scenario:
    """Return the scenario of `harness run`'s options; raises UsageError naming the option and what it may be.

    fixed: the fields that the caller has set; what else a simulated run has is drawn from its seed. None: nothing is.
    by_hand: the fields that the caller has set; where the workload has a shape of its own, it chooses the others.
    """
    timing = BY_CLUSTER.get(given["cluster"], BY_CLUSTER["kafka"])
    fields = dict(given)
    if given["app"] and "workload" not in by_hand:
        fields["workload"] = APP
    for name, default in timing.items():
        if fields[name] is None:
            fields[name] = default
    for name, said in BY_DEFAULT.items():
        if fields[name] is None:
            fields[name] = getattr(Scenario(), name) if given["cluster"] == SIMULATED else said
    for name in timing.keys() | {"time_limit_s", "rate", "abort_rate", "crash_interval_s", "transaction_timeout_s"}:
        finite(_OPTIONS.get(name, f"--{name.removesuffix('_s').replace('_', '-')}"), fields[name])
    if fields["seed"] is None:
        fields["seed"] = secrets.randbits(SEED_BITS)
    fields["isolation"] = _one_of("--isolation", given["isolation"], get_args(Isolation))
    fields["acks"] = _one_of("--acks", given["acks"], ("all", "1", "0"))
    fields["compression"] = _one_of("--compression", fields["compression"], get_args(Compression))
    fields["group_protocol"] = _one_of("--group-protocol", given["group_protocol"], ("classic", CONSUMER))
    fields["client"] = _one_of("--client", given["client"], get_args(Driver))
    ways = tuple(dict.fromkeys(part.strip() for part in given["sub_via"].split(",")))
    fields["sub_via"] = tuple(_one_of("--sub-via", way, ("assign", "subscribe")) for way in ways)
    fields["app_guarantee"] = _one_of("--app-guarantee", given["app_guarantee"], get_args(Guarantee))
    asked = WORKLOADS.get(fields["workload"])
    fields |= {name: value for name, value in (asked.shape.items() if asked else ()) if name not in by_hand}
    fields |= _named_topics(given, by_hand)
    own = {"topic_config": asked.topic_config if asked else {}, "broker_config": _of_brokers(asked, given)}
    for name, settings in own.items():
        fields[name] = {**settings, **pairs(f"--{name.replace('_', '-')}", given[name])}
    fields["client_config"] = _client_config(given["client_config"])
    fields["commands"] = _commands(given["commands"])
    made = Scenario(**fields)
    if fixed is not None and made.cluster == SIMULATED:
        own_shape = frozenset(asked.shape if asked else ())
        made = msgspec.structs.replace(made, **swarm.applied(made, fixed | own_shape))
    _refuse(made)
    refuse_ineffective(made, by_hand)
    return made


def of_fields(**fields: Any) -> Scenario:
    """Return the scenario of these fields; raises UsageError for one that there is not, or a value that it can't be."""
    if unknown := fields.keys() - (known := [name for name in Scenario.__struct_fields__ if name not in _NOT_ASKED]):
        raise UsageError(f"there is no {', '.join(sorted(unknown))} to choose, only {', '.join(known)}")
    try:
        return msgspec.convert(fields, Scenario)
    except msgspec.ValidationError as error:
        raise UsageError(f"a value that can't be: {error}") from error


def scenario_of(**fields: Any) -> Scenario:
    """Return the scenario that `harness run` makes of these fields of `Scenario`, all others left to it.

    Raises UsageError as `scenario` and `of_fields` do.
    """
    given = msgspec.to_builtins(of_fields(**fields))
    given |= {name: None for name in (*BY_CLUSTER["kafka"], *BY_DEFAULT, "seed") if name not in fields}
    for name in ("topic_config", "broker_config", "client_config"):
        given[name] = [f"{key}={value}" for key, value in given[name].items()]
    for name in ("sub_via", *_NAMED):
        given[name] = ",".join(given[name])
    return scenario(fixed=frozenset(fields), by_hand=frozenset(fields), **given)


def _of_brokers(asked: Workload | None, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what the workload and the group's protocol want of brokers; those that run already keep their own."""
    if given["cluster"] in THEIRS:
        return {}
    is_kafka, settings = given["cluster"] not in OURS, dict[str, str]()
    if asked is not None:
        settings |= {**asked.broker_config, **(asked.kafka_config if is_kafka else {})}
        for fault, needed in asked.fault_config.items():
            settings |= needed if given["nemesis"].strip() == ALL or fault in _faults(given["nemesis"]) else {}
    if given["group_protocol"] == CONSUMER:
        settings |= {**QUICK_MEMBERS, **(QUICK_ALLOWED if is_kafka else {})}
    return settings


def _refuse(made: Scenario) -> None:
    _refuse_place(made)
    if made.min_isr > made.replication:
        raise UsageError(f"--min-isr {made.min_isr} is more than --replication {made.replication}")
    if made.bug and made.cluster not in OURS:
        raise UsageError(f"--bug {made.bug} needs our own broker: --cluster {' or '.join(OURS)}, not {made.cluster}")
    _refuse_upgrade(made)
    if made.client == NATIVE and made.client_config:
        raise UsageError(f"--client {NATIVE} knows neither TLS nor SASL: leave --client-config away, or --client")
    if made.client == NATIVE and made.app:
        raise UsageError(f"--client {NATIVE} does not go with --app: its outputs are read by librdkafka")
    refuse_impossible(made)
    try:
        implied = options_of_scenario(msgspec.to_builtins(made))
    except ValueError as error:
        raise UsageError(f"--topic-config or --broker-config {error}") from error
    _refuse_app(made, forgets=implied.forgets)


def _refuse_place(made: Scenario) -> None:
    """Refuse what does not go with the cluster."""
    if made.cluster in THEIRS and not made.bootstrap:
        raise UsageError(f"--cluster {made.cluster} needs --bootstrap host:port")
    if made.cluster not in THEIRS and made.bootstrap:
        raise UsageError(f"--bootstrap belongs to --cluster {' or '.join(THEIRS)}, not to --cluster {made.cluster}")
    if made.cluster not in THEIRS and made.client_config:
        raise UsageError(f"--client-config belongs to --cluster {' or '.join(THEIRS)}, not to --cluster {made.cluster}")
    if made.cluster in THEIRS and made.broker_config:
        raise UsageError(f"--broker-config has no effect on --cluster {made.cluster}: its brokers run already")
    refuse_owned(made.broker_config)
    Credentials.of(made.client_config).refuse()
    if made.cluster == REMOTE and made.commands is None:
        raise UsageError(f"--cluster {REMOTE} needs --commands FILE; to break nothing, use --cluster {EXISTING}")
    if made.cluster != REMOTE and made.commands is not None:
        raise UsageError(f"--commands belongs to --cluster {REMOTE}, not to --cluster {made.cluster}")
    if made.cluster not in THEIRS and made.replication > made.nodes:
        raise UsageError(f"--replication {made.replication} is impossible with {made.nodes} nodes (see --nodes)")


def _client_config(given: Sequence[str]) -> dict[str, str]:
    """Return {K: V}; what is told of a mistake repeats no value: it might be a secret."""
    if any(not text.partition("=")[1] for text in given):
        raise UsageError("--client-config must be K=V")
    read = pairs("--client-config", given)
    if len(read) < len(given):
        raise UsageError("--client-config: one name was given twice")
    return read


def _commands(given: str | Mapping[str, Any] | None) -> Commands | None:
    """Return the commands in a TOML file, or in what a scenario holds; raises UsageError naming file and key."""
    if given is None or isinstance(given, Mapping):
        return msgspec.convert(given, Commands | None)
    try:
        read = msgspec.toml.decode(Path(given).read_bytes(), type=Commands)
    except OSError as error:
        raise UsageError(f"--commands {given}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"--commands {given}: {error}") from error
    for name, other in (("kill", "start"), ("stop", "start"), ("pause", "resume"), ("cut", "join"), ("cut", "dropped")):
        if getattr(read, name) and not getattr(read, other):
            raise UsageError(f"--commands {given}: {name} needs {other}")
    if not any((read.kill, read.stop, read.pause, read.cut)):
        raise UsageError(f"--commands {given}: nothing in it breaks anything: kill, stop, pause or cut")
    return msgspec.structs.replace(read, file=given)


def _refuse_app(made: Scenario, *, forgets: bool) -> None:
    if made.workload == APP and not made.app:
        raise UsageError(f"--workload {APP} needs --app COMMAND: the program that it tests")
    if not made.app:
        default = Scenario()
        for name in ("app_instances", "app_guarantee", *_NAMED):
            if getattr(made, name) != getattr(default, name):
                raise UsageError(f"--{name.replace('_', '-')} needs --app COMMAND")
        return
    if made.workload != APP:
        raise UsageError(f"--app belongs to --workload {APP}, not to --workload {made.workload}")
    if made.cluster == SIMULATED:
        raise UsageError(f"--app: no program of the real world runs on --cluster {SIMULATED}")
    _refuse_names(made)
    if made.topics < 2:
        raise UsageError(f"--topics {made.topics}: --workload {APP} needs an input and an output, 2 at least")
    if made.isolation != "read_committed":
        raise UsageError(f"--isolation {made.isolation}: what a program has committed is read read_committed")
    if forgets:
        raise UsageError("--app: on topics that drop records by themselves nobody knows what a program has lost")


def _named_topics(given: Mapping[str, Any], by_hand: frozenset[str]) -> dict[str, Any]:
    """Return the fields of a scenario that name the program's topics, and how many there are then."""
    named: dict[str, Any] = {name: _topic_names(f"--{name.replace('_', '-')}", given[name]) for name in _NAMED}
    count = sum(map(len, named.values()))
    if count and "topics" in by_hand and given["topics"] != count:
        raise UsageError(f"--topics {given['topics']}: --app-input and --app-output name {count}; leave it out")
    return named | ({"topics": count} if count else {})


def _topic_names(option: str, given: str) -> tuple[str, ...]:
    """Return the topics that are named, with commas; raises UsageError for a name that none of a program's can have."""
    names = tuple(name.strip() for name in given.split(",")) if given else ()
    for name in names:
        if not _LEGAL.fullmatch(name) or name in {".", ".."}:
            raise UsageError(f"{option} {given}: {name!r} is no topic's name: letters, digits, . _ -, at most 249")
        if name in _OF_KAFKA:
            raise UsageError(f"{option} {given}: {name} is Kafka's own")
    return names


def _refuse_names(made: Scenario) -> None:
    if bool(made.app_input) != bool(made.app_output):
        raise UsageError("--app-input and --app-output need each other: name what it reads and what it writes")
    named: dict[str, str] = {}
    for name in made.app_input + made.app_output:
        other = named.setdefault(name.replace(".", "_"), name)
        if other != name:
            raise UsageError(
                f"--app-input, --app-output: Kafka does not tell {other} and {name} apart: '.' is '_' to it"
            )
    if len(named) < len(made.app_input + made.app_output):
        raise UsageError(
            f"--app-input {','.join(made.app_input)} --app-output {','.join(made.app_output)}: one is twice"
        )


def _refuse_upgrade(made: Scenario) -> None:
    upgrades, goes_to = UPGRADE in _faults(made.nemesis), made.upgrade_to
    if upgrades and made.cluster == UPGRADABLE and not goes_to:
        raise UsageError(f"--nemesis {UPGRADE} needs --upgrade-to VERSION, where it goes from --kafka-version")
    if not goes_to:
        return
    if made.cluster != UPGRADABLE:
        raise UsageError(f"--upgrade-to belongs to --cluster {UPGRADABLE}, not to --cluster {made.cluster}")
    if not upgrades and made.nemesis != ALL:
        raise UsageError(f"--upgrade-to {goes_to} needs --nemesis {UPGRADE}: nothing else brings nodes there")
    line(goes_to)
    if _numbers(goes_to) <= _numbers(made.kafka_version):
        raise UsageError(f"--upgrade-to {goes_to} is not newer than --kafka-version {made.kafka_version}")


def _faults(nemesis: str) -> list[str]:
    """Return the names in `--nemesis`."""
    return re.split("[,+]", nemesis.replace(" ", ""))


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall("[0-9]+", version)]


def refuse_ineffective(made: Scenario, by_hand: frozenset[str] = frozenset()) -> None:
    """Raise UsageError for what was asked for and would have no effect: the run would be taken for one with it.

    by_hand: the fields that the caller has set; others that are not as by default count as set, too.
    """
    for name, option, clusters in ONLY_ON:
        value = getattr(made, name)
        asked = name in by_hand or value != getattr(Scenario(), name)
        if name == "transaction_protocol" and made.client == NATIVE:
            continue
        if asked and made.cluster not in clusters and value != WITHOUT_EFFECT.get(name):
            other = f" (and with --client {NATIVE})" if name == "transaction_protocol" else ""
            raise UsageError(
                f"{option} {value} has no effect on --cluster {made.cluster}, only on {' and '.join(clusters)}{other}"
            )


def _one_of(option: str, value: str, allowed: Sequence[str]) -> Literal["all"]:
    if value not in allowed:
        raise UsageError(f"{option} {value}: it may be {', '.join(allowed)}")
    return cast("Literal['all']", value)


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """Return {K: V} of repeated K=V options; raises UsageError naming the one that isn't."""
    out: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{option} {text}: it must be K=V")
        out[key.strip()] = value.strip()
    return out


def duration_s(option: str, text: str) -> float:
    """Return seconds of `90`, `90s`, `45m`, `8h`, `1d`; raises UsageError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {text}: it must be a number with s, m, h or d, e.g. 45m")
    seconds = float(match[1]) * _UNIT_S[match[2]]
    if not seconds:
        raise UsageError(f"{option} {text}: nothing is tried in no time")
    return seconds
