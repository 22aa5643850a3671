"""AlterClientQuotas: limits are metadata. Each entity changes whole or not at all.

Kafka: ClientQuotaControlManager.
"""

from __future__ import annotations

from broker.core.controller.pipeline import Pipeline
from broker.core.errors import Code, Refused
from broker.core.metadata.records import QuotaSet
from broker.core.quota.limits import CLIENT, KINDS, USER, Entity, key_of
from broker.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    QuotaChange,
    QuotaResult,
)


class ClientQuotas:
    """See the module."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def alter(self, request: AlterClientQuotasRequest, now_ms: int) -> AlterClientQuotasResponse:
        """Change limits."""
        results = []
        for change in request.entries:
            try:
                records = _records(change)
            except Refused as refused:
                results.append(
                    QuotaResult(error_code=refused.code, error_message=refused.message, entity=change.entity)
                )
                continue
            for record in records if not request.validate_only else ():
                self._pipeline.stage(record)
            results.append(QuotaResult(entity=change.entity))
        self._pipeline.commit(now_ms)
        return AlterClientQuotasResponse(entries=tuple(results))


def _records(change: QuotaChange) -> list[QuotaSet]:
    entity = key_of(_entity(change))
    records = []
    for op in change.ops:
        if op.key not in KINDS:
            raise Refused(Code.INVALID_REQUEST, f"Invalid configuration key {op.key}: there are {', '.join(KINDS)}")
        if not op.remove and not op.value > 0:
            raise Refused(Code.INVALID_REQUEST, f"Quota {op.key} must be greater than 0")
        records.append(QuotaSet(entity, op.key, None if op.remove else op.value))
    return records


def _entity(change: QuotaChange) -> Entity:
    parts = {part.entity_type: part.entity_name for part in change.entity}
    unknown = [kind for kind in parts if kind not in {USER, CLIENT}]
    if unknown or not parts or len(parts) != len(change.entity):
        raise Refused(Code.INVALID_REQUEST, f"Invalid client quota entity: {USER}, {CLIENT}, or both, each once")
    if any(name == "" for name in parts.values()):
        raise Refused(Code.INVALID_REQUEST, "Empty entity name not supported")
    return tuple((kind, parts[kind]) for kind in (USER, CLIENT) if kind in parts)
