"""One consumer's membership of a classic group: join, sync, beat, and begin anew when the group rebalances.

    joining -> syncing -> (application takes its share) -> beating --rebalance--> (application gives up) -> joining
                                                             '------lost--------> (application hears it) -> joining

The application takes and gives up partitions inside `poll`, which calls `changes`; the group waits for it, and
heartbeats go on meanwhile. With an eager assignor everything is given up before each rebalance; with a cooperative one
only what goes to others, and then the member joins once more so that they get it (KIP-429). A member that is not of the
group any more, or has heard nothing for the session time-out, has *lost* its partitions: others may have them already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from broker.sim.client.assignors import (
    Subscription,
    assign,
    decode_assignment,
    decode_subscription,
    encode_assignment,
    encode_subscription,
)
from broker.sim.client.config import COOPERATIVE, ConsumerConfig
from broker.sim.client.contact import Contact
from broker.sim.client.coordinator import Coordinator
from broker.sim.client.errors import ClientError
from broker.sim.client.holding import Holding, Rebalance
from broker.sim.client.metadata import Partition
from broker.sim.loop import Future
from broker.wire.messages.heartbeat import HeartbeatRequest
from broker.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse
from broker.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from broker.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

JOIN_VERSION: Final = 7
SYNC_VERSION: Final = 5
BEAT_VERSION: Final = 4
LEAVE_VERSION: Final = 4
PROTOCOL_TYPE: Final = "consumer"
MEMBER_ID_REQUIRED: Final = 79
JOIN_GRACE_MS: Final = 5000
"""A JoinGroup is answered when all have joined: the rebalance time-out, and this."""
OUT: Final = frozenset({"UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID"})
"""The member is out of the group: it begins as a new one."""


class Membership(Holding):
    """See the module. `wake` ends the wait of a poll."""

    def __init__(
        self, contact: Contact, config: ConsumerConfig, coordinator: Coordinator, wake: Callable[[], None]
    ) -> None:
        """Prepare; `subscribe` joins."""
        assert config.group_id is not None
        super().__init__(contact, -1, wake)
        self._config, self._coordinator = config, coordinator
        self._group_id = config.group_id
        self._topics: tuple[str, ...] = ()
        self._signal: Future[None] = contact.loop.future()
        self._is_running = False

    def subscribe(self, topics: tuple[str, ...], listener: Rebalance) -> None:
        """Want these topics from now on."""
        self._topics, self._listener = topics, listener
        for topic in topics:
            self._contact.watch(topic)
        if self._is_running:
            self._signal.set(None)
        else:
            self._is_running = True
            self._contact.spawn(self._run(), f"{self._config.client.client_id} group")

    async def leave(self, timeout_ms: float) -> None:
        """Tell the group that this member goes; what goes wrong is of no interest any more."""
        if not self.member_id:
            return
        member = MemberIdentity(member_id=self.member_id)
        ask = LeaveGroupRequest(group_id=self._group_id, members=(member,))
        deadline_ms = self._contact.loop.now_ms + timeout_ms
        try:
            await self._coordinator.ask(ask, LEAVE_VERSION, deadline_ms, lambda one: one.error_code)
        except ClientError:
            return

    async def _run(self) -> None:
        """Be a member until the client is closed."""
        loop, attempt = self._contact.loop, 0
        while True:
            self._signal = loop.future()
            try:
                share, is_eager = await self._join()
            except ClientError as error:
                if error.name in OUT:
                    self.member_id = ""
                    await self._give_up(lost=True)
                attempt += 1
                await loop.sleep(self._contact.backoff_ms(attempt))
                continue
            attempt, self._is_lost = 0, False
            beating = self._contact.spawn(self._beat(), f"{self._config.client.client_id} heartbeat")
            taken = () if is_eager else tuple(key for key in self._owned if key not in share)
            given = tuple(key for key in share if key not in self._owned)
            if taken:
                await self._change("revoked", taken)
            if given or not taken:
                await self._change("assigned", given)
            if not taken or self._is_lost:
                await self._signal
                if self._is_lost or is_eager:
                    await self._give_up(lost=False)
            beating.cancel()

    async def _give_up(self, *, lost: bool) -> None:
        """Let the application give up all that it has."""
        self._is_lost = self._is_lost or lost
        if self._owned:
            await self._change("revoked", self._owned)

    # Talking to the coordinator.

    async def _join(self) -> tuple[tuple[Partition, ...], bool]:
        """Enter the next generation; return the share, and whether the assignor is eager. Raises ClientError."""
        config, loop = self._config, self._contact.loop
        metadata = encode_subscription(Subscription(self._topics, self._owned))
        wait_ms = config.rebalance_timeout_ms + JOIN_GRACE_MS
        answer: JoinGroupResponse
        for _ in range(2):  # the first join may only bring the member id (KIP-394)
            ask = JoinGroupRequest(
                group_id=self._group_id,
                session_timeout_ms=config.session_timeout_ms,
                rebalance_timeout_ms=config.rebalance_timeout_ms,
                member_id=self.member_id,
                protocol_type=PROTOCOL_TYPE,
                protocols=tuple(JoinGroupRequestProtocol(name=name, metadata=metadata) for name in config.assignors),
            )
            code_of = _join_code
            answer = await self._coordinator.ask(ask, JOIN_VERSION, loop.now_ms + wait_ms, code_of, timeout_ms=wait_ms)
            self.member_id = answer.member_id
            if not answer.error_code:
                break
        if answer.error_code:
            raise ClientError("MEMBER_ID_REQUIRED", "twice in a row")
        self.generation = answer.generation_id
        return await self._sync(answer), answer.protocol_name != COOPERATIVE

    async def _sync(self, joined: JoinGroupResponse) -> tuple[Partition, ...]:
        assignments: tuple[SyncGroupRequestAssignment, ...] = ()
        if joined.leader == self.member_id:
            assignments = await self._deal(joined)
        ask = SyncGroupRequest(
            group_id=self._group_id,
            generation_id=self.generation,
            member_id=self.member_id,
            protocol_type=PROTOCOL_TYPE,
            protocol_name=joined.protocol_name,
            assignments=assignments,
        )
        wait_ms = self._config.rebalance_timeout_ms + JOIN_GRACE_MS
        deadline_ms = self._contact.loop.now_ms + wait_ms
        answer = await self._coordinator.ask(
            ask, SYNC_VERSION, deadline_ms, lambda one: one.error_code, timeout_ms=wait_ms
        )
        return decode_assignment(answer.assignment)

    async def _deal(self, joined: JoinGroupResponse) -> tuple[SyncGroupRequestAssignment, ...]:
        """As the group's leader, say who reads what."""
        members = {member.member_id: decode_subscription(member.metadata) for member in joined.members}
        counts = self._contact.metadata.counts
        deadline_ms = self._contact.loop.now_ms + self._config.session_timeout_ms
        wanted = sorted({topic for one in members.values() for topic in one.topics})
        for topic in wanted:
            self._contact.watch(topic)
        while any(topic not in counts for topic in wanted):
            await self._contact.until(self._contact.refresh(), deadline_ms)
        shares = assign(joined.protocol_name or "", members, counts)
        return tuple(
            SyncGroupRequestAssignment(member_id=member, assignment=encode_assignment(share))
            for member, share in shares.items()
        )

    async def _beat(self) -> None:
        """Beat until out of the group; set the signal when the group rebalances or this member is out."""
        config, loop = self._config, self._contact.loop
        while True:
            await loop.sleep(config.heartbeat_interval_ms)
            ask = HeartbeatRequest(group_id=self._group_id, generation_id=self.generation, member_id=self.member_id)
            deadline_ms = loop.now_ms + config.session_timeout_ms
            try:
                await self._coordinator.ask(ask, BEAT_VERSION, deadline_ms, lambda one: one.error_code)
            except ClientError as error:
                if error.name != "REBALANCE_IN_PROGRESS":
                    self._is_lost = True
                    if error.name in OUT:
                        self.member_id = ""
                    self._signal.set(None)
                    return
                self._signal.set(None)


def _join_code(answer: JoinGroupResponse) -> int:
    """Return the error, but for the one that brings a member id."""
    return 0 if answer.error_code == MEMBER_ID_REQUIRED else answer.error_code
