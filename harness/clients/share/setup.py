"""What a cluster needs before a share group can be there: the feature `share.version`, the group's settings and states.

A group begins at the end of a partition by default; here it begins with the first record, so that none is passed over.
`share.version` is raised to 1 as `kafka-features.sh upgrade` does it, where it is lower (Kafka 4.4 begins with 2); on a
cluster that somebody else runs it has to be there already.

A partition is assigned to nobody before the share coordinator has begun a state for it, which the group's coordinator
asks for when the first member subscribes, and again only after 10 s (GroupMetadataManager.subscribedTopicsChangeMap). A
fault in these first seconds leaves members with nothing for most of a run. So the first member joins before any fault,
stays until it has seen all partitions assigned, and leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from broker.wire.errors import error_name
from broker.wire.messages.api_versions import ApiVersionsRequest
from broker.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from harness.clients.share.asking import Ask, LostError, Steps, Wait
from harness.clients.share.member import ShareMember, member_id_of
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

ASSIGNED_MS: Final = 60_000
"""How long the first member waits for its partitions: seconds, or that and a few of the coordinator's 10 s."""
LOOK_MS: Final = 200


class RefusedError(Exception):
    """The cluster can't have the run's share group; the message says why."""


class UnassignedError(Exception):
    """The cluster takes the run's share group, but does not give its member partitions; the message says so."""


def prepare(
    scenario: Scenario,
    topics: Sequence[str],
    now_ms: Callable[[], float],
    *,
    is_ours: bool,
    level: int | None = None,
) -> Steps[None]:
    """Make the cluster ready for a share group that reads the topics, which exist; now_ms: a clock.

    `is_ours`: the cluster's features may be changed. `level`: of `share.version` there; None: it is asked for, which a
    simulated node does not answer. Raises RefusedError, UnassignedError.
    """
    if level is None:
        level = yield from _level()
    if level < FEATURE.max_version_level:
        if not is_ours:
            wanted = f"{FEATURE.feature}={FEATURE.max_version_level}"
            raise RefusedError(f"it is {level} there; `kafka-features.sh upgrade --feature {wanted}` raises it")
        yield from _done(UpdateFeaturesRequest(timeout_ms=TIMEOUT_MS, feature_updates=(FEATURE,)))
    settings = {"share.auto.offset.reset": "earliest", "share.isolation.level": scenario.isolation}
    group = AlterConfigsResource(
        resource_type=GROUP,
        resource_name=share_group_of(scenario),
        configs=tuple(AlterableConfig(name=name, value=value) for name, value in settings.items()),
    )
    yield from _done(IncrementalAlterConfigsRequest(resources=(group,)))
    yield from _assigned(scenario, topics, now_ms)


def _assigned(scenario: Scenario, topics: Sequence[str], now_ms: Callable[[], float]) -> Steps[None]:
    """Wait, as the group's first member, until every partition is assigned."""
    group, wanted = share_group_of(scenario), len(topics) * scenario.partitions
    member = ShareMember(group, member_id_of(f"{group} first"), topics, now_ms)
    deadline_ms = now_ms() + ASSIGNED_MS
    while True:
        why = yield from member.beat()
        if member.assigned == wanted:
            break
        if now_ms() >= deadline_ms:
            raise UnassignedError(
                f"after {ASSIGNED_MS // 1000} s the only member of share group {group!r} had {member.assigned} of "
                f"{wanted} partitions ({why or 'its heartbeats are taken'})"
            )
        yield Wait(LOOK_MS)
    yield from member.leave()


def _level() -> Steps[int]:
    """Return the feature's level; where it is 0 the nodes hang up on members, for ever."""
    said = yield from _done(ApiVersionsRequest(client_software_name="kafka-harness", client_software_version="1"))
    return max((one.max_version_level for one in said.finalized_features if one.name == FEATURE.feature), default=0)


def _done(request: ApiVersionsRequest | UpdateFeaturesRequest | IncrementalAlterConfigsRequest) -> Steps[Any]:
    """Ask until it is done, and return the answer: all say what holds, so that to ask twice changes nothing."""
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
                return answer
            why = f"{error_name(failed.error_code)}: {failed.error_message}"
        yield Wait(PAUSE_MS)
    raise RefusedError(f"{request.api.name}: {why}")
