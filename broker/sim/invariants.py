"""What must hold after every step, checked where the step may have broken it.

Names are those of the published TLA+ specifications:
    StrongIsr, LeaderInIsr                             hachikuji/kafka-specification: KafkaReplication
    LeaderCompletenessProperty, LogMatchingProperty,
    MetadataLogMatchingProperty, ValidControllerIsrAndElr   Vanlightly/kafka-tlaplus: kip_966
    NeverTwoLeadersInSameEpoch, NoLogDivergence        Vanlightly/kafka-tlaplus: kraft_kip_996
and our own: LsoBelowHighWatermark (LSO <= HW <= log end), ProducerStateMatchesLog, AbortedIndexMatchesLog,
ProducersOutliveTheProcess, OneLeaderPerEpoch (of a partition).

What a step may have broken: its writes name logs; a follower's fetch and a leader's answer move high watermarks of the
partitions in them; newly applied metadata may change any role. Nothing else is looked at, so that a check costs about
as much as the step. Producer state and aborted transactions are compared with a replay of the log when a leader is
elected, and at the end. What was deleted from a log's beginning can't be replayed: there a new process must know the
producers that the last one knew, unless the node lost power.

Legal losses are told apart. An unclean election may lose what it likes: topics that allow it, or an aggressive
recovery, are not held to what was committed. A power loss of all who may lead (ISR and ELR) may lose what no disk of
those who are compared then (they, and the last known ELR) holds any more, as Kafka without sync-before-ack says:
`power_lost` looks at these disks. Where logs are not compared, what not all of them hold was never promised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from broker.core.broker import Broker
from broker.core.config import setting
from broker.core.lifecycle import Life
from broker.core.log.aborted import AbortedTransaction
from broker.core.log.partition_log import PartitionLog
from broker.core.log.producers import Producer, Producers
from broker.core.metadata.image import Image
from broker.core.quorum.metadata_log import LOG as METADATA_LOG
from broker.core.ready import Append, DropLog, Event, PeerReply, Ready, Request, Truncate
from broker.core.replication.replica import Key, Replica
from broker.core.topic_settings import AGGRESSIVE, NO_RECOVERY, RECOVERY
from broker.sim.ghost import Ghost
from broker.sim.node import Node
from broker.wire import batch, record
from broker.wire.batch import CorruptBatchError
from broker.wire.messages.fetch import FetchRequest, FetchResponse

METADATA_KEY: Key = ("", 0)
_Aborted = tuple[int, int, int]
"""Producer id, first offset, offset of the marker."""
_MOVING = frozenset((Append, Truncate, DropLog))
"""Writes that may move the end of a log."""


class _Life:
    """What is known of one life of a node."""

    def __init__(self, node: Node, broker: Broker, last: _Life | None) -> None:
        self.number, self.broker, self.power_losses = node.lives, broker, node.disk.power_losses
        same_disk = last is not None and last.power_losses == self.power_losses
        self.before = {one.key: one.log for one in last.broker.replicas} if last is not None and same_disk else {}
        """The logs as the last process knew them, until this one has them, too."""
        self.applied = -1
        self.read_to: dict[Key, int] = {}
        """Up to where each log was compared with its ghost."""
        self.unpromised: dict[Key, int] = {}
        """High watermarks that this life found on its disk, of logs of which all who may lead have lost something."""
        self.by_log: dict[str, Replica] = {}


class Invariants:
    """See the module. `stepped` is called after every step; `violate(name, node, key, detail)` hears what is broken."""

    def __init__(self, nodes: Mapping[int, Node], violate: Callable[[str, str, str, str], None]) -> None:
        self._nodes, self._tell = nodes, violate
        self._lives: dict[int, _Life] = {}
        self._ghosts: dict[Key, Ghost] = {}
        self._controllers: dict[int, str] = {}
        self._leaders: dict[tuple[Key, int], str] = {}
        self._newest: tuple[int, Image] = (-1, Image())
        self._damaged: set[tuple[str, str]] = set()
        self._dark: set[tuple[int, Key]] = set()
        """Replicas of what all who might lead have lost power with, until they say again what is committed."""
        self._replays: dict[tuple[bytes, ...], tuple[Producers, set[_Aborted]]] = {}
        """What the same bytes on several replicas add up to; forgotten after each look."""

    def stepped(self, node: Node, event: Event, ready: Ready) -> None:
        """Check what the step may have broken."""
        broker = node.broker
        if broker is None:
            return
        life = self._lives.get(node.id)
        if life is None or life.number != node.lives:
            life = self._lives[node.id] = _Life(node, broker, life)
        quorum = broker.quorum
        if quorum.is_leader:
            first = self._controllers.setdefault(quorum.epoch, node.name)
            if first != node.name:
                self._violate("NeverTwoLeadersInSameEpoch", node, "", f"epoch {quorum.epoch} is led by {first}, too")
        if quorum.metadata.log.high_watermark != life.read_to.get(METADATA_KEY):
            self._metadata(node, broker, life)
        if quorum.metadata.applied != life.applied:
            life.applied = quorum.metadata.applied
            life.by_log = {replica.log.name: replica for replica in broker.replicas}
            if quorum.metadata.applied > self._newest[0]:
                self._newest = quorum.metadata.applied, broker.image
                self._decided(node, broker)
            touched: Iterable[Replica] = life.by_log.values()
        else:
            touched = _touched(broker, life, event, ready)
        if life.before:
            self._remembered(node, broker, life)
        for replica in touched:
            self._replica(node, broker, life, replica)

    # Metadata.

    def _metadata(self, node: Node, broker: Broker, life: _Life) -> None:
        log = broker.quorum.metadata.log
        wrong = self._follow(node, life, METADATA_KEY, log, compacted=False)
        if wrong:
            self._violate("NoLogDivergence", node, METADATA_LOG, wrong)

    def _decided(self, node: Node, broker: Broker) -> None:
        """Look at what the metadata say now, where they are newest."""
        for state in broker.image.partitions():
            name = f"{broker.image.topics[state.topic_id].name}/{state.index}"
            if state.leader >= 0 and state.leader not in state.isr:
                self._violate("LeaderInIsr", node, name, f"{state.leader} leads, the ISR is {state.isr}")
            if not set(state.isr) <= set(state.replicas) or set(state.elr) & set(state.isr):
                self._violate("ValidControllerIsrAndElr", node, name, f"ISR {state.isr}, ELR {state.elr}")

    # Partitions.

    def _replica(self, node: Node, broker: Broker, life: _Life, replica: Replica) -> None:
        log = replica.log
        if not log.last_stable <= log.high_watermark <= log.end:
            detail = f"LSO {log.last_stable}, high watermark {log.high_watermark}, end {log.end}"
            self._violate("LsoBelowHighWatermark", node, _name(replica), detail)
        if replica.config.unclean or replica.config.recovery == AGGRESSIVE:
            return
        if replica.leader is not None:
            epoch = replica.key, replica.leader.epoch
            first = self._leaders.get(epoch)
            if first is None:
                self._leaders[epoch] = node.name
                self._elected(node, life, replica)
            elif first != node.name:
                detail = f"epoch {replica.leader.epoch} is led by {first}, too"
                self._violate("OneLeaderPerEpoch", node, _name(replica), detail)
            self._strong_isr(node, replica)
        elif log.end < life.read_to.get(replica.key, 0):
            self._cut_in_isr(node, broker, replica)
        if log.high_watermark == life.read_to.get(replica.key, -1) <= log.end:
            return  # nothing is committed here that was not before
        wrong = (
            ""
            if self._is_unpromised(node, life, replica)
            else self._follow(node, life, replica.key, log, compacted=self._is_compacted(replica))
        )
        if wrong:
            self._violate("LogMatchingProperty", node, _name(replica), wrong)

    def _is_unpromised(self, node: Node, life: _Life, replica: Replica) -> bool:
        """Return whether a follower saved its high watermark before the loss: whoever leads says what is committed."""
        key, watermark = replica.key, replica.log.high_watermark
        if (node.id, key) in self._dark:
            self._dark.remove((node.id, key))
            life.unpromised[key] = watermark
        return replica.leader is None and watermark <= life.unpromised.get(key, -1)

    def _follow(self, node: Node, life: _Life, key: Key, log: PartitionLog, *, compacted: bool) -> str:
        """Compare what the high watermark has passed since the last look."""
        start = max(min(life.read_to.get(key, 0), log.end), log.start)
        if log.high_watermark <= start:
            life.read_to[key] = start
            return ""
        life.read_to[key] = log.high_watermark
        return self._ghost(key, compacted=compacted).read(log, node.disk, start, log.high_watermark)

    def _ghost(self, key: Key, *, compacted: bool) -> Ghost:
        found = self._ghosts.get(key)
        if found is None:
            found = self._ghosts[key] = Ghost(compacted=compacted)
        return found

    def _is_compacted(self, replica: Replica) -> bool:
        return "compact" in self._newest[1].config("topic", replica.name).get("cleanup.policy", "")

    def _elected(self, node: Node, life: _Life, replica: Replica) -> None:
        """A new leader has everything that was committed."""
        ghost = self._ghost(replica.key, compacted=self._is_compacted(replica))
        log = replica.log
        if (node.name, log.name) in self._damaged and replica.config.min_isr == 1:
            ghost.cut(log.end)  # nobody else could lead any more, and its disk has lost what was acknowledged
        if self._is_current(replica) and log.end < ghost.end:
            detail = f"the leader of epoch {replica.leader_epoch} ends at {log.end}; {ghost.end} was committed"
            self._violate("LeaderCompletenessProperty", node, _name(replica), detail)
        start = max(life.read_to.get(replica.key, 0), log.start)
        wrong = ghost.read(log, node.disk, start, ghost.end) if start < ghost.end <= log.end else ""
        if wrong:
            self._violate("LeaderCompletenessProperty", node, _name(replica), wrong)
        self._producers(node, replica)
        self._replays.clear()

    def _is_current(self, replica: Replica) -> bool:
        decided = self._newest[1].partition(*replica.key)
        return decided is not None and decided.leader_epoch == replica.leader_epoch

    def _strong_isr(self, node: Node, replica: Replica) -> None:
        """Everything below the leader's high watermark is on every live member of the true ISR."""
        decided = self._newest[1].partition(*replica.key)
        if decided is None or decided.leader_epoch != replica.leader_epoch:
            return  # deposed, and does not know it yet
        watermark = replica.log.high_watermark
        for member in decided.isr:
            other = self._nodes[member].broker
            copy = None if other is None else other.replicas.get(replica.key)
            if other is None or copy is None or other.lifecycle.epoch != other.replicas.eligible.get(member):
                continue
            if copy.log.end < watermark:
                detail = f"n{member} of the ISR ends at {copy.log.end}, the high watermark is {watermark}"
                self._violate("StrongIsr", node, _name(replica), detail)

    def _cut_in_isr(self, node: Node, broker: Broker, replica: Replica) -> None:
        """A follower was cut: its leader must not have counted on what is gone."""
        decided = self._newest[1].partition(*replica.key)
        if decided is None or node.id not in decided.isr or broker.lifecycle.life is not Life.RUNNING:
            return
        leader = self._nodes[decided.leader] if decided.leader >= 0 else None
        found = None if leader is None or leader.broker is None else leader.broker.replicas.get(replica.key)
        if leader is not None and found is not None and found.leader is not None:
            self._strong_isr(leader, found)

    # Producer state.

    def _producers(self, node: Node, replica: Replica) -> None:
        """Producer state and aborted transactions are what the log says; only expiry may have taken more."""
        log = replica.log
        if log.start > 0 or self._is_compacted(replica) or (node.name, log.name) in self._damaged:
            return
        segments = tuple(node.disk.read(log.name, segment.base, 0, segment.size) for segment in log.segments)
        replayed = self._replays.get(segments)
        if replayed is None:
            replayed = self._replays[segments] = _replayed(segments)
        producers, aborted = replayed
        known = {_aborted(entry) for entry in log.aborted.between(log.start, log.end)}
        if known != aborted:
            detail = f"the index has {sorted(known - aborted)} too many, and lacks {sorted(aborted - known)}"
            self._violate("AbortedIndexMatchesLog", node, _name(replica), detail)
        said = {one.producer_id: one for one in producers.all()}
        for one in log.producers.all():
            wanted = said.get(one.producer_id)
            if wanted is None or _essence(one) != _essence(wanted):
                detail = f"the state says {_essence(one)}, the log {wanted and _essence(wanted)}"
                self._violate("ProducerStateMatchesLog", node, _name(replica), detail)
                return
        for producer_id, one in said.items():
            if log.producers.get(producer_id) is None and one.first_offset is not None:
                detail = f"producer {producer_id} has an open transaction in the log, and none in the state"
                self._violate("ProducerStateMatchesLog", node, _name(replica), detail)
                return

    def _remembered(self, node: Node, broker: Broker, life: _Life) -> None:
        """A process knows of the producers what the last one on the node knew of the same log."""
        for replica in broker.replicas:
            old, log = life.before.pop(replica.key, None), replica.log
            if old is None or (old.start, old.end) != (log.start, log.end) or (node.name, log.name) in self._damaged:
                continue
            compacted = self._is_compacted(replica)
            known = {one.producer_id: _lasting(one, compacted=compacted) for one in log.producers.all()}
            for one in old.producers.all():
                if log.producers.is_expired(one, node.now_ms(), broker.replicas.producer_expiration_ms):
                    continue
                wanted = _lasting(one, compacted=compacted)
                if known.get(one.producer_id) != wanted:
                    detail = f"the last process knew {wanted}, this one {known.get(one.producer_id)}"
                    self._violate("ProducersOutliveTheProcess", node, _name(replica), detail)
                    return

    def check_all(self) -> None:
        """Compare all producer states with their logs, once more."""
        for node in self._nodes.values():
            if node.broker is not None:
                for replica in node.broker.replicas:
                    self._producers(node, replica)
        self._replays.clear()

    # Faults of disks.

    def damaged(self, node: Node, log: str) -> None:
        """A log's bytes were changed behind its back: it is not held to them."""
        self._damaged.add((node.name, log))

    def power_lost(self, lost: Collection[int]) -> None:
        """Forget what is lost with those who may lead, if all of them have lost power and are down."""
        names, image = dict(self._log_names()), self._newest[1]
        for state in image.partitions():
            key = state.topic_id, state.index
            ghost, able = self._ghosts.get(key), {*state.isr, *state.elr}
            strategy = setting(self._nodes[state.replicas[0]].config, image, image.topics[key[0]].name, RECOVERY)
            compared = able if strategy == NO_RECOVERY else able | {*state.last_known_elr}
            if ghost is not None and compared and able <= set(lost):
                held = [_held_to(self._nodes[node], names[key], ghost) for node in compared]
                ghost.cut(min(held) if strategy == NO_RECOVERY else max(held))
                self._dark |= {(node, key) for node in state.replicas}

    def _log_names(self) -> Iterator[tuple[Key, str]]:
        image = self._newest[1]
        for state in image.partitions():
            yield (state.topic_id, state.index), f"{image.topics[state.topic_id].name}-{state.index}"

    def _violate(self, name: str, node: Node, key: str, detail: str) -> None:
        self._tell(name, node.name, key, detail)


def _touched(broker: Broker, life: _Life, event: Event, ready: Ready) -> Iterable[Replica]:
    """Return the replicas whose log or high watermark the step may have moved."""
    keys: list[Key] = []
    kind = type(event)
    if kind is Request:
        message = event.message  # type: ignore[union-attr]
        if event.internal and type(message) is FetchRequest:  # type: ignore[union-attr]
            keys = [(topic.topic_id.hex(), part.partition) for topic in message.topics for part in topic.partitions]
    elif kind is PeerReply and type(message := event.message) is FetchResponse:  # type: ignore[union-attr]
        keys = [
            (topic.topic_id.hex(), part.partition_index) for topic in message.responses for part in topic.partitions
        ]
    if not keys and not ready.writes:
        return ()
    found: dict[str, Replica] = {}
    for write in ready.writes:
        if type(write) in _MOVING and write.log in life.by_log:  # type: ignore[union-attr]
            found[write.log] = life.by_log[write.log]  # type: ignore[union-attr]
    for key in keys:
        replica = broker.replicas.get(key)
        if replica is not None:
            found[replica.log.name] = replica
    return found.values()


def _aborted(entry: AbortedTransaction) -> _Aborted:
    return entry.producer_id, entry.first_offset, entry.last_offset


def _replayed(segments: tuple[bytes, ...]) -> tuple[Producers, set[_Aborted]]:
    """Return the producer state that segments add up to, and the aborted transactions in them."""
    producers, found = Producers(), set[_Aborted]()
    for data in segments:
        for at, header in batch.parse(data):
            if header.producer_id < 0:
                continue
            if header.is_control:
                kind, epoch = record.control_type(data, at, header)
                entry = producers.end(header, header.base_offset, epoch, commit=kind == record.COMMIT)
                if entry is not None:
                    found.add(_aborted(entry))
            else:
                producers.append(header, header.base_offset)
    return producers, found


def _essence(one: Producer) -> tuple[object, ...]:
    """Return what two states of a producer must agree on."""
    batches = [(w.base_sequence, w.last_sequence, w.base_offset) for w in one.batches]
    return one.producer_id, one.epoch, one.coordinator_epoch, one.first_offset, batches


def _lasting(one: Producer, *, compacted: bool) -> tuple[object, ...]:
    """Return what outlives a process: no more than the last batch.

    A compacted log has lost the markers whose transactions are gone, and with them who wrote the last one: so has
    Apache Kafka's, which keeps the last batch of data of a producer (Cleaner.cleanInto).
    """
    producer_id, epoch, coordinator_epoch, first_offset, batches = _essence(one)
    assert isinstance(batches, list)
    return producer_id, epoch, -1 if compacted else coordinator_epoch, first_offset, batches[-1:]


def _held_to(node: Node, name: str, ghost: Ghost) -> int:
    """Return up to where a disk holds what was committed to a log; 0 if it lost whose log that is."""
    end = 0
    if node.disk.load(f"{name}/partition.metadata") is None:
        return end
    with contextlib.suppress(CorruptBatchError):
        for _, header in batch.parse(node.disk.dump(name)):
            if ghost.contradicts(header):
                break
            end = header.next_offset
    return end


def _name(replica: Replica) -> str:
    return f"{replica.name}/{replica.key[1]}"
