"""What a cluster needs before a share group can be there: the feature `share.version`, and the group's settings.

A group begins at the end of a partition by default; here it begins with the first record, so that none is passed over.
`share.version` is raised to 1 as `kafka-features.sh upgrade` does it; on a cluster that somebody else runs it has to be
there already.
"""

from __future__ import annotations

from typing import Final

from broker.wire.errors import error_name
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from harness.clients.share.asking import Ask, LostError, Steps, Wait
from harness.scenario import Scenario, share_group_of

SHARE: Final = "share"
"""The workload that has a share group."""
FEATURE: Final = FeatureUpdateKey(feature="share.version", max_version_level=1)
GROUP: Final = 32
"""The kind of resource that a group is, in requests about settings."""
TIMEOUT_MS: Final = 10_000
TRIES: Final = 30
PAUSE_MS: Final = 1000
"""A controller that was just elected, or features that a broker has not heard of yet: each is a matter of seconds."""


class RefusedError(Exception):
    """The cluster can't have the run's share group; the message says why."""


def prepare(scenario: Scenario, *, is_ours: bool) -> Steps[None]:
    """Make the cluster ready; `is_ours`: its features may be changed. Raises RefusedError."""
    if is_ours:
        yield from _done(UpdateFeaturesRequest(timeout_ms=TIMEOUT_MS, feature_updates=(FEATURE,)))
    settings = {"share.auto.offset.reset": "earliest", "share.isolation.level": scenario.isolation}
    group = AlterConfigsResource(
        resource_type=GROUP,
        resource_name=share_group_of(scenario),
        configs=tuple(AlterableConfig(name=name, value=value) for name, value in settings.items()),
    )
    yield from _done(IncrementalAlterConfigsRequest(resources=(group,)))


def _done(request: UpdateFeaturesRequest | IncrementalAlterConfigsRequest) -> Steps[None]:
    """Ask until it is done: both say what holds, so that to ask twice changes nothing."""
    why = ""
    for _ in range(TRIES):
        try:
            answer = yield Ask(None, request, TIMEOUT_MS)
        except LostError as lost:
            why = str(lost)
        else:
            errors = [answer, *getattr(answer, "results", ()), *getattr(answer, "responses", ())]
            failed = next((one for one in errors if getattr(one, "error_code", 0)), None)
            if failed is None:
                return
            why = f"{error_name(failed.error_code)}: {failed.error_message}"
        yield Wait(PAUSE_MS)
    raise RefusedError(f"{request.api.name}: {why}")
