"""IncrementalAlterConfigs: dynamic settings of topics, and of brokers where they are defaults of topic settings."""

from __future__ import annotations

from broker.core import topic_settings
from broker.core.controller.pipeline import Pipeline
from broker.core.errors import Code, Refused
from broker.core.metadata.records import ConfigSet
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

TOPIC, BROKER = 2, 4
_SET, _DELETE, _APPEND, _SUBTRACT = range(4)
_TOPIC_NAMES = {topic_settings.BROKER_NAMES.get(name, name): name for name in topic_settings.DEFAULTS}


class Configs:
    """See the module. A resource changes whole or not at all."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def alter(self, request: IncrementalAlterConfigsRequest, now_ms: int) -> IncrementalAlterConfigsResponse:
        """Change settings."""
        responses = []
        for resource in request.resources:
            code, message = Code.NONE, None
            try:
                records = [self._change(resource, item) for item in resource.configs]
                for record in records if not request.validate_only else ():
                    self._pipeline.stage(record)
            except Refused as refused:
                code, message = refused.code, refused.message
            responses.append(
                AlterConfigsResourceResponse(
                    error_code=code,
                    error_message=message,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
            )
        self._pipeline.commit(now_ms)
        return IncrementalAlterConfigsResponse(responses=tuple(responses))

    def _change(self, resource: AlterConfigsResource, item: AlterableConfig) -> ConfigSet:
        kind, name = self._resource(resource)
        setting = item.name if kind == "topic" else _TOPIC_NAMES.get(item.name, "")
        if not setting:
            raise Refused(Code.INVALID_REQUEST, f"{item.name} can't be changed while the broker runs")
        value = self._value(kind, name, item, setting)
        if value is not None:
            topic_settings.check(setting, value)
        elif setting not in topic_settings.DEFAULTS:
            raise Refused(Code.INVALID_CONFIG, f"Unknown topic config name: {setting}")
        return ConfigSet(kind, name, item.name, value)

    def _resource(self, resource: AlterConfigsResource) -> tuple[str, str]:
        name = resource.resource_name
        if resource.resource_type == TOPIC:
            if self._pipeline.image.topic(name) is None:
                raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {name!r}")
            return "topic", name
        if resource.resource_type == BROKER and not name:
            return "broker", ""
        raise Refused(Code.INVALID_REQUEST, f"nothing of resource type {resource.resource_type} {name!r} can change")

    def _value(self, kind: str, name: str, item: AlterableConfig, setting: str) -> str | None:
        """Return the value that the operation leads to, None for none of its own."""
        if item.config_operation == _DELETE:
            return None
        if item.value is None:
            raise Refused(Code.INVALID_CONFIG, f"Null value not supported for {item.name}")
        if item.config_operation == _SET:
            return item.value
        if setting != "cleanup.policy" or item.config_operation not in {_APPEND, _SUBTRACT}:
            raise Refused(Code.INVALID_CONFIG, f"operation {item.config_operation} is for lists only")
        present = self._pipeline.image.config(kind, name).get(item.name, topic_settings.DEFAULTS[setting])
        given = item.value.split(",")
        kept = [entry for entry in present.split(",") if entry not in given]
        return ",".join([*kept, *given] if item.config_operation == _APPEND else kept)
