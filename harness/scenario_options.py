"""The options that say what a run is: declared once, for each command that makes runs.

A command takes them with `@takes_scenario_options`: they stand where its `**given` stands, and it gets their values
there. Of two of one name the command's own wins. `Asked` makes scenarios of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

import click
import typer

from harness.scenario import Scenario

Command = TypeVar("Command", bound=Callable[..., None])

_FIELDS: Mapping[str, str] = {
    "time_limit": "time_limit_s",
    "crash_interval": "crash_interval_s",
    "transaction_timeout": "transaction_timeout_s",
    "nemesis_interval": "fault_interval_s",
    "nemesis_length": "fault_length_s",
    "recovery_bound": "recovery_bound_s",
}
"""Options that have other names than their fields of a scenario."""


LONGEST_S = 1_000_000
"""Eleven days: longer than anybody waits, and no clock overflows."""


class Declared:
    """Each option: its type, its help and its default."""

    workload: Annotated[str, typer.Option(help="What the clients do: see `harness list`.")] = "txn"
    cluster: Annotated[str, typer.Option(help="What is tested: see `harness list`.")] = "embedded"
    nemesis: Annotated[
        str, typer.Option(help="Faults: `a,b` draws among them, `a+b` overlaps them, `all`, `none`.")
    ] = "none"
    seed: Annotated[int | None, typer.Option(help="Every choice is drawn from it (default: a new one).")] = None
    time_limit: Annotated[float, typer.Option(help="Seconds of the main phase.", min=1, max=LONGEST_S)] = 60.0
    concurrency: Annotated[int, typer.Option(help="Client processes.", min=1, max=1000)] = 10
    rate: Annotated[
        float, typer.Option(help="Operations a second of all clients; 0: unpaced.", min=0, max=1_000_000)
    ] = 100.0
    isolation: Annotated[str, typer.Option(help="read_committed or read_uncommitted.")] = "read_committed"
    acks: Annotated[str, typer.Option(help="all, 1 or 0 (1 and 0 need --workload send-poll).")] = "all"
    keep_producers: Annotated[
        bool, typer.Option("--keep-producers", help="Go on with producers that aborted unreported records.")
    ] = False
    id_sharers: Annotated[
        int, typer.Option(help="Client processes that share a transactional id and fence each other.", min=1)
    ] = 1
    idempotence: Annotated[
        bool, typer.Option("--idempotence/--no-idempotence", help="Idempotent producers (off: send-poll only).")
    ] = True
    compression: Annotated[
        str | None,
        typer.Option(
            metavar="CODEC",
            help="none, gzip, snappy, lz4, zstd, or mixed: each client its own (default: mixed; simulated: drawn).",
        ),
    ] = None
    value_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|N-M", help="Bytes of a value; of a range most have N (default: 128-16384; simulated: drawn)."
        ),
    ] = None
    sub_via: Annotated[str, typer.Option(help="assign, subscribe, or both with a comma.")] = "assign"
    topics: Annotated[int, typer.Option(min=1, max=100)] = 2
    partitions: Annotated[int, typer.Option(help="Partitions of each topic.", min=1, max=1000)] = 3
    replication: Annotated[int, typer.Option(help="Replication factor.", min=1)] = 3
    min_isr: Annotated[int, typer.Option(help="min.insync.replicas.", min=1)] = 2
    topic_config: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A topic setting.")] = None
    broker_config: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A broker setting.")] = None
    abort_rate: Annotated[float, typer.Option(help="Share of deliberate aborts.", min=0, max=1)] = 0.05
    crash_interval: Annotated[
        float, typer.Option(help="Mean seconds between crashes of one client; 0: none.", min=0, max=LONGEST_S)
    ] = 30.0
    transaction_timeout: Annotated[
        float, typer.Option(help="transaction.timeout.ms, in seconds.", min=1, max=LONGEST_S)
    ] = 10.0
    transaction_protocol: Annotated[
        int, typer.Option(help="1 as librdkafka, 2 as Java 4 (simulated, --client native).", min=1, max=2)
    ] = 2
    client: Annotated[str, typer.Option(help="librdkafka, or native: our own, on sockets.")] = "librdkafka"
    group_protocol: Annotated[str, typer.Option(help="classic or consumer (KIP-848) groups.")] = "classic"
    nemesis_interval: Annotated[
        float | None,
        typer.Option(help="Mean seconds from fault to fault (default by cluster).", min=0.1, max=LONGEST_S),
    ] = None
    nemesis_length: Annotated[
        float | None, typer.Option(help="Mean seconds that a fault holds (default by cluster).", min=0.1, max=LONGEST_S)
    ] = None
    recovery_bound: Annotated[
        float | None, typer.Option(help="Seconds after healing until it must work again.", min=1, max=LONGEST_S)
    ] = None
    nodes: Annotated[int, typer.Option(help="Broker nodes.", min=1, max=20)] = 3
    controllers: Annotated[int, typer.Option(help="Controller nodes of their own; 0: combined.", min=0)] = 0
    kafka_version: Annotated[str, typer.Option(help="Apache Kafka's version (jvm, compose).")] = "4.1.1"
    upgrade_to: Annotated[str, typer.Option(help="The version that upgrade-rolling goes to, and back (jvm).")] = ""
    image: Annotated[str | None, typer.Option(help="Docker image (compose).")] = None
    links: Annotated[
        bool, typer.Option("--links/--no-links", help="Connections run through links that can be cut (embedded, jvm).")
    ] = True
    bootstrap: Annotated[str | None, typer.Option(help="host:port of a running cluster (existing, remote).")] = None
    client_config: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="librdkafka's settings of TLS and SASL; env:NAME as V (existing, remote)."),
    ] = None
    commands: Annotated[
        str | None, typer.Option(metavar="FILE", help="TOML with the commands that break a running cluster (remote).")
    ] = None
    app: Annotated[
        str, typer.Option(metavar="COMMAND", help="Your program, which copies input to output topics: --workload app.")
    ] = ""
    app_instances: Annotated[int, typer.Option(help="So many run side by side.", min=1, max=100)] = 2
    app_guarantee: Annotated[str, typer.Option(help="What it promises: exactly-once or at-least-once.")] = (
        "exactly-once"
    )
    app_input: Annotated[
        str, typer.Option(metavar="NAME[,NAME]", help="Topics that it reads (default: half of t0, t1, ...).")
    ] = ""
    app_output: Annotated[str, typer.Option(metavar="NAME[,NAME]", help="Topics that it writes, by name.")] = ""
    bug: Annotated[str, typer.Option(help="Plant a bug in our own broker: see `harness bugs`.")] = ""
    swarm: Annotated[
        bool, typer.Option("--swarm/--no-swarm", help="Draw what is not given from the seed (simulated).")
    ] = True


def takes_scenario_options(command: Command) -> Command:
    """Give a command these options: behind its own, but before those that are keyword-only."""
    own = inspect.signature(command, eval_str=True).parameters
    hints = get_type_hints(Declared, include_extras=True)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(Declared, name), annotation=hint)
        for name, hint in hints.items()
        if name not in own
    ]
    first = [one for one in own.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    last = [one for one in own.values() if one.kind is one.KEYWORD_ONLY]
    whole = inspect.Signature([*first, *shared, *last])
    command.__annotations__ = {name: one.annotation for name, one in whole.parameters.items()}
    command.__signature__ = whole  # type: ignore[attr-defined]  # what inspect looks for first
    return command


def by_hand(context: click.Context) -> list[str]:
    """Return the parameters of a command that its caller gave."""
    by_default = click.core.ParameterSource.DEFAULT
    return [name for name in context.params if context.get_parameter_source(name) is not by_default]


class Asked:
    """What a command line says of its runs."""

    def __init__(self, context: click.Context, given: Mapping[str, Any]) -> None:
        """Take the options' values, and from the context which of them are the caller's own.

        Raises BadParameter for an empty one: it is a variable that is not set, most often, and `--app "$APP"` without a
        program would be taken for a run of it.
        """
        asked = by_hand(context)
        for option in context.command.params:
            if option.name in asked and given.get(option.name) == "":
                raise click.BadParameter("it is empty", context, option)
        self._by_hand = frozenset(_FIELDS.get(name, name) for name in asked)
        self._given = {_FIELDS.get(name, name): value for name, value in given.items()}
        self._swarm = self._given.pop("swarm")
        for name in ("topic_config", "broker_config", "client_config"):
            self._given[name] = self._given[name] or []

    def scenario(self, **axes: Any) -> Scenario:
        """Return the scenario; axes: fields that this run has instead. Raises UsageError for what can't work."""
        from harness import options  # noqa: PLC0415  most commands make no runs, and it is long to import

        fixed = self._by_hand if self._swarm else None
        return options.scenario(fixed=fixed, by_hand=self._by_hand - axes.keys(), **{**self._given, **axes})
