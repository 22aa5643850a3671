"""Features: levels that the whole cluster agrees on (KIP-584), and their change by UpdateFeatures.

All updates of a request count, or none. A level goes down only where the asker says that it may. A level of 0 is a
feature that is off; clients are not told of it. The metadata version stands for what Kafka 4.1 does and never changes.
Kafka: FeatureControlManager.
"""

from __future__ import annotations

from broker.core.config import BrokerConfig
from broker.core.controller import elr
from broker.core.controller.pipeline import Pipeline
from broker.core.errors import Code, Refused
from broker.core.metadata.image import ELR_FEATURE, SHARE_FEATURE, Image
from broker.core.metadata.records import FeatureSet
from broker.wire.messages.update_features import (
    FeatureUpdateKey,
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)

TRANSACTION_FEATURE = "transaction.version"
"""2: producers that can do it use transaction protocol v2 (KIP-890)."""
GROUP_FEATURE = "group.version"
"""1: consumer groups of the KIP-848 protocol."""
METADATA_FEATURE = "metadata.version"
OLDEST_METADATA, METADATA = 7, 27
"""3.3-IV3 and 4.1-IV1, as Kafka numbers them."""
SUPPORTED = {
    ELR_FEATURE: (0, 1),
    GROUP_FEATURE: (0, 1),
    METADATA_FEATURE: (OLDEST_METADATA, METADATA),
    SHARE_FEATURE: (0, 1),
    TRANSACTION_FEATURE: (0, 2),
}
"""Lowest and highest level that this software supports."""
_UPGRADE = 1


def first_levels(config: BrokerConfig) -> dict[str, int]:
    """Return the levels of a new cluster."""
    levels = {ELR_FEATURE: int(config.elr), GROUP_FEATURE: 1, TRANSACTION_FEATURE: config.transaction_version}
    return {**levels, SHARE_FEATURE: 1} if config.share_enable else levels


def levels(image: Image) -> dict[str, int]:
    """Return all levels; none as long as there is no cluster."""
    return {**image.features, METADATA_FEATURE: METADATA} if image.features else {}


class Features:
    """See the module."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def update(self, request: UpdateFeaturesRequest, now_ms: int) -> UpdateFeaturesResponse:
        """Change levels."""
        try:
            records = [self._change(ask) for ask in request.feature_updates]
        except Refused as refused:
            result = [
                UpdatableFeatureResult(feature=ask.feature, error_code=refused.code, error_message=refused.message)
                for ask in request.feature_updates
            ]
            return UpdateFeaturesResponse(error_code=refused.code, error_message=refused.message, results=tuple(result))
        for record in records if not request.validate_only else ():
            self._stage(record)
        self._pipeline.commit(now_ms)
        results = tuple(UpdatableFeatureResult(feature=ask.feature) for ask in request.feature_updates)
        return UpdateFeaturesResponse(results=results)

    def _stage(self, record: FeatureSet) -> None:
        if record.name == METADATA_FEATURE:
            return
        pipeline = self._pipeline
        if record.name == ELR_FEATURE and record.level and not pipeline.image.has_elr:
            for setting in elr.safe(pipeline.config, pipeline.image):
                pipeline.stage(setting)
        pipeline.stage(record)

    def _change(self, ask: FeatureUpdateKey) -> FeatureSet:
        low, high = SUPPORTED.get(ask.feature, (0, -1))
        level, present = ask.max_version_level, levels(self._pipeline.image).get(ask.feature, 0)
        if ask.feature == METADATA_FEATURE and level < present:
            why = f"Invalid metadata.version {level}. Refusing to perform the requested downgrade."
            raise Refused(Code.INVALID_UPDATE_VERSION, why)
        if not low <= level <= high:
            why = f"{ask.feature} {level} is not supported" + (f": {low} to {high}" if high >= 0 else "")
            raise Refused(Code.INVALID_UPDATE_VERSION, why)
        may_fall = ask.upgrade_type > _UPGRADE or ask.allow_downgrade
        if level < present and not may_fall:
            raise Refused(Code.INVALID_UPDATE_VERSION, f"{ask.feature} is {present}: {level} would be a downgrade")
        return FeatureSet(ask.feature, level)
