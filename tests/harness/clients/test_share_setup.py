"""What a cluster needs before a share group is there, and the wait until its partitions are assigned."""

from __future__ import annotations

import pytest

from broker.wire.apis import Api
from broker.wire.messages.api_versions import ApiVersionsResponse, FinalizedFeatureKey
from broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from broker.wire.messages.incremental_alter_configs import IncrementalAlterConfigsResponse
from broker.wire.messages.share_group_heartbeat import Assignment, ShareGroupHeartbeatResponse, TopicPartitions
from broker.wire.messages.update_features import UpdateFeaturesResponse
from harness.clients.share.asking import LostError, Wait
from harness.clients.share.setup import ASSIGNED_MS, RefusedError, UnassignedError, prepare
from harness.scenario import Scenario

SCENARIO = Scenario(workload="share", topics=1, partitions=3)
NOT_COORDINATOR = 16


def beat(*partitions, code=0):
    place = Assignment(topic_partitions=(TopicPartitions(topic_id=b"t" * 16, partitions=partitions),))
    return ShareGroupHeartbeatResponse(error_code=code, member_epoch=1, heartbeat_interval_ms=1000, assignment=place)


class Cluster:
    """Answers with `beats` in turn, the last one again and again; all else goes well at once."""

    def __init__(self, *beats, features=None, level=0):
        self.level = level
        self.beats, self.features, self.asked, self.now_ms = list(beats), features or UpdateFeaturesResponse(), [], 0.0

    def prepare(self, *, is_ours=True):
        steps = prepare(SCENARIO, ("t0",), lambda: self.now_ms, is_ours=is_ours)
        answer = None
        try:
            while True:
                step = steps.throw(answer) if isinstance(answer, LostError) else steps.send(answer)
                if isinstance(step, Wait):
                    self.now_ms += step.ms
                    answer = None
                else:
                    self.asked.append(step.request)
                    answer = self.answer(step.request)
        except StopIteration:
            return

    def answer(self, request):
        if request.api is Api.FIND_COORDINATOR:
            return FindCoordinatorResponse(coordinators=(Coordinator(node_id=1),))
        if request.api is Api.API_VERSIONS:
            known = (FinalizedFeatureKey(name="share.version", max_version_level=self.level),)
            return ApiVersionsResponse(finalized_features=known if self.level else ())
        if request.api is Api.UPDATE_FEATURES:
            return self.features
        if request.api is Api.INCREMENTAL_ALTER_CONFIGS:
            return IncrementalAlterConfigsResponse()
        return self.beats.pop(0) if len(self.beats) > 1 else self.beats[0]

    def epochs(self):
        return [request.member_epoch for request in self.asked if request.api is Api.SHARE_GROUP_HEARTBEAT]


def test_the_first_member_stays_until_all_partitions_are_assigned_and_leaves():
    cluster = Cluster(beat(), beat(1), LostError("gone", sent=True), beat(code=NOT_COORDINATOR), beat(0, 1, 2))
    cluster.prepare()
    assert cluster.epochs() == [0, 1, 1, 1, 1, -1]
    order = [Api.API_VERSIONS, Api.UPDATE_FEATURES, Api.INCREMENTAL_ALTER_CONFIGS]
    assert [request.api for request in cluster.asked][:3] == order
    assert cluster.asked[2].resources[0].resource_name == "harness-share"


def test_a_wait_in_vain_ends_and_says_how_far_it_came():
    cluster = Cluster(beat(1))
    with pytest.raises(UnassignedError, match="1 of 3 partitions"):
        cluster.prepare()
    assert ASSIGNED_MS <= cluster.now_ms < 1.1 * ASSIGNED_MS


@pytest.mark.parametrize("level", [1, 2])
def test_a_cluster_that_has_the_feature_keeps_its_level(level):
    cluster = Cluster(beat(0, 1, 2), level=level)
    cluster.prepare()
    assert Api.UPDATE_FEATURES not in {request.api for request in cluster.asked}
    assert cluster.epochs() == [0, -1]


def test_features_of_a_cluster_that_is_not_ours_are_left_alone():
    cluster = Cluster(beat(0, 1, 2), level=1)
    cluster.prepare(is_ours=False)
    assert Api.UPDATE_FEATURES not in {request.api for request in cluster.asked}


def test_a_cluster_that_is_not_ours_and_has_the_feature_off_is_refused_at_once():
    cluster = Cluster(beat(0, 1, 2), level=0)
    with pytest.raises(RefusedError, match="it is 0 there; `kafka-features"):
        cluster.prepare(is_ours=False)
    assert (cluster.epochs(), cluster.now_ms) == ([], 0.0)


def test_a_cluster_that_can_not_have_share_groups_is_refused():
    cluster = Cluster(beat(0, 1, 2), features=UpdateFeaturesResponse(error_code=42, error_message="no such feature"))
    with pytest.raises(RefusedError, match="no such feature"):
        cluster.prepare()
    assert not cluster.epochs()
