"""DescribeClientQuotas (48): limits of users and clients (KIP-546)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ComponentData(Part, frozen=True, kw_only=True, gc=False):
    """A filter: 0 exactly `match`, 1 the default, 2 any."""

    entity_type: str = ""
    match_type: int = 0
    match: str | None = None


class DescribeClientQuotasRequest(Request, frozen=True, kw_only=True, gc=False):
    """`strict`: without further components."""

    api: ClassVar[Api] = Api.DESCRIBE_CLIENT_QUOTAS
    components: tuple[ComponentData, ...] = ()
    strict: bool = False


class EntityData(Part, frozen=True, kw_only=True, gc=False):
    """A part of an entity; null: the default."""

    entity_type: str = ""
    entity_name: str | None = None


class ValueData(Part, frozen=True, kw_only=True, gc=False):
    """A limit."""

    key: str = ""
    value: float = 0.0


class EntryData(Part, frozen=True, kw_only=True, gc=False):
    """An entity with its limits."""

    entity: tuple[EntityData, ...] = ()
    values: tuple[ValueData, ...] = ()


class DescribeClientQuotasResponse(Response, frozen=True, kw_only=True, gc=False):
    """The entities that pass the filter."""

    api: ClassVar[Api] = Api.DESCRIBE_CLIENT_QUOTAS
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    entries: tuple[EntryData, ...] | None = None
