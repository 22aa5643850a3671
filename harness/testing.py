"""A Kafka cluster to test an application against, with faults; and a judged run as something to assert.

`Kafka` is what the pytest fixture `kafka` gives (`harness.pytest_plugin`), and works without pytest:

    with Kafka(nodes=3) as kafka:
        topic = kafka.create_topic("orders", partitions=6)
        ...                                                  # any client, against kafka.bootstrap
        kafka.kill(kafka.leader(topic))

`run` is `harness run` as a function. Both stand on what the command line stands on: the providers of clusters, their
powers, the observer. A node goes by its name (n1, n2, ...), a partition by topic and number; times are seconds.

States of a `Kafka`: made -> up (inside `with`) -> down. Faults are undone by their counterparts, or all at once by
`heal`. When it goes down nothing is left running; if the process is killed, a guardian sees to it
(`harness.process.guardian`). Calls block, and may come from any thread, one at a time.

Errors: UsageError is what the caller can correct (no such node, topic, or power; no Java); ClusterError is a cluster
that does not start or can't be controlled; TimeoutError is one that did not come to what was waited for.
"""

from __future__ import annotations

import functools
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from harness import catalog, lifetime, options, store
from harness.breakable import Breakable
from harness.clients import topics
from harness.clients.settings import common
from harness.cluster.actions import Install, Reassign, Restore, Start
from harness.cluster.api import (
    Carried,
    Cluster,
    ClusterError,
    Killable,
    Logged,
    PartitionState,
    Pausable,
    Upgradable,
    UsageError,
)
from harness.cluster.observer import holds, is_assigned, observer_of, split_key
from harness.cluster.properties import settings_of
from harness.cluster.questions import AssignedTo, Condition, NodeAnswers
from harness.cluster.ready import not_ready
from harness.judged import Verdict, run
from harness.process.guardian import guarded
from harness.scenario import Scenario
from nemesis.actions import inverses, nodes_of, powers, undo

__all__ = ["CLUSTERS", "Kafka", "Verdict", "run"]

T = TypeVar("T")

CLUSTERS: Final = ("embedded", "jvm", "compose")
"""Those that are ours to break; see docs/clusters.md."""
START_S: Final = 60.0
"""For a node to be back in service, or a partition to have a leader: up to 20 s on Apache Kafka on a busy machine."""
WHOLE_S: Final = 120.0
"""For a whole cluster after all of it was killed."""
POLL_S: Final = 0.05
LOG_LINES: Final = 20
_CLIENT: Final = "kafka-testing"


class Kafka(Breakable):
    """A Kafka cluster of its own, for the time of a `with`."""

    def __init__(
        self,
        cluster: str = "embedded",
        *,
        nodes: int = 3,
        controllers: int = 0,
        broker_config: Mapping[str, object] | None = None,
        kafka_version: str = "4.1.1",
        upgrade_to: str = "",
        image: str | None = None,
        bug: str = "",
        clocks: bool = False,
        folder: Path | None = None,
    ) -> None:
        """Plan it: our own broker (`embedded`), or Apache Kafka (`jvm`, `compose`), as in docs/clusters.md.

        controllers: nodes that are controllers alone; 0: every node is both. kafka_version, image: of Apache Kafka.
        upgrade_to: another version that `upgrade` brings nodes to (`jvm`).
        bug: one that our own broker shall have (`harness bugs`), to see whether a test notices.
        clocks: whether the nodes' clocks can be wrong (`skew`); on `jvm` that needs libfaketime. folder: a new one,
        for logs and data; by default a temporary one, which is kept only when the block raises. Raises UsageError.
        """
        if cluster not in CLUSTERS:
            raise UsageError(f"no cluster {cluster!r} to test on: there are {', '.join(CLUSTERS)}")
        if bug:
            catalog.bug(bug)
        if upgrade_to and cluster != options.UPGRADABLE:
            raise UsageError(f"upgrade_to={upgrade_to!r} needs a cluster of {options.UPGRADABLE}, not of {cluster}")
        self.scenario: Final[Scenario] = options.of_fields(
            cluster=cluster,
            nodes=nodes,
            controllers=controllers,
            broker_config=settings_of(broker_config),
            kafka_version=kafka_version,
            upgrade_to=upgrade_to,
            image=image,
            bug=bug,
        )
        options.refuse_ineffective(self.scenario)
        if clocks and "clock" not in powers(catalog.provider(cluster).kind()):
            raise UsageError(f"the clocks of a cluster of {cluster} can't be set")
        self._given, self._clocks = folder, clocks
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self._topics: list[str] = []
        self._done = []
        self._moved: dict[str, tuple[str, ...]] = {}
        """Partitions that have to be moved back, and where to."""

    # Its life

    def __enter__(self) -> Self:
        """Start it; returns when every node answers. Raises UsageError or ClusterError, and leaves nothing then."""
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-harness-")) if self._given is None else self._given
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder = self.folder.resolve()
        with ExitStack() as stack:
            provider = catalog.provider(self.scenario.cluster)
            spec = replace(lifetime.spec_of(self.scenario, self.folder), clocks=self._clocks)
            self.cluster: Cluster = provider.create(spec)
            over = functools.partial(store.is_finished, self.folder)
            stack.enter_context(guarded(self.folder / store.LOG, str(self.folder), over=over))
            stack.enter_context(lifetime.up(self.scenario, self.cluster, self.folder, lambda _: None))
            self._observer = observer_of(self.cluster)
            self._began_s = time.monotonic()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self._given is None:
            shutil.rmtree(self.folder)
        elif error is not None:
            error.add_note(f"the nodes' logs are in {self.folder / store.NODES}")

    def close(self) -> None:
        """Take it down, as the end of `with` does; its logs stay in the folder. Safe to call twice."""
        self._stack.close()

    # Where and who

    @property
    def bootstrap(self) -> str:
        """The brokers' addresses, host:port[,host:port...]: `bootstrap.servers` of any client."""
        return self.cluster.bootstrap()

    def partition(self, topic: str, partition: int = 0) -> PartitionState:
        """Return leader, ISR and replicas of a partition as node names, as the cluster tells now; TimeoutError."""
        key = f"{topic}/{partition}"
        return self._found(key, lambda: next(iter(self._observer.partitions((key,))), None))

    def leader(
        self, topic: str, partition: int = 0, *, other_than: Sequence[str] = (), timeout_s: float = START_S
    ) -> str:
        """Return the node that leads a partition and runs; wait until there is one. TimeoutError.

        other_than: nodes that are not waited for, such as one that was cut off and is told as the leader still.
        """
        found: list[str] = []

        def look() -> str | None:
            gone = frozenset(node for node in self.nodes if not self._runs(node)) | set(other_than)
            state = next(iter(self._observer.partitions((f"{topic}/{partition}",))), None)
            if state is None or state.leader is None or state.leader in gone:
                return "nobody leads it" if state is None or state.leader is None else f"{state.leader} is said to"
            found.append(state.leader)
            return None

        self._await(look, f"a leader of {topic}/{partition}", timeout_s)
        return found[0]

    def controller(self) -> str:
        """Return the node that is the active controller; wait until there is one. TimeoutError."""

        def look() -> str | None:
            node = self._observer.controller()
            return node if node is not None and self._runs(node) else None

        return self._found("a controller", look)

    def coordinator(self, kind: str, name: str, *, other_than: Sequence[str] = (), timeout_s: float = START_S) -> str:
        """Return the node that coordinates the consumer group (kind "group") or transactional id ("transaction").

        Or what a share group knows of one partition (kind "share", named `group:topic/partition`). Waits until there is
        one that runs; other_than: as for `leader`. TimeoutError.
        """
        return self._kept(kind, name, other_than, timeout_s)[1]

    def keeper(self, kind: str, name: str) -> tuple[str, int]:
        """Return topic and partition that keep the group or transactional id: who leads there coordinates it.

        For what is done to partitions: `kafka.move_leader(*kafka.keeper("group", "billing"))`. TimeoutError.
        """
        return split_key(self._kept(kind, name, (), START_S)[0])

    def wait_until(self, condition: Condition, timeout_s: float = START_S) -> None:
        """Return when a condition of `harness.cluster.questions` is seen to hold, such as `FullIsr()`; TimeoutError."""

        def look() -> str | None:
            try:
                return None if holds(condition, self._observer, self.cluster) else "it was not seen"
            except ClusterError as error:
                return str(error)

        self._await(look, str(condition), timeout_s)

    # Topics

    def name(self, base: str) -> str:
        """Return a name that was not given out before on this cluster: for a topic, a group, a transactional id."""
        return f"{base}-{next(self._numbers)}"

    def create_topic(
        self,
        base: str = "topic",
        *,
        partitions: int = 1,
        replication: int | None = None,
        config: Mapping[str, object] | None = None,
        exact: bool = False,
    ) -> str:
        """Create a topic and return its name: `base` and a number, or just `base` if `exact`.

        replication: three, or as many as there are brokers. config: the topic's settings; without it
        `min.insync.replicas` is 2 where there are so many replicas. Returns when every partition has a leader, and all
        replicas on nodes that nothing was done to are in sync. Raises UsageError (it exists, it is impossible, ...),
        ClusterError, TimeoutError.
        """
        topic = base if exact else self.name(base)
        copies = min(3, self.scenario.nodes) if replication is None else replication
        wanted = NewTopic(topic, num_partitions=partitions, replication_factor=copies, config=settings_of(config))
        topics.make(self._admin(), [wanted], self.bootstrap)
        self._topics.append(topic)
        keys = [f"{topic}/{number}" for number in range(partitions)]

        def look() -> str | None:
            touched = set(nodes_of(action for _, action in self._done if not isinstance(action, Reassign)))
            ready = {
                state.key
                for state in self._observer.partitions(keys)
                if state.leader is not None and set(state.replicas) <= set(state.isr) | touched
            }
            return ", ".join(key for key in keys if key not in ready) or None

        self._await(look, f"leaders and replicas of {topic}", START_S)
        return topic

    def delete_topics(self) -> None:
        """Delete the topics that `create_topic` made, where they are there still; TimeoutError."""

        def look() -> str | None:
            if not self._topics:
                return None
            admin, refused = self._admin(), {}  # the client is kept until the answers are there: they go with it
            for topic, deleted in admin.delete_topics(self._topics, request_timeout=START_S).items():
                try:
                    deleted.result(START_S)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                        refused[topic] = error.args[0].str()
            self._topics = list(refused)
            return ", ".join(f"{topic}: {why}" for topic, why in refused.items()) or None

        self._await(look, "the end of the test's topics", START_S)

    # Faults

    def start(self, node: str, *, wait: bool = True) -> None:
        """Start a node that was killed or stopped; wait until it is in service, if `wait`. Safe when it runs."""
        undo(Start(node), self.cluster)
        if wait:
            self.wait_until(NodeAnswers(node))

    def upgrade(self, node: str, *, to: str | None = None, wait: bool = True) -> None:
        """Stop the node in order and start it with another version; wait until it is in service, if `wait`.

        to: `upgrade_to` by default, or `kafka_version`, to go back. `heal` leaves it, `reset` goes back. The level of
        the cluster's features stays what it was. Raises UsageError if the cluster can't, TimeoutError.
        """
        versions = self.cluster.versions() if isinstance(self.cluster, Upgradable) else ()
        version = to or "".join(versions[1:])
        if version not in versions:
            known = ", ".join(versions) or self.scenario.cluster
            raise UsageError(f"{node} can't be brought to {to or 'another version'}: there is {known} (see upgrade_to)")
        self.stop(node)
        self._do(Install(node, version))
        self.start(node, wait=wait)

    def move_leader(self, topic: str, partition: int = 0, *, to: str | None = None) -> str:
        """Have another replica lead the partition, in order, as an operator does; return it when it leads.

        to: that replica; by default the next one that is in sync and runs. `heal` puts the old order of the replicas
        back. Raises UsageError if it can't lead, TimeoutError.
        """
        state = self.partition(topic, partition)
        able = [node for node in state.isr if node != state.leader and self._runs(node)]
        node = to or next(iter(able), "another")
        if node not in able:
            raise UsageError(f"{state.key}: {node} can't be made leader: {', '.join(able) or 'nobody'} can")
        wanted = (node, *(other for other in state.replicas if other != node))
        if wanted != state.replicas:
            self._do(Reassign(state.key, wanted, state.replicas))

        def look() -> str | None:
            said = self._observer.ask_brokers(lambda probe: probe.elect_preferred(topic, [partition]))
            led = next((one.leader for one in self._observer.partitions((state.key,))), None)
            return None if led == node else f"{led} does: {min(said.values(), default='no answer')}"

        self._await(look, f"{node} leading {state.key}", START_S)
        return node

    def reassign(self, topic: str, partition: int = 0, *, to: Sequence[str], wait: bool = True) -> None:
        """Move the partition to these brokers, in this order; `wait` until it lies there. `heal` moves it back."""
        brokers = [node.name for node in self._observer.brokers()]
        if not to or len(set(to)) < len(to) or not set(to) <= set(brokers):
            raise UsageError(f"{topic}/{partition} can't lie on {', '.join(to) or 'no node'}: {', '.join(brokers)} can")
        state = self.partition(topic, partition)
        self._do(Reassign(state.key, tuple(to), state.replicas))
        if wait:
            self.wait_until(AssignedTo(state.key, tuple(to)))

    def heal(self, timeout_s: float = WHOLE_S) -> None:
        """Undo every fault, start every node that is dead; wait until each replica is in sync and the first ones lead.

        So partitions are led again by whom they were led before anything was done; clients hear of it as they do when
        Kafka balances its leaders itself. Raises TimeoutError, or ClusterError if something can't be undone.
        """
        self._undo()
        self._await(self._not_whole, "the cluster's being whole", timeout_s)

    def reset(self, timeout_s: float = WHOLE_S) -> None:
        """Do what `heal` does, and delete the topics that `create_topic` made: the cluster is as new for the next."""
        self._undo()
        self._downgrade()
        self._await(self._not_ready, "the cluster's being ready", timeout_s)
        self.delete_topics()
        self._await(self._not_whole, "the cluster's being whole", timeout_s)

    # What it says

    def last_words(self, lines: int = LOG_LINES) -> dict[str, str]:
        """Return the last lines of each node's logs by node and file, "n1/server.log"; `folder` has a copy of all."""
        kept = self.folder / store.NODES
        if isinstance(self.cluster, Logged):
            self.cluster.collect(kept)
        said = {str(log.relative_to(kept)): log.read_text(errors="replace") for log in sorted(kept.glob("*/*.log"))}
        return {name: "\n".join(text.splitlines()[-lines:]) for name, text in said.items()}

    # What they stand on

    def _undo(self) -> None:
        if isinstance(self.cluster, Carried):
            self.cluster.check_carried()
        for action in inverses(action for _, action in self._done):
            if isinstance(action, Restore):
                self._moved[action.key] = action.replicas  # the newest first: where it lay at first is what stays
            else:
                undo(action, self.cluster)
        self._start_the_dead()
        self._done.clear()

    def _start_the_dead(self) -> None:
        if isinstance(self.cluster, Killable):
            for node in self.nodes:
                undo(Start(node), self.cluster)

    def _downgrade(self) -> None:
        """Bring nodes that run another version back to the one that they began with, one after the other."""
        if not isinstance(self.cluster, Upgradable):
            return
        first = self.cluster.versions()[0]
        for node in self.nodes:
            if self.cluster.running_version(node) not in {first, None}:
                self._await(self._not_whole, "the cluster's being whole", WHOLE_S)
                self.upgrade(node, to=first)
        self._done.clear()

    def _runs(self, node: str) -> bool:
        if isinstance(self.cluster, Killable) and self.cluster.pid(node) is None:
            return False
        return not (isinstance(self.cluster, Pausable) and self.cluster.paused(node))

    def _not_ready(self) -> str | None:
        self._start_the_dead()  # again: a process that was sent SIGKILL a moment ago seemed to run
        return not_ready(self.cluster.nodes(), self.cluster.describe()["cluster-id"])

    def _not_back(self) -> str | None:
        """Move partitions back as long as they lie elsewhere; those of topics that are gone are nowhere."""
        for key, replicas in tuple(self._moved.items()):
            state = next(iter(self._observer.partitions((key,))), None)
            if state is not None and not is_assigned(state, AssignedTo(key, replicas)):
                undo(Restore(key, replicas), self.cluster)
                return f"{key} does not lie on {', '.join(replicas)} again"
            del self._moved[key]
        return None

    def _not_whole(self) -> str | None:
        if reason := self._not_ready() or self._not_back():
            return reason
        if self._observer.full_isr():
            return self._not_led_as_before()
        said = self._observer.ask_brokers(lambda probe: probe.metadata())
        if len(said) == self.scenario.nodes and not any(answer.topics for answer in said.values()):
            return None  # no topic, no replica
        return "not every replica is in sync"

    def _not_led_as_before(self) -> str | None:
        """Have the first replicas elected where others lead."""
        others = self._observer.led_by_others()
        for topic in sorted({split_key(state.key)[0] for state in others}):
            self._observer.elect_preferred(topic)
        return next((f"{state.key} is not led by {state.replicas[0]}" for state in others), None)

    def _kept(self, kind: str, name: str, other_than: Sequence[str], timeout_s: float) -> tuple[str, str]:
        """Return the partition that keeps it, and who leads that, when it is a node that runs and none of those."""

        def look() -> tuple[str, str] | None:
            state = self._observer.coordinator(kind, name)
            if state is None or state.leader is None or state.leader in other_than or not self._runs(state.leader):
                return None
            return state.key, state.leader

        return self._found(f"a coordinator of {kind} {name}", look, timeout_s)

    def _found(self, what: str, look: Callable[[], T | None], timeout_s: float = START_S) -> T:
        """Return what `look` finds, when it finds it; TimeoutError."""
        found: list[T] = []

        def missing() -> str | None:
            found.extend(one for one in (look(),) if one is not None)
            return None if found else "no node that runs could say"

        self._await(missing, what, timeout_s)
        return found[0]

    def _await(self, look: Callable[[], str | None], what: str, timeout_s: float) -> None:
        """Return when `look` returns no reason to go on waiting; TimeoutError with the last one."""
        deadline = time.monotonic() + timeout_s
        while reason := look():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout_s:g} s: {reason}")
            time.sleep(POLL_S)

    def _admin(self) -> AdminClient:
        return AdminClient(common(self.scenario, self.bootstrap, _CLIENT))
