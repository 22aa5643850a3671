"""How large the volume under a folder of logs is, and what is free of it (KIP-827): the core has no disk to ask."""

from __future__ import annotations

import os

import msgspec

from broker.wire.message import Response
from broker.wire.messages.describe_log_dirs import DescribeLogDirsResponse


def told(answer: Response) -> Response:
    """Return an answer to DescribeLogDirs with the volumes' sizes; any other as it is."""
    if type(answer) is not DescribeLogDirsResponse:
        return answer
    results = []
    for result in answer.results:
        try:
            volume = os.statvfs(result.log_dir)
        except OSError:  # as in Kafka, the size of a folder that can't be asked is not told
            results.append(result)
            continue
        sizes = {
            "total_bytes": volume.f_blocks * volume.f_frsize,
            "usable_bytes": volume.f_bavail * volume.f_frsize,
        }
        results.append(msgspec.structs.replace(result, **sizes))
    return msgspec.structs.replace(answer, results=tuple(results))
