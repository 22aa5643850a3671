"""One voter of the metadata quorum: elections, replication, commit (KIP-595; pre-vote KIP-996; snapshots KIP-630).

Followers pull: a fetch from offset X with the epoch of the record before it proves that the follower has the leader's
log up to X, or learns where to cut. The high watermark is the offset that a majority has reached, once it passes the
leader's first record of its own epoch. Everything a node appends is synced before its next fetch goes out, so an offset
that the leader counts is durable there; the leader's own is durable before anything that depends on it is sent.

    lower epoch in a message   refused with FENCED_LEADER_EPOCH and what we know
    higher epoch               we join it first (unattached, or follower if the sender names its leader), then look
    no leader's answer for the fetch time-out        prospective -> candidate -> leader
    no majority fetching for 1.5 fetch time-outs     a leader resigns
    a node that does not vote (an observer)          never stands; without a leader it asks voters who leads

`Listener` is told of committed records, in order, and of leadership. Kafka: KafkaRaftClient, QuorumState, LeaderState.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from broker.core.errors import Code
from broker.core.quorum.follower import Followership, leader_named
from broker.core.quorum.leader import Leadership, refusal, snapshot_refusal
from broker.core.quorum.listener import Listener
from broker.core.quorum.metadata_log import LOG, MetadataLog
from broker.core.quorum.state import QuorumConfig, Role, Vote
from broker.core.ready import Outbox, Reply, Save
from broker.core.storage import Storage
from broker.wire import record
from broker.wire.batch import CorruptBatchError
from broker.wire.messages.fetch import FetchRequest, FetchResponse
from broker.wire.messages.fetch_snapshot import FetchSnapshotRequest, FetchSnapshotResponse
from broker.wire.messages.quorum import (
    BeginPartition,
    BeginQuorumEpochRequest,
    BeginQuorumEpochResponse,
    BeginTopic,
    EndPartition,
    EndQuorumEpochRequest,
    EndQuorumEpochResponse,
    EndTopic,
    QuorumAnswer,
    QuorumAnswerTopic,
    VotePartition,
    VoteRequest,
    VoteResponse,
    VoteTopic,
    only,
)

CHANNEL = 0
"""Requests of the quorum have a connection of their own."""
_LEADER = Role.LEADER  # asked in every step; a member of an enum is found by a search in Python 3.11
STATE_FILE = f"{LOG}/quorum-state"


class Quorum:
    """See the module. Every method takes the time; `deadline_ms` says when `tick` wants to be called."""

    def __init__(
        self,
        config: QuorumConfig,
        storage: Storage,
        out: Outbox,
        *,
        rng: random.Random,
        listener: Listener,
        now_ms: int,
    ) -> None:
        self.config = config
        self.metadata = MetadataLog(storage, out)
        self._out, self._rng, self._listener = out, rng, listener
        saved = storage.load(STATE_FILE)
        vote = msgspec.json.decode(saved, type=Vote) if saved else Vote()
        self.epoch = max(vote.epoch, self.metadata.last_epoch)
        self.voted_for = vote.voted_for if vote.epoch == self.epoch else -1
        self.leader_id = -1
        self.role = Role.UNATTACHED
        self.leadership: Leadership | None = None
        self.followership: Followership | None = None
        self._votes: dict[int, bool] = {}
        self._observes = config.node_id not in config.voters
        patience_ms = self._election_timeout() - config.election_timeout_ms  # nobody was heard yet
        self._deadline_ms = now_ms if self._observes else now_ms + patience_ms
        self._inflight: dict[int, tuple[int, int]] = {}  # token -> (peer, epoch)
        self._retry_at_ms: dict[int, int] = {}  # peer -> when to ask it again

    def start(self, now_ms: int) -> None:
        """Hand the snapshot to the listener; one voter alone elects itself at once."""
        if self.metadata.snapshot is not None:
            self._listener.restored(self.metadata.snapshot, now_ms)
        if self.config.voters == (self.config.node_id,):
            self._become_candidate(now_ms)

    @property
    def is_leader(self) -> bool:
        """Whether this node leads, as far as it knows."""
        return self.role is _LEADER

    @property
    def high_watermark(self) -> int:
        """What is known to be committed."""
        return self.metadata.log.high_watermark

    @property
    def deadline_ms(self) -> int:
        """When `tick` has something to do."""
        deadline_ms = self._deadline_ms if self.leadership is None else self.leadership.deadline_ms
        return min(deadline_ms, *self._retry_at_ms.values()) if self._retry_at_ms else deadline_ms

    @property
    def _peers(self) -> list[int]:
        return [voter for voter in self.config.voters if voter != self.config.node_id]

    def _election_timeout(self) -> int:
        return self.config.election_timeout_ms + self._rng.randrange(self.config.election_timeout_ms)

    # Changes of role. Each leaves a consistent state behind; what must survive is saved first.

    def _save_vote(self) -> None:
        data = msgspec.json.encode(Vote(self.epoch, self.voted_for, self.leader_id))
        self._out.writes.append(Save(STATE_FILE, data, sync=True))

    def _enter(self, role: Role, epoch: int, now_ms: int, *, leader_id: int = -1, voted_for: int = -1) -> None:
        """Change the role; refuse to go back in epoch or to change a vote or a leader within one."""
        assert epoch >= self.epoch, (epoch, self.epoch)
        if epoch == self.epoch:
            assert self.voted_for in {-1, voted_for} or voted_for == -1, (self.voted_for, voted_for)
            assert self.leader_id in {-1, leader_id} or leader_id == -1, (self.leader_id, leader_id)
            voted_for = self.voted_for if voted_for == -1 else voted_for
        changed = (epoch, voted_for) != (self.epoch, self.voted_for)
        led = self.role is Role.LEADER
        if led and self.leadership is not None:
            self.leadership.release_all(self._out, Code.NOT_LEADER_OR_FOLLOWER, leader_id, epoch)
        self.leadership = self.followership = None
        told = (self.leader_id, self.epoch)
        self.role, self.epoch, self.voted_for, self.leader_id = role, epoch, voted_for, leader_id
        self._votes = {}
        self._retry_at_ms = {}
        if changed:
            self._save_vote()
        if role is not Role.LEADER and (led or told != (leader_id, epoch)):
            self._listener.follows(leader_id, epoch, now_ms)

    def _become_unattached(self, epoch: int, now_ms: int, *, voted_for: int = -1) -> None:
        self._enter(Role.UNATTACHED, epoch, now_ms, voted_for=voted_for)
        self._deadline_ms = now_ms + self._election_timeout()

    def _become_follower(self, epoch: int, leader_id: int, now_ms: int) -> None:
        self._enter(Role.FOLLOWER, epoch, now_ms, leader_id=leader_id)
        self.followership = Followership(self.config, epoch, self.metadata)
        self._deadline_ms = now_ms + self.config.fetch_timeout_ms
        self._fetch(now_ms)

    def _become_prospective(self, now_ms: int) -> None:
        leader_id = self.leader_id
        self._enter(Role.PROSPECTIVE, self.epoch, now_ms, leader_id=leader_id)
        self._deadline_ms = now_ms + self._election_timeout()
        self._votes = {self.config.node_id: True}
        self._ask_for_votes(now_ms)

    def _become_candidate(self, now_ms: int) -> None:
        self._enter(Role.CANDIDATE, self.epoch + 1, now_ms, voted_for=self.config.node_id)
        self._deadline_ms = now_ms + self._election_timeout()
        self._votes = {self.config.node_id: True}
        self._ask_for_votes(now_ms)

    def _become_leader(self, now_ms: int) -> None:
        self._enter(Role.LEADER, self.epoch, now_ms, leader_id=self.config.node_id)
        self._deadline_ms = 1 << 62
        self.leadership = Leadership(self.config, self.epoch, self.metadata, now_ms)
        self.metadata.append(record.leader_change(self.config.node_id, now_ms), self.epoch, now_ms)
        for peer in self._peers:
            self._begin(peer)
        self._advance(now_ms)
        self._listener.leads(self.epoch, now_ms)

    def _learn(self, epoch: int, leader_id: int, now_ms: int) -> None:
        """Take over what a message says of a higher epoch, or of the leader of ours."""
        valid = leader_id in self.config.voters and leader_id != self.config.node_id
        if epoch > self.epoch:
            if valid:
                self._become_follower(epoch, leader_id, now_ms)
            else:
                self._become_unattached(epoch, now_ms)
        elif epoch == self.epoch and valid and self.leader_id == -1:
            self._become_follower(epoch, leader_id, now_ms)

    # Elections.

    def _ask_for_votes(self, now_ms: int) -> None:
        if self._count_votes(now_ms):
            return
        for peer in self._peers:
            if peer not in self._votes:
                self._ask_for_vote(peer)

    def _ask_for_vote(self, peer: int) -> None:
        partition = VotePartition(
            replica_epoch=self.epoch,
            replica_id=self.config.node_id,
            last_offset_epoch=self.metadata.last_epoch,
            last_offset=self.metadata.end,
            pre_vote=self.role is Role.PROSPECTIVE,
        )
        topics = (VoteTopic(partitions=(partition,)),)
        self._send(peer, VoteRequest(cluster_id=self.config.cluster_id, voter_id=peer, topics=topics))

    def _count_votes(self, now_ms: int) -> bool:
        """Act on the votes so far; return whether they decided."""
        granted = sum(self._votes.values())
        if granted >= self.config.majority:
            if self.role is Role.PROSPECTIVE:
                self._become_candidate(now_ms)
            else:
                self._become_leader(now_ms)
            return True
        if len(self._votes) - granted > len(self.config.voters) - self.config.majority:
            self._lose(now_ms)
            return True
        return False

    def _lose(self, now_ms: int) -> None:
        """Back to what was before: to the leader that others still hear, else let them try first."""
        if self.leader_id >= 0:
            self._become_follower(self.epoch, self.leader_id, now_ms)
        else:
            self._become_unattached(self.epoch, now_ms)

    def vote(self, request: VoteRequest, now_ms: int) -> VoteResponse:
        """Answer a candidate or a prospective."""
        ask = only(request.topics)
        if request.cluster_id not in {None, self.config.cluster_id}:
            return VoteResponse(error_code=Code.INCONSISTENT_CLUSTER_ID)
        if ask is None:
            return VoteResponse(error_code=Code.INVALID_REQUEST)
        if ask.replica_epoch < self.epoch:
            return VoteResponse(topics=self._answer(Code.FENCED_LEADER_EPOCH))
        if ask.replica_id not in self.config.voters:
            return VoteResponse(topics=self._answer(Code.INCONSISTENT_VOTER_SET))
        self._learn(ask.replica_epoch, -1, now_ms)
        granted = self._up_to_date(ask) and self._may_vote(ask)
        if granted and not ask.pre_vote:
            self._become_unattached(self.epoch, now_ms, voted_for=ask.replica_id)
        return VoteResponse(topics=self._answer(Code.NONE, granted=granted))

    def _up_to_date(self, ask: VotePartition) -> bool:
        mine = (self.metadata.last_epoch, self.metadata.end)
        return (ask.last_offset_epoch, ask.last_offset) >= mine

    def _may_vote(self, ask: VotePartition) -> bool:
        if ask.pre_vote:  # who hears its leader does not help to depose it
            return self.role is not Role.LEADER and not (self.followership is not None and self.followership.heard)
        if self.role in {Role.LEADER, Role.FOLLOWER}:
            return False
        return self.voted_for in {-1, ask.replica_id}

    def _voted(self, peer: int, response: VoteResponse, now_ms: int) -> None:
        answer = only(response.topics)
        if answer is None or self.role not in {Role.PROSPECTIVE, Role.CANDIDATE}:
            return
        self._votes[peer] = answer.vote_granted
        self._count_votes(now_ms)

    def begin_epoch(self, request: BeginQuorumEpochRequest, now_ms: int) -> BeginQuorumEpochResponse:
        """A leader presents itself."""
        partition = only(request.topics)
        if partition is None:
            return BeginQuorumEpochResponse(error_code=Code.INVALID_REQUEST)
        if partition.leader_epoch < self.epoch:
            return BeginQuorumEpochResponse(topics=self._answer(Code.FENCED_LEADER_EPOCH))
        self._learn(partition.leader_epoch, partition.leader_id, now_ms)
        return BeginQuorumEpochResponse(topics=self._answer(Code.NONE))

    def end_epoch(self, request: EndQuorumEpochRequest, now_ms: int) -> EndQuorumEpochResponse:
        """A leader resigns: its first preferred successor stands at once, the others a little later."""
        partition = only(request.topics)
        if partition is None:
            return EndQuorumEpochResponse(error_code=Code.INVALID_REQUEST)
        if partition.leader_epoch < self.epoch:
            return EndQuorumEpochResponse(topics=self._answer(Code.FENCED_LEADER_EPOCH))
        self._learn(partition.leader_epoch, partition.leader_id, now_ms)
        if self.role is Role.FOLLOWER and self.leader_id == partition.leader_id:
            order = [info.candidate_id for info in partition.preferred_candidates] or list(
                partition.preferred_successors
            )
            mine = self.config.node_id
            rank = order.index(mine) if mine in order else len(order)
            self._become_unattached(self.epoch, now_ms)
            self._deadline_ms = now_ms + rank * self.config.election_timeout_ms // 2
        return EndQuorumEpochResponse(topics=self._answer(Code.NONE))

    def resign(self, now_ms: int) -> None:
        """Hand over: tell the voters, the best informed first (graceful shutdown)."""
        if self.leadership is None:
            return
        order = tuple(self.leadership.by_progress())
        end = EndPartition(leader_id=self.config.node_id, leader_epoch=self.epoch, preferred_successors=order)
        for peer in self._peers:
            request = EndQuorumEpochRequest(cluster_id=self.config.cluster_id, topics=(EndTopic(partitions=(end,)),))
            self._send(peer, request)
        self._become_unattached(self.epoch, now_ms)

    def _begin(self, peer: int) -> None:
        partition = BeginPartition(leader_id=self.config.node_id, leader_epoch=self.epoch)
        topics = (BeginTopic(partitions=(partition,)),)
        self._send(peer, BeginQuorumEpochRequest(cluster_id=self.config.cluster_id, voter_id=peer, topics=topics))

    def _answer(self, code: Code, *, granted: bool = False) -> tuple[QuorumAnswerTopic, ...]:
        answer = QuorumAnswer(error_code=code, leader_id=self.leader_id, leader_epoch=self.epoch, vote_granted=granted)
        return (QuorumAnswerTopic(partitions=(answer,)),)

    # The leader's side of replication.

    def fetch(self, request_id: object, request: FetchRequest, now_ms: int) -> None:
        """Answer a follower's fetch of the metadata log, now or when there is news."""
        if len(request.topics) != 1 or len(request.topics[0].partitions) != 1:
            self._out.replies.append(Reply(request_id, FetchResponse(error_code=Code.INVALID_REQUEST)))
            return
        partition = request.topics[0].partitions[0]
        replica_id = request.replica_state.replica_id if request.replica_state.replica_id >= 0 else request.replica_id
        if partition.current_leader_epoch > self.epoch:
            self._learn(partition.current_leader_epoch, -1, now_ms)
        code = Code.NONE
        if 0 <= partition.current_leader_epoch < self.epoch:
            code = Code.FENCED_LEADER_EPOCH
        elif self.leadership is None:
            code = Code.NOT_LEADER_OR_FOLLOWER
        if self.leadership is None or code:
            self._out.replies.append(Reply(request_id, refusal(code, self.leader_id, self.epoch)))
            return
        self.leadership.fetch(request_id, replica_id, partition, request.max_wait_ms, now_ms)
        self._advance(now_ms)

    def fetch_snapshot(self, request: FetchSnapshotRequest, now_ms: int) -> FetchSnapshotResponse:
        """Answer with a slice of the snapshot."""
        if self.leadership is None:
            return snapshot_refusal(Code.NOT_LEADER_OR_FOLLOWER, self.leader_id, self.epoch)
        return self.leadership.fetch_snapshot(request, now_ms)

    def append(self, values: list[bytes], now_ms: int) -> int:
        """Append records as leader, atomically; return the offset that must be committed for them to count."""
        assert self.leadership is not None, "only the leader appends"
        end = self.metadata.append_values(values, self.epoch, now_ms)
        self._advance(now_ms)
        return end

    def _advance(self, now_ms: int) -> None:
        """Move the high watermark if a majority allows, apply, and release parked fetches that have news."""
        leadership = self.leadership
        if leadership is None:
            return
        if self.metadata.log.advance_high_watermark(leadership.committed_offset()):
            self._apply(now_ms)
        if self.leadership is leadership:
            leadership.release(now_ms, self._out)

    def _apply(self, now_ms: int) -> None:
        for entry in self.metadata.take_committed():
            self._listener.committed(entry, now_ms)
        log = self.metadata.log
        if log.size > self.config.snapshot_every_bytes and self.metadata.applied > log.start:
            self.metadata.save_snapshot(self._listener.dump())

    # The follower's side.

    def _fetch(self, now_ms: int) -> None:
        """Ask the leader for what comes next; one request at a time."""
        leader = self.leader_id
        if self.followership is None or (leader, self.epoch) in self._inflight.values():
            return
        if self._retry_at_ms.get(leader, 0) > now_ms:
            return
        self._retry_at_ms.pop(leader, None)
        self._send(leader, self.followership.next_request())

    def _search(self, now_ms: int) -> None:
        """Ask a voter who leads; an observer is told of no election."""
        if self.role is not Role.UNATTACHED:
            self._become_unattached(self.epoch, now_ms)
        self._deadline_ms = now_ms + self.config.fetch_timeout_ms
        peer = self._rng.choice(self.config.voters)
        if (peer, self.epoch) not in self._inflight.values():
            self._send(peer, Followership(self.config, self.epoch, self.metadata).next_request())

    def _found(self, peer: int, message: FetchResponse, now_ms: int) -> None:
        self._learn(*leader_named(message, peer, self.epoch), now_ms)
        if self.role is Role.UNATTACHED:
            self._deadline_ms = now_ms + self.config.retry_backoff_ms

    def _fetched(self, message: FetchResponse | FetchSnapshotResponse, now_ms: int) -> None:
        followership = self.followership
        assert followership is not None
        try:
            outcome = followership.fetched(message)
        except CorruptBatchError as error:
            self._out.warnings.append(f"metadata fetch from {self.leader_id}: {error}")
            self._retry_later(self.leader_id, now_ms)
            return
        if outcome.code is not Code.NONE:
            leader = self.leader_id
            self._learn(outcome.leader_epoch, outcome.leader_id, now_ms)
            self._retry_later(leader, now_ms)
            return
        self._deadline_ms = now_ms + self.config.fetch_timeout_ms
        if outcome.snapshot is not None:
            self._listener.restored(outcome.snapshot, now_ms)
        if self.metadata.log.advance_high_watermark(outcome.high_watermark):
            self._apply(now_ms)
        self._fetch(now_ms)

    # Requests to peers, their answers, and time.

    def _send(self, peer: int, message: Any) -> None:
        token = self._out.request(peer, CHANNEL, message, self.config.request_timeout_ms)
        self._inflight[token] = (peer, self.epoch)

    def _retry_later(self, peer: int, now_ms: int) -> None:
        self._retry_at_ms[peer] = now_ms + self.config.retry_backoff_ms

    def owns(self, token: int) -> bool:
        """Return whether the request with this token is one of ours."""
        return token in self._inflight

    def answered(self, token: int, message: Any, now_ms: int) -> None:
        """Take a peer's answer. One to a request of an earlier epoch only teaches us epochs."""
        peer, epoch = self._inflight.pop(token)
        current = epoch == self.epoch
        if isinstance(message, (FetchResponse, FetchSnapshotResponse)):
            if current and self.followership is not None and peer == self.leader_id:
                self._fetched(message, now_ms)
            elif self._observes and self.role is Role.UNATTACHED and isinstance(message, FetchResponse):
                self._found(peer, message, now_ms)
            return
        answer = only(message.topics)
        if answer is not None:
            self._learn(answer.leader_epoch, answer.leader_id, now_ms)
        if isinstance(message, VoteResponse) and current and epoch == self.epoch:
            self._voted(peer, message, now_ms)
        self._fetch(now_ms)  # our question may have been in the way of the first fetch from the one who won

    def failed(self, token: int, now_ms: int) -> None:
        """A peer did not answer: ask again after the back-off, if that still matters."""
        peer, epoch = self._inflight.pop(token)
        if epoch == self.epoch and self.role in {Role.PROSPECTIVE, Role.CANDIDATE, Role.FOLLOWER}:
            self._retry_later(peer, now_ms)
        elif self._observes and self.role is Role.UNATTACHED:
            self._deadline_ms = min(self._deadline_ms, now_ms + self.config.retry_backoff_ms)

    def gone(self, peer: int, now_ms: int) -> None:
        """A peer's process has ended: nobody waits for a dead leader. Whom others hear, their pre-votes keep."""
        if self.role is Role.FOLLOWER and peer == self.leader_id:
            patience_ms = self.config.retry_backoff_ms + self._rng.randrange(self.config.election_timeout_ms // 3 + 1)
            self._deadline_ms = min(self._deadline_ms, now_ms + patience_ms)

    def tick(self, now_ms: int) -> None:
        """Do what is due."""
        for peer in [peer for peer, at_ms in self._retry_at_ms.items() if at_ms <= now_ms]:
            del self._retry_at_ms[peer]
            if self.role is Role.FOLLOWER and peer == self.leader_id:
                self._fetch(now_ms)
            elif self.role in {Role.PROSPECTIVE, Role.CANDIDATE} and peer not in self._votes:
                self._ask_for_vote(peer)
        if self.leadership is not None:
            self._tick_leader(self.leadership, now_ms)
        elif now_ms >= self._deadline_ms:
            if self._observes:
                self._search(now_ms)
            elif self.role in {Role.UNATTACHED, Role.FOLLOWER}:
                self._become_prospective(now_ms)
            else:
                self._lose(now_ms)

    def _tick_leader(self, leadership: Leadership, now_ms: int) -> None:
        if now_ms < leadership.deadline_ms:
            return
        if not leadership.has_majority(now_ms):
            self._become_unattached(self.epoch, now_ms)
            return
        for peer in leadership.silent(now_ms):
            self._begin(peer)
        leadership.release(now_ms, self._out)
