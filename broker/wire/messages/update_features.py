"""UpdateFeatures (57): raise or lower the level of features of the cluster (KIP-584)."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response


class FeatureUpdateKey(Part, frozen=True, kw_only=True, gc=False):
    """A feature; `upgrade_type`: 1 upgrade, 2 safe downgrade, 3 unsafe downgrade."""

    feature: str = ""
    max_version_level: int = 0
    upgrade_type: int = 1
    allow_downgrade: bool = False


class UpdatableFeatureResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one feature (before version 2)."""

    feature: str = ""
    error_code: int = 0
    error_message: str | None = None


class UpdateFeaturesRequest(Request, frozen=True, kw_only=True, gc=False):
    """All or none."""

    api: ClassVar[Api] = Api.UPDATE_FEATURES
    timeout_ms: int = 0
    feature_updates: tuple[FeatureUpdateKey, ...] = ()
    validate_only: bool = False


class UpdateFeaturesResponse(Response, frozen=True, kw_only=True, gc=False):
    """What came of it."""

    api: ClassVar[Api] = Api.UPDATE_FEATURES
    throttle_time_ms: int = 0
    error_code: int = 0
    error_message: str | None = None
    results: tuple[UpdatableFeatureResult, ...] = ()
