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
import io
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from checkers.verdict import Validity
from harness import catalog, lifetime, options, store
from harness import run as runs
from harness.clients import topics
from harness.clients.settings import common
from harness.cluster.actions import Action, Cut, Join, Kill, Pause, Resume, Shape, Smooth, Start, Stop
from harness.cluster.api import (
    Carried,
    Cluster,
    ClusterError,
    Condition,
    Killable,
    Logged,
    NodeAnswers,
    PartitionState,
    Pausable,
    UsageError,
)
from harness.cluster.observer import holds, observer_of
from harness.cluster.ready import not_ready
from harness.process.guardian import guarded
from harness.scenario import Scenario
from nemesis.actions import in_words, inverses, nodes_of, perform, undo

CLUSTERS: Final = ("embedded", "jvm", "compose")
"""Those that are ours to break; see docs/clusters.md."""
START_S: Final = 60.0
"""For a node to be back in service, or a partition to have a leader: up to 20 s on Apache Kafka on a busy machine."""
WHOLE_S: Final = 120.0
"""For a whole cluster after all of it was killed."""
POLL_S: Final = 0.05
LOG_LINES: Final = 20
_WIDTH: Final = 100
_CLIENT: Final = "kafka-testing"


class Kafka:
    """A Kafka cluster of its own, for the time of a `with`."""

    def __init__(
        self,
        cluster: str = "embedded",
        *,
        nodes: int = 3,
        controllers: int = 0,
        broker_config: Mapping[str, object] | None = None,
        kafka_version: str = "4.1.1",
        image: str | None = None,
        bug: str = "",
        folder: Path | None = None,
    ) -> None:
        """Plan it: our own broker (`embedded`), or Apache Kafka (`jvm`, `compose`), as in docs/clusters.md.

        controllers: nodes that are controllers alone; 0: every node is both. kafka_version, image: of Apache Kafka.
        bug: one that our own broker shall have (`harness bugs`), to see whether a test notices. folder: a new one, for
        logs and data; by default a temporary one, which is kept only when the block raises. Raises UsageError.
        """
        if cluster not in CLUSTERS:
            raise UsageError(f"no cluster {cluster!r} to test on: there are {', '.join(CLUSTERS)}")
        if bug:
            catalog.bug(bug)
        self.scenario: Final[Scenario] = options.of_fields(
            cluster=cluster,
            nodes=nodes,
            controllers=controllers,
            broker_config=_settings(broker_config),
            kafka_version=kafka_version,
            image=image,
            bug=bug,
        )
        self._given = folder
        self._stack = ExitStack()
        self._numbers = itertools.count(1)
        self._topics: list[str] = []
        self._done: list[tuple[float, Action]] = []

    # Its life

    def __enter__(self) -> Self:
        """Start it; returns when every node answers. Raises UsageError or ClusterError, and leaves nothing then."""
        self.folder = Path(tempfile.mkdtemp(prefix="kafka-harness-")) if self._given is None else self._given
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder = self.folder.resolve()
        with ExitStack() as stack:
            provider = catalog.provider(self.scenario.cluster)
            self.cluster: Cluster = provider.create(lifetime.spec_of(self.scenario, self.folder))
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

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes, dead ones and separate controllers too."""
        return tuple(node.name for node in self.cluster.nodes())

    def partition(self, topic: str, partition: int = 0) -> PartitionState:
        """Return leader, ISR and replicas of a partition as node names, as the cluster tells now; TimeoutError."""
        found: list[PartitionState] = []

        def look() -> str | None:
            found[:] = self._observer.partitions((f"{topic}/{partition}",))
            return None if found else "no broker knows it"

        self._await(look, f"{topic}/{partition}", START_S)
        return found[0]

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
        return self._asked("a controller", self._observer.controller)

    def coordinator(self, kind: str, name: str) -> str:
        """Return the node that coordinates the consumer group (kind "group") or transactional id ("transaction")."""

        def ask() -> str | None:
            kept = self._observer.coordinator(kind, name)
            return None if kept is None else kept.leader

        return self._asked(f"a coordinator of {kind} {name}", ask)

    def wait_until(self, condition: Condition, timeout_s: float = START_S) -> None:
        """Return when a condition of `harness.cluster.api` is seen to hold, such as `FullIsr()`; TimeoutError."""

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
        wanted = NewTopic(topic, num_partitions=partitions, replication_factor=copies, config=_settings(config))
        topics.make(self._admin(), [wanted], self.bootstrap)
        self._topics.append(topic)
        keys = [f"{topic}/{number}" for number in range(partitions)]

        def look() -> str | None:
            touched = set(nodes_of(action for _, action in self._done))
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

    def kill(self, node: str) -> None:
        """End the node's process at once (SIGKILL); returns when it is gone."""
        self._do(Kill(node))

    def stop(self, node: str) -> None:
        """Stop the node in order (SIGTERM): it hands over what it leads. What is there still after 30 s is killed.

        A frozen node is: it would end at some later moment, when it goes on.
        """
        self._do(Stop(node))
        if isinstance(self.cluster, Killable) and self.cluster.pid(node) is not None:
            self._do(Kill(node))

    def start(self, node: str, *, wait: bool = True) -> None:
        """Start a node that was killed or stopped; wait until it is in service, if `wait`. Safe when it runs."""
        undo(Start(node), self.cluster)
        if wait:
            self.wait_until(NodeAnswers(node))

    def pause(self, node: str) -> None:
        """Freeze the node's processes (SIGSTOP): its connections stay, and it answers nothing."""
        self._do(Pause(node))

    def resume(self, node: str) -> None:
        """Let a paused node go on. Safe when it runs."""
        undo(Resume(node), self.cluster)

    def cut(self, source: str, target: str) -> None:
        """Let nothing pass from source to target, one way; `"clients"` is an end too on `embedded` and `jvm`."""
        self._do(Cut(source, target))

    def join(self, source: str, target: str) -> None:
        """Undo `cut`. Safe when nothing is cut."""
        undo(Join(source, target), self.cluster)

    def isolate(self, node: str) -> None:
        """Cut the node off from all other nodes, both ways; clients still reach it. `heal` ends it."""
        others = [other for other in self.nodes if other != node]
        self._do(*(cut for other in others for cut in (Cut(node, other), Cut(other, node))))

    def shape(self, source: str, target: str, *, delay_s: float = 0.0, loss: float = 0.0) -> None:
        """Make what goes from source to target late, and lose pieces of it with that chance (0 to 1), one way.

        A connection that has lost something stalls and is reset. `"clients"` is an end too. Not on `compose`.
        """
        self._do(Shape(source, target, delay_ms=round(delay_s * 1e3), loss_ppm=round(loss * 1e6)))

    def smooth(self, source: str, target: str) -> None:
        """Undo `shape`. Safe when nothing is shaped."""
        undo(Smooth(source, target), self.cluster)

    def faults(self) -> tuple[str, ...]:
        """Return what was done since the last `heal`, one line each, with the seconds since the start."""
        return tuple(f"{at_s:.2f} s {in_words(action)}" for at_s, action in self._done)

    def heal(self, timeout_s: float = WHOLE_S) -> None:
        """Undo every fault, start every node that is dead, and wait until each replica is in sync.

        Raises TimeoutError, or ClusterError if something can't be undone.
        """
        self._undo()
        self._await(self._not_whole, "the cluster's being whole", timeout_s)

    def reset(self, timeout_s: float = WHOLE_S) -> None:
        """Do what `heal` does, and delete the topics that `create_topic` made: the cluster is as new for the next."""
        self._undo()
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

    def _do(self, *actions: Action) -> None:
        if unknown := set(nodes_of(actions)) - set(self.nodes):
            raise UsageError(f"no node {', '.join(sorted(unknown))}: there are {', '.join(self.nodes)}")
        for action in actions:
            self._done.append((time.monotonic() - self._began_s, action))  # before: it may be cut short when it is done
            try:
                perform(action, self.cluster)
            except ClusterError:
                self._done.pop()
                raise

    def _undo(self) -> None:
        if isinstance(self.cluster, Carried):
            self.cluster.check_carried()
        for action in inverses(action for _, action in self._done):
            undo(action, self.cluster)
        self._start_the_dead()
        self._done.clear()

    def _start_the_dead(self) -> None:
        if isinstance(self.cluster, Killable):
            for node in self.nodes:
                undo(Start(node), self.cluster)

    def _runs(self, node: str) -> bool:
        if isinstance(self.cluster, Killable) and self.cluster.pid(node) is None:
            return False
        return not (isinstance(self.cluster, Pausable) and self.cluster.paused(node))

    def _not_ready(self) -> str | None:
        self._start_the_dead()  # again: a process that was sent SIGKILL a moment ago seemed to run
        return not_ready(self.cluster.nodes(), self.cluster.describe()["cluster-id"])

    def _not_whole(self) -> str | None:
        if reason := self._not_ready():
            return reason
        if self._observer.full_isr():
            return None
        said = self._observer.ask_brokers(lambda probe: probe.metadata())
        if len(said) == self.scenario.nodes and not any(answer.topics for answer in said.values()):
            return None  # no topic, no replica
        return "not every replica is in sync"

    def _asked(self, what: str, ask: Callable[[], str | None]) -> str:
        found: list[str] = []

        def look() -> str | None:
            found.extend(name for name in (ask(),) if name is not None and self._runs(name))
            return None if found else "no node that runs is said to be it"

        self._await(look, what, START_S)
        return found[0]

    def _await(self, look: Callable[[], str | None], what: str, timeout_s: float) -> None:
        """Return when `look` returns no reason to go on waiting; TimeoutError with the last one."""
        deadline = time.monotonic() + timeout_s
        while reason := look():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout_s:g} s: {reason}")
            time.sleep(POLL_S)

    def _admin(self) -> AdminClient:
        return AdminClient(common(self.bootstrap, _CLIENT))


def _settings(given: Mapping[str, object] | None) -> dict[str, str]:
    """Return settings as Kafka has them: `True` is "true"."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in (given or {}).items()
    }


class Verdict(str):
    """What came of a run: the text that the terminal shows, with the proof. True if, and only if, the run is valid.

    A string, so that pytest shows it whole: `assert verdict.valid, verdict`.
    """

    __slots__ = ("run",)
    run: runs.Run

    def __new__(cls, run: runs.Run) -> Self:
        """Tell the run's judgement."""
        from rich.console import Console  # noqa: PLC0415  slow to import, and who only wants a cluster needs none

        from harness.report.terminal import verdict_table  # noqa: PLC0415

        text = io.StringIO()
        console = Console(file=text, width=_WIDTH, highlight=False, force_terminal=False, color_system=None)
        verdict_table(run.judgement, folder=run.folder, scenario=run.scenario, console=console)
        verdict = super().__new__(cls, text.getvalue().strip("\n"))
        verdict.run = run
        return verdict

    @property
    def valid(self) -> bool:
        """Whether every guarantee held, while the faults bit and the cluster made progress: vacuous is not valid."""
        return self.run.judgement.validity is Validity.VALID

    @property
    def word(self) -> str:
        """The verdict: valid, vacuous, unknown or invalid."""
        return self.run.judgement.validity.name.lower()

    @property
    def anomalies(self) -> dict[str, int]:
        """How often each anomaly was found, by its name in docs/anomalies.md; what invalidates, root causes first."""
        return {anomaly.name: anomaly.count for anomaly in self.run.judgement.anomalies}

    @property
    def folder(self) -> Path:
        """Where the run is kept: history, verdict, report.html, the nodes' logs."""
        return self.run.folder

    def __bool__(self) -> bool:
        """Return whether the run is valid."""
        return self.valid

    def __repr__(self) -> str:
        """Return the word and where the run is: the text is what an assertion's message is for."""
        return f"<{self.word} run in {self.folder}>"


def run(workload: str = "txn", *, results: Path = Path("results"), **fields: Any) -> Verdict:
    """Do what `harness run` does, on a cluster of the run's own, and return the verdict.

    fields: those of `harness.scenario.Scenario`, named as there: nemesis, seed, time_limit_s, cluster, acks, ...; all
    others are as `harness run` has them. results: where the run is kept, in a folder of its own.
    Raises UsageError for what can't be run, ClusterError when the cluster fails in set-up; Ctrl-C ends it unjudged.
    """
    from harness import launch  # noqa: PLC0415  the reports are slow to import, and who only wants a cluster needs none

    scenario = options.scenario_of(workload=workload, **fields)
    results.mkdir(parents=True, exist_ok=True)
    done: list[runs.Run] = []

    def over() -> bool:
        return bool(done) or all(map(store.is_finished, store.run_folders(results)))

    with guarded(results / store.LOG, "--results", str(results.resolve()), over=over):
        done.append(launch.perform(scenario, results, name=None, view=runs.Unwatched(), interruptible=False))
    return Verdict(done[0])
