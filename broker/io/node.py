"""The driver of one node: feeds `Broker.step` with what the sockets and the clock bring, and performs every Ready.

Order (the contract of `broker.core.ready`): a step's writes are performed before the next step. Its replies and
requests are collected, and go out once per turn of the event loop, after everything that the collected steps wanted
synced is durable. A sync runs on a thread of its own; what is collected meanwhile waits for the next round, so that
nothing overtakes a sync that came before it:

    step: write | step: write | ... -> one sync -> one send -> ...

One timer for the whole node: the core says when it wants to be woken. The clock is the wall clock of the start plus
monotonic time: it never falls, and an adjusted clock does not end sessions.

Errors: a client's go back to the client. An error of the disk or inside the core ends the process at once, without any
further write or answer: what is in memory can't be trusted any more, and a restart recovers from what is on the disk.

Stop (SIGTERM): the core hands leaderships over, syncs, and leaves its mark; then connections are closed. It gets
`STOP_TIMEOUT_S` for that; without a controller nobody can take over, and the node goes without the mark.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import socket
from collections.abc import Iterator

from broker.core import queries
from broker.core.broker import Broker
from broker.core.errors import Code
from broker.core.lifecycle import Life
from broker.core.metadata.image import scram_key
from broker.core.ready import (
    Append,
    Event,
    Outbox,
    PeerReply,
    PeerRequest,
    Ready,
    Reply,
    Request,
    Tick,
    Truncate,
    Write,
)
from broker.core.security.rules import Narrowed
from broker.core.share.sessions import CLOSE_EPOCH
from broker.io import door, tokens, volume
from broker.io.clock import Clock
from broker.io.connection import Connection, Memory, Slot
from broker.io.disk import Disk, ShortReadError, SyncJob
from broker.io.door import Answered, Asked
from broker.io.peers import Peers
from broker.io.rights import Rights
from broker.io.session import Session
from broker.io.settings import Settings
from broker.io.stream import Chunk, Listener
from broker.io.throttle import Throttle
from broker.wire.apis import Api
from broker.wire.errors import WireError
from broker.wire.frame import frame
from broker.wire.message import Request as WireRequest
from broker.wire.message import Response
from broker.wire.messages.describe_quorum import DescribeQuorumResponse
from broker.wire.messages.fetch import FetchResponse, Region
from broker.wire.messages.produce import ProduceRequest
from broker.wire.messages.sasl_authenticate import SaslAuthenticateRequest
from broker.wire.messages.sasl_handshake import SaslHandshakeRequest
from broker.wire.messages.share_fetch import ShareFetchRequest, ShareFetchResponse

STOP_TIMEOUT_S = 10.0
"""Leaderships are handed over within a heartbeat or two; a supervisor kills after 10 s or more."""
IDLE_CHECK_S = 30.0
"""How often idle connections are looked for."""
QUERY_CHANNEL = 16
"""Questions that the active controller must answer; the core's channels have lower numbers."""
QUERY_TIMEOUT_MS = 5000
FATAL_EXIT = 70
"""EX_SOFTWARE: the node gave up on itself; see the module."""
_ABOUT_WHO_ASKS = frozenset({SaslHandshakeRequest, SaslAuthenticateRequest, *tokens.REQUESTS})


class Node:
    """See the module; also what a `Connection` and the metrics need. `run` in an event loop, once."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        """Take the folder and recover; raises FolderInUseError, OSError."""
        self.settings, self.log = settings, log
        self.memory = Memory(settings.limits.max_memory_bytes)
        self.max_request_bytes = settings.limits.max_request_bytes
        self.counts: dict[int, int] = {}
        self.request_bytes: dict[int, int] = {}
        self.connections: dict[Connection, None] = {}
        self.disk = Disk(settings.folder)
        self._clock = Clock(settings.clock)
        seed = random.SystemRandom().getrandbits(64)
        self.broker = Broker(settings.core, self.disk, seed, self._clock.now_ms(), Outbox(self._send_early))
        self._security = settings.security
        self._peers = Peers(
            settings.core.node_id, settings.peers, self._peer_event, settings.security.to_nodes, self._registered
        )
        self._throttle = Throttle(lambda: self.broker.image, self.now_ms)
        self._sync: dict[str, None] = {}
        self._replies: list[Reply] = []
        self._requests: list[PeerRequest] = []
        self._unsent: list[Reply] = []  # what waits for the sync that is running
        self._cuts = 0
        self._flush_planned = self._syncing = self._in_turn = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._questions: dict[int, Slot] = {}
        self._share_members: dict[tuple[str, str], Connection] = {}  # where a member of a share group asked last
        self._tokens = itertools.count(-1, -1)  # the core's are positive
        self._ended = asyncio.Event()
        self._life = self.broker.lifecycle.life
        self._to_clients: Listener | None = None

    def now_ms(self) -> int:
        """Return the time by which the node waits; the core is told how far the clock on its wall is off."""
        now_ms = self._clock.now_ms()
        self.broker.replicas.skew_ms = self._clock.skew_ms(now_ms)
        return now_ms

    async def run(self) -> None:
        """Serve until the node has stopped in order."""
        loop = asyncio.get_running_loop()
        settings = self.settings
        if settings.client_address is not None:
            self._to_clients = Listener(loop, settings.client_address, lambda one: self._connected(one, to_nodes=False))
        to_nodes = Listener(loop, settings.node_address, lambda one: self._connected(one, to_nodes=True)).open()
        for_clients = "{}:{}".format(*settings.client_address) if settings.client_address else "not served"
        self.log.info("Kafka Server started: clients %s, nodes %s:%d", for_clients, *settings.node_address)
        self.step(Tick())
        idle = loop.call_later(IDLE_CHECK_S, self._close_idle)
        try:
            await self._ended.wait()
        finally:
            idle.cancel()
            for listener in filter(None, (to_nodes, self._to_clients)):
                listener.close()
            self._peers.close()
            for connection in list(self.connections):
                connection.close()
            await asyncio.sleep(0)
            self.disk.close()
            self._clock.close()
        self.log.info("stopped%s", "" if self.broker.is_stopped else " without handing over: nobody answered in time")

    def _registered(self, peer: int) -> tuple[str, int] | None:
        """Return where a node listens for nodes, by its registration."""
        broker = self.broker.image.brokers.get(peer)
        inner = broker.endpoints[1:2] if broker is not None else ()
        return (inner[0].host, inner[0].port) if inner else None

    def _connected(self, connection: socket.socket, *, to_nodes: bool) -> None:
        guard = self._security.nodes if to_nodes else self._security.clients
        session = Session(guard, lambda mechanism, user: self.broker.image.scram.get(scram_key(mechanism, user)))
        Connection(
            self,
            connection,
            to_nodes=to_nodes,
            expects_answer=_expects_answer,
            session=session,
            context=guard.tls,
        )

    def stop(self) -> None:
        """Begin an orderly stop."""
        self.log.info("stopping")
        self._perform(self.broker.stop(self.now_ms()))
        asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, self._ended.set)

    # Steps.

    def step(self, event: Event) -> None:
        """Let the core handle an event, and perform what can be performed at once."""
        try:
            self._perform(self.broker.step(event, self.now_ms()))
        except Exception:  # noqa: BLE001 - the door of the process: see the module on errors
            self._give_up(event)

    def _perform(self, ready: Ready) -> None:
        if ready.writes:
            self.disk.write(ready.writes)
            if self.disk.cuts != self._cuts:
                self._forget_cut(ready.writes)
        for log in ready.sync:
            self._sync[log] = None
        self._replies += ready.replies
        self._requests += ready.requests
        for warning in ready.warnings:
            self.log.warning("%s", warning)
        if ready.wake_at_ms is not None:
            self._arm(ready.wake_at_ms)
        self._plan_flush()
        life = self.broker.lifecycle.life
        if life is not self._life:
            self.log.info("%s -> %s", self._life.value, life.value)
            self._life = life
            if life is Life.RUNNING and self._to_clients is not None:
                self._to_clients.open()  # what it knew before is old: clients would hear who led in its last life

    def _send_early(self, out: Outbox) -> None:
        """Answer within a step, unless something must be durable before, a log is cut, or another step would begin."""
        slot: Slot = out.replies[-1].id
        if slot.connection.is_paused:
            return
        if self._syncing or self._sync or out.sync or not all(isinstance(write, Append) for write in out.writes):
            return
        writes, out.writes = out.writes, []
        self.disk.write(writes)
        self._send([out.replies.pop()], [])

    def _forget_cut(self, writes: list[Write]) -> None:
        """A log was cut: an answer that waits to be read from it would say something else, so its connection goes."""
        self._cuts = self.disk.cuts
        logs = {write.log for write in writes if isinstance(write, Truncate)}
        for reply in (*self._replies, *self._unsent):
            if isinstance(reply.message, FetchResponse | ShareFetchResponse) and not logs.isdisjoint(
                _logs_of(reply.message)
            ):
                reply.id.connection.abort()

    def _give_up(self, event: object) -> None:
        self.log.critical("this node can't go on; it failed at %s", type(event).__name__, exc_info=True)  # noqa: LOG014 - called in handlers
        logging.shutdown()
        os._exit(FATAL_EXIT)

    def _arm(self, wake_at_ms: int) -> None:
        """Set the timer, unless it goes off early enough: then it will look again."""
        if self._timer is not None:
            if self._timer_ms <= wake_at_ms:
                return
            self._timer.cancel()
        self._timer_ms = wake_at_ms
        wake_s = wake_at_ms / 1000 - self._clock.anchor_s
        self._timer = asyncio.get_running_loop().call_at(wake_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.step(Tick())

    # Syncs and sends.

    def _plan_flush(self) -> None:
        """Send before long: at the end of the turn in which something is received, else in the loop's next round."""
        if self._flush_planned or self._syncing:
            return
        self._flush_planned = True
        if not self._in_turn:
            asyncio.get_running_loop().call_soon(self._flush)

    def begin_turn(self) -> None:
        """Bytes have come in: what they lead to goes out together, by `end_turn`."""
        self._in_turn = not self._flush_planned

    def end_turn(self) -> None:
        """Send what the turn has led to."""
        if self._in_turn:
            self._in_turn = False
            if self._flush_planned:
                self._flush()

    def _flush(self) -> None:
        """Send what is collected, after what must be durable before it."""
        self._flush_planned = False
        replies, self._replies = self._replies, []
        requests, self._requests = self._requests, []
        logs, self._sync = self._sync, {}
        try:
            job = self.disk.sync(logs) if logs else None
        except OSError:
            self._give_up("sync")
            return
        if job is None:
            self._send(replies, requests)
            return
        self._syncing, self._unsent = True, replies
        future = asyncio.get_running_loop().run_in_executor(None, self._run_sync, job)
        future.add_done_callback(lambda _: self._synced(replies, requests))

    def _run_sync(self, job: SyncJob) -> None:
        try:
            job.run()
        except OSError:
            self._give_up("sync")

    def _synced(self, replies: list[Reply], requests: list[PeerRequest]) -> None:
        self._syncing, self._unsent = False, []
        self._send(replies, requests)
        if not self._flush_planned and (self._replies or self._requests or self._sync or self.broker.is_stopped):
            self._flush()

    def _send(self, replies: list[Reply], requests: list[PeerRequest]) -> None:
        for request in requests:
            self._peers.send(request)
        touched: dict[Connection, None] = {}
        refused: list[Connection] = []
        for reply in replies:
            slot: Slot = reply.id
            if slot.is_silent:
                refused.append(slot.connection)
                continue
            slot.answer = reply.message if slot.finish is None else slot.finish(reply.message)
            touched[slot.connection] = None
        for connection in touched:
            try:
                connection.flush()
            except Exception:  # a door: what can't be said to one client must not keep others from their answers
                self.log.exception("connection from %s aborted", connection.peer)
                connection.abort()
        for connection in refused:
            connection.close()
        if self.broker.is_stopped and not (self._replies or self._requests or self._sync):
            self._ended.set()

    # What connections ask for.

    def opened(self, connection: Connection) -> bool:
        """Note a connection; False when there are too many."""
        if not connection.to_nodes and len(self.connections) >= self.settings.limits.max_connections:
            self.log.warning("connection from %s refused: max.connections", connection.peer)
            return False
        self.connections[connection] = None
        return True

    def closed(self, connection: Connection) -> None:
        """Forget a connection; the sessions of share groups that were on it are closed (KIP-932)."""
        self.connections.pop(connection, None)
        if self._share_members and not self._ended.is_set():
            for member in [one for one, where in self._share_members.items() if where is connection]:
                del self._share_members[member]
                asyncio.get_running_loop().call_soon(self._member_left, connection, member)

    def _note_member(self, connection: Connection, message: ShareFetchRequest) -> None:
        """Remember where a member of a share group asks; those without a session have nothing to give back."""
        member = message.group_id or "", message.member_id or ""
        if message.share_session_epoch == CLOSE_EPOCH:
            self._share_members.pop(member, None)
        elif member in self._share_members or len(self._share_members) < self.settings.core.share_max_sessions:
            self._share_members[member] = connection

    def _member_left(self, connection: Connection, member: tuple[str, str]) -> None:
        """Say for a member that is gone what it would have said; nobody hears the answer."""
        if not self._ended.is_set():
            close = ShareFetchRequest(group_id=member[0], member_id=member[1], share_session_epoch=CLOSE_EPOCH)
            self.step(Request(Slot(connection, 1, 0), close))

    def open_frame(self, connection: Connection, payload: memoryview) -> Asked | Answered:
        """Return what the frame asks."""
        session = connection.session
        try:
            if session.is_bare:
                return Answered(Api.SASL_AUTHENTICATE, frame(session.bare(bytes(payload))))
            opened = door.open_frame(payload, to_nodes=connection.to_nodes, image=lambda: self.broker.image)
            if session.principal is None:
                session.tls(connection.certificate())
            if session.principal is None:
                self._only_about_itself(connection, opened)
        except WireError as error:
            self.log.warning("connection from %s closed: %s", connection.peer, error)
            raise
        api_key = opened.api_key if isinstance(opened, Answered) else opened.header.api_key
        if api_key in self.counts or len(self.counts) < 1000:
            self.counts[api_key] = self.counts.get(api_key, 0) + 1
            self.request_bytes[api_key] = self.request_bytes.get(api_key, 0) + len(payload)
        return opened

    def asked(self, connection: Connection, slot: Slot, asked: Asked) -> None:
        """Answer from the state, ask the controller, or step; first look who asks, and whether that may be."""
        message = asked.message
        if type(message) in _ABOUT_WHO_ASKS:
            self._answer(slot, self._who(connection.session, message, asked.header.version))
            return
        rights = self._rights(connection)
        if rights is not None:
            verdict = rights.judge(message)
            if isinstance(verdict, Narrowed):
                message = verdict.message
                slot.narrowed(verdict.finish)
                asked = Asked(asked.header, message)
            elif verdict is not None:
                self._refuse(slot, asked, verdict)
                return
        if type(message) is ShareFetchRequest:
            self._note_member(connection, message)
        client_id = asked.header.client_id or ""
        if not connection.to_nodes:
            self._throttle.asked(slot, message, client_id)
        if type(message) in queries.QUESTIONS:
            if queries.is_forwarded(self.broker, message) and not connection.to_nodes:
                self._forward(slot, asked)
                return
            answer = queries.answer(self.broker, self.disk, message, self.now_ms())
            if answer is not None:
                self._answer(slot, volume.told(answer))
                return
        host, version = connection.host, asked.header.version
        internal, may_describe = connection.to_nodes, None if rights is None else rights.may_describe
        self.step(
            Request(slot, message, client_id, host, internal=internal, version=version, may_describe=may_describe)
        )

    def _answer(self, slot: Slot, answer: Response) -> None:
        self._replies.append(Reply(slot, answer))
        self._plan_flush()

    # Who may ask what.

    def _only_about_itself(self, connection: Connection, opened: Asked | Answered) -> None:
        """Let a client that has not said who it is say so, and nothing else. Raises WireError."""
        if isinstance(opened, Answered):
            known = opened.api_key == Api.API_VERSIONS
        else:
            known = opened.header.api_key in {Api.SASL_HANDSHAKE, Api.SASL_AUTHENTICATE}
        if not known:
            raise WireError(f"{connection.peer} asks before it has said who it is")

    def _who(self, session: Session, message: WireRequest, version: int) -> Response:
        """Answer what is between this node's door and whoever asks."""
        if isinstance(message, SaslHandshakeRequest):
            return session.handshake(message, version)
        if isinstance(message, SaslAuthenticateRequest):
            return session.authenticate(message)
        return tokens.refused(message, self._security.clients, session.principal)

    def _rights(self, connection: Connection) -> Rights | None:
        """Return what whoever asks may do, None for everything."""
        authorizer = None if connection.to_nodes else self._security.authorizer
        if authorizer is None:
            return None
        principal, host = connection.session.principal or "", connection.host.removeprefix("/")
        creates = self.settings.core.auto_create_topics
        return Rights(authorizer, self.broker.image, principal, host, creates=creates)

    def _refuse(self, slot: Slot, asked: Asked, refusal: Code | Response) -> None:
        """Answer with a refusal; none of a request is done. Who wants no answer hears it by the connection's end."""
        if slot.is_silent:
            slot.connection.close()
        elif isinstance(refusal, Response):
            self._answer(slot, refusal)
        else:
            slot.answer = door.refused(asked.header.api_key, slot.version, slot.correlation_id, refusal)
            slot.connection.flush()

    def _forward(self, slot: Slot, asked: Asked) -> None:
        token = next(self._tokens)
        self._questions[token] = slot
        leader = self.broker.quorum.leader_id
        self._peers.send(PeerRequest(token, leader, QUERY_CHANNEL, asked.message, QUERY_TIMEOUT_MS))

    def _peer_event(self, event: Event) -> None:
        """Take a peer's answer: the core's, or one to a question of a client."""
        token = getattr(event, "token", 0)
        if token > 0:
            self.begin_turn()
            self.step(event)
            self.end_turn()
            return
        slot = self._questions.pop(token)
        if isinstance(event, PeerReply):
            slot.answer = event.message
        else:
            slot.answer = DescribeQuorumResponse(error_code=Code.NOT_CONTROLLER, error_message="no controller answers")
        slot.connection.flush()

    def chunks(self, slot: Slot, answer: Response) -> list[Chunk]:
        """Return the frame of an answer; none, and the connection goes, where that is impossible."""
        try:
            return door.close_frame(answer, slot.version, slot.correlation_id, self.disk)
        except (WireError, ShortReadError) as error:
            self.log.warning("connection from %s closed: %s: %s", slot.connection.peer, type(answer).__name__, error)
            slot.connection.close()
            return []

    def _close_idle(self) -> None:
        """Close clients that have not asked for long; nodes stay."""
        loop = asyncio.get_running_loop()
        limit_s = self.settings.limits.max_idle_ms / 1000
        for connection in list(self.connections):
            quiet_s = loop.time() - connection.active_s
            if limit_s > 0 and not connection.to_nodes and connection.is_idle and quiet_s > limit_s:
                connection.close()
        loop.call_later(IDLE_CHECK_S, self._close_idle)


def _logs_of(message: FetchResponse | ShareFetchResponse) -> Iterator[str]:
    for topic in message.responses:
        for data in topic.partitions:
            if isinstance(data.records, Region):
                yield data.records.log


def _expects_answer(asked: Asked) -> bool:
    return not (isinstance(asked.message, ProduceRequest) and asked.message.acks == 0)
