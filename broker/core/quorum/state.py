"""What a quorum node is at the moment, and what of it must survive a crash.

    unattached    knows an epoch, no leader; may have voted. Waits for a leader or for its election time-out
    prospective   asks for pre-votes in its present epoch (KIP-996): disturbs nobody if it can't win
    candidate     has raised the epoch, voted for itself, asks for votes
    leader        won its epoch; resigns when a majority stops fetching
    follower      fetches from the leader of its epoch; stands when it hears nothing for the fetch time-out

`Vote` is the durable part: epoch and whom it voted for in it. It is saved with sync before any answer that depends on
it goes out, so that no node votes twice in an epoch.
"""

from __future__ import annotations

import enum

import msgspec

from broker.wire.messages.fetch import FetchPartition


class Role(enum.Enum):
    """See the module."""

    UNATTACHED = "unattached"
    PROSPECTIVE = "prospective"
    CANDIDATE = "candidate"
    LEADER = "leader"
    FOLLOWER = "follower"


class Vote(msgspec.Struct, frozen=True):
    """The durable state of a voter: the highest epoch that it has seen, its vote in it, and its leader if known."""

    epoch: int = 0
    voted_for: int = -1
    leader_id: int = -1


class QuorumConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who votes, and Kafka's `controller.quorum.*` times."""

    node_id: int
    voters: tuple[int, ...]
    cluster_id: str = ""
    election_timeout_ms: int = 1000
    fetch_timeout_ms: int = 2000
    request_timeout_ms: int = 2000
    retry_backoff_ms: int = 20
    max_wait_ms: int = 500
    snapshot_every_bytes: int = 20 * 1024 * 1024
    fetch_max_bytes: int = 8 * 1024 * 1024

    @property
    def wait_ms(self) -> int:
        """How long a fetch may wait at the leader: an idle quorum must not look like a dead one."""
        return min(self.max_wait_ms, self.fetch_timeout_ms // 4)

    @property
    def majority(self) -> int:
        """How many voters decide."""
        return len(self.voters) // 2 + 1


class Progress(msgspec.Struct):
    """What a leader knows of one replica: log end, when it fetched and was caught up, the watermark it was told."""

    end: int = -1
    fetched_ms: int = -1
    caught_up_ms: int = -1
    told_high_watermark: int = -1


class Parked(msgspec.Struct, frozen=True):
    """A fetch that waits for news until its deadline."""

    request_id: object
    replica_id: int
    partition: FetchPartition
    deadline_ms: int
