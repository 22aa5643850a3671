"""Executes operations with confluent-kafka: the vocabulary of HISTORY.md, on real brokers.

A `ConfluentClient` is one logical process. It holds at most one plain producer, one transactional producer and one
consumer, each made when an op first needs it. `invoke` returns within `settings.op_bound_s`, whatever the brokers do
(one that sends offsets a few seconds later); what an error means is `harness.outcome`'s business alone.

send, poll         micro-ops outside transactions (`clients.micro_ops`). What a subscribed process polled is committed
                   for the group at once, as in Jepsen; the poll stays ok when that fails (`commit-error`)
txn                one transaction (`clients.transactions`)
delete-records     raises a partition's log start (`clients.deleting`)
read-at            the first record from an offset on, by a consumer that is never moved by itself
scan               one partition from its beginning to its end (`clients.scanner`)
assign, subscribe  which keys to read (`clients.reader`)
commit, committed  a group's offsets, outside transactions
share-fetch, share-acknowledge, share-leave
                   a member of a share group (`clients.share`), on connections of its own
crash              drops everything as a killed process would, and completes `info`; so does a txn with `crash: true`

After anything but ok the consumer goes back to the first offset that the op polled (Jepsen does the same), so that a
next poll reads it again.

Transactional ids belong to worker threads (process modulo concurrency): the next process of the thread takes the id
over, and so fences what the last one left. After a deliberate crash inside a transaction the thread gets a fresh id
instead, so that only the coordinator's time-out can end the orphan.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, get_args

from harness.client import Now
from harness.clients import settings
from harness.clients.completion import LOW, of_failed_read, of_many, of_read_at, of_scan
from harness.clients.deleting import delete_records
from harness.clients.errors import FailedError
from harness.clients.groups import DEPOSED, of_one_coordinator
from harness.clients.membership import OnEvent
from harness.clients.micro_ops import MicroOps, Work
from harness.clients.packing import Packing
from harness.clients.patience import Deadline
from harness.clients.reader import Reader
from harness.clients.scanner import Scanner
from harness.clients.sender import Sender, split
from harness.clients.share.operations import KINDS as SHARE_KINDS
from harness.clients.share.operations import ShareMembers
from harness.clients.share.wire import Wire
from harness.clients.topics import inputs_of
from harness.clients.topics import keys as keys_of
from harness.clients.transactions import Transactions, on_purpose
from harness.cluster.questions import Coordinator
from harness.credentials import Credentials
from harness.history import DELETE_RECORDS, FAIL, INFO, OK, Op, OpType, Process
from harness.outcome import DELIBERATE_CRASH, Failure, outcome, transaction
from harness.scenario import Isolation, Scenario, group_of

ISOLATIONS: Final[Mapping[str, Isolation]] = {i: i for i in get_args(Isolation)}
UNSUPPORTED: Final = "UNSUPPORTED_OPERATION"
"""Our own name: the workload asked for what this client can't do."""


class ConfluentClients:
    """Opens clients for processes; thread-safe. Satisfies `harness.client.Clients`."""

    def __init__(
        self,
        scenario: Scenario,
        bootstrap: str,
        run_id: str = "harness",
        *,
        on_event: OnEvent | None = None,
        producer_overrides: settings.Overrides | None = None,
        consumer_overrides: settings.Overrides | None = None,
    ) -> None:
        """Prepare. `on_event` gets group events from any thread. Raises UsageError for what can't work together."""
        settings.refuse_impossible(scenario)
        settings.refuse_codecs(scenario)
        self.scenario = scenario
        self.bootstrap = bootstrap
        self.run_id = f"{scenario.prefix}{run_id}"
        self.on_event = on_event
        self.keys = dict.fromkeys(keys_of(scenario))
        """Those that the run began with, and what was assigned since: a topic may grow."""
        self.origins = frozenset(inputs_of(scenario))
        """The keys that a program of the user's copies from."""
        self._producer_overrides = dict(producer_overrides or {})
        self._consumer_overrides = dict(consumer_overrides or {})
        self._generations: dict[int, int] = {}
        self._lock = threading.Lock()

    def open(self, process: Process, now: Now) -> ConfluentClient:
        """Return a client for a new process; it connects when it has something to do."""
        assert isinstance(process, int), f"clients are for integer processes, not {process!r}"
        return ConfluentClient(self, process, now)

    def packing(self, process: int) -> Packing:
        """Return how a process packs what it sends."""
        return Packing.of(self.scenario, process)

    def new_sender(self, process: int, transactional_id: str | None) -> Sender:
        """Return a new producer for a process; a plain one for None."""
        name, packing = f"{self.run_id}-{process}", self.packing(process)
        config = settings.producer(self.scenario, self.bootstrap, name, transactional_id, packing)
        return Sender(config | self._producer_overrides, any_topic=split(next(iter(self.keys)))[0])

    def consumer_config(self, process: int, isolation: Isolation) -> dict[str, Any]:
        """Return the settings of a process's consumer."""
        name, packing = f"{self.run_id}-{process}", self.packing(process)
        config = settings.consumer(self.scenario, self.bootstrap, name, isolation, packing)
        return config | self._consumer_overrides

    def transactional_id(self, process: int) -> str:
        """Return the transactional id of the worker thread that the process runs on."""
        worker = self._owner(process)
        with self._lock:
            return f"{self.run_id}-{worker}-{self._generations.get(worker, 0)}"

    def coordinated(self) -> tuple[Coordinator, ...]:
        """Return whom the processes need coordinators for, now."""
        return settings.coordinated(self.scenario, tuple(self.keys), self.transactional_id)

    def orphan(self, process: int) -> None:
        """Leave the process's transactional id, with its open transaction, to the coordinator."""
        worker = self._owner(process)
        with self._lock:
            self._generations[worker] = self._generations.get(worker, 0) + 1

    def _owner(self, process: int) -> int:
        """Return the number in the process's transactional id: that of its thread, or of the threads that share it."""
        return process % self.scenario.concurrency // self.scenario.id_sharers


class ConfluentClient:
    """One process's producers and consumer. Satisfies `harness.client.Client`."""

    def __init__(self, clients: ConfluentClients, process: int, now: Now) -> None:
        """Prepare; nothing connects yet."""
        self._clients = clients
        self._process = process
        self._busy = threading.Lock()
        group, protocol = group_of(clients.scenario), clients.scenario.group_protocol
        config = partial(clients.consumer_config, process)
        self._reader = Reader(config, process, group, now, clients.on_event, protocol=protocol, origins=clients.origins)
        self._micro_ops = MicroOps(process, self._reader, now, clients.packing(process))
        self._scanner = Scanner(lambda: clients.consumer_config(process, clients.scenario.isolation), now)
        self._plain: Sender | None = None
        self._txn_id = clients.transactional_id(process)
        """Of the transactional producer: that of its thread may be another by now."""
        self._transactions = Transactions(
            self._micro_ops,
            self._reader,
            self._new_transactional,
            now,
            keep=clients.scenario.keep_producers,
        )
        self._performers: dict[str, Callable[[Op, Deadline], Op]] = {
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
        self._wire = Wire(clients.bootstrap, Credentials.of(clients.scenario.client_config))
        """The share group's member's connections: none before it has something to do."""

    def invoke(self, op: Op) -> Op:
        """Perform the invocation and return its completion."""
        performer = self._performers.get(op.f)
        if performer is None:
            return op.completed(FAIL, error={"name": UNSUPPORTED, "message": f"confluent-kafka client: {op.f}"})
        with self._busy:
            self._reader.begin_op()
            done = performer(op, Deadline(settings.op_bound_s(self._clients.scenario)))
            log = list(self._reader.rebalances)
        return done.completed(done.type, rebalance_log=log) if log else done

    def close(self) -> None:
        """Leave the group, drop the rest; returns within CLOSE_S, what takes longer goes on in the background.

        While an op is still out in another thread nothing is closed: librdkafka's objects must not be closed in use.
        """
        deadline = Deadline(settings.CLOSE_S)
        if not self._busy.acquire(timeout=settings.CLOSE_S):
            return
        try:
            self._reader.close(deadline.left_s())
            self._scanner.close(0)
            self._wire.close()
            self._drop_producers(deadline)
        finally:
            self._busy.release()

    def _plain_micro_ops(self, op: Op, deadline: Deadline) -> Op:
        work = Work(list(op.value))
        failed: list[Failure] = []
        for position in range(len(work.value)):
            try:
                self._micro_ops.do(work, position, self._plain_sender, deadline)
            except FailedError as error:
                failed.append(error.failure)
        type_ = of_many([outcome(failure) for failure in failed], len(work.value))
        if any(failure.fatal for failure in failed):
            self._drop_plain(Deadline(0))
        changes: dict[str, Any] = {}
        if failed:
            changes["error"] = failed[0].to_history()
        elif self._reader.subscribed and work.next:
            changes = self._commit_polled(work)
        return self._completed(op, work, type_, **changes)

    def _commit_polled(self, work: Work) -> dict[str, Any]:
        """Commit what a poll outside a transaction has read. A failure leaves the poll ok: its records are data."""
        ours = {key: offset for key, offset in work.next.items() if key not in self._reader.strays}
        if not ours:
            return {}
        offsets = [[key, offset] for key, offset in ours.items()]
        try:
            self._reader.commit(ours, Deadline(settings.POLL_COMMIT_S))
        except FailedError as failed:
            return {"extra": {"commit-error": failed.failure.to_history(), "uncertain-offsets": offsets}}
        return {"offsets": offsets, "group": self._reader.group}

    def _plain_sender(self) -> Sender:
        if self._plain is None:
            self._plain = self._clients.new_sender(self._process, None)
        return self._plain

    def _new_transactional(self) -> Sender:
        self._txn_id = self._clients.transactional_id(self._process)
        return self._clients.new_sender(self._process, self._txn_id)

    def _txn(self, op: Op, deadline: Deadline) -> Op:
        work = Work(list(op.value))
        attempt = self._transactions.attempt(op, work, deadline)
        seen = self._micro_ops.seen(work)
        if op.crash:
            self._clients.orphan(self._process)
            self._die()
        told = attempt.told(self._txn_id, self._reader.group)
        return self._completed(op, work, transaction(attempt.course), **told, **(seen if op.crash else {}))

    def _completed(self, op: Op, work: Work, type_: OpType, **changes: Any) -> Op:
        if type_ != OK:
            self._rewind(work)
        return op.completed(type_, value=work.done(), times=work.times, **{**self._micro_ops.seen(work), **changes})

    def _rewind(self, work: Work) -> None:
        try:
            self._reader.rewind(work.first)
        except FailedError:
            self._reader.close(0)  # a consumer that can't be told where to read on is given up, with its keys

    def _take_keys(self, op: Op, _: Deadline) -> Op:
        self._clients.keys.update(dict.fromkeys(op.value))
        isolation = ISOLATIONS.get(op.isolation or "", self._clients.scenario.isolation)
        try:
            if op.f == "assign":
                self._reader.assign(op.value, isolation, from_beginning=op.seek_to_beginning)
            else:
                self._reader.subscribe(op.value, isolation)
        except FailedError as failed:
            return op.completed(outcome(failed.failure), error=failed.failure.to_history(), isolation=isolation)
        group = self._reader.group if self._reader.subscribed else None
        return op.completed(OK, isolation=isolation, group=group)

    def _commit(self, op: Op, deadline: Deadline) -> Op:
        if self._reader.isolation is None:
            error = {"name": UNSUPPORTED, "message": "commit: nothing was assigned or subscribed yet"}
            return op.completed(FAIL, error=error)
        try:
            self._reader.commit(dict(op.value), deadline)
        except FailedError as failed:
            error = failed.failure.to_history()
            return op.completed(outcome(failed.failure), error=error, group=self._reader.group)
        return op.completed(OK, group=self._reader.group)

    def _committed(self, op: Op, deadline: Deadline) -> Op:
        asked: Mapping[str, Any] = op.value or {}
        group = asked.get("group", self._reader.group)
        config = self._clients.consumer_config(self._process, "read_committed") | {"group.id": group}
        try:
            offsets = of_one_coordinator(config, tuple(self._clients.keys), deadline)
        except FailedError as failed:
            type_ = FAIL if failed.failure.name == DEPOSED else outcome(failed.failure)
            return op.completed(type_, error=failed.failure.to_history(), group=group)
        return op.completed(OK, value=[[key, offset] for key, offset in offsets.items()], group=group)

    def _scan(self, op: Op, deadline: Deadline) -> Op:
        isolation = self._clients.scenario.isolation
        try:
            found = self._scanner.scan(op.value, deadline)
        except FailedError as failed:
            return of_failed_read(op, failed, op.value, isolation)
        return of_scan(op, found, isolation)

    def _read_at(self, op: Op, deadline: Deadline) -> Op:
        isolation, (key, offset) = self._clients.scenario.isolation, op.value
        try:
            record, told = self._scanner.read_at(key, offset, deadline)
        except FailedError as failed:
            return of_failed_read(op, failed, key, isolation)
        return of_read_at(op, record, told, isolation)

    def _delete_records(self, op: Op, deadline: Deadline) -> Op:
        clients, (key, offset) = self._clients, op.value
        config = settings.common(clients.scenario, clients.bootstrap, f"{clients.run_id}-{self._process}-admin")
        try:
            low = delete_records(config, key, offset, deadline)
        except FailedError as failed:
            return op.completed(outcome(failed.failure), error=failed.failure.to_history())
        return op.completed(OK, extra={LOW: low})

    def _share(self, op: Op, deadline: Deadline) -> Op:
        if self._members is None:
            name = f"{self._clients.run_id} {self._process}"
            self._members = ShareMembers(self._clients.scenario, name, lambda: time.monotonic() * 1000)
        return self._wire.perform(self._members.perform(op, (time.monotonic() + deadline.left_s()) * 1000))

    def _crash(self, op: Op, _: Deadline) -> Op:
        self._die()
        return op.completed(INFO, error=on_purpose(DELIBERATE_CRASH).to_history())

    def _die(self) -> None:
        """Drop everything as a killed process would: nothing flushed, aborted or left gracefully."""
        self._reader.close(0, gracefully=False)
        self._scanner.close(0)
        self._wire.close()
        self._members = None
        self._drop_producers(Deadline(0))

    def _drop_producers(self, deadline: Deadline) -> None:
        self._drop_plain(deadline)
        self._transactions.drop(deadline)

    def _drop_plain(self, deadline: Deadline) -> None:
        if self._plain is not None:
            self._plain.drop(deadline.left_s())
        self._plain = None
