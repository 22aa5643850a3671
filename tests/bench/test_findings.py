"""The scripts that docs/findings.md names still show what it tells, of our own broker: what Apache Kafka does not survive.

They speak to a cluster through the harness's own rooms; those may change, and a script that breaks tells nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.findings import dropped_replica, grown_group, stale_coordinator
from harness import catalog
from harness.cluster.api import ClusterSpec

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240)]


def shown(show: Callable[[Any], dict[str, object]], folder: Path) -> dict[str, Any]:
    cluster = catalog.provider("embedded").create(ClusterSpec(name="finding", folder=folder / "cluster"))
    try:
        cluster.up()
        return show(cluster)
    finally:
        cluster.down()


def test_a_deposed_coordinator_of_ours_tells_no_offsets_and_nothing_is_copied_twice(tmp_path: Path):
    found = shown(stale_coordinator.show, tmp_path)
    first, second = found["coordinators"]
    assert first != second
    assert (found["copied"], found["told"], found["twice"]) == ([[0, 1], [2, 3, 4, 5]], None, [])


def test_a_partition_of_ours_that_was_moved_to_one_replica_is_led_by_it_after_its_death(tmp_path: Path):
    found = shown(dropped_replica.show, tmp_path)
    assert len(found["replicas"]) == 1
    assert (found["leader"], found["isr"], found["back"]) == (found["replicas"][0], found["replicas"], [""])


def test_a_member_of_librdkafka_joins_anew_while_its_application_holds_everything(tmp_path: Path):
    found = shown(grown_group.show, tmp_path)
    assert (found["dealt-before"], found["first-heard"]) == ([], [])
    assert found["held-by-both"] == found["commits-accepted"] == [0, 1]
