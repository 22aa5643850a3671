"""Vote (52), BeginQuorumEpoch (53) and EndQuorumEpoch (54): the elections of the metadata quorum (KIP-595, KIP-996).

All three carry a list of topics and partitions of which there is only one, __cluster_metadata-0; `only` unwraps it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID

METADATA_TOPIC = "__cluster_metadata"


class VotePartition(Part, frozen=True, kw_only=True, gc=False):
    """Who asks for a vote, in which epoch, and how far its log reaches; a pre-vote binds nobody."""

    partition_index: int = 0
    replica_epoch: int = 0
    replica_id: int = 0
    replica_directory_id: bytes = NO_UUID
    voter_directory_id: bytes = NO_UUID
    last_offset_epoch: int = 0
    last_offset: int = 0
    pre_vote: bool = False


class VoteTopic(Part, frozen=True, kw_only=True, gc=False):
    """The one topic."""

    topic_name: str = METADATA_TOPIC
    partitions: tuple[VotePartition, ...] = ()


class VoteRequest(Request, frozen=True, kw_only=True, gc=False):
    """A prospective or a candidate asks a voter."""

    api: ClassVar[Api] = Api.VOTE
    cluster_id: str | None = None
    voter_id: int = -1
    topics: tuple[VoteTopic, ...] = ()


class QuorumAnswer(Part, frozen=True, kw_only=True, gc=False):
    """Whom the answering node takes for the leader (-1: nobody), and its epoch; `vote_granted` only in Vote."""

    partition_index: int = 0
    error_code: int = 0
    leader_id: int = -1
    leader_epoch: int = 0
    vote_granted: bool = False


class QuorumAnswerTopic(Part, frozen=True, kw_only=True, gc=False):
    """The one topic."""

    topic_name: str = METADATA_TOPIC
    partitions: tuple[QuorumAnswer, ...] = ()


class VoteResponse(Response, frozen=True, kw_only=True, gc=False):
    """The vote."""

    api: ClassVar[Api] = Api.VOTE
    error_code: int = 0
    topics: tuple[QuorumAnswerTopic, ...] = ()


class BeginPartition(Part, frozen=True, kw_only=True, gc=False):
    """Who leads which epoch."""

    partition_index: int = 0
    voter_directory_id: bytes = NO_UUID
    leader_id: int = -1
    leader_epoch: int = 0


class BeginTopic(Part, frozen=True, kw_only=True, gc=False):
    """The one topic."""

    topic_name: str = METADATA_TOPIC
    partitions: tuple[BeginPartition, ...] = ()


class BeginQuorumEpochRequest(Request, frozen=True, kw_only=True, gc=False):
    """The leader presents itself to a voter that does not fetch from it."""

    api: ClassVar[Api] = Api.BEGIN_QUORUM_EPOCH
    cluster_id: str | None = None
    voter_id: int = -1
    topics: tuple[BeginTopic, ...] = ()


class BeginQuorumEpochResponse(Response, frozen=True, kw_only=True, gc=False):
    """The voter follows, or knows better."""

    api: ClassVar[Api] = Api.BEGIN_QUORUM_EPOCH
    error_code: int = 0
    topics: tuple[QuorumAnswerTopic, ...] = ()


class ReplicaInfo(Part, frozen=True, kw_only=True, gc=False):
    """A voter that should stand next."""

    candidate_id: int = -1
    candidate_directory_id: bytes = NO_UUID


class EndPartition(Part, frozen=True, kw_only=True, gc=False):
    """Who resigns; the first of the preferred stands at once, the others a little later."""

    partition_index: int = 0
    leader_id: int = -1
    leader_epoch: int = 0
    preferred_successors: tuple[int, ...] = ()
    preferred_candidates: tuple[ReplicaInfo, ...] = ()


class EndTopic(Part, frozen=True, kw_only=True, gc=False):
    """The one topic."""

    topic_name: str = METADATA_TOPIC
    partitions: tuple[EndPartition, ...] = ()


class EndQuorumEpochRequest(Request, frozen=True, kw_only=True, gc=False):
    """The leader resigns."""

    api: ClassVar[Api] = Api.END_QUORUM_EPOCH
    cluster_id: str | None = None
    topics: tuple[EndTopic, ...] = ()


class EndQuorumEpochResponse(Response, frozen=True, kw_only=True, gc=False):
    """Noted."""

    api: ClassVar[Api] = Api.END_QUORUM_EPOCH
    error_code: int = 0
    topics: tuple[QuorumAnswerTopic, ...] = ()


def only(topics: tuple[VoteTopic | BeginTopic | EndTopic | QuorumAnswerTopic, ...]) -> Any:
    """Return the one partition of the one topic, None where a peer sent something else."""
    if len(topics) != 1 or topics[0].topic_name != METADATA_TOPIC or len(topics[0].partitions) != 1:
        return None
    return topics[0].partitions[0]
