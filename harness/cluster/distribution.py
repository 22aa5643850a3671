"""Where the jars of Apache Kafka come from: the user's own tarball, our cache, or Maven.

`ensure` looks, in this order, for
 1 a tarball that the user has unpacked: `KAFKA_HOME` is taken when its `libs` folder holds exactly that version, and
   refused when it holds none;
 2 our cache (`cache_folder()/kafka-VERSION`), filled once per version by Maven from the poms in `compose/maven`.

What goes into the cache is made in a folder beside it and renamed when it is complete, under a lock: two runs that
start together fetch once, and a fetch that was killed leaves nothing that looks whole. What can't run is refused (no
Java, a Java too old, neither Maven nor cache) with a `UsageError` of one line, before anything is started.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from harness.cluster.api import UsageError

FETCH_TIMEOUT_S = 600
"""45 MB through Maven take 10 s on an empty repository; a slow line gets ten minutes."""
JAVA_TIMEOUT_S = 30
"""`java -version` takes 0.1 s; a loaded machine gets more."""
OLDEST = (3, 3)
"""KRaft is ready for production since 3.3."""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its command, major version, and the build (what a CDS archive fits to)."""

    command: str
    major: int
    build: str


def cache_folder() -> Path:
    """Return the user's cache folder for us: KAFKA_HARNESS_CACHE, or the platform's place; it may not exist yet."""
    override = os.environ.get("KAFKA_HARNESS_CACHE")
    if override:
        return Path(override).expanduser().resolve()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "kafka-harness"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kafka-harness"


def major(version: str) -> int:
    """Return the major version of an Apache Kafka version such as 4.1.1; UsageError when it is none that we can run."""
    return line(version)[0]


def line(version: str) -> tuple[int, int]:
    """Return the major and the minor version; UsageError as for `major`."""
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)([-.][0-9A-Za-z.-]+)?", version)
    if match is None:
        raise UsageError(f"not an Apache Kafka version: {version!r} (like 4.1.1)")
    found = (int(match[1]), int(match[2]))
    if found < OLDEST or found[0] > 4:
        raise UsageError(f"Apache Kafka {version} is not supported: KRaft versions from 3.3 to 4.x are")
    return found


def find_java(version: str) -> Java:
    """Return the Java that runs that Kafka version: JAVA_HOME's, else the one on PATH.

    Raises UsageError, in one line, when there is none or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if command is None:
        raise UsageError("no Java found: install a JDK (17 or newer), or set JAVA_HOME")
    java = _inspect_java(command)
    least = 17 if major(version) >= 4 else 11
    if java.major < least:
        raise UsageError(
            f"Apache Kafka {version} needs Java {least} or newer, {command} is {java.major}: set JAVA_HOME"
        )
    return java


@cache
def _inspect_java(command: str) -> Java:
    try:
        answer = subprocess.run(  # noqa: S603 - the user's own JAVA_HOME or PATH
            [command, "-version"], capture_output=True, text=True, timeout=JAVA_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{command} does not run ({error}): install a JDK (17 or newer), or set JAVA_HOME") from error
    match = re.search(r'version "(\d+)(?:\.(\d+))?', answer.stderr)
    if answer.returncode != 0 or match is None:
        raise UsageError(f"{command} is no working Java: install a JDK (17 or newer), or set JAVA_HOME")
    feature = int(match[2] or 0) if match[1] == "1" else int(match[1])
    return Java(command, feature, answer.stderr.strip())


def ensure(version: str) -> Path:
    """Return the folder with the jars of that Apache Kafka version (a class path is every jar in it).

    Fetches them once into the cache. Raises UsageError, in one line, when that is not possible.
    """
    major_version = major(version)
    libs = unpacked(version)
    if libs is not None:
        return libs
    jars = cache_folder() / f"kafka-{version}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise UsageError(
            f"no jars of Apache Kafka {version}: install Maven (mvn), or unpack its tarball and set KAFKA_HOME"
        )
    return make_once(jars, lambda workshop: _fetch(maven, major_version, version, workshop))


def unpacked(version: str) -> Path | None:
    """Return the jars of the tarball that KAFKA_HOME names, if they are of that version; UsageError if it has none."""
    home = os.environ.get("KAFKA_HOME")
    if not home:
        return None
    libs = Path(home) / "libs"
    if not any(libs.glob("kafka_2.*.jar")):
        raise UsageError(
            f"KAFKA_HOME={home} is no unpacked Apache Kafka (it has no libs/kafka_2.*.jar): set it, or unset it"
        )
    return libs if any(libs.glob(f"kafka_2.*-{version}.jar")) else None


def log_config(version: str) -> Path:
    """Return the logging configuration for that version: log4j2 for 4.x, reload4j for 3.x (see its first lines)."""
    return resource(f"logging/{'log4j2' if major(version) >= 4 else 'reload4j'}.properties")


def resource(name: str) -> Path:
    """Return a file of the `compose` folder, which travels inside the wheel."""
    found = resources.files("compose")
    for part in name.split("/"):
        found = found.joinpath(part)
    return Path(str(found))


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of that name; other processes and threads wait for it. It goes with the process."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{name}.lock").open("w")
    except OSError as error:
        raise UsageError(f"can't write the cache folder {folder}: {error.strerror}: set KAFKA_HARNESS_CACHE") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_once(target: Path, make: Callable[[Path], Path]) -> Path:
    """Return `target`, a file or folder of the cache, made by `make` when it is not there.

    `make` works in an empty folder and returns what becomes the target when it is complete. Other processes and
    threads that want it wait; what a killed one has left is thrown away.
    """
    if not target.exists():
        with locked(target.name):
            if not target.exists():
                workshop = target.with_name(f"{target.name}.tmp")
                if workshop.exists():
                    shutil.rmtree(workshop)
                workshop.mkdir()
                try:
                    make(workshop).rename(target)
                finally:
                    shutil.rmtree(workshop)
    return target


def _fetch(maven: str, major_version: int, version: str, workshop: Path) -> Path:
    # A copy of the pom: Maven may look for files beside it, and the wheel's folder need not be writable.
    pom = workshop / "pom.xml"
    pom.write_bytes(resource(f"maven/kafka-{major_version}.xml").read_bytes())
    jars = workshop / "jars"
    command = [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    command += [f"-Dkafka.version={version}", f"-DoutputDirectory={jars}"]
    try:
        answer = subprocess.run(  # noqa: S603 - the user's mvn with our pom; the version was matched above
            command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False, cwd=workshop
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"Maven did not fetch Apache Kafka {version} within {FETCH_TIMEOUT_S} s") from error
    if answer.returncode != 0 or not (jars / f"kafka_2.13-{version}.jar").exists():
        lines = [text for text in answer.stdout.splitlines() if "ERROR" in text] or ["no reason given"]
        raise UsageError(f"Maven can't fetch Apache Kafka {version}: {lines[0][:300]}")
    return jars
