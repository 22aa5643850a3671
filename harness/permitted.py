"""What makes an anomaly legal on a correct Kafka: client settings and topic settings, each as a change of the mix.

Such a pair is left out of the mix. A run with one stays `invalid`, since records are lost or doubled all the same, but
the verdict says of each anomaly by what it is permitted (`checkers.catalog.permitted`), and a score shows it in a table
of its own: the setting, and what it was seen to do to the clean broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from harness import catalog, mix
from harness.scenario import Scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """A setting and why it permits what it does. `changes` are fields of a scenario, `topic` settings of its topics."""

    name: str
    why: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    topic: Mapping[str, str] = field(default_factory=dict)


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
    return msgspec.structs.replace(base, topic_config={**topic, **permit.topic}, **fields)
