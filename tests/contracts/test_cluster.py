"""The contract of a cluster, on every provider that can start one: what `harness.cluster.api` promises.

One cluster per provider serves all tests, in any order: each leaves it whole, and a fixture waits until it is. A test
that takes a cluster away starts its own, with one node.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from broker.wire.messages.update_features import UpdateFeaturesRequest
from harness import catalog
from harness.clients.share.asking import Ask, Steps
from harness.clients.share.setup import FEATURE
from harness.clients.share.wire import Wire
from harness.cluster.api import (
    Cluster,
    ClusterError,
    ClusterSpec,
    Killable,
    Logged,
    Partitionable,
    Pausable,
    UsageError,
)
from harness.cluster.observer import KEEPERS, ClusterObserver, answer, holds, setting_of
from harness.cluster.probe import Probe, ProbeError, split_address
from harness.cluster.questions import (
    Configured,
    Coordinated,
    Coordinator,
    FullIsr,
    IsrShrunk,
    KeysOf,
    LeaderElected,
    NodeAnswers,
    PacketsDropped,
    SettingOf,
)
from harness.cluster.ready import READY_TIMEOUT_S, not_ready
from harness.credentials import NO_CREDENTIALS

pytestmark = pytest.mark.timeout(300)

KEY = "contract/0"
WITHIN_S = 60.0
"""After a kill a node needs its start, its session and the lag time: 21 s on a quiet machine."""
POLL_S = 0.1
FAILOVERS = 8
"""Killing the controller that leads everything leaves one of the two others with both, by a chance of a half."""


PROVIDERS = [
    pytest.param("embedded", marks=pytest.mark.embedded),
    pytest.param("compose", marks=pytest.mark.docker),
    pytest.param("jvm", marks=pytest.mark.jvm),
]


def until(condition: Callable[[], object], within_s: float = WITHIN_S) -> bool:
    """Wait for the condition; return whether it came true in time."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(POLL_S)
    return True


def start(provider: str, folder: Path, **spec: Any) -> Any:
    cluster = catalog.provider(provider).create(ClusterSpec(name=f"contract-{provider}", folder=folder, **spec))
    try:
        cluster.up()
    except UsageError as error:  # no image, no jars: what the machine lacks, as the engine is
        cluster.down()
        pytest.skip(str(error))
    except BaseException:
        cluster.down()
        raise
    return cluster


@pytest.fixture(scope="module", params=PROVIDERS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # Leaders stay where the tests look for them.
    stay = {"auto.leader.rebalance.enable": "false"}
    cluster = start(request.param, tmp_path_factory.mktemp(request.param), broker_config=stay)
    try:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
        for created in admin.create_topics([NewTopic("contract", 3, 3)]).values():
            created.result(WITHIN_S)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def observer(shared: Any) -> ClusterObserver:
    return ClusterObserver(shared, ["contract"])


@pytest.fixture
def cluster(shared: Any, observer: ClusterObserver) -> Any:
    def whole() -> bool:
        # Both: a full ISR alone may be the past, of a node that has just been killed.
        return not_ready(shared.nodes(), shared.describe()["cluster-id"]) is None and holds(FullIsr(), observer, shared)

    assert until(whole), "a test before left the cluster broken"
    return shared


@pytest.fixture(params=PROVIDERS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    cluster = start(request.param, tmp_path, nodes=1)
    try:
        yield cluster
    finally:
        cluster.down()


def answers(cluster: Cluster, name: str) -> bool:
    (node,) = [node for node in cluster.nodes() if node.name == name]
    try:
        with Probe(*split_address(node.address)) as probe:
            return probe.metadata(()).cluster_id == cluster.describe()["cluster-id"]
    except ProbeError:
        return False


def nobody_listens(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), timeout=1).close()
    except OSError:
        return True
    return False


def description(cluster: Cluster) -> dict[str, Any]:
    """What another process reads from a file."""
    said: dict[str, Any] = json.loads(json.dumps(cluster.describe()))
    return said


def provider_of(cluster: Cluster) -> catalog.Provider:
    return catalog.provider(cluster.describe()["provider"])


def test_a_cluster_that_is_up_answers_at_every_node_as_itself(cluster: Any) -> None:
    assert not_ready(cluster.nodes(), cluster.describe()["cluster-id"]) is None
    assert [node.name for node in cluster.nodes()] == ["n1", "n2", "n3"]
    assert cluster.bootstrap() == ",".join(node.address for node in cluster.nodes())
    assert all(node.address.startswith("127.0.0.1:") for node in cluster.nodes())


def test_host_ports_lie_below_those_of_outgoing_connections(cluster: Any) -> None:
    assert all(split_address(node.address)[1] < 32768 for node in cluster.nodes())


def test_another_cluster_id_is_not_taken_for_ours(cluster: Any) -> None:
    with pytest.raises(ClusterError, match="ours is"):
        not_ready(cluster.nodes(), "another-cluster-s-id--")


def test_a_killed_node_has_no_process_and_answers_again_after_its_start(
    cluster: Any, observer: ClusterObserver
) -> None:
    assert isinstance(cluster, Killable)
    before = cluster.pid("n2")
    assert before is not None
    cluster.kill("n2")
    assert cluster.pid("n2") is None
    assert not answers(cluster, "n2")
    assert until(lambda: not holds(NodeAnswers("n2"), observer, cluster))
    cluster.start("n2")
    assert cluster.pid("n2") not in {None, before}
    assert until(lambda: holds(NodeAnswers("n2"), observer, cluster))


def test_killing_a_leader_moves_the_leader(cluster: Any, observer: ClusterObserver) -> None:
    leader = observer.partitions([KEY])[0].leader
    assert leader is not None
    cluster.kill(leader)
    assert until(lambda: holds(LeaderElected(KEY, frozenset({leader})), observer, cluster))
    cluster.start(leader)
    assert until(lambda: holds(FullIsr(), observer, cluster))


def test_a_coordinator_leads_the_partition_that_keeps_its_group_id_or_share_and_is_replaced(
    cluster: Any, observer: ClusterObserver
) -> None:
    with contextlib.closing(Wire(cluster.bootstrap(), NO_CREDENTIALS)) as wire:
        wire.perform(raised())
    names = [(kind, f"{kind}-{number}") for kind, number in itertools.product(("group", "transaction"), range(8))]
    names += [("share", f"{group}:contract/{index}") for group, index in itertools.product("gh", range(3))]
    found = {}
    for about in itertools.starmap(Coordinator, names):
        # Asked for the first time, a node has the topic made, and names nobody before there is a leader.
        assert until(lambda about=about: holds(Coordinated(about), observer, cluster)), about
        found[about] = observer.coordinator(about.kind, about.name)
        assert found[about].key.rpartition("/")[0] == KEEPERS[about.kind]
    assert len({state.key for state in found.values()}) > 4
    assert observer.coordinator("share", "g:nowhere/0") is None
    for about in (Coordinator("group", "group-0"), Coordinator("share", "g:contract/0")):
        before = observer.coordinator(about.kind, about.name).leader  # type: ignore[union-attr]
        cluster.kill(before)
        assert until(lambda about=about, dead=frozenset({before}): holds(Coordinated(about, dead), observer, cluster))
        cluster.start(before)
        assert until(lambda: holds(FullIsr(), observer, cluster))


def raised() -> Steps[None]:
    """Switch share groups on."""
    answer = yield Ask(None, UpdateFeaturesRequest(timeout_ms=10_000, feature_updates=(FEATURE,)), 10_000)
    assert answer.error_code == 0


@pytest.mark.parametrize(("topic", "name", "value"), [("contract", "segment.ms", "200"), ("", "num.io.threads", "6")])
def test_a_setting_changes_and_is_taken_away_again(
    cluster: Any, observer: ClusterObserver, topic: str, name: str, value: str
) -> None:
    of = SettingOf(KEY, name, not topic)
    before = setting_of(of, observer, cluster)
    assert before is not None
    assert before.own is None
    for wanted in (value, None):
        cluster.configure(topic, name, wanted)
        assert until(lambda wanted=wanted: holds(Configured(of, wanted), observer, cluster))  # type: ignore[misc]
    assert setting_of(of, observer, cluster) == before


def test_a_topic_grows(cluster: Any) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap(), "log_level": 0})
    admin.create_topics([NewTopic("grows", 1, 3)])["grows"].result(WITHIN_S)
    observer = ClusterObserver(cluster, ["grows"])
    cluster.add_partitions("grows", 3)
    assert until(lambda: holds(LeaderElected("grows/2"), observer, cluster))
    assert answer(KeysOf("grows"), observer, cluster) == ("grows/0", "grows/1", "grows/2")


def test_kill_and_start_can_be_said_twice(cluster: Any) -> None:
    cluster.kill("n3")
    cluster.kill("n3")
    assert cluster.pid("n3") is None
    cluster.start("n3")
    once = cluster.pid("n3")
    cluster.start("n3")
    assert cluster.pid("n3") == once


def test_a_paused_node_is_stopped_and_silent_until_it_is_resumed(cluster: Any) -> None:
    assert isinstance(cluster, Pausable)
    pid = cluster.pid("n1")
    cluster.pause("n1")
    cluster.pause("n1")
    assert cluster.paused("n1")
    assert cluster.pid("n1") == pid, "a paused node is alive"
    assert not answers(cluster, "n1")
    cluster.resume("n1")
    cluster.resume("n1")
    assert not cluster.paused("n1")
    assert until(lambda: answers(cluster, "n1"))


def test_a_paused_node_can_be_killed_and_started(cluster: Any) -> None:
    cluster.pause("n2")
    cluster.kill("n2")
    assert cluster.pid("n2") is None
    assert not cluster.paused("n2")
    cluster.start("n2")
    assert cluster.pid("n2") is not None
    assert not cluster.paused("n2")


def link_beside_the_controller(cluster: Any, observer: ClusterObserver) -> tuple[str, str, str]:
    """A partition, its leader and a follower, none of the two the controller: cutting their link moves nothing else."""
    for _ in range(FAILOVERS):
        controller = observer.controller()
        for state in observer.partitions([]):
            if state.leader is not None and controller not in {None, state.leader}:
                follower = next(name for name in state.replicas if name not in {state.leader, controller})
                return state.key, state.leader, follower
        assert controller is not None, "the observer found no controller"
        # It leads everything: another one takes over both, or one of both.
        cluster.kill(controller)
        assert until(lambda away=controller: holds(LeaderElected(KEY, frozenset({away})), observer, cluster))
        cluster.start(controller)
        assert until(lambda: holds(FullIsr(), observer, cluster))
    raise AssertionError(f"the controller leads every partition after {FAILOVERS} failovers")


def write(cluster: Any, key: str) -> bool:
    """Write a record that only the leader acknowledges: a follower that misses nothing stays in the ISR."""
    refused: list[Any] = []
    producer = Producer({"bootstrap.servers": cluster.bootstrap(), "acks": "1", "log_level": 0})
    producer.produce(
        "contract", b"x", partition=int(key.rpartition("/")[2]), on_delivery=lambda error, _: refused.append(error)
    )
    producer.flush(WITHIN_S)
    return refused == [None]


def shrinks(cluster: Any, observer: ClusterObserver, key: str, leader: str, follower: str) -> bool:
    """Write until the ISR has lost the follower that is cut off; False when the leader moved: another link counts then.

    One record may not be enough: a follower that got it before the cut misses nothing, and stays.
    """

    def moved() -> bool:
        return next((state.leader for state in observer.partitions([key])), None) not in {None, leader}

    shrunk = IsrShrunk(key, frozenset({follower}))
    assert until(lambda: (write(cluster, key) and holds(shrunk, observer, cluster)) or moved())
    return holds(shrunk, observer, cluster)


@contextlib.contextmanager
def cuts(cluster: Any, *pairs: tuple[str, str]) -> Iterator[None]:
    """Cut the links, and join them whatever happens: the next test needs them."""
    try:
        for source, target in pairs:
            cluster.cut(source, target)
        yield
    finally:
        for source, target in pairs:
            cluster.join(source, target)


def test_a_cut_drops_packets_and_shrinks_the_isr_while_clients_reach_both_ends(
    cluster: Any, observer: ClusterObserver
) -> None:
    assert isinstance(cluster, Partitionable)
    for _ in range(FAILOVERS):
        key, leader, follower = link_beside_the_controller(cluster, observer)
        assert cluster.dropped(leader, follower) == 0
        with cuts(cluster, (leader, follower), (leader, follower)):
            if not shrinks(cluster, observer, key, leader, follower):
                continue
            assert until(lambda pair=(leader, follower): holds(PacketsDropped(*pair), observer, cluster))
            assert cluster.dropped(follower, leader) == 0, "only one direction was cut"
            assert answers(cluster, leader)
            assert answers(cluster, follower)
        assert cluster.dropped(leader, follower) == 0
        assert until(lambda: holds(FullIsr(), observer, cluster))
        return
    raise AssertionError("the leader moved every time")


def test_a_cut_to_a_paused_node_is_made_at_once(cluster: Any, observer: ClusterObserver) -> None:
    assert isinstance(cluster, Partitionable)
    # The link that is never idle: every node fetches the metadata from the controller.
    controller = observer.controller()
    assert controller is not None
    paused = next(node.name for node in cluster.nodes() if node.name != controller)
    cluster.pause(paused)
    try:
        cluster.cut(controller, paused)
    finally:
        cluster.resume(paused)
    with cuts(cluster, (controller, paused)):
        assert until(lambda: holds(PacketsDropped(controller, paused), observer, cluster))


def test_a_controller_cut_off_from_all_others_is_replaced(cluster: Any, observer: ClusterObserver) -> None:
    before = observer.controller()
    assert before is not None
    others = [node.name for node in cluster.nodes() if node.name != before]
    with cuts(cluster, *((before, other) for other in others), *((other, before) for other in others)):
        assert until(lambda: observer.controller() not in {None, before}), "no connection of nodes avoids the links"
    assert until(lambda: holds(FullIsr(), observer, cluster))


@pytest.mark.parametrize("cut_when", ["alive", "dead"])
def test_a_cut_holds_when_its_ends_are_killed_and_started(
    cluster: Any, observer: ClusterObserver, cut_when: str
) -> None:
    assert isinstance(cluster, Partitionable)
    key, leader, follower = link_beside_the_controller(cluster, observer)
    ends = [(leader, follower), (follower, leader)]
    if cut_when == "dead":
        cluster.kill(follower)
    with cuts(cluster, *ends):
        cluster.kill(follower)
        cluster.start(follower)
        assert until(lambda: holds(NodeAnswers(follower), observer, cluster)), "it registers with the controller"
        # It has to fetch from the leader and can't: packets drop, and it leaves the ISR (where its death was too short
        # to be noticed, when the lag time is over).
        assert until(lambda: any(cluster.dropped(source, target) > 0 for source, target in ends))
        assert until(lambda: holds(IsrShrunk(key, frozenset({follower})), observer, cluster))
    assert until(lambda: holds(FullIsr(), observer, cluster))


def test_another_process_can_undo_a_cut(cluster: Any, observer: ClusterObserver) -> None:
    assert isinstance(cluster, Partitionable)
    for _ in range(FAILOVERS):
        key, leader, follower = link_beside_the_controller(cluster, observer)
        other: Any = provider_of(cluster).from_handles(description(cluster))
        with cuts(cluster, (leader, follower)):
            if not shrinks(cluster, observer, key, leader, follower):
                continue
            other.join(leader, follower)
            assert until(lambda: holds(FullIsr(), observer, cluster)), "the packets pass again"
            return
    raise AssertionError("the leader moved every time")


def test_another_process_finds_the_cluster_by_its_description(cluster: Any) -> None:
    other: Any = provider_of(cluster).from_handles(description(cluster))
    assert list(other.nodes()) == list(cluster.nodes())
    assert other.bootstrap() == cluster.bootstrap()
    assert [other.pid(node.name) for node in other.nodes()] == [cluster.pid(node.name) for node in cluster.nodes()]
    other.pause("n1")
    assert cluster.paused("n1")
    other.resume("n1")
    assert not cluster.paused("n1")


def test_a_node_that_does_not_exist_is_named(cluster: Any) -> None:
    with pytest.raises(ClusterError, match="n9"):
        cluster.kill("n9")


def test_collect_leaves_log_and_properties_of_each_node(cluster: Any, tmp_path: Path) -> None:
    assert isinstance(cluster, Logged)
    cluster.collect(tmp_path)
    for node in cluster.nodes():
        texts = {path.name: path.read_text(errors="replace") for path in (tmp_path / node.name).iterdir()}
        assert any("Kafka Server started" in text for text in texts.values())
        assert f"node.id={node.id}" in texts["server.properties"]


def test_remove_leaves_nothing_of_a_cluster_whose_harness_was_killed(own: Any) -> None:
    (node,) = own.nodes()
    stranger = provider_of(own)
    stranger.remove(description(own))
    assert until(lambda: nobody_listens(node.address))
    stranger.remove(description(own))
    with pytest.raises(ClusterError):
        own.start(node.name)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_down_leaves_nothing_and_can_be_said_before_up_and_twice(provider: str, tmp_path: Path) -> None:
    planned = catalog.provider(provider).create(ClusterSpec(name="never", folder=tmp_path / "never", nodes=1))
    planned.down()
    cluster = start(provider, tmp_path / "own", nodes=1, broker_config={"message.max.bytes": "4321"})
    cluster.collect(tmp_path / "logs")
    (node,) = cluster.nodes()
    cluster.down()
    cluster.down()
    assert "message.max.bytes=4321" in (tmp_path / "logs" / "n1" / "server.properties").read_text()
    assert nobody_listens(node.address)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_broker_that_can_not_start_is_told_with_its_reason(provider: str, tmp_path: Path) -> None:
    wrong = {"num.network.threads": "many"}
    cluster = catalog.provider(provider).create(
        ClusterSpec(name="wrong", folder=tmp_path, nodes=1, broker_config=wrong)
    )
    began = time.monotonic()
    try:
        with pytest.raises((ClusterError, UsageError), match=r"num\.network\.threads") as raised:
            cluster.up()
    finally:
        cluster.down()
    assert "many" in str(raised.value)
    assert time.monotonic() - began < READY_TIMEOUT_S, "it was not waited for"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_the_provider_owns_can_not_be_set(provider: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"log\.dirs"):
        catalog.provider(provider).create(
            ClusterSpec(name="wrong", folder=tmp_path, broker_config={"log.dirs": "elsewhere"})
        )
