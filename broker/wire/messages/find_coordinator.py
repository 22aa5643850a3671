"""FindCoordinator (10): which broker coordinates a group or a transactional id.

Versions 0 to 3 ask for one key and answer with one coordinator, later ones take several (KIP-699): both are here.
"""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response

GROUP, TRANSACTION, SHARE = 0, 1, 2
"""The values of key_type."""


class FindCoordinatorRequest(Request, frozen=True, kw_only=True, gc=False):
    """Ask for coordinators: `key` until version 3, `coordinator_keys` from version 4 on."""

    api: ClassVar[Api] = Api.FIND_COORDINATOR
    key: str = ""
    key_type: int = GROUP
    coordinator_keys: tuple[str, ...] = ()


class Coordinator(Part, frozen=True, kw_only=True, gc=False):
    """The coordinator of one key; node_id is -1 with an error."""

    key: str = ""
    node_id: int = 0
    host: str = ""
    port: int = 0
    error_code: int = 0
    error_message: str | None = None


class FindCoordinatorResponse(Response, frozen=True, kw_only=True, gc=False):
    """One coordinator in the top-level fields until version 3, `coordinators` from version 4 on."""

    api: ClassVar[Api] = Api.FIND_COORDINATOR
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    node_id: int = 0
    host: str = ""
    port: int = 0
    coordinators: tuple[Coordinator, ...] = ()
