"""IncrementalAlterConfigs and AlterConfigs: dynamic settings of topics, groups, brokers and subscriptions to metrics.

A broker's name is its id, or empty for all brokers. AlterConfigs names all that shall be set: what it does not name is
taken away.
"""

from __future__ import annotations

from broker.core import client_metrics, dynamic_settings, group_settings, topic_settings
from broker.core.controller import elr
from broker.core.controller.pipeline import Pipeline
from broker.core.controller.topics import more_than_once
from broker.core.errors import Code, Refused
from broker.core.metadata.records import ConfigSet
from broker.wire.messages.alter_configs import AlterConfigsRequest, AlterConfigsResponse
from broker.wire.messages.alter_configs import AlterConfigsResourceResponse as ReplacedResourceResponse
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

TOPIC, BROKER, CLIENT_METRICS, GROUP = 2, 4, 16, 32
_KINDS = {TOPIC: "topic", CLIENT_METRICS: client_metrics.KIND, GROUP: "group"}
_DEFAULTS = {TOPIC: "topic resources", CLIENT_METRICS: "client metrics resources", GROUP: "group resources"}
_SET, _DELETE, _APPEND, _SUBTRACT = range(4)
_TOPIC_NAMES = {topic_settings.BROKER_NAMES.get(name, name): name for name in topic_settings.DEFAULTS}


def _is_list(kind: str, setting: str) -> bool:
    """Return whether entries can be added to the setting's value."""
    if kind == client_metrics.KIND:
        return setting in client_metrics.LISTS
    return topic_settings.kind(setting) == topic_settings.LIST


def _place(resource: AlterConfigsResource) -> tuple[int, str]:
    return resource.resource_type, resource.resource_name


def _check_form(resource: AlterConfigsResource, *, twice: bool) -> None:
    """Raise Refused where the wish can't be one. Kafka: ConfigAdminManager.preprocess."""
    if twice:
        raise Refused(Code.INVALID_REQUEST, "Each resource must appear at most once.")
    if more_than_once(item.name for item in resource.configs):
        raise Refused(Code.INVALID_REQUEST, "Error due to duplicate config keys")
    empty = [item.name for item in resource.configs if item.value is None and item.config_operation != _DELETE]
    if empty:
        raise Refused(Code.INVALID_REQUEST, f"Null value not supported for : {', '.join(empty)}")


def _not_for_lists(item: AlterableConfig) -> Refused:
    word = {_APPEND: "APPEND", _SUBTRACT: "SUBTRACT"}.get(item.config_operation, f"operate {item.config_operation}")
    return Refused(Code.INVALID_CONFIG, f"Can't {word} to key {item.name} because its type is not LIST.")


class Configs:
    """See the module. A resource changes whole or not at all."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def alter(self, request: IncrementalAlterConfigsRequest, now_ms: int) -> IncrementalAlterConfigsResponse:
        """Change settings."""
        responses = []
        twice = more_than_once(map(_place, request.resources))
        for resource in request.resources:
            code, message = Code.NONE, None
            try:
                _check_form(resource, twice=_place(resource) in twice)
                records = [self._change(resource, item) for item in resource.configs]
                for record in records if not request.validate_only else ():
                    self._pipeline.stage(record)
                    for state in elr.cleared(self._pipeline.image, record):
                        self._pipeline.stage(state)
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

    def replace(self, request: AlterConfigsRequest, now_ms: int) -> AlterConfigsResponse:
        """Set what is named, take away everything else."""
        resources = []
        for resource in request.resources:
            kind = _KINDS.get(resource.resource_type, "broker")
            named = {item.name for item in resource.configs}
            gone = sorted(self._pipeline.image.config(kind, resource.resource_name).keys() - named)
            items = [AlterableConfig(name=item.name, value=item.value) for item in resource.configs]
            items += [AlterableConfig(name=name, config_operation=_DELETE) for name in gone]
            resources.append(
                AlterConfigsResource(
                    resource_type=resource.resource_type, resource_name=resource.resource_name, configs=tuple(items)
                )
            )
        wish = IncrementalAlterConfigsRequest(resources=tuple(resources), validate_only=request.validate_only)
        return AlterConfigsResponse(
            responses=tuple(
                ReplacedResourceResponse(
                    error_code=one.error_code,
                    error_message=one.error_message,
                    resource_type=one.resource_type,
                    resource_name=one.resource_name,
                )
                for one in self.alter(wish, now_ms).responses
            )
        )

    def _change(self, resource: AlterConfigsResource, item: AlterableConfig) -> ConfigSet:
        kind, name = self._resource(resource)
        if kind == "group":
            return self._change_group(name, item)
        if kind == client_metrics.KIND:
            return self._change_client_metrics(name, item)
        if kind == "broker":
            is_removed = item.config_operation == _DELETE
            elr.check(self._pipeline.config, self._pipeline.image, name, item.name, is_removed=is_removed)
            try:
                return self._change_plain(kind, name, item)
            except Refused as refused:  # as a broker of Kafka says it, which looks before the controller does
                raise Refused(Code.INVALID_REQUEST, refused.message) from None
        return self._change_plain(kind, name, item)

    def _change_plain(self, kind: str, name: str, item: AlterableConfig) -> ConfigSet:
        setting = item.name if kind == "topic" else _TOPIC_NAMES.get(item.name, "")
        if not setting and dynamic_settings.is_fixed(item.name) and item.config_operation != _DELETE:
            raise Refused(Code.INVALID_REQUEST, f"Cannot update these configs dynamically: Set({item.name})")
        if not setting:
            return ConfigSet(kind, name, item.name, self._of_broker(item))
        value = self._value(kind, name, item, setting)
        if value is not None:
            value = topic_settings.plain(setting, value)
            topic_settings.check(setting, value)
        return ConfigSet(kind, name, item.name, value)

    def _change_group(self, name: str, item: AlterableConfig) -> ConfigSet:
        value = self._value("group", name, item, item.name)
        if value is not None:
            group_settings.check(self._pipeline.config, item.name, value)
        return ConfigSet("group", name, item.name, value)

    def _change_client_metrics(self, name: str, item: AlterableConfig) -> ConfigSet:
        value = self._value(client_metrics.KIND, name, item, item.name)
        if value is not None:
            client_metrics.check(item.name, value)
        return ConfigSet(client_metrics.KIND, name, item.name, value)

    def _of_broker(self, item: AlterableConfig) -> str | None:
        if item.config_operation == _DELETE:
            return None
        assert item.value is not None  # see _check_form
        if item.config_operation != _SET:
            raise _not_for_lists(item)
        dynamic_settings.check(item.name, item.value)
        return item.value

    def _resource(self, resource: AlterConfigsResource) -> tuple[str, str]:
        name = resource.resource_name
        if resource.resource_type in _DEFAULTS and not name:
            raise Refused(Code.INVALID_REQUEST, f"Default {_DEFAULTS[resource.resource_type]} are not allowed.")
        if resource.resource_type == TOPIC:
            if self._pipeline.image.topic(name) is None:
                raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
            return "topic", name
        if resource.resource_type == BROKER and (not name or name in map(str, self._pipeline.image.brokers)):
            return "broker", name
        if resource.resource_type in {GROUP, CLIENT_METRICS}:
            return _KINDS[resource.resource_type], name
        raise Refused(Code.INVALID_REQUEST, f"nothing of resource type {resource.resource_type} {name!r} can change")

    def _value(self, kind: str, name: str, item: AlterableConfig, setting: str) -> str | None:
        """Return the value that the operation leads to, None for none of its own."""
        if item.config_operation == _DELETE:
            return None
        assert item.value is not None  # see _check_form
        if item.config_operation == _SET:
            return item.value
        if not _is_list(kind, setting) or item.config_operation not in {_APPEND, _SUBTRACT}:
            raise _not_for_lists(item)
        present = self._pipeline.image.config(kind, name).get(item.name, topic_settings.DEFAULTS.get(setting, ""))
        given = item.value.split(",")
        kept = [entry for entry in present.split(",") if entry and entry not in given]
        return ",".join([*kept, *given] if item.config_operation == _APPEND else kept)
