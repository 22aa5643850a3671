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
_ORDER = (
    "connection_creation_rate",
    "consumer_byte_rate",
    "controller_mutation_rate",
    "request_percentage",
    "producer_byte_rate",
)
"""As Kafka lists them, which clients' tests have come to expect; a part `client-id` stands before `user`."""


def describe(image: Image, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse:
    """Return what passes all components; `strict`: and has no part beside those."""
    kinds = [component.entity_type for component in request.components]
    code, why = _what_is_wrong(kinds)
    if code:
        return DescribeClientQuotasResponse(error_code=code, error_message=why)
    entries = []
    for key, values in sorted(image.quotas.items(), key=lambda one: (len(entity_of(one[0])), one[0])):
        entity = entity_of(key)
        strict = not request.strict or len(entity) == len(kinds)
        if strict and all(_passes(component, entity) for component in request.components):
            entries.append(
                EntryData(
                    entity=tuple(EntityData(entity_type=kind, entity_name=name) for kind, name in sorted(entity)),
                    values=tuple(
                        ValueData(key=kind, value=value)
                        for kind, value in sorted(values.items(), key=lambda one: _ORDER.index(one[0]))
                    ),
                )
            )
    return DescribeClientQuotasResponse(entries=tuple(entries))


def _what_is_wrong(kinds: list[str]) -> tuple[Code, str]:
    """Say why entities can't be found by their parts of these kinds, in Kafka's words."""
    for kind in kinds:
        if not kind:
            return Code.INVALID_REQUEST, "Invalid empty entity type."
        if kinds.count(kind) > 1:
            return Code.INVALID_REQUEST, f"Entity type {kind} cannot appear more than once in the filter."
    if IP in kinds and {USER, CLIENT} & set(kinds):
        why = "IP filter component should not be used with user or clientId filter component."
        return Code.INVALID_REQUEST, f"Invalid entity filter component combination. {why}"
    unknown = [kind for kind in kinds if kind not in {USER, CLIENT, IP}]
    return (Code.UNSUPPORTED_VERSION, f"Unsupported entity type {unknown[0]}") if unknown else (Code.NONE, "")


def _passes(component: ComponentData, entity: Entity) -> bool:
    parts = dict(entity)
    if component.entity_type not in parts:
        return False
    name = parts[component.entity_type]
    if component.match_type == DEFAULT:
        return name is None
    return component.match_type == ANY or name == component.match
