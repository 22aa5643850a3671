"""What stands behind the commands of a `remote` cluster in tests: another process breaks one of ours by its handles.

python -m tests.harness.cluster.reach CLUSTER.JSON METHOD NAME...: a method of the cluster's powers. What it returns is
printed; the status is 1 where it is None or False.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from harness.cluster.processes import from_handles


def main(handles: str, method: str, *names: str) -> int:
    """Do it, and return the exit status."""
    document = json.loads(Path(handles).read_text())
    found = getattr(from_handles(document), method)(*names)
    if method in {"pid", "paused"} and (found is None or found is False):
        return 1
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
