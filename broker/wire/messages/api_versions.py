"""ApiVersions (18): which versions of which APIs a node speaks."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class ApiVersionsRequest(Request, frozen=True, kw_only=True, gc=False):
    """Ask for the versions; names the client's software from version 3 on."""

    api: ClassVar[Api] = Api.API_VERSIONS
    client_software_name: str = ""
    client_software_version: str = ""


class ApiVersion(Part, frozen=True, kw_only=True, gc=False):
    """The versions of one API, both ends included."""

    api_key: int = 0
    min_version: int = 0
    max_version: int = 0


class SupportedFeatureKey(Part, frozen=True, kw_only=True, gc=False):
    """The levels of one feature that the node supports."""

    name: str = ""
    min_version: int = 0
    max_version: int = 0


class FinalizedFeatureKey(Part, frozen=True, kw_only=True, gc=False):
    """The level of one feature that the cluster has agreed on."""

    name: str = ""
    max_version_level: int = 0
    min_version_level: int = 0


class ApiVersionsResponse(Response, frozen=True, kw_only=True, gc=False):
    """The versions that the node speaks. Its header is version 0 whatever its own version is."""

    api: ClassVar[Api] = Api.API_VERSIONS
    error_code: int = 0
    api_keys: tuple[ApiVersion, ...] = ()
    throttle_time_ms: int = 0
    supported_features: tuple[SupportedFeatureKey, ...] = ()
    finalized_features_epoch: int = -1
    finalized_features: tuple[FinalizedFeatureKey, ...] = ()
    zk_migration_ready: bool = False
