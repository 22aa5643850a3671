"""An answer that another one overtook is passed over: no warning, no rest, nothing appended twice."""

from types import SimpleNamespace

import pytest

from broker.core.replication.fetcher import _is_late
from broker.wire import batch, record
from broker.wire.messages.fetch import PartitionData
from tests.broker.core import test_broker as small


def answer(base, count=1):
    data = record.batch_of([(None, b"v")] * count, timestamp_ms=1)
    batch.patch(data, 0, base, 1)
    return PartitionData(records=bytes(data))


@pytest.mark.parametrize(
    ("data", "late"), [(answer(3), True), (answer(2, 2), True), (answer(4), False), (answer(3, 3), False)]
)
def test_what_is_in_the_log_already_is_late_and_what_overlaps_its_end_is_not(data, late):
    assert _is_late(SimpleNamespace(log=SimpleNamespace(end=4)), data) is late


def test_an_answer_without_records_is_never_late():
    assert not _is_late(SimpleNamespace(log=SimpleNamespace(end=4)), PartitionData(records=b""))


def test_followers_of_many_partitions_under_load_are_told_nothing_twice():
    network = small.cluster()
    key = small.create(network, partitions=6, min_insync_replicas=2)
    warned = []
    for node in network.nodes.values():
        step = node.step

        def stepping(event, now_ms, step=step):
            ready = step(event, now_ms)
            warned.extend(ready.warnings)
            return ready

        node.step = stepping
    sent = [small.produce(network, (key[0], index % 6), b"%d" % index) for index in range(120)]
    assert network.run(until=lambda: all(one in network.client_replies for one in sent), limit_ms=20_000)
    assert network.run(until=lambda: small.healthy(network))
    assert [warning for warning in warned if "fetched offset" in warning] == []
