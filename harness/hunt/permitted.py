"""What makes an anomaly legal on a correct Kafka: settings of clients, topics and network, each as a change of the mix.

Such a pair is left out of the mix. A run with one stays `invalid`, since records are lost or doubled all the same, but
the verdict says of each anomaly by what it is permitted (`checkers.catalog.permitted`), and a score shows it in a table
of its own: the setting, and what it was seen to do to the clean broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from harness import catalog
from harness.hunt import mix
from harness.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """A setting and why it permits what it does.

    `changes` are fields of a scenario, `topic` and `broker` settings of its topics and brokers; None takes one away.
    """

    name: str
    why: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    topic: Mapping[str, str | None] = field(default_factory=dict)
    broker: Mapping[str, str | None] = field(default_factory=dict)


_PLAIN: Mapping[str, Any] = {"workload": "send-poll", "isolation": "read_committed", "id_sharers": 1}

PERMITS: Mapping[str, Permit] = {
    permit.name: permit
    for permit in (
        Permit(
            name="acks=1",
            why="the leader answers before anybody else has the record: it is lost with the leader (A3)",
            changes={**_PLAIN, "acks": "1", "idempotence": False, "nemesis": "pause-followers+kill-leader,kill-leader"},
        ),
        Permit(
            name="idempotence=false",
            why="a retry whose first try was appended is appended again (I1)",
            changes={**_PLAIN, "idempotence": False, "nemesis": "kill-leader,pause-leader,partition-leader"},
        ),
        Permit(
            name="unclean election",
            why="a replica that lacks acknowledged records may lead (A1, KIP-106)",
            changes={"nemesis": "kill-follower+kill-leader", "replication": 2, "min_isr": 1},
            topic={"unclean.leader.election.enable": "true"},
        ),
        Permit(
            name="protocol v1",
            why="an EndTxn that comes late, after its retry was answered, ends the next transaction (KAFKA-17754)",
            changes={
                "workload": "txn",
                "isolation": "read_committed",
                "transaction_protocol": 1,
                "id_sharers": 1,
                "nemesis": "none",
                "time_limit_s": 60.0,
                "transaction_timeout_s": 10.0,
                "abort_rate": 0.3,
            },
            broker={"harness.sim.stall.chance": "0.004", "harness.sim.stall.ms": "3050-3600"},
        ),
        Permit(
            name="unsynced loss",
            why="acknowledged is what is replicated, not what is on a disk: power that all lose at once takes it (A4)",
            changes={"nemesis": "lose-power-all"},
            topic={"flush.messages": None},
            broker={"log.flush.interval.messages": None},
        ),
        Permit(
            name="read_uncommitted",
            why="readers see transactions that are open, or that abort (T2)",
            changes={"workload": "txn", "isolation": "read_uncommitted"},
        ),
    )
}


def scenario(seed: int, name: str) -> Scenario:
    """Return the mix's scenario of the seed with the setting, on three nodes."""
    permit, base = PERMITS[name], mix.scenario(seed)
    fields: dict[str, Any] = {"nodes": 3, "replication": 3, "min_isr": 2, **permit.changes}
    own = catalog.workload(base.workload).topic_config if "workload" in permit.changes else {}
    topic = {name: value for name, value in base.topic_config.items() if name not in own}
    return msgspec.structs.replace(
        base, topic_config=_with(topic, permit.topic), broker_config=_with(base.broker_config, permit.broker), **fields
    )


def _with(settings: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    changed: dict[str, str | None] = {**settings, **changes}
    return {name: value for name, value in changed.items() if value is not None}
