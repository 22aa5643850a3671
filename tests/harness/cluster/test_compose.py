"""Apache Kafka in Docker Compose, as far as it can be told without an engine; the rest is in the contract suite."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster import engine, image
from harness.cluster.api import ClusterError, ClusterSpec, UsageError
from harness.cluster.compose import ComposeCluster, from_handles, remove
from harness.cluster.compose_file import compose_yaml, project_name, variable

NOWHERE = "unix:///nowhere/docker.sock"
keys = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8}){0,4}", fullmatch=True)


def as_the_image_reads(name: str) -> str:
    """The rule of apache/kafka: `_` is a dot, `__` an underscore, `___` a dash; one replacement after the other."""
    return name.removeprefix("KAFKA_").lower().replace("_", ".").replace("...", "-").replace("..", "_")


@given(keys)
def test_every_property_has_a_variable_that_the_image_reads_back(key: str) -> None:
    assert as_the_image_reads(variable(key)) == key


@given(st.text(alphabet="aB0._-", min_size=1, max_size=10))
def test_a_property_that_no_variable_can_say_is_refused(key: str) -> None:
    try:
        name = variable(key)
    except UsageError:
        return
    assert as_the_image_reads(name) == key


def test_a_property_in_capitals_is_named_in_the_refusal(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Listeners"):
        ComposeCluster(ClusterSpec(name="c", folder=tmp_path, broker_config={"Listeners": "x"}))


def test_two_clusters_of_one_name_have_two_projects() -> None:
    first, second = project_name("Run of Monday, 9:30"), project_name("Run of Monday, 9:30")
    assert first != second
    assert re.fullmatch(r"kafka-harness-run-of-monday-9-30-[0-9a-f]{8}", first)
    assert re.fullmatch(r"kafka-harness-[0-9a-f]{8}", project_name("…"))


def planned(tmp_path: Path, **spec: Any) -> ComposeCluster:
    """A cluster with ports and subnet, as `up` would have chosen them."""
    description = ComposeCluster(ClusterSpec(name="c", folder=tmp_path, **spec)).describe()
    brokers = [name for name, node in description["nodes"].items() if "broker" in node["roles"]]
    handles = description["handles"] | {
        "ports": {name: 20_001 + index for index, name in enumerate(brokers)},
        "subnet": "172.30.0.0/16",
        "image": "some/image:1",
    }
    return from_handles(json.loads(json.dumps({"handles": handles})))


def test_only_loopback_and_only_brokers_are_published(tmp_path: Path) -> None:
    text = compose_yaml(planned(tmp_path, controllers=3)._handles)
    published = re.findall(r'- "(\S+):(\d+):9094"', text)
    assert published == [("127.0.0.1", str(port)) for port in (20_001, 20_002, 20_003)]
    assert text.count("container_name") == 0, "names are Compose's, by project"


def test_the_image_is_a_variable_with_a_default(tmp_path: Path) -> None:
    assert 'image: "${KAFKA_IMAGE:-some/image:1}"' in compose_yaml(planned(tmp_path)._handles)


def test_a_value_with_dollars_and_backslashes_survives_compose_and_properties(tmp_path: Path) -> None:
    text = compose_yaml(planned(tmp_path, broker_config={"some.key": "a${b}\\c"})._handles)
    (line,) = {line.strip() for line in text.splitlines() if "KAFKA_SOME_KEY" in line}
    read = json.loads(line.partition(": ")[2]).replace("$$", "$")
    assert read == "a${b}\\\\c", "one backslash, as a .properties file writes it"


def test_isolated_controllers_vote_and_brokers_do_not(tmp_path: Path) -> None:
    cluster = planned(tmp_path, controllers=3)
    text = compose_yaml(cluster._handles)
    assert text.count('KAFKA_PROCESS_ROLES: "broker"') == 3
    assert text.count('KAFKA_PROCESS_ROLES: "controller"') == 3
    assert text.count('KAFKA_CONTROLLER_QUORUM_VOTERS: "4@c1:9093,5@c2:9093,6@c3:9093"') == 6
    assert cluster.bootstrap() == "127.0.0.1:20001,127.0.0.1:20002,127.0.0.1:20003"


def test_every_thing_of_the_file_carries_the_label_of_the_run(tmp_path: Path) -> None:
    cluster = planned(tmp_path)
    label = f'kafka-harness.run: "{cluster.describe()["handles"]["project"]}"'
    assert compose_yaml(cluster._handles).count(label) == 3 + 1 + 3, "three nodes, a network, three volumes"


def test_what_is_no_description_is_refused() -> None:
    with pytest.raises(UsageError, match="compose"):
        from_handles({"handles": {"pid": 4711}})


def test_without_an_engine_up_is_refused_in_one_line_and_down_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", NOWHERE)
    monkeypatch.setattr(engine, "compose_command", lambda: ("docker", "compose"))
    cluster = ComposeCluster(ClusterSpec(name="c", folder=tmp_path))
    with pytest.raises(UsageError) as refused:
        cluster.up()
    cluster.collect(tmp_path / "logs")
    cluster.down()
    assert NOWHERE in str(refused.value)
    assert "start Docker" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="no Docker engine"):
        remove(cluster.describe())


def command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of our own, with no Docker on it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    engine.compose_command.cache_clear()
    monkeypatch.setattr(engine, "compose_command", engine.compose_command.__wrapped__)
    return tmp_path / "bin"


def test_the_plugin_goes_before_the_older_compose(path: Path) -> None:
    command(path, "docker-compose", "exit 0")
    command(path, "docker", '[ "$1 $2" = "compose version" ]')
    assert engine.compose_command() == ("docker", "compose")


def test_the_older_compose_does_where_the_plugin_is_missing(path: Path) -> None:
    command(path, "docker", "exit 1")
    command(path, "docker-compose", "exit 0")
    assert engine.compose_command() == ("docker-compose",)


def test_no_compose_at_all_is_refused_in_one_line(path: Path) -> None:
    command(path, "docker", "exit 1")
    with pytest.raises(UsageError, match="install the `docker compose` plugin"):
        engine.compose_command()


def test_the_words_of_a_failed_compose_are_in_the_error(path: Path, tmp_path: Path) -> None:
    command(path, "docker-compose", '[ "$1" != version ] || exit 0; echo one >&2; echo "ERROR: no space" >&2; exit 17')
    with pytest.raises(ClusterError, match=r"up failed \(17\): ERROR: no space$"):
        engine.compose("p", tmp_path / "compose.yaml", ["up", "-d"], {})


class FakeEngine:
    """An engine that has the images it is given, and reaches no registry."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.images = self

    def get(self, name: str) -> Any:
        if name not in self.names:
            raise docker.errors.ImageNotFound(name)
        return type("Image", (), {"labels": {image.IPTABLES_LABEL: "1"} if name.startswith(image.OURS) else {}})

    def pull(self, repository: str, tag: str) -> None:
        raise docker.errors.APIError(f"no route to {repository}:{tag}")

    def build(self, **_: Any) -> None:
        raise docker.errors.BuildError("no route", iter(()))


def test_the_image_is_the_users_then_ours_then_the_official_one() -> None:
    both = FakeEngine("kafka-harness/kafka:4.1.1", "apache/kafka:4.1.1", "mine")
    assert image.node_image(both, "4.1.1", "mine") == "mine"
    assert image.node_image(both, "4.1.1", None) == "kafka-harness/kafka:4.1.1"
    assert image.node_image(FakeEngine("apache/kafka:4.1.1"), "4.1.1", None) == "apache/kafka:4.1.1"


@pytest.mark.parametrize("wanted", [None, "kafka-harness/kafka:4.1.1", "apache/kafka:4.1.1"])
def test_a_missing_image_tells_how_to_build_and_how_to_pull(wanted: str | None) -> None:
    with pytest.raises(UsageError) as refused:
        image.node_image(FakeEngine(), "4.1.1", wanted)
    assert "image/build.sh 4.1.1" in str(refused.value)
    assert "docker pull apache/kafka:4.1.1" in str(refused.value)
    assert Path(re.search(r"`sh (\S+) ", str(refused.value))[1]).exists()  # type: ignore[index]


def test_our_image_is_its_own_helper_and_another_needs_one() -> None:
    assert image.helper_image(FakeEngine("kafka-harness/kafka:4.1.1"), "kafka-harness/kafka:4.1.1").startswith("kafka-")
    assert image.helper_image(FakeEngine(image.HELPER), "apache/kafka:4.1.1") == image.HELPER
    with pytest.raises(UsageError, match=r"docker build --tag kafka-harness/helper"):
        image.helper_image(FakeEngine("apache/kafka:4.1.1"), "apache/kafka:4.1.1")
