"""AlterClientQuotas: limits are metadata. Each entity changes whole or not at all.

Kafka: ClientQuotaControlManager.
"""

from __future__ import annotations

import ipaddress
import math

from broker.core.controller.pipeline import Pipeline
from broker.core.errors import Code, Refused
from broker.core.metadata.records import QuotaSet
from broker.core.quota.limits import CLIENT, IP, KINDS, OF_ADDRESSES, USER, WHOLE, WITHOUT_EFFECT, Entity, key_of
from broker.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    OpData,
    QuotaChange,
    QuotaResult,
)

_LONG_MAX = (1 << 63) - 1


class ClientQuotas:
    """See the module."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def alter(self, request: AlterClientQuotasRequest, now_ms: int) -> AlterClientQuotasResponse:
        """Change limits."""
        results, seen = [], set[str]()
        for change in request.entries:
            told = tuple(sorted(change.entity, key=lambda part: part.entity_type))
            try:
                records = _records(change, seen)
            except Refused as refused:
                results.append(QuotaResult(error_code=refused.code, error_message=refused.message, entity=told))
                continue
            for record in records if not request.validate_only else ():
                self._pipeline.stage(record)
            results.append(QuotaResult(entity=told))
        self._pipeline.commit(now_ms)
        return AlterClientQuotasResponse(entries=tuple(results))


def _records(change: QuotaChange, seen: set[str]) -> list[QuotaSet]:
    """Return the changes; `seen`: the entities that were named before."""
    parts = _entity(change)
    entity, kinds = key_of(parts), OF_ADDRESSES if parts[0][0] == IP else KINDS + WITHOUT_EFFECT
    if entity in seen or len({op.key for op in change.ops}) < len(change.ops):
        raise Refused(Code.INVALID_REQUEST, f"Ignoring duplicate entity {dict(parts)}")
    seen.add(entity)
    records = []
    for op in change.ops:
        if op.key not in kinds:
            raise Refused(Code.INVALID_REQUEST, f"Invalid configuration key {op.key}")
        if not op.remove:
            _check_value(op)
        records.append(QuotaSet(entity, op.key, None if op.remove else op.value))
    return records


def _check_value(op: OpData) -> None:
    if not op.value > 0:
        raise Refused(Code.INVALID_REQUEST, f"Quota {op.key} must be greater than 0")
    if math.isinf(op.value) or (op.key in WHOLE and op.value > _LONG_MAX):
        raise Refused(Code.INVALID_REQUEST, f"Proposed value for {op.key} is too large for a LONG.")
    if op.key in WHOLE and not op.value.is_integer():
        raise Refused(Code.INVALID_REQUEST, f"{op.key} cannot be a fractional value.")


def _entity(change: QuotaChange) -> Entity:
    parts = {part.entity_type: part.entity_name for part in change.entity}
    unknown = [kind for kind in parts if kind not in {USER, CLIENT, IP}]
    if unknown or not parts or len(parts) != len(change.entity) or (IP in parts and len(parts) > 1):
        raise Refused(
            Code.INVALID_REQUEST, f"Invalid client quota entity: {USER}, {CLIENT}, or both, each once, or {IP} alone"
        )
    if any(name == "" for name in parts.values()):
        raise Refused(Code.INVALID_REQUEST, "Empty entity name not supported")
    address = parts.get(IP)
    if address is not None and not _is_address(address):
        raise Refused(Code.INVALID_REQUEST, f"{address} is not a valid IP address")
    return tuple((kind, parts[kind]) for kind in (USER, CLIENT, IP) if kind in parts)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
