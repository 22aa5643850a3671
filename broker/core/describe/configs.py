"""DescribeConfigs and ListConfigResources: what holds for a topic, a broker or a group, and why.

A value's synonyms are the values that it overrides, the one that holds first: the topic's own, this broker's, all
brokers', the properties', Kafka's default. Secrets are never told. Kafka: ConfigHelper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker.core import client_metrics, dynamic_settings, group_settings, topic_settings
from broker.core.config import BROKER_NAMES, BrokerConfig
from broker.core.describe import types
from broker.core.describe.documentation import documentation
from broker.core.errors import Code, Refused
from broker.core.metadata.image import Image
from broker.core.node_settings import CHOICES, SIZES, SWITCHES, TIMES
from broker.core.topic_names import is_valid_name, what_is_wrong
from broker.wire.messages.create_topics import CreatableTopicConfigs
from broker.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)
from broker.wire.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
OF_TOPIC, OF_BROKER, OF_ALL_BROKERS, OF_PROPERTIES, DEFAULT, OF_CLIENT_METRICS, OF_GROUP = 1, 2, 3, 4, 5, 7, 8
_OF_TOPICS_ALONE = frozenset(
    {
        "follower.replication.throttled.replicas",
        "leader.replication.throttled.replicas",
        "remote.log.copy.disable",
        "remote.log.delete.on.disable",
        "remote.storage.enable",
        "segment.jitter.ms",
    }
)
"""Settings of topics that have no counterpart among a broker's."""
_UNSET = frozenset({"log.flush.interval.ms", "log.retention.ms", "log.roll.ms"})
"""A broker's settings that are null unless they are given: the default comes from a setting in another unit."""
_WITHOUT_DEFAULT = _OF_TOPICS_ALONE | _UNSET | client_metrics.DEFAULTS.keys()
"""Settings whose default is no synonym."""
_DEFAULTS = BrokerConfig(node_id=0, voters=(0,))
_SECRETS = ("password", "secret", "sasl.jaas.config")

_Source = tuple[int, str, str]
"""Where from, under which name, which value."""


def describe(config: BrokerConfig, image: Image, request: DescribeConfigsRequest) -> DescribeConfigsResponse:
    """Return the settings of resources."""
    return DescribeConfigsResponse(
        results=tuple(_resource(config, image, resource, request) for resource in request.resources)
    )


def _resource(
    config: BrokerConfig, image: Image, resource: DescribeConfigsResource, request: DescribeConfigsRequest
) -> DescribeConfigsResult:
    code, message, found = Code.NONE, None, list[DescribeConfigsResourceResult]()
    wanted = resource.configuration_keys
    try:
        for name, sources in _settings(config, image, resource):
            if wanted is None or not wanted or name in wanted:
                found.append(_result(name, sources, request))
    except Refused as refused:
        code, message = refused.code, refused.message
    return DescribeConfigsResult(
        error_code=code,
        error_message=message,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
        configs=tuple(found),
    )


def _settings(
    config: BrokerConfig, image: Image, resource: DescribeConfigsResource
) -> Iterator[tuple[str, list[_Source]]]:
    name = resource.resource_name
    if resource.resource_type == TOPIC:
        if not is_valid_name(name):
            raise Refused(Code.INVALID_TOPIC_EXCEPTION, what_is_wrong(name))
        if image.topic(name) is None:
            raise Refused(Code.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        return _of_topic(config, image, image.config("topic", name))
    if resource.resource_type == BROKER:
        if name not in {"", str(config.node_id)}:
            raise Refused(Code.INVALID_REQUEST, f"this is broker {config.node_id}, not {name!r}")
        return _of_broker(config, image) if name else _of_all_brokers(image)
    if resource.resource_type == GROUP:
        if not name:
            raise Refused(Code.INVALID_REQUEST, "Group name must not be empty")
        return _of_group(config, image, name)
    if resource.resource_type == CLIENT_METRICS and name:
        return _of_client_metrics(image, name)
    raise Refused(Code.INVALID_REQUEST, f"nothing of resource type {resource.resource_type} has settings here")


def of_new_topic(config: BrokerConfig, image: Image, own: Mapping[str, str]) -> tuple[CreatableTopicConfigs, ...]:
    """Return what will hold for a topic that is created with these settings (KIP-525)."""
    return tuple(
        CreatableTopicConfigs(name=name, value=sources[0][2], config_source=sources[0][0])
        for name, sources in _of_topic(config, image, own)
    )


def _of_topic(config: BrokerConfig, image: Image, own: Mapping[str, str]) -> Iterator[tuple[str, list[_Source]]]:
    for key in sorted(topic_settings.DEFAULTS):
        sources = [(OF_TOPIC, key, own[key])] if key in own else []
        yield key, [*sources, *_broker_sources(config, image, key)]


def _broker_sources(config: BrokerConfig, image: Image, key: str) -> list[_Source]:
    """Return what brokers say about a topic setting, nearest first, down to the default."""
    name = BROKER_NAMES.get(key, key)
    found = [(source, name, values[name]) for source, values in _told(config, image) if name in values]
    return [*found, (DEFAULT, name, topic_settings.DEFAULTS[key])]


def _of_broker(config: BrokerConfig, image: Image) -> Iterator[tuple[str, list[_Source]]]:
    topic_keys = {BROKER_NAMES.get(key, key): key for key in topic_settings.DEFAULTS if key not in _OF_TOPICS_ALONE}
    fields = {**TIMES, **SIZES, **SWITCHES, **{name: field for name, (field, _) in CHOICES.items()}}
    told = _told(config, image)
    for name in sorted({*topic_keys, *fields, *dynamic_settings.NAMES, *told[0][1], *told[1][1], *config.properties}):
        if name in topic_keys:
            yield name, _broker_sources(config, image, topic_keys[name])
            continue
        sources = [(source, name, values[name]) for source, values in told if name in values]
        if name in fields:
            sources.append((DEFAULT, name, str(getattr(_DEFAULTS, fields[name])).lower()))
        elif name in dynamic_settings.WITHOUT_EFFECT.keys() - dynamic_settings.WITHOUT_DEFAULT:
            sources.append((DEFAULT, name, str(dynamic_settings.WITHOUT_EFFECT[name][0])))
        if sources:
            yield name, sources


def _told(config: BrokerConfig, image: Image) -> tuple[tuple[int, Mapping[str, str]], ...]:
    """Return what this node was told, nearest first."""
    return (
        (OF_BROKER, image.config("broker", str(config.node_id))),
        (OF_ALL_BROKERS, image.config("broker", "")),
        (OF_PROPERTIES, config.properties),
    )


def _of_all_brokers(image: Image) -> Iterator[tuple[str, list[_Source]]]:
    for name, value in sorted(image.config("broker", "").items()):
        yield name, [(OF_ALL_BROKERS, name, value)]


def _of_group(config: BrokerConfig, image: Image, group: str) -> Iterator[tuple[str, list[_Source]]]:
    own = image.config("group", group)
    for key in group_settings.NAMES:
        yield key, [(OF_GROUP, key, own[key]) if key in own else (DEFAULT, key, group_settings.default(config, key))]


def _of_client_metrics(image: Image, name: str) -> Iterator[tuple[str, list[_Source]]]:
    own = image.config(client_metrics.KIND, name)
    for key, default in client_metrics.DEFAULTS.items():
        yield key, [(OF_CLIENT_METRICS, key, own[key]) if key in own else (DEFAULT, key, default)]


def _result(name: str, sources: list[_Source], request: DescribeConfigsRequest) -> DescribeConfigsResourceResult:
    source, origin, text = sources[0]
    value = None if source == DEFAULT and origin == name and name in _UNSET else text
    secret = any(part in name for part in _SECRETS)
    shown = tuple(
        DescribeConfigsSynonym(name=other, value=None if secret else one, source=at)
        for at, other, one in sources
        if at != DEFAULT or other not in _WITHOUT_DEFAULT
    )
    return DescribeConfigsResourceResult(
        name=name,
        value=None if secret else value,
        read_only=not may_change(name),
        config_source=source,
        is_sensitive=secret,
        synonyms=shown if request.include_synonyms else (),
        config_type=types.PASSWORD if secret else types.kind(name, value),
        documentation=documentation(name) if request.include_documentation else None,
    )


def may_change(name: str) -> bool:
    """Return whether the setting can be altered while brokers run."""
    of_topics = name in topic_settings.DEFAULTS or name in BROKER_NAMES.values()
    return of_topics or any(
        name in known for known in (dynamic_settings.NAMES, group_settings.NAMES, client_metrics.DEFAULTS)
    )


def _with_own(image: Image, kind: str) -> list[str]:
    """Return the resources of a kind that have settings of their own."""
    start = f"{kind}:"
    return [name.removeprefix(start) for name, own in image.configs.items() if own and name.startswith(start)]


def list_resources(image: Image, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse:
    """Return the resources of the wanted types: topics and brokers, and what has settings of its own."""
    known = (
        (TOPIC, list(image.topic_ids)),
        (BROKER, [str(node) for node in image.brokers]),
        (CLIENT_METRICS, _with_own(image, client_metrics.KIND)),
        (GROUP, _with_own(image, "group")),
    )
    wanted = set(request.resource_types)
    if not wanted <= {TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP}:
        return ListConfigResourcesResponse(error_code=Code.UNSUPPORTED_VERSION)
    return ListConfigResourcesResponse(
        config_resources=tuple(
            ConfigResource(resource_name=name, resource_type=kind)
            for kind, names in known
            if not wanted or kind in wanted
            for name in names
        )
    )
