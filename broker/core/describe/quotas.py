"""DescribeClientQuotas: the entities that a filter names, with their limits. Kafka: ClientQuotasImage.describe."""

from __future__ import annotations

from broker.core.errors import Code
from broker.core.metadata.image import Image
from broker.core.quota.limits import CLIENT, IP, USER, Entity, entity_of
from broker.wire.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
    EntityData,
    EntryData,
    ValueData,
)

EXACT, DEFAULT, ANY = range(3)


def describe(image: Image, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse:
    """Return what passes all components; `strict`: and has no part beside those."""
    kinds = [component.entity_type for component in request.components]
    if len(set(kinds)) < len(kinds) or not set(kinds) <= {USER, CLIENT, IP} or (IP in kinds and len(kinds) > 1):
        return DescribeClientQuotasResponse(
            error_code=Code.INVALID_REQUEST,
            error_message=f"entity types {kinds}: user, client-id, each once, or ip alone",
        )
    entries = []
    for key, values in sorted(image.quotas.items()):
        entity = entity_of(key)
        strict = not request.strict or len(entity) == len(kinds)
        if strict and all(_passes(component, entity) for component in request.components):
            entries.append(
                EntryData(
                    entity=tuple(EntityData(entity_type=kind, entity_name=name) for kind, name in entity),
                    values=tuple(ValueData(key=kind, value=value) for kind, value in sorted(values.items())),
                )
            )
    return DescribeClientQuotasResponse(entries=tuple(entries))


def _passes(component: ComponentData, entity: Entity) -> bool:
    parts = dict(entity)
    if component.entity_type not in parts:
        return False
    name = parts[component.entity_type]
    if component.match_type == DEFAULT:
        return name is None
    return component.match_type == ANY or name == component.match
