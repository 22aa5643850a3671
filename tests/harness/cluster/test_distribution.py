"""Where jars come from: KAFKA_HOME, the cache, Maven; once, whole, or with one clear line."""

import os
import stat
import threading
from pathlib import Path

import pytest

from harness.cluster import distribution
from harness.cluster.api import UsageError

MAVEN = """#!/bin/sh
echo run >> "{log}"
for word in "$@"; do case "$word" in
  -DoutputDirectory=*) out="${{word#-DoutputDirectory=}}" ;;
  -Dkafka.version=*) version="${{word#-Dkafka.version=}}" ;;
esac; done
{body}
"""
WORKS = 'mkdir -p "$out" && touch "$out/kafka_2.13-$version.jar"'
FAILS = 'echo "[ERROR] could not find artifact"; exit 1'


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with an empty cache and nothing installed but what `install` puts there."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("KAFKA_HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def install(machine, name, text):
    file = machine / "tools" / name
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def maven(machine, body=WORKS):
    install(machine, "mvn", MAVEN.format(log=machine / "runs", body=body))


def runs(machine):
    return len((machine / "runs").read_text().splitlines()) if (machine / "runs").exists() else 0


def java(machine, said):
    install(machine, "java", f"#!/bin/sh\necho '{said}' >&2\n")


def test_jars_are_fetched_once(machine):
    maven(machine)
    jars = distribution.ensure("4.1.1")
    assert [jar.name for jar in jars.iterdir()] == ["kafka_2.13-4.1.1.jar"]
    assert distribution.ensure("4.1.1") == jars
    assert runs(machine) == 1


def test_threads_that_start_together_fetch_once(machine):
    maven(machine)
    found = []
    threads = [threading.Thread(target=lambda: found.append(distribution.ensure("4.1.1"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert runs(machine) == 1


def test_a_failed_fetch_says_what_maven_said_and_leaves_nothing(machine):
    maven(machine, FAILS)
    with pytest.raises(UsageError, match=r"Maven can't fetch Apache Kafka 4.1.1: \[ERROR\] could not find artifact"):
        distribution.ensure("4.1.1")
    assert not [file for file in (machine / "cache").iterdir() if file.is_dir()]
    maven(machine)
    assert distribution.ensure("4.1.1").is_dir()


def test_what_a_killed_fetch_left_is_thrown_away(machine):
    left = machine / "cache" / "kafka-4.1.1.tmp" / "jars"
    left.mkdir(parents=True)
    (left / "half.jar").touch()
    maven(machine)
    assert [jar.name for jar in distribution.ensure("4.1.1").iterdir()] == ["kafka_2.13-4.1.1.jar"]
    assert not left.exists()


def test_without_maven_and_cache_there_is_one_line_that_helps(machine, monkeypatch):
    monkeypatch.setenv("PATH", str(machine / "tools"))
    with pytest.raises(UsageError, match=r"no jars of Apache Kafka 4.1.1: install Maven .* set KAFKA_HOME"):
        distribution.ensure("4.1.1")


def test_a_tarball_of_that_very_version_is_taken(machine, monkeypatch):
    libs = machine / "kafka" / "libs"
    libs.mkdir(parents=True)
    (libs / "kafka_2.13-4.1.1.jar").touch()
    monkeypatch.setenv("KAFKA_HOME", str(libs.parent))
    maven(machine)
    assert distribution.ensure("4.1.1") == libs
    assert distribution.ensure("3.7.1") != libs


@pytest.mark.parametrize("home", ["", "no-such", "libs"])
def test_a_kafka_home_that_is_none_is_named(machine, monkeypatch, home):
    """Whoever sets it wants what is there, and would take what Maven brings instead for it."""
    (machine / "libs").mkdir()
    monkeypatch.setenv("KAFKA_HOME", str(machine / home))
    maven(machine)
    with pytest.raises(UsageError, match=rf"^KAFKA_HOME={machine / home} is no unpacked Apache Kafka"):
        distribution.ensure("4.1.1")
    assert runs(machine) == 0


@pytest.mark.parametrize(
    "version", ["", "4", "4.1", "latest", "4.1.1; rm -rf /", "../4.1.1", "2.8.0", "3.2.3", "5.0.0"]
)
def test_a_version_that_can_not_be_run_is_refused(version):
    with pytest.raises(UsageError, match=r"version|supported"):
        distribution.major(version)


def test_a_machine_without_java_is_told_so(machine, monkeypatch):
    monkeypatch.setenv("PATH", str(machine / "tools"))
    with pytest.raises(UsageError, match="no Java found: install a JDK"):
        distribution.find_java("4.1.1")


def test_a_java_home_without_java_is_named(machine, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(machine))
    with pytest.raises(UsageError, match=str(machine)):
        distribution.find_java("4.1.1")


@pytest.mark.parametrize(("said", "major"), [('openjdk version "17.0.15" 2025-04-15', 17), ('java version "21"', 21)])
def test_java_tells_its_version(machine, said, major):
    java(machine, said)
    distribution._inspect_java.cache_clear()
    assert distribution.find_java("4.1.1").major == major


@pytest.mark.parametrize("said", ['openjdk version "11.0.2"', 'java version "1.8.0_292"'])
def test_a_java_that_is_too_old_is_refused(machine, said):
    java(machine, said)
    distribution._inspect_java.cache_clear()
    with pytest.raises(UsageError, match=r"Apache Kafka 4.1.1 needs Java 17"):
        distribution.find_java("4.1.1")


def test_a_java_that_only_pretends_is_refused(machine):
    install(machine, "java", "#!/bin/sh\necho 'The operation could not be completed.' >&2\nexit 1\n")
    distribution._inspect_java.cache_clear()
    with pytest.raises(UsageError, match="is no working Java"):
        distribution.find_java("4.1.1")


@pytest.fixture(autouse=True)
def _forget_java():
    yield
    distribution._inspect_java.cache_clear()


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {}, "home/.cache/kafka-harness"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/kafka-harness"),
        ("darwin", {}, "home/Library/Caches/kafka-harness"),
        ("darwin", {"KAFKA_HARNESS_CACHE": "mine"}, "mine"),
    ],
)
def test_the_cache_is_where_the_platform_wants_it(monkeypatch, tmp_path, platform, variables, folder):
    for name in ("XDG_CACHE_HOME", "KAFKA_HARNESS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(distribution.sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for name, value in variables.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert distribution.cache_folder() == tmp_path / folder


def test_the_poms_and_logging_of_both_lines_travel_with_the_package():
    for version in ("4.1.1", "3.7.1"):
        assert distribution.log_config(version).is_file()
        assert distribution.resource(f"maven/kafka-{distribution.major(version)}.xml").is_file()


def test_a_cache_that_can_not_be_written_is_one_line(machine, monkeypatch):
    maven(machine)
    (machine / "file").touch()
    monkeypatch.setenv("KAFKA_HARNESS_CACHE", str(machine / "file" / "cache"))
    with pytest.raises(UsageError, match="can't write the cache folder"):
        distribution.ensure("4.1.1")
