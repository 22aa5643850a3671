"""CRC32C, without what comes with it: a node starts a tenth sooner.

The package `crc32c` asks for its own version when it is imported, and with that loads the readers of archives, mails
and tables of the standard library. Only its compiled module is wanted here; where it lies elsewhere than expected, the
package is imported as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import Any, Final

Buffer = bytes | bytearray | memoryview


def _find() -> Callable[[Buffer], int]:
    package = PathFinder.find_spec("crc32c")
    places = None if package is None else package.submodule_search_locations
    found = None if places is None else PathFinder.find_spec("_crc32c", places)
    if found is None or found.loader is None:
        import crc32c as whole  # noqa: PLC0415 - the usual way, when the short one is closed

        return whole.crc32c
    module: Any = module_from_spec(found)
    found.loader.exec_module(module)
    checksum: Callable[[Buffer], int] = module.crc32c
    return checksum


crc32c: Final = _find()
"""Return the CRC32C of a buffer."""
