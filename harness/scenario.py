"""The scenario: everything that a run was asked to do, as pure data, so that it can be stored, repeated and shrunk.

A scenario is written to `scenario.json` before the run begins. Every later choice is drawn from `seed`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

Isolation = Literal["read_committed", "read_uncommitted"]
Compression = Literal["none", "gzip", "snappy", "lz4", "zstd", "mixed"]
Guarantee = Literal["exactly-once", "at-least-once"]
Driver = Literal["librdkafka", "native"]
NATIVE: Final = "native"
"""The client of our own."""
Count = Annotated[int, msgspec.Meta(ge=1)]

APP: Final = "app"
"""The workload whose topics are copied by a program of the user's."""
TRANSACTIONAL: Final = frozenset({"txn", "compaction", "copy", "share", APP})
"""The workloads that need a transactional producer."""
POLLING: Final = frozenset({"txn", "send-poll", "groups", "copy"})
"""The workloads whose processes are members of a group where they subscribe."""
CLOCK_FAULTS: Final = frozenset({"bump-clock", "strobe-clock"})
"""Faults that let clocks jump, and how far: whoever waits for a date has to know."""
CLOCK_JUMP_S: Final = 120.0


class Commands(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shell commands that break and mend the nodes and links of a cluster that somebody else runs: `remote`.

    See `harness.cluster.remote`, which also says what may stand in braces.
    """

    kill: str = ""
    start: str = ""
    stop: str = ""
    running: str = ""
    pause: str = ""
    resume: str = ""
    paused: str = ""
    cut: str = ""
    join: str = ""
    dropped: str = ""
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """For one command."""
    hosts: dict[str, str] = {}
    """By node id: {host}, where it is not the one that the broker advertises."""
    file: str = ""
    """Where they were read from."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The plan of one run. Times are seconds; names are those of `harness list`."""

    workload: str = "txn"
    cluster: str = "embedded"
    nemesis: str = "none"
    """As given: `a,b` draws among faults, `a+b` overlaps them."""
    seed: int = 0
    time_limit_s: float = 60.0
    concurrency: Count = 10
    rate: float = 100.0
    """Operations per second of all processes together, drawn exponentially; 0 means as fast as possible."""
    isolation: Isolation = "read_committed"
    acks: Literal["all", "1", "0"] = "all"
    idempotence: bool = True
    keep_producers: bool = False
    """Go on with a producer whose abort purged records that were not reported (docs/findings.md)."""
    compression: Compression = "none"
    """The codec of all producers, or `mixed`: each client process draws its own (`harness.clients.packing`)."""
    value_size: str = "0"
    """Bytes of a value, at least: N, or N-M."""
    sub_via: tuple[Literal["assign", "subscribe"], ...] = ("assign",)
    topics: Count = 2
    partitions: Count = 3
    replication: Count = 3
    min_isr: Count = 2
    topic_config: dict[str, str] = {}
    broker_config: dict[str, str] = {}
    abort_rate: float = 0.05
    """Share of transactions that the workload aborts on purpose."""
    crash_interval_s: float = 30.0
    """Mean time between deliberate client crashes of one process; 0: none."""
    transaction_timeout_s: float = 10.0
    id_sharers: Count = 1
    """So many client threads share one transactional id; each one's session fences the last."""
    transaction_protocol: Literal[1, 2] = 2
    """What clients of our own speak: 1 as librdkafka, which speaks nothing else, 2 as Java 4.x (KIP-890)."""
    client: Driver = "librdkafka"
    """What drives a real cluster: confluent-kafka, or the client of our own that simulations have."""
    group_protocol: Literal["classic", "consumer"] = "classic"
    """How members of a group get their keys: dealt by one of them, or by the coordinator (KIP-848)."""
    fault_length_s: float = 4.0
    fault_interval_s: float = 1.0
    recovery_bound_s: float = 15.0
    kafka_version: str = "4.1.1"
    upgrade_to: str = ""
    """The version that `upgrade-rolling` brings brokers to, and back; "": none."""
    nodes: Count = 3
    controllers: int = 0
    """0: every node is broker and controller; else the number of separate controller nodes."""
    image: str | None = None
    links: bool = True
    """Whether the connections of an `embedded` or a `jvm` cluster run through links that can be cut and slowed down."""
    bug: str = ""
    """A bug that is planted in our own broker (`harness bugs`); "" for none."""
    scripted: bool = False
    """Operations and faults are those of script.json beside this file, whatever the fields above say of them."""
    prefix: str = ""
    """Put before the names of topics (but those of `app_input` and `app_output`), groups and transactional ids, so that
    runs can share somebody else's cluster."""
    bootstrap: str | None = None
    """Only for `existing` and `remote`: host:port of a cluster that somebody else runs."""
    client_config: dict[str, str] = {}
    """Only for `existing` and `remote`: how clients get in, secrets as `env:NAME` (`harness.credentials`)."""
    commands: Commands | None = None
    """Only for `remote`."""
    app: str = ""
    """The command of the program that the workload `app` tests: see `harness.application`."""
    app_instances: Count = 2
    app_guarantee: Guarantee = "exactly-once"
    """What the program promises of each input record."""
    app_input: tuple[str, ...] = ()
    """Names of the topics that the program reads; (): the first half of t0, t1, ..."""
    app_output: tuple[str, ...] = ()
    """Names of the topics that it writes: where the one is given, so is the other."""


def group_of(scenario: Scenario) -> str:
    """Return the one consumer group of a run."""
    return f"{scenario.prefix}harness"


def share_group_of(scenario: Scenario) -> str:
    """Return the one share group of a run."""
    return f"{scenario.prefix}harness-share"


def app_group_of(scenario: Scenario) -> str:
    """Return the name that the instances of the user's program are given for their group."""
    return f"{scenario.prefix}harness-app"


def topic_names(scenario: Scenario) -> tuple[str, ...]:
    """Return the names of the run's topics: those of the user's program, else t0, t1, ... behind the prefix."""
    if scenario.app_input:
        return scenario.app_input + scenario.app_output
    return tuple(f"{scenario.prefix}t{i}" for i in range(scenario.topics))


def app_topics(scenario: Scenario) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return (inputs, outputs) of the user's program: as named, else the first half of the topics, and the others."""
    topics = topic_names(scenario)
    middle = len(scenario.app_input) or (len(topics) + 1) // 2
    return topics[:middle], topics[middle:]


def groups_of(scenario: Scenario) -> tuple[str, ...]:
    """Return the groups that a run's processes are members of."""
    if scenario.workload == "share":
        return (share_group_of(scenario),)
    return (group_of(scenario),) if scenario.workload in POLLING and "subscribe" in scenario.sub_via else ()


def clock_jump_s(scenario: Scenario) -> float:
    """Return how far the faults that the scenario asks for may let clocks jump."""
    asked = (name.strip() for name in scenario.nemesis.replace("+", ",").split(","))
    return 0.0 if CLOCK_FAULTS.isdisjoint(asked) else CLOCK_JUMP_S


def is_coordinated(scenario: Scenario) -> bool:
    """Return whether the run has a group or a transactional id, for which there is a coordinator."""
    return scenario.workload in TRANSACTIONAL or bool(groups_of(scenario))
