"""The image that compose/image builds keeps the contract of apache/kafka; and what starts engine and build refuses.

The container's own `run` is executed with a `java` that only prints its command line, so these tests start no broker.
Kafka's own KafkaDockerWrapper, which the official image runs, is in the jars: it is the judge of the configuration.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cluster import engine, ports
from harness.cluster.api import ClusterSpec, UsageError
from harness.cluster.compose import ComposeCluster, remove
from harness.cluster.image import OURS, node_image

ROOT = Path(__file__).resolve().parents[3]
VERSIONS = ["4.4.0", "4.1.1", "3.7.1"]
SHELL_TIMEOUT_S = 60
FAKE_JAVA = """
mkdir -p /tmp/jdk/bin
printf '#!/bin/sh\\necho "JAVA $@"\\n' >/tmp/jdk/bin/java
chmod +x /tmp/jdk/bin/java
export JAVA_HOME=/tmp/jdk
"""
SHOW = """
echo FINAL; cat /opt/kafka/config/server.properties
echo; echo META; cat /var/lib/kafka/data/meta.properties
echo FILES; (cd /var/lib/kafka/data; find . -type f | sort)
echo WHO; id -un; stat -c %U /var/lib/kafka/data
"""
WRAPPER = """
mkdir /tmp/defaults /tmp/mounted /tmp/final
for name in log4j2.yaml tools-log4j2.yaml; do
  printf 'Configuration:\\n  Loggers:\\n    Root:\\n      level: ERROR\\n' >/tmp/defaults/$name
done
touch /tmp/defaults/log4j.properties /tmp/defaults/tools-log4j.properties /tmp/final/server.properties
/opt/kafka/bin/kafka-run-class.sh kafka.docker.KafkaDockerWrapper setup \
  -D /tmp/defaults -M /mnt/shared/config -F /tmp/final >/tmp/wrapper.log 2>&1 || { cat /tmp/wrapper.log; exit 1; }
echo FINAL; cat /tmp/final/server.properties
echo; echo META; cat /var/lib/kafka/data/meta.properties
echo FILES; cd /var/lib/kafka/data; find . -type f | sort
"""
NODE = {
    "CLUSTER_ID": "qFD0rO9TTce1FWwRAgWDQg",
    "KAFKA_NODE_ID": "2",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@n1:9093,2@n2:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_LISTENERS": "INTERNAL://:9092,CONTROLLER://:9093",
    "KAFKA_ADVERTISED_LISTENERS": "INTERNAL://n2:9092",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INTERNAL",
    "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
    "KAFKA_HEAP_OPTS": "-Xmx64m",
    "KAFKA_A_B__C___D": "x=y z",
}
needs_docker = pytest.mark.docker


@pytest.fixture(params=VERSIONS)
def image(request: pytest.FixtureRequest) -> Iterator[tuple[Any, str]]:
    """A client of the engine and one of our images."""
    client = engine.connect()
    try:
        try:
            name = node_image(client, request.param, f"{OURS}:{request.param}")
        except UsageError as error:
            pytest.skip(str(error))
        yield client, name
    finally:
        client.close()


def shell(image: tuple[Any, str], script: str, environment: dict[str, str]) -> dict[str, list[str]]:
    """Run a script in a container of the image; return its output's sections, each headed by a word in capitals."""
    client, name = image
    container = client.containers.create(
        name, entrypoint=["bash", "-euc", script], environment=environment, network_mode="none"
    )
    try:
        container.start()
        status = container.wait(timeout=SHELL_TIMEOUT_S)["StatusCode"]
        output = container.logs().decode()
    finally:
        container.remove(force=True, v=True)
    assert status == 0, output
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in output.splitlines():
        if re.fullmatch(r"[A-Z]{3,}", line):
            current, sections[line] = line, []
        elif line.strip():
            sections[current].append(line)
    return sections


def without_ids(lines: list[str]) -> list[str]:
    return sorted(line.partition("=")[0] if "directory.id" in line else line for line in lines if line[0] != "#")


@needs_docker
def test_the_configuration_is_the_one_that_kafkas_own_wrapper_writes(image: tuple[Any, str]) -> None:
    mount = "echo message.max.bytes=99 >/mnt/shared/config/server.properties\n"
    ours = shell(image, mount + FAKE_JAVA + "/etc/kafka/docker/run\n" + SHOW, NODE)
    theirs = shell(image, mount + WRAPPER, NODE)
    assert "a.b_c-d=x=y z" in ours["FINAL"]
    assert sorted(ours["FINAL"]) == sorted(theirs["FINAL"])
    assert ours["FINAL"][0] == theirs["FINAL"][0] == "message.max.bytes=99", "the environment is appended, and wins"


@needs_docker
def test_the_storage_is_formatted_as_kafkas_own_tool_does(image: tuple[Any, str]) -> None:
    ours = shell(image, FAKE_JAVA + "/etc/kafka/docker/run\n" + SHOW, NODE)
    theirs = shell(image, WRAPPER, NODE)
    assert without_ids(ours["META"]) == without_ids(theirs["META"])
    assert f"cluster.id={NODE['CLUSTER_ID']}" in ours["META"]
    assert ours["FILES"] == theirs["FILES"]
    assert len(ours["FILES"]) == 2, "who it is, and the levels of features"
    assert ours["WHO"] == ["appuser", "appuser"]


@needs_docker
def test_the_node_starts_with_the_archive_and_the_callers_flags(image: tuple[Any, str]) -> None:
    (command,) = [
        line for line in shell(image, FAKE_JAVA + "/etc/kafka/docker/run\n", NODE)[""] if line.startswith("JAVA")
    ]
    assert "-Xmx64m" in command
    assert "-XX:SharedArchiveFile=/opt/kafka/kafka.jsa" in command
    assert command.endswith("kafka.Kafka /opt/kafka/config/server.properties")


@needs_docker
def test_the_archive_fits_the_flags_of_our_compose_file(image: tuple[Any, str]) -> None:
    flags = "-Xms96m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:on -XX:SharedArchiveFile=/opt/kafka/kafka.jsa"
    script = f"""
    export KAFKA_HEAP_OPTS='{flags} -Xlog:class+load=info:file=/tmp/loaded'
    /opt/kafka/bin/kafka-run-class.sh kafka.Kafka >/dev/null 2>&1 || true
    echo SHARED; grep -c 'shared objects file (top)' /tmp/loaded
    """
    (count,) = shell(image, script, {})["SHARED"]
    assert int(count) > 100, "classes come from our archive, with sharing demanded"


@needs_docker
def test_arguments_are_added_to_the_environment(image: tuple[Any, str]) -> None:
    shown = shell(image, FAKE_JAVA + "/etc/kafka/docker/run KAFKA_NODE_ID=7 CLUSTER_ID=abc\n" + SHOW, NODE)
    assert "node.id=7" in shown["FINAL"]
    assert {"node.id=7", "cluster.id=abc"} <= set(shown["META"])


@needs_docker
def test_a_formatted_storage_is_left_alone(image: tuple[Any, str]) -> None:
    again = FAKE_JAVA + "/etc/kafka/docker/run\n" + SHOW + "CLUSTER_ID=other /etc/kafka/docker/run\nAGAIN=1\n"
    shown = shell(image, again + "echo AGAIN; cat /var/lib/kafka/data/meta.properties", NODE)
    assert shown["AGAIN"] == shown["META"]


@needs_docker
def test_what_is_no_plain_format_goes_through_kafkas_own_tool(image: tuple[Any, str]) -> None:
    two = NODE | {"KAFKA_LOG_DIRS": "/var/lib/kafka/data,/tmp/more"}
    lines = shell(image, FAKE_JAVA + "/etc/kafka/docker/run\n", two)[""]
    assert any("kafka.tools.StorageTool format --cluster-id qFD0rO9TTce1FWwRAgWDQg" in line for line in lines)


@needs_docker
def test_told_nothing_it_starts_one_combined_node(image: tuple[Any, str]) -> None:
    shown = shell(image, FAKE_JAVA + "/etc/kafka/docker/run\n" + SHOW, {})
    assert {"node.id=1", "process.roles=broker,controller"} <= set(shown["FINAL"])
    assert "node.id=1" in shown["META"]


@needs_docker
def test_user_volumes_port_and_command_are_those_of_the_official_image(image: tuple[Any, str]) -> None:
    client, name = image
    config = client.images.get(name).attrs["Config"]
    assert config["User"] == "appuser"
    assert set(config["Volumes"]) == {"/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"}
    assert set(config["ExposedPorts"]) == {"9092/tcp"}
    assert config["Cmd"] == ["/etc/kafka/docker/run"]


@needs_docker
def test_a_port_that_is_taken_meanwhile_is_chosen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, given = ports.reserve, []
    cluster = ComposeCluster(ClusterSpec(name="taken", folder=tmp_path, nodes=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ports, "free", lambda _: True)
        (taken,) = ports.choose(1)
    client = engine.connect()
    blocker = None
    try:
        try:
            name = node_image(client, "4.1.1", None)
        except UsageError as error:
            pytest.skip(str(error))
        blocker = client.containers.run(
            name, entrypoint=["sleep", "120"], ports={"1/tcp": ("127.0.0.1", taken)}, detach=True
        )

        def reserve(count: int, owner: Path) -> tuple[int, ...]:
            given.append((taken,) if not given else real(count, owner))
            return given[-1]

        monkeypatch.setattr(ports, "reserve", reserve)
        cluster.up()
        assert len(given) == 2
        assert cluster.bootstrap() == f"127.0.0.1:{given[1][0]}"
    finally:
        if blocker is not None:
            blocker.remove(force=True, v=True)
        client.close()
        cluster.down()


@needs_docker
def test_remove_leaves_no_container_network_or_volume_of_a_broken_cluster(tmp_path: Path) -> None:
    cluster = ComposeCluster(ClusterSpec(name="broken", folder=tmp_path, nodes=2))
    client = engine.connect()
    try:
        try:
            cluster.up()
        except UsageError as error:
            pytest.skip(str(error))
        cluster.cut("n1", "n2")
        cluster.pause("n1")
        label = {"label": f"{engine.RUN_LABEL}={cluster.describe()['handles']['project']}"}
        containers = client.containers.list(all=True, filters=label)
        volumes = {mount["Name"] for one in containers for mount in one.attrs["Mounts"] if mount["Type"] == "volume"}
        assert len(containers) == 3, "two nodes and the helper of the cut"
        assert len(volumes) >= 6, "data, secrets and configuration of two nodes"
        remove(json.loads(json.dumps(cluster.describe())))
        assert client.containers.list(all=True, filters=label) == []
        assert client.networks.list(filters=label) == []
        assert volumes & {volume.name for volume in client.volumes.list()} == set()
    finally:
        client.close()
        cluster.down()


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=SHELL_TIMEOUT_S, env={**os.environ, **environment}
    )


@pytest.mark.parametrize(
    ("arguments", "said"), [([], "version"), (["four"], "version"), (["--fast", "4.1.1"], "no such option: --fast")]
)
def test_the_build_refuses_what_it_does_not_understand(arguments: list[str], said: str) -> None:
    answer = run("sh", str(ROOT / "compose/image/build.sh"), *arguments)
    assert answer.returncode == 1
    assert said in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_stopping_an_engine_spares_a_stranger_with_its_old_pid(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "dockerd.pid").write_text(str(stranger.pid))
        answer = run("sh", str(ROOT / ".ci/engine"), "stop", str(tmp_path))
        assert answer.returncode == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@needs_docker
def test_starting_an_engine_where_one_answers_starts_none(tmp_path: Path) -> None:
    answer = run("sh", str(ROOT / ".ci/engine"), "start", str(tmp_path))
    assert answer.returncode == 0
    assert "answers already" in answer.stdout
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_can_not_be_started_is_told_in_one_line(tmp_path: Path) -> None:
    answer = run("sh", str(ROOT / ".ci/engine"), "start", str(tmp_path), DOCKER_HOST="tcp://127.0.0.1:1")
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
