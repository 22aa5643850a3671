"""BrokerRegistration (62): a node says to the active controller that it is there (KIP-631)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class Listener(Part, frozen=True, kw_only=True, gc=False):
    """Where the node listens."""

    name: str = ""
    host: str = ""
    port: int = 0
    security_protocol: int = 0


class Feature(Part, frozen=True, kw_only=True, gc=False):
    """What levels of a feature it can do."""

    name: str = ""
    min_supported_version: int = 0
    max_supported_version: int = 0


class BrokerRegistrationRequest(Request, frozen=True, kw_only=True, gc=False):
    """`previous_broker_epoch` is that of its last clean stop, -1 after any other (KIP-966)."""

    api: ClassVar[Api] = Api.BROKER_REGISTRATION
    broker_id: int = 0
    cluster_id: str = ""
    incarnation_id: bytes = NO_UUID
    listeners: tuple[Listener, ...] = ()
    features: tuple[Feature, ...] = ()
    rack: str | None = None
    is_migrating_zk_broker: bool = False
    log_dirs: tuple[bytes, ...] = ()
    previous_broker_epoch: int = -1


class BrokerRegistrationResponse(Response, frozen=True, kw_only=True, gc=False):
    """The broker's epoch, to be shown in all that it asks of the controller."""

    api: ClassVar[Api] = Api.BROKER_REGISTRATION
    throttle_time_ms: int = 0
    error_code: int = 0
    broker_epoch: int = -1
