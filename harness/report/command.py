"""The command that repeats a run: `harness run` with the seed and every option that is not its default.

A scripted run is repeated from its folder.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import msgspec

from harness import swarm
from harness.clients.packing import BY_DEFAULT
from harness.scenario import Commands, Scenario

_FLAGS = {
    "workload": "--workload",
    "cluster": "--cluster",
    "nemesis": "--nemesis",
    "time_limit_s": "--time-limit",
    "concurrency": "--concurrency",
    "rate": "--rate",
    "isolation": "--isolation",
    "acks": "--acks",
    "id_sharers": "--id-sharers",
    "compression": "--compression",
    "value_size": "--value-size",
    "sub_via": "--sub-via",
    "topics": "--topics",
    "partitions": "--partitions",
    "replication": "--replication",
    "min_isr": "--min-isr",
    "topic_config": "--topic-config",
    "broker_config": "--broker-config",
    "abort_rate": "--abort-rate",
    "crash_interval_s": "--crash-interval",
    "transaction_timeout_s": "--transaction-timeout",
    "transaction_protocol": "--transaction-protocol",
    "client": "--client",
    "fault_interval_s": "--nemesis-interval",
    "group_protocol": "--group-protocol",
    "fault_length_s": "--nemesis-length",
    "recovery_bound_s": "--recovery-bound",
    "nodes": "--nodes",
    "controllers": "--controllers",
    "kafka_version": "--kafka-version",
    "upgrade_to": "--upgrade-to",
    "image": "--image",
    "bootstrap": "--bootstrap",
    "client_config": "--client-config",
    "commands": "--commands",
    "app": "--app",
    "app_instances": "--app-instances",
    "app_guarantee": "--app-guarantee",
    "app_input": "--app-input",
    "app_output": "--app-output",
    "bug": "--bug",
}
_ALWAYS = frozenset({"cluster", "nemesis"})
"""Said even where they are the default: they say what the run is, and a default may change with a release."""


_BY_CLUSTER = frozenset({"fault_length_s", "fault_interval_s", "recovery_bound_s"})
"""What the command line chooses by the cluster when it is not told: left out only for the default cluster."""


def repeat_command(scenario: Scenario, folder: Path | None = None) -> str:
    """Return the command line, quoted for a POSIX shell; folder: the run's."""
    return " ".join(repeat_parts(scenario, folder))


def repeat_parts(scenario: Scenario, folder: Path | None = None) -> list[str]:
    """Return the command line in the pieces that belong together: the command, then each option with its value."""
    if scenario.scripted:
        return ["harness replay", shlex.quote(str(folder or "."))]
    parts, default = ["harness run"], Scenario()
    if scenario.cluster == swarm.SIMULATED:
        if swarm.is_drawn(scenario):
            default = msgspec.structs.replace(default, **swarm.draw(scenario.seed, scenario.nemesis, scenario.workload))
        else:
            parts.append("--no-swarm")
    else:
        default = msgspec.structs.replace(default, **BY_DEFAULT)
    for name, flag in _FLAGS.items():
        value = getattr(scenario, name)
        chosen = name in _BY_CLUSTER and scenario.cluster != default.cluster
        if name in _ALWAYS or chosen or value != getattr(default, name):
            parts += [shlex.join(option) for option in _options(flag, value)]
    if scenario.keep_producers:
        parts.append("--keep-producers")
    if not scenario.idempotence:
        parts.append("--no-idempotence")
    if not scenario.links:
        parts.append("--no-links")
    return [*parts, f"--seed {scenario.seed}"]


def _options(flag: str, value: Any) -> list[list[str]]:
    if isinstance(value, Commands):
        return [[flag, value.file]]
    if isinstance(value, dict):
        return [[flag, f"{key}={setting}"] for key, setting in value.items()]
    if isinstance(value, tuple):
        return [[flag, ",".join(value)]]
    return [[flag, f"{value:g}" if isinstance(value, float) else str(value)]]


def settings(scenario: Scenario) -> list[tuple[str, str]]:
    """Return every field of the scenario with its value as text."""
    fields: dict[str, Any] = msgspec.to_builtins(scenario)
    return [(name, _said(value)) for name, value in fields.items()]


def _said(value: Any) -> str:
    match value:
        case None | "" | {} | []:
            return "none"
        case dict():
            return ", ".join(f"{key}={setting}" for key, setting in value.items())
        case list():
            return ", ".join(str(one) for one in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)
