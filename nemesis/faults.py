"""The faults by name, as `--nemesis` and `harness list` know them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nemesis.applications import OF_APPLICATIONS
from nemesis.away import ReplicaAway
from nemesis.bad_links import CutClients, LossyLinks, SlowFollower, SlowLinks
from nemesis.clocks import BumpClock, StrobeClock
from nemesis.configuration import ChangeConfig
from nemesis.controllers import KillController
from nemesis.coordinators import OfCoordinator
from nemesis.disks import FillDisk, RotFollower
from nemesis.fault import Fault
from nemesis.growth import AddPartitions
from nemesis.kills import KillAll, KillFollower, KillLeader, KillLeaders, KillRandom
from nemesis.partitions import (
    DeafenLeader,
    MuteLeader,
    PartitionBridge,
    PartitionLeader,
    PartitionMinority,
    PartitionRing,
)
from nemesis.pauses import PauseFollowers, PauseLeader
from nemesis.power import LAST_REPLICAS, LosePower, LosePowerAll
from nemesis.reassignment import MoveLeader, Reassign
from nemesis.requests import LateRequests, LoseAnswers
from nemesis.rolling import RestartRolling, UpgradeRolling

NONE = "none"
"""The name that asks for no fault at all; it stands alone."""

UPGRADE = UpgradeRolling.name

ALL = "all"
"""The name that asks for every single fault that the cluster supports, but those that stand apart."""

_OF = "the coordinator of a group, a transactional id or a share group's partition"
COORDINATORS: tuple[Fault, ...] = (
    OfCoordinator("kill-coordinator", f"SIGKILL {_OF}; starts it again", KillLeader()),
    OfCoordinator("pause-coordinator", f"SIGSTOP {_OF}; lets it go on", PauseLeader()),
    OfCoordinator(
        "partition-coordinator", f"cut {_OF} off from the other nodes; clients still reach it", PartitionLeader()
    ),
    OfCoordinator("move-coordinator", f"have another node elected as {_OF}; then give it back", MoveLeader()),
    OfCoordinator("reassign-coordinator", f"as reassign, of what {_OF} keeps", Reassign()),
)
"""Those that need a run with a group or a transactional id."""

APART = frozenset({LateRequests.name, *(fault.name for fault in LAST_REPLICAS), BumpClock.name, StrobeClock.name})
"""Those that `all` does not stand for: not every correct Kafka stands them, or nodes have to be started for them."""

_KINDS: tuple[Fault, ...] = (
    KillLeader(),
    PauseLeader(),
    PartitionLeader(),
    PauseFollowers(),
    KillFollower(),
    KillRandom(),
    KillAll(),
    LosePower(),
    ReplicaAway(),
    SlowLinks(),
    LossyLinks(),
    CutClients(),
    KillController(),
    LosePowerAll(),
    KillLeaders(),
    SlowFollower(),
    RestartRolling(),
    FillDisk(),
    RotFollower(),
    MoveLeader(),
    Reassign(),
    ChangeConfig(),
    AddPartitions(),
    *COORDINATORS,
    LoseAnswers(),
    LateRequests(),
    MuteLeader(),
    DeafenLeader(),
    PartitionMinority(),
    PartitionBridge(),
    PartitionRing(),
    UpgradeRolling(),
    *LAST_REPLICAS,
    BumpClock(),
    StrobeClock(),
    *OF_APPLICATIONS,
)

FAULTS: Mapping[str, Fault] = MappingProxyType({fault.name: fault for fault in _KINDS})
"""Every fault by its name, in the order in which they are listed."""


def summaries() -> dict[str, str]:
    """Return one line for each name that `--nemesis` takes."""
    lines = {fault.name: fault.summary for fault in FAULTS.values()}
    apart = ", ".join(name for name in FAULTS if name in APART)
    return lines | {NONE: "no fault", ALL: f"every fault that the cluster supports, but {apart}"}
