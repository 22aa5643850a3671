"""Ports: free, below the ephemeral range, and not given twice while their owner lives."""

import os
import socket
import threading

import pytest

from harness.cluster import ports
from harness.cluster.api import UsageError


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KAFKA_HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def owners(tmp_path):
    made = [tmp_path / name for name in "abcd"]
    for folder in made:
        folder.mkdir()
    return made


def few(monkeypatch, count):
    """Allow only that many ports, all free now: below those of clusters, and this process's own.

    Whoever asks whether a port is free binds it for a moment, and would find another process's question there.
    """
    first = 10_000 + 10 * (os.getpid() % 900)
    lowest = next(
        start for start in range(first, ports.LOWEST, 10) if all(ports.free(start + step) for step in range(count))
    )
    monkeypatch.setenv("KAFKA_HARNESS_PORTS", f"{lowest}-{lowest + count - 1}")
    return list(range(lowest, lowest + count))


def test_reserved_ports_are_free_different_and_low(owners):
    found = ports.reserve(6, owners[0])
    assert len(set(found)) == 6
    assert all(ports.LOWEST <= port <= ports.HIGHEST < 32_768 for port in found)


def test_owners_that_ask_together_get_different_ports(owners, monkeypatch):
    allowed = few(monkeypatch, 8)
    found = []
    threads = [threading.Thread(target=lambda owner=owner: found.extend(ports.reserve(2, owner))) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(found) == allowed


def test_a_reserved_port_is_not_free_though_nobody_listens(owners):
    (port,) = ports.reserve(1, owners[0])
    assert not ports.free(port)
    ports.release(owners[0])
    ports.release(owners[0])
    assert ports.free(port)


def test_releasing_one_owner_keeps_the_ports_of_another(owners):
    (port,) = ports.reserve(1, owners[0])
    ports.release(owners[1])
    assert not ports.free(port)


def test_a_reservation_ends_with_its_owners_folder(owners, monkeypatch):
    allowed = few(monkeypatch, 2)
    assert sorted(ports.reserve(2, owners[0])) == allowed
    with pytest.raises(UsageError, match="free ports"):
        ports.reserve(1, owners[1])
    owners[0].rmdir()
    assert sorted(ports.reserve(2, owners[1])) == allowed


def test_stale_reservations_are_forgotten_when_somebody_releases(owners, tmp_path):
    stale = ports.reserve(2, owners[0])
    kept = ports.reserve(1, owners[1])
    owners[0].rmdir()
    ports.release(owners[2])
    left = {int(file.name) for file in (tmp_path / "cache" / "ports").iterdir()}
    assert left == set(kept)
    assert not left & set(stale)


def test_a_port_that_somebody_listens_on_is_not_given(owners, monkeypatch):
    allowed = few(monkeypatch, 2)
    with socket.create_server(("127.0.0.1", allowed[0])):
        assert ports.reserve(1, owners[0]) == (allowed[1],)
        with pytest.raises(UsageError, match=r"1 free ports .* are needed, 0 are there: stop other clusters"):
            ports.reserve(1, owners[1])


def test_taken_ports_are_not_chosen(monkeypatch):
    allowed = few(monkeypatch, 3)
    assert ports.choose(1, taken=allowed[:2]) == (allowed[2],)


@pytest.mark.parametrize("text", ["x", "1", "5-1", "0-9", "1-70000", "1-2-3", "-5"])
def test_a_range_that_makes_no_sense_is_named(monkeypatch, text):
    monkeypatch.setenv("KAFKA_HARNESS_PORTS", text)
    with pytest.raises(UsageError, match="KAFKA_HARNESS_PORTS must be LOW-HIGH"):
        ports.choose(1)
