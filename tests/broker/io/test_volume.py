"""A folder's volume is told with its logs."""

from __future__ import annotations

import shutil

from broker.io import volume
from broker.wire.messages.describe_log_dirs import DescribeLogDirsResponse, DescribeLogDirsResult
from broker.wire.messages.heartbeat import HeartbeatResponse


def test_a_folder_is_told_with_the_size_of_its_volume_and_what_is_free(tmp_path):
    answer = DescribeLogDirsResponse(results=(DescribeLogDirsResult(log_dir=str(tmp_path)),))
    (told,) = volume.told(answer).results
    assert told.total_bytes == shutil.disk_usage(tmp_path).total
    assert 0 <= told.usable_bytes <= told.total_bytes


def test_what_has_no_volume_stays_as_it_is(tmp_path):
    answer = DescribeLogDirsResponse(results=(DescribeLogDirsResult(log_dir=str(tmp_path / "gone")),))
    assert volume.told(answer) == answer
    assert volume.told(HeartbeatResponse()) == HeartbeatResponse()
