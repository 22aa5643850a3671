"""AlterClientQuotas (49): limits of users and clients are set and removed (KIP-546)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class EntityPart(Part, frozen=True, kw_only=True, gc=False):
    """A part of an entity; null: the default."""

    entity_type: str = ""
    entity_name: str | None = None


class OpData(Part, frozen=True, kw_only=True, gc=False):
    """A limit that is set, or goes."""

    key: str = ""
    value: float = 0.0
    remove: bool = False


class QuotaChange(Part, frozen=True, kw_only=True, gc=False):
    """An entity, and what changes of its limits."""

    entity: tuple[EntityPart, ...] = ()
    ops: tuple[OpData, ...] = ()


class AlterClientQuotasRequest(Request, frozen=True, kw_only=True, gc=False):
    """The changes, or only whether they would do."""

    api: ClassVar[Api] = Api.ALTER_CLIENT_QUOTAS
    entries: tuple[QuotaChange, ...] = ()
    validate_only: bool = False


class QuotaResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one entity."""

    error_code: int = 0
    error_message: str | None = None
    entity: tuple[EntityPart, ...] = ()


class AlterClientQuotasResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per entity."""

    api: ClassVar[Api] = Api.ALTER_CLIENT_QUOTAS
    throttle_time_ms: int = 0
    entries: tuple[QuotaResult, ...] = ()
