"""Free memory that the machine really has: before each measurement it is touched once, and given back.

A virtual machine may tell its host which blocks of 2 MiB are free (free page reporting, after two seconds); the host
takes them, and whoever is next to write a file there pays 1 to 2 CPU seconds a GB, three times with three replicas, to
get them back. With several targets in turn that is the larger part of what a fast broker needs, and who pays is chance.
What was freed last is what Linux gives first: after `warm` nobody pays, whichever target comes.
"""

from __future__ import annotations

import mmap
from pathlib import Path

WARM_BYTES = 3 << 30
"""What a target writes in a measurement of 1.5 s, all replicas together, at 700 MB a second with three."""
_PAGE_BYTES = 4096


def warm() -> None:
    """Touch so much free memory, where there is twice as much; nothing on other systems than Linux."""
    if not hasattr(mmap, "MADV_HUGEPAGE") or _free_bytes() < 2 * WARM_BYTES:
        return
    with mmap.mmap(-1, WARM_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory[::_PAGE_BYTES] = bytes(WARM_BYTES // _PAGE_BYTES)


def _free_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemFree:"):
            return int(line.split()[1]) * 1024
    return 0
