"""Executes operations with simulated clients: the vocabulary of `harness.clients.confluent`, as coroutines.

The same ops, the same bounds, the same outcome table; `invoke` is a coroutine, and everything happens on the loop that
the simulated cluster runs on. Satisfies `harness.client.AsyncClient`: one client per process, one op at a time.

Transactional ids belong to client threads (process modulo concurrency), as with confluent-kafka: the next process of
the thread takes the id over, and a deliberate crash inside a transaction leaves it to the coordinator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Literal, get_args

from broker.sim.client.admin import create_topics
from broker.sim.client.consumer import Consumer
from broker.sim.client.contact import Contact
from broker.sim.client.deleting import delete_records
from broker.sim.client.errors import ClientError
from broker.sim.client.offsets import Offsets
from broker.sim.client.producer import Producer
from broker.sim.client.transactional import TransactionalProducer
from broker.sim.connections import Network
from broker.sim.loop import Loop
from harness.client import Now
from harness.clients.completion import LOW, of_failed_read, of_many, of_read_at, of_scan
from harness.clients.errors import FailedError
from harness.clients.membership import OnEvent
from harness.clients.micro_ops import Work
from harness.clients.packing import Packing
from harness.clients.sender import split
from harness.clients.settings import BROKER_WAIT_MS, POLL_COMMIT_S, coordinated, op_bound_s, refuse_impossible
from harness.clients.share.operations import KINDS as SHARE_KINDS
from harness.clients.share.operations import ShareMembers
from harness.clients.share.setup import SHARE, prepare
from harness.clients.simulated import settings
from harness.clients.simulated.failures import failed
from harness.clients.simulated.micro_ops import MicroOps
from harness.clients.simulated.reader import Reader, key_of
from harness.clients.simulated.scanner import Scanner
from harness.clients.simulated.share import perform
from harness.clients.simulated.transactions import Transactions
from harness.clients.topics import keys as keys_of
from harness.clients.transactions import on_purpose
from harness.cluster.questions import Coordinator
from harness.history import DELETE_RECORDS, FAIL, INFO, OK, Op, OpType, Process
from harness.outcome import DELIBERATE_CRASH, Failure, Stage, outcome, transaction
from harness.scenario import Isolation, Scenario, group_of, topic_names

ISOLATIONS: Final[dict[str, Isolation]] = {i: i for i in get_args(Isolation)}
DEPOSED: Final = "NOT_COORDINATOR"
"""What a read of committed offsets fails with when who answered may be a coordinator of the past."""
UNSUPPORTED: Final = "UNSUPPORTED_OPERATION"
READY_MS: Final = 60_000
"""How long the topics of a run may take to be made and to have full ISRs, in virtual time."""

Performer = Callable[[Op, float], Awaitable[Op]]


class SimulatedClients:
    """Opens clients for processes, all on one loop and one network."""

    def __init__(
        self,
        scenario: Scenario,
        loop: Loop,
        network: Network,
        nodes: tuple[int, ...],
        *,
        run_id: str = "harness",
        on_event: OnEvent | None = None,
    ) -> None:
        """Prepare; nodes: ids to bootstrap from. Raises UsageError for what can't work together."""
        refuse_impossible(scenario)
        self.scenario, self.loop, self.network, self.nodes = scenario, loop, network, nodes
        self.run_id = f"{scenario.prefix}{run_id}"
        self.on_event = on_event
        self.keys = dict.fromkeys(keys_of(scenario))
        """Those that the run began with, and what was assigned since: a topic may grow."""
        self._generations: dict[int, int] = {}

    def open(self, process: Process, now: Now) -> SimulatedClient:
        """Return a client for a new process; it connects when it has something to do."""
        assert isinstance(process, int), f"clients are for integer processes, not {process!r}"
        return SimulatedClient(self, process, now)

    async def prepare(self) -> tuple[str, ...]:
        """Make the run's topics, wait until each partition has a leader and its full ISR, return their keys.

        Raises ClientError.
        """
        scenario = self.scenario
        contact = Contact(self.loop, self.network, settings.client(scenario, self.nodes, f"{self.run_id}-topics"))
        try:
            await create_topics(
                contact,
                topic_names(scenario),
                partitions=scenario.partitions,
                replication=scenario.replication,
                config={"min.insync.replicas": str(scenario.min_isr), **scenario.topic_config},
                deadline_ms=self.loop.now_ms + READY_MS,
            )
            if scenario.workload == SHARE:
                steps = prepare(scenario, topic_names(scenario), lambda: self.loop.now_ms, is_ours=True, level=0)
                await perform(contact, steps)
        finally:
            contact.close()
        return tuple(self.keys)

    def packing(self, process: int) -> Packing:
        """Return how a process packs what it sends."""
        return Packing.of(self.scenario, process)

    def name_of(self, process: int) -> str:
        """Return what the network knows the process's client by: that of its thread."""
        return f"{self.run_id}-{process % self.scenario.concurrency}"

    def new_producer(self, process: int) -> Producer:
        """Return a producer without transactions."""
        common = settings.client(self.scenario, self.nodes, self.name_of(process))
        return Producer(self.loop, self.network, settings.producer(self.scenario, common, None, self.packing(process)))

    def new_transactional(self, process: int, transactional_id: str) -> TransactionalProducer:
        """Return a producer with a transactional id."""
        common = settings.client(self.scenario, self.nodes, self.name_of(process))
        config = settings.producer(self.scenario, common, transactional_id, self.packing(process))
        return TransactionalProducer(self.loop, self.network, config)

    def new_consumer(self, process: int, isolation: Isolation) -> Consumer:
        """Return a consumer of the run's group."""
        common = settings.client(self.scenario, self.nodes, self.name_of(process))
        config = settings.consumer(self.scenario, common, isolation, self.packing(process))
        return Consumer(self.loop, self.network, config)

    def new_scanner(self, process: int, reset: Literal["earliest", "error"]) -> Consumer:
        """Return a consumer for whole reads, of no group."""
        common = settings.client(self.scenario, self.nodes, self.name_of(process))
        config = settings.consumer(self.scenario, common, self.scenario.isolation, self.packing(process))
        return Consumer(self.loop, self.network, replace(config, group_id=None, offset_reset=reset))

    def transactional_id(self, process: int) -> str:
        """Return the transactional id of the thread that the process runs on."""
        worker = self._owner(process)
        return f"{self.run_id}-{worker}-{self._generations.get(worker, 0)}"

    def coordinated(self) -> tuple[Coordinator, ...]:
        """Return whom the processes need coordinators for, now."""
        return coordinated(self.scenario, tuple(self.keys), self.transactional_id)

    def orphan(self, process: int) -> None:
        """Leave the process's transactional id, with its open transaction, to the coordinator."""
        worker = self._owner(process)
        self._generations[worker] = self._generations.get(worker, 0) + 1

    def _owner(self, process: int) -> int:
        """Return the number in the process's transactional id: that of its thread, or of the threads that share it."""
        return process % self.scenario.concurrency // self.scenario.id_sharers


class SimulatedClient:
    """One process's producers and consumer."""

    def __init__(self, clients: SimulatedClients, process: int, now: Now) -> None:
        """Prepare; nothing connects yet."""
        self._clients, self._process = clients, process
        self._loop = clients.loop
        group = group_of(clients.scenario)
        self._reader = Reader(lambda i: clients.new_consumer(process, i), process, group, now, clients.on_event)
        self._micro_ops = MicroOps(process, self._reader, now, clients.packing(process))
        self._scanner = Scanner(lambda reset: clients.new_scanner(process, reset), now)
        self._plain: Producer | None = None
        self._txn_id = clients.transactional_id(process)
        """Of the transactional producer: that of its thread may be another by now."""
        self._transactions = Transactions(self._micro_ops, self._reader, self._new_transactional, now)
        self._performers: dict[str, Performer] = {
            "send": self._plain_micro_ops,
            "poll": self._plain_micro_ops,
            "txn": self._txn,
            "assign": self._take_keys,
            "subscribe": self._take_keys,
            "crash": self._crash,
            "commit": self._commit,
            "committed": self._committed,
            "scan": self._scan,
            "read-at": self._read_at,
            DELETE_RECORDS: self._delete_records,
            **dict.fromkeys(SHARE_KINDS, self._share),
        }
        self._members: ShareMembers | None = None
        self._contact: Contact | None = None
        """The share group's member's."""

    async def invoke(self, op: Op) -> Op:
        """Perform the invocation and return its completion, within a bounded virtual time."""
        performer = self._performers.get(op.f)
        if performer is None:
            return op.completed(FAIL, error={"name": UNSUPPORTED, "message": f"simulated client: {op.f}"})
        self._reader.rebalances.clear()
        deadline_ms = self._loop.now_ms + op_bound_s(self._clients.scenario) * 1000
        done = await performer(op, deadline_ms)
        log = list(self._reader.rebalances)
        return done.completed(done.type, rebalance_log=log) if log else done

    async def close(self) -> None:
        """Drop the producers, leave the group; what takes longer than CLOSE_S is dropped, too."""
        self._drop_producers()
        self._drop_member()
        self._scanner.close()
        await self._reader.leave()

    async def _plain_micro_ops(self, op: Op, deadline_ms: float) -> Op:
        work = Work(list(op.value))
        failures: list[Failure] = []
        for position in range(len(work.value)):
            producer = self._plain_producer() if work.value[position][0] == "send" else None
            try:
                await self._micro_ops.do(work, position, producer, deadline_ms)
            except FailedError as error:
                failures.append(error.failure)
        type_ = of_many([outcome(failure) for failure in failures], len(work.value))
        if any(failure.fatal for failure in failures):
            self._drop_plain()
        changes: dict[str, Any] = {}
        if failures:
            changes["error"] = failures[0].to_history()
        elif self._reader.subscribed and work.next:
            changes = await self._commit_polled(work)
        return self._completed(op, work, type_, **changes)

    async def _commit_polled(self, work: Work) -> dict[str, Any]:
        """Commit what a poll outside a transaction has read. A failure leaves the poll ok: its records are data."""
        offsets = [[key, offset] for key, offset in work.next.items()]
        try:
            await self._reader.commit(work.next, self._loop.now_ms + POLL_COMMIT_S * 1000)
        except FailedError as error:
            return {"extra": {"commit-error": error.failure.to_history(), "uncertain-offsets": offsets}}
        return {"offsets": offsets, "group": self._reader.group}

    def _plain_producer(self) -> Producer:
        if self._plain is None:
            self._plain = self._clients.new_producer(self._process)
        return self._plain

    def _new_transactional(self) -> TransactionalProducer:
        self._txn_id = self._clients.transactional_id(self._process)
        return self._clients.new_transactional(self._process, self._txn_id)

    async def _txn(self, op: Op, deadline_ms: float) -> Op:
        work = Work(list(op.value))
        attempt = await self._transactions.attempt(op, work, deadline_ms)
        seen = self._micro_ops.seen(work)
        if op.crash:
            self._clients.orphan(self._process)
            self._die()
        told = attempt.told(self._txn_id, self._reader.group)
        return self._completed(op, work, transaction(attempt.course), **told, **(seen if op.crash else {}))

    def _completed(self, op: Op, work: Work, type_: OpType, **changes: Any) -> Op:
        if type_ != OK:
            self._reader.rewind(work.first)
        return op.completed(type_, value=work.done(), times=work.times, **{**self._micro_ops.seen(work), **changes})

    async def _take_keys(self, op: Op, _: float) -> Op:
        self._clients.keys.update(dict.fromkeys(op.value))
        isolation = ISOLATIONS.get(op.isolation or "", self._clients.scenario.isolation)
        if op.f == "assign":
            self._reader.assign(op.value, isolation, from_beginning=op.seek_to_beginning)
        else:
            self._reader.subscribe(op.value, isolation)
        group = self._reader.group if self._reader.subscribed else None
        return op.completed(OK, isolation=isolation, group=group)

    async def _commit(self, op: Op, deadline_ms: float) -> Op:
        if self._reader.isolation is None:
            error = {"name": UNSUPPORTED, "message": "commit: nothing was assigned or subscribed yet"}
            return op.completed(FAIL, error=error)
        try:
            await self._reader.commit(dict(op.value), deadline_ms)
        except FailedError as refused:
            error = refused.failure.to_history()
            return op.completed(outcome(refused.failure), error=error, group=self._reader.group)
        return op.completed(OK, group=self._reader.group)

    async def _committed(self, op: Op, deadline_ms: float) -> Op:
        group = (op.value or {}).get("group", self._reader.group)
        clients = self._clients
        contact = Contact(
            self._loop,
            clients.network,
            settings.client(clients.scenario, clients.nodes, clients.name_of(self._process)),
        )
        try:
            offsets = Offsets(contact, group)
            found = await offsets.committed([split(key) for key in clients.keys], deadline_ms)
            doubtful = await offsets.coordinator.is_doubtful(clients.nodes)
        except ClientError as error:
            failure = failed(Stage.COMMITTED, error).failure
            return op.completed(outcome(failure), error=failure.to_history(), group=group)
        finally:
            contact.close()
        if doubtful:
            return op.completed(
                FAIL, error={"name": DEPOSED, "message": "others know another coordinator"}, group=group
            )
        return op.completed(OK, value=[[key_of(key), offset] for key, offset in found.items()], group=group)

    async def _scan(self, op: Op, deadline_ms: float) -> Op:
        isolation = self._clients.scenario.isolation
        try:
            found = await self._scanner.scan(op.value, deadline_ms)
        except FailedError as error:
            return of_failed_read(op, error, op.value, isolation)
        return of_scan(op, found, isolation)

    async def _read_at(self, op: Op, deadline_ms: float) -> Op:
        isolation = self._clients.scenario.isolation
        key, offset = op.value
        try:
            record, told = await self._scanner.read_at(key, offset, deadline_ms)
        except FailedError as error:
            return of_failed_read(op, error, key, isolation)
        return of_read_at(op, record, told, isolation)

    async def _delete_records(self, op: Op, deadline_ms: float) -> Op:
        key, offset = op.value
        clients, partition = self._clients, split(key)
        config = settings.client(clients.scenario, clients.nodes, clients.name_of(self._process))
        contact = Contact(self._loop, clients.network, config)
        try:
            leader = await contact.leader(partition, deadline_ms)
            low = await delete_records(contact, leader.node, partition, offset, BROKER_WAIT_MS)
        except ClientError as error:
            failure = failed(Stage.DELETE_RECORDS, error).failure
            return op.completed(outcome(failure), error=failure.to_history())
        finally:
            contact.close()
        return op.completed(OK, extra={LOW: low})

    async def _share(self, op: Op, deadline_ms: float) -> Op:
        if self._members is None or self._contact is None:
            clients = self._clients
            config = settings.client(clients.scenario, clients.nodes, clients.name_of(self._process))
            self._contact = Contact(self._loop, clients.network, config)
            name = f"{clients.run_id} {self._process}"
            self._members = ShareMembers(clients.scenario, name, lambda: self._loop.now_ms)
        return await perform(self._contact, self._members.perform(op, deadline_ms))

    async def _crash(self, op: Op, _: float) -> Op:
        self._die()
        return op.completed(INFO, error=on_purpose(DELIBERATE_CRASH).to_history())

    def _die(self) -> None:
        """Drop everything as a killed process would: nothing flushed, aborted or left gracefully."""
        self._reader.drop()
        self._scanner.close()
        self._drop_producers()
        self._drop_member()

    def _drop_member(self) -> None:
        """Drop the share group's member, as a killed process would."""
        if self._contact is not None:
            self._contact.close()
        self._contact = self._members = None

    def _drop_producers(self) -> None:
        self._drop_plain()
        self._transactions.drop()

    def _drop_plain(self) -> None:
        if self._plain is not None:
            self._plain.close()
        self._plain = None
