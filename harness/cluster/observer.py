"""Who leads, who controls, who coordinates, where logs end: asked from the running cluster, in bounded time.

Every question goes to all nodes that can answer at once, in parallel, by `harness.cluster.probe`: dead and paused nodes
are left out (the provider knows), the rest have a second. Nodes disagree while something is wrong: a node that is cut
off, or has just come back, tells of the past. Metadata carries the leader epoch, so the highest epoch wins; with equal
epochs the leader's own word on its ISR, then what most say. For the controller the highest quorum epoch wins. (This is
why leaders are not asked from the admin client: it asks one node of its own choice and tells no epoch.)

`answer` and `holds` evaluate the questions and conditions of `harness.cluster.api`. Nothing is kept between two calls,
so an observer can be used from any thread.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar, assert_never

from broker.core.transaction.transaction_hash import partition_for
from harness.cluster.api import (
    Clocked,
    Cluster,
    Configurable,
    Disked,
    Interceptable,
    Key,
    Killable,
    Node,
    Observer,
    Partitionable,
    PartitionState,
    Pausable,
    Powered,
    Setting,
    Shapeable,
    Upgradable,
)
from harness.cluster.probe import (
    DEFAULT_TIMEOUT_S,
    OF_BROKER,
    OF_TOPIC,
    READ_COMMITTED,
    READ_UNCOMMITTED,
    MetadataResponse,
    Probe,
    ProbeError,
    split_address,
)
from harness.cluster.questions import (
    AssignedTo,
    ClockOff,
    ClockWithin,
    Condition,
    Configured,
    Controller,
    ControllerElected,
    Coordinated,
    Coordinator,
    Dropped,
    FullIsr,
    Intercepted,
    IsrShrunk,
    KeysOf,
    LeaderElected,
    LeaderOf,
    Lost,
    NodeAnswers,
    PacketsDropped,
    Pid,
    PiecesShaped,
    PreferredElection,
    Question,
    QuorumLeader,
    RequestsIntercepted,
    Rotten,
    RunningVersion,
    SettingOf,
    Shaped,
    Stable,
    Stopped,
    Versions,
)
from harness.credentials import credentials_of

T = TypeVar("T")

SHARE: Final = "share"
KEEPERS: Final = {"group": "__consumer_offsets", "transaction": "__transaction_state", SHARE: "__share_group_state"}
"""The topics whose leaders coordinate, by what they coordinate."""

SET_FOR_TOPIC, SET_FOR_ALL_BROKERS = 1, 3
"""Where a setting's value comes from."""

FETCH_AGE_MS: Final = 2000
"""A voter of the quorum that has not fetched for so long, compared with the others, is away: it asks every 500 ms."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What one node says of one partition."""

    witness: int
    epoch: int
    leader: int
    isr: tuple[int, ...]
    replicas: tuple[int, ...]
    internal: bool


class ClusterObserver:
    """Satisfies Observer for any cluster whose brokers can be reached."""

    def __init__(self, cluster: Cluster, topics: Sequence[str] = (), timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Watch the cluster; `topics` are the run's, empty for all but the internal ones."""
        self._cluster, self._topics, self._timeout_s = cluster, frozenset(topics), timeout_s
        self._credentials = credentials_of(cluster)

    def partitions(self, keys: Sequence[Key]) -> Sequence[PartitionState]:
        """Return the partitions' states, sorted by key; all of the run's topics for an empty sequence."""
        return self._states(keys, self._metadata(keys))

    def _metadata(self, keys: Sequence[Key]) -> dict[str, MetadataResponse]:
        topics = sorted({split_key(key)[0] for key in keys}) or None
        return self.ask_brokers(lambda probe: probe.metadata(topics))

    def _states(self, keys: Sequence[Key], metadata: Mapping[str, MetadataResponse]) -> list[PartitionState]:
        wanted = frozenset(keys)
        return self._merged(
            metadata, lambda key, word: key in wanted if wanted else not word.internal and self._is_ours(key)
        )

    def full_isr(self) -> bool:
        """Return whether every replica of every partition, internal ones too, is in its ISR, and every broker answers.

        Both: for a session's length after a kill the survivors still tell of a full ISR, with the dead node in it.
        """
        words = self.ask_brokers(lambda probe: probe.metadata())
        everyone = {node.id for node in self.brokers()}
        if len(words) < len(everyone) or any(
            everyone - {broker.node_id for broker in word.brokers} for word in words.values()
        ):
            return False
        states = self._merged(words, lambda key, word: word.internal or self._is_ours(key))
        return bool(states) and all(state.leader and set(state.isr) == set(state.replicas) for state in states)

    def led_by_others(self) -> list[PartitionState]:
        """Return the partitions, internal ones too, that another than their first replica leads."""
        words = self.ask_brokers(lambda probe: probe.metadata())
        states = self._merged(words, lambda key, word: word.internal or self._is_ours(key))
        return [state for state in states if state.leader != state.replicas[0]]

    def controller(self) -> str | None:
        """Return the active controller: the leader of the metadata quorum."""
        newest = self.quorum()
        return None if newest is None else newest[0]

    def quorum(self) -> tuple[str, int] | None:
        """Return the leader of the metadata quorum, and its epoch."""
        quorums = self.ask_brokers(lambda probe: probe.describe_quorum()).values()
        newest = max(quorums, key=lambda quorum: quorum.leader_epoch, default=None)
        name = None if newest is None else self._names().get(newest.leader_id)
        return None if newest is None or name is None else (name, newest.leader_epoch)

    def coordinator(self, kind: str, name: str) -> PartitionState | None:
        """Return the partition that keeps it, where its leader is whom most nodes name (FindCoordinator); else None."""
        known = self._share_key(name) if kind == SHARE else name
        if known is None:
            return None
        answers = Counter(self.ask_brokers(lambda probe: probe.find_coordinator(kind, known)).values())
        metadata = self._metadata((f"{KEEPERS[kind]}/0",))
        count = max((len(topic.partitions) for word in metadata.values() for topic in word.topics), default=0)
        if not answers or not count:
            return None
        state = next(iter(self._states((f"{KEEPERS[kind]}/{partition_for(known, count)}",), metadata)), None)
        named = self._names().get(answers.most_common(1)[0][0])
        return state if state is not None and state.leader is not None and state.leader == named else None

    def _share_key(self, name: str) -> str | None:
        """Return what the coordinator of `group:topic/partition` is found by (SharePartitionKey.asCoordinatorKey)."""
        group, _, key = name.rpartition(":")
        topic, index = split_key(key)
        ids = {
            of.topic_id
            for word in self._metadata((key,)).values()
            for of in word.topics
            if of.name == topic and any(of.topic_id)
        }
        if len(ids) != 1:
            return None
        return f"{group}:{base64.urlsafe_b64encode(ids.pop()).rstrip(b'=').decode()}:{index}"

    def end_offsets(self, keys: Sequence[Key]) -> dict[Key, tuple[int, int]]:
        """Return {key: (LSO, HW)} from the leaders; the LSO is asked first, so equal means stable at that moment.

        Nothing unless most of the brokers say who leads: the one or two that are left may tell of the past, and the log
        of a leader that was deposed without knowing it ends before what its successor acknowledged.
        """
        metadata = self._metadata(keys)
        if 2 * len(metadata) <= len(self.brokers()):
            return {}
        led: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for state in self._states(keys, metadata):
            if state.leader is not None:
                led[state.leader].append(split_key(state.key))
        ends: dict[Key, tuple[int, int]] = {}
        nodes = {node.id: node.name for node in self.brokers()}

        def ask(probe: Probe, node: Node) -> dict[Key, tuple[int, int]]:
            mine = led.get(nodes[node.id], [])
            stable = probe.list_offsets(mine, isolation_level=READ_COMMITTED) if mine else {}
            high = probe.list_offsets(mine, isolation_level=READ_UNCOMMITTED) if mine else {}
            return {
                f"{topic}/{index}": (stable[topic, index].offset, high[topic, index].offset)
                for topic, index in mine
                if (topic, index) in stable and (topic, index) in high
                if stable[topic, index].error_code == high[topic, index].error_code == 0
            }

        for answer_ in self._ask(ask, only=led.keys()).values():
            ends |= answer_
        return ends

    def elect_preferred(self, topic: str) -> str | None:
        """Let the first replica of each partition lead; return "" when all do, else an error's name."""

        def ask(probe: Probe) -> str:
            found = probe.metadata([topic]).topics
            return probe.elect_preferred(topic, [part.partition_index for one in found for part in one.partitions])

        return min(self.ask_brokers(ask).values(), default=None)

    def reassign(self, key: Key, replicas: Sequence[str]) -> None:
        """Ask for the partition to be moved to these nodes."""
        ids = {node.name: node.id for node in self._cluster.nodes()}
        topic, index = split_key(key)
        wanted = [ids[name] for name in replicas]
        self._have(lambda probe: probe.reassign(topic, index, wanted))

    def configure(self, topic: str, name: str, value: str | None) -> None:
        """Ask for a setting of a topic, or of all brokers (""); None: for none of its own."""
        self._have(lambda probe: probe.configure(OF_TOPIC if topic else OF_BROKER, topic, name, value))

    def add_partitions(self, topic: str, count: int) -> None:
        """Ask for a topic of so many partitions."""
        self._have(lambda probe: probe.add_partitions(topic, count))

    def setting(self, node: str, topic: str, name: str) -> Setting | None:
        """Return what the node says of a setting of a topic, or of all brokers (""), or None."""
        kind, source = (OF_TOPIC, SET_FOR_TOPIC) if topic else (OF_BROKER, SET_FOR_ALL_BROKERS)
        told = self._ask(lambda probe, asked: probe.setting(kind, topic or str(asked.id), name), only=(node,)).get(node)
        if told is None:
            return None
        return Setting(told.value, next((one.value for one in told.synonyms if one.source == source), None))

    def _have(self, done: Callable[[Probe], object]) -> None:
        """Have something done: broker after broker is asked until one answers.

        Not all at once: a request that comes late must not undo a later one.
        """
        for node in self.brokers():
            if self._ask(lambda probe, _: done(probe), only=(node.name,)):
                return

    def node_answers(self, name: str) -> bool:
        """Return whether the node is in service: a broker answers and is listed, a controller follows the quorum."""
        node = next((one for one in self._cluster.nodes() if one.name == name), None)
        if node is None:
            return False
        if "broker" not in node.roles:
            return self._follows_quorum(node)
        words = self.ask_brokers(lambda probe: probe.metadata(()))
        listed = [other for other, answer_ in words.items() if any(one.node_id == node.id for one in answer_.brokers)]
        # Its own word alone shows only that it is up; where it is the only broker, there is no other.
        return name in words and (any(other != name for other in listed) or (len(self.brokers()) == 1 and bool(listed)))

    def brokers(self) -> list[Node]:
        """Return the nodes that clients can talk to."""
        return [node for node in self._cluster.nodes() if "broker" in node.roles]

    def ask_brokers(self, question: Callable[[Probe], T]) -> dict[str, T]:
        """Ask every broker that is neither dead nor paused; return the answers that came, by node name."""
        return self._ask(lambda probe, _: question(probe))

    def ask_node(self, name: str, question: Callable[[Probe], T]) -> T | None:
        """Ask one broker; None: no answer came."""
        return self._ask(lambda probe, _: question(probe), only=(name,)).get(name)

    def _ask(self, question: Callable[[Probe, Node], T], only: Iterable[str] | None = None) -> dict[str, T]:
        wanted = None if only is None else set(only)
        nodes = [
            node for node in self.brokers() if (wanted is None or node.name in wanted) and self._can_answer(node.name)
        ]
        if not nodes:
            return {}

        def ask(node: Node) -> T | None:
            try:
                with Probe(*split_address(node.address), self._timeout_s, credentials=self._credentials) as probe:
                    return question(probe, node)
            except ProbeError:
                return None

        with ThreadPoolExecutor(len(nodes), thread_name_prefix="observer") as pool:
            answers = list(pool.map(ask, nodes))
        return {node.name: answer_ for node, answer_ in zip(nodes, answers, strict=True) if answer_ is not None}

    def _can_answer(self, name: str) -> bool:
        if isinstance(self._cluster, Killable) and self._cluster.pid(name) is None:
            return False
        return not (isinstance(self._cluster, Pausable) and self._cluster.paused(name))

    def _merged(
        self, metadata: Mapping[str, MetadataResponse], wanted: Callable[[Key, _Word], bool]
    ) -> list[PartitionState]:
        names = self._names()
        ids = {node.name: node.id for node in self.brokers()}
        words: dict[Key, list[_Word]] = defaultdict(list)
        for witness, answer_ in metadata.items():
            for key, word in _words(ids[witness], answer_):
                if wanted(key, word):
                    words[key].append(word)

        def name(node_id: int) -> str:
            return names.get(node_id, f"id{node_id}")

        return [
            PartitionState(
                key=key,
                leader=name(word.leader) if word.leader >= 0 else None,
                isr=tuple(map(name, word.isr)),
                replicas=tuple(map(name, word.replicas)),
            )
            for key, said in sorted(words.items())
            for word in [_believed(said)]
        ]

    def _is_ours(self, key: Key) -> bool:
        return not self._topics or split_key(key)[0] in self._topics

    def _follows_quorum(self, node: Node) -> bool:
        for quorum in self.ask_brokers(lambda probe: probe.describe_quorum()).values():
            fetched = {voter.replica_id: voter.last_fetch_timestamp for voter in quorum.current_voters}
            if quorum.leader_id == node.id or fetched.get(node.id, -1) >= max(fetched.values()) - FETCH_AGE_MS:
                return self._can_answer(node.name)
        return False

    def _names(self) -> Mapping[int, str]:
        return {node.id: node.name for node in self._cluster.nodes()}


def observer_of(cluster: Cluster, topics: Sequence[str] = ()) -> ClusterObserver:
    """Return an observer of the cluster; `topics` are the run's, empty for all but the internal ones."""
    return ClusterObserver(cluster, topics)


def split_key(key: Key) -> tuple[str, int]:
    """Return topic and partition of a key such as t0/3."""
    topic, _, index = key.rpartition("/")
    return topic, int(index)


def answer(question: Question, observer: Observer, cluster: Cluster) -> Any:  # noqa: C901, PLR0911, PLR0912 - one case each
    """Return the answer to a question; None where nobody could say, or where the cluster lacks the power."""
    match question:
        case LeaderOf(key):
            return next(iter(observer.partitions((key,))), None)
        case Controller():
            return observer.controller()
        case QuorumLeader():
            return observer.quorum()
        case Coordinator(kind, name):
            return observer.coordinator(kind, name)
        case Pid(node):
            return cluster.pid(node) if isinstance(cluster, Killable) else None
        case Versions():
            return cluster.versions() if isinstance(cluster, Upgradable) else None
        case RunningVersion(node):
            return cluster.running_version(node) if isinstance(cluster, Upgradable) else None
        case Rotten(node):
            return cluster.rotten(node) if isinstance(cluster, Disked) else None
        case Lost(node):
            return cluster.bytes_lost(node) if isinstance(cluster, Powered) else None
        case Stopped(node):
            return cluster.paused(node) if isinstance(cluster, Pausable) else None
        case ClockOff(node):
            return cluster.clock_off_ms(node) if isinstance(cluster, Clocked) else None
        case PreferredElection(topic):
            return observer.elect_preferred(topic)
        case SettingOf():
            return setting_of(question, observer, cluster)
        case KeysOf(topic):
            return tuple(state.key for state in observer.partitions(()) if split_key(state.key)[0] == topic)
        case Dropped(source, target):
            return cluster.dropped(source, target) if isinstance(cluster, Partitionable) else None
        case Shaped(source, target):
            return cluster.shaped(source, target) if isinstance(cluster, Shapeable) else None
        case Intercepted(node):
            return cluster.intercepted(node) if isinstance(cluster, Interceptable) else None
        case _:
            assert_never(question)


def holds(condition: Condition, observer: Observer, cluster: Cluster) -> bool:  # noqa: C901, PLR0911, PLR0912 - as above
    """Return whether the condition is seen to hold now. `observer` is a ClusterObserver of `cluster`."""
    assert isinstance(observer, ClusterObserver)
    match condition:
        case LeaderElected(key, other_than):
            state = next(iter(observer.partitions((key,))), None)
            return state is not None and state.leader is not None and state.leader not in other_than
        case ControllerElected(other_than):
            controller = observer.controller()
            return controller is not None and controller not in other_than
        case Coordinated(Coordinator(kind, name), other_than):
            kept = observer.coordinator(kind, name)
            return kept is not None and kept.leader not in other_than
        case NodeAnswers(node):
            return observer.node_answers(node)
        case FullIsr():
            return observer.full_isr()
        case IsrShrunk(key, nodes):
            state = next(iter(observer.partitions((key,))), None)
            return state is not None and not nodes & set(state.isr)
        case AssignedTo():
            return is_assigned(next(iter(observer.partitions((condition.key,))), None), condition)
        case Configured(of, value):
            return is_configured(setting_of(of, observer, cluster), value)
        case ClockWithin(node, least_ms, most_ms):
            off_ms = cluster.clock_off_ms(node) if isinstance(cluster, Clocked) else None
            return off_ms is not None and least_ms <= off_ms <= most_ms
        case PacketsDropped(source, target):
            return isinstance(cluster, Partitionable) and cluster.dropped(source, target) > 0
        case PiecesShaped(source, target):
            return isinstance(cluster, Shapeable) and cluster.shaped(source, target) > 0
        case RequestsIntercepted(node):
            return isinstance(cluster, Interceptable) and bool(cluster.intercepted(node))
        case Stable(keys):
            ends = observer.end_offsets(keys)
            return all(key in ends and ends[key][0] == ends[key][1] for key in keys)
        case _:
            assert_never(condition)


def is_assigned(state: PartitionState | None, wanted: AssignedTo) -> bool:
    """Return whether the partition lies, or has begun to be moved, where the condition says."""
    if state is None:
        return False
    if wanted.instead_of:
        begins_so = state.replicas[: len(wanted.replicas)] == wanted.replicas
        return begins_so and state.replicas != wanted.instead_of  # which may begin so, too
    return state.replicas == wanted.replicas and set(state.isr) == set(wanted.replicas)


def setting_of(question: SettingOf, observer: Observer, cluster: Cluster) -> Setting | None:
    """Return what the partition's leader says of the setting, or a replica while there is none."""
    state = next(iter(observer.partitions((question.key,))), None)
    if state is None or not isinstance(cluster, Configurable):
        return None
    topic = "" if question.of_brokers else split_key(question.key)[0]
    told = (
        cluster.setting(node, topic, question.name) for node in ((state.leader,) if state.leader else state.replicas)
    )
    return next((setting for setting in told if setting is not None), None)


def is_configured(setting: Setting | None, value: str | None) -> bool:
    """Return whether the setting was given this value, and it holds; None: whether it has no value of its own."""
    return setting is not None and setting.own == value and (value is None or setting.value == value)


def _words(witness: int, metadata: MetadataResponse) -> Iterable[tuple[Key, _Word]]:
    for topic in metadata.topics:
        for part in topic.partitions:
            yield (
                f"{topic.name}/{part.partition_index}",
                _Word(
                    witness=witness,
                    epoch=part.leader_epoch,
                    leader=part.leader_id,
                    isr=part.isr_nodes,
                    replicas=part.replica_nodes,
                    internal=topic.is_internal,
                ),
            )


def _believed(said: Sequence[_Word]) -> _Word:
    """Return the newest word; see the module's text."""
    epoch = max(word.epoch for word in said)
    newest = [word for word in said if word.epoch == epoch]
    own = [word for word in newest if word.witness == word.leader]
    if own:
        return own[0]
    common = Counter((word.leader, frozenset(word.isr)) for word in newest)
    (leader, isr), _ = common.most_common(1)[0]
    return next(word for word in newest if (word.leader, frozenset(word.isr)) == (leader, isr))
