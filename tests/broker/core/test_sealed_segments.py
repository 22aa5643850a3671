"""The file of a sealed segment is believed whole or not at all."""

from __future__ import annotations

import pytest

from broker.core.log.partition_log import LogConfig
from broker.core.ready import Remove, Save
from broker.wire import record
from tests.broker.core.test_partition_log import NAME, Bench, data_batch


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: None,
        lambda data: data[:-1],
        lambda data: data[:60] + b"\0" + data[61:],
        lambda data: b"seg1" + data,
    ],
    ids=["lost", "shorter", "altered", "of another version"],
)
def test_a_sealed_segment_without_its_file_is_scanned_and_its_aborted_transactions_are_found_anew(damage, monkeypatch):
    bench = Bench(LogConfig(segment_bytes=1 << 20))
    bench.append(data_batch(2, 1, 0, 0, transactional=True))
    bench.append(record.marker(producer_id=1, producer_epoch=0, commit=False, coordinator_epoch=0, timestamp_ms=5))
    known, end = bench.log.aborted.overlapping(0, 3), bench.log.end
    bench.log.roll()
    bench.append(data_batch(1))
    bench.flush()
    (name,) = [name for name in bench.disk.files(NAME) if name.endswith(".sealed")]
    kept = damage(bench.disk.load(name))
    bench.disk.write(Remove(name) if kept is None else Save(name, kept))
    assert not bench.recover(recovery_point=end, high_watermark=end).reason
    assert (bench.log.aborted.overlapping(0, 3), bench.log.end) == (known, end + 1)
    bench.flush()
    assert reads_of_a_start(bench, monkeypatch, end) == {end}, "only the last segment: what was found is saved"
    assert (bench.log.aborted.overlapping(0, 3), bench.log.end) == (known, end + 1)


def reads_of_a_start(bench: Bench, monkeypatch: pytest.MonkeyPatch, recovery_point: int) -> set[int]:
    """Return the bases of the segments that a start after a kill reads."""
    read = set()
    with monkeypatch.context() as patch:
        honest = bench.disk.read
        patch.setattr(bench.disk, "read", lambda log, base, *rest: read.add(base) or honest(log, base, *rest))
        assert not bench.recover(recovery_point=recovery_point, high_watermark=recovery_point).reason
    return read
