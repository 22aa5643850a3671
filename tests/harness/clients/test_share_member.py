"""A share group's member without input or output: what it asks, and what it makes of answers and of silence."""

from __future__ import annotations

import pytest

from broker.wire import record
from broker.wire.apis import Api
from broker.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from broker.wire.messages.metadata import (
    MetadataResponse,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from broker.wire.messages.share_acknowledge import (
    PartitionData as Acknowledged,
)
from broker.wire.messages.share_acknowledge import ShareAcknowledgeResponse, ShareAcknowledgeTopicResponse
from broker.wire.messages.share_fetch import (
    AcquiredRecords,
    PartitionData,
    ShareFetchableTopicResponse,
    ShareFetchResponse,
)
from broker.wire.messages.share_group_heartbeat import Assignment, ShareGroupHeartbeatResponse, TopicPartitions
from harness.clients.payload import Stamp, encode
from harness.clients.share.asking import Ask, LostError, Wait
from harness.clients.share.operations import ShareMembers
from harness.history import FAIL, INFO, OK, Op
from harness.scenario import Scenario

TOPIC = b"t" * 16
SCENARIO = Scenario(workload="share", topics=1, partitions=1)
INVALID_RECORD_STATE, SHARE_SESSION_NOT_FOUND = 121, 122


class Cluster:
    """Node 1 coordinates and leads; `answers` of an API come first, in order. `asked`: all requests, in order."""

    def __init__(self, **answers):
        self.answers = {Api[name.upper()]: list(given) for name, given in answers.items()}
        self.asked = []
        self.now_ms = 0.0
        self.members = ShareMembers(SCENARIO, "p0", lambda: self.now_ms)

    def do(self, f, value, process=0):
        steps = self.members.perform(Op(process=process, type="invoke", f=f, value=value), self.now_ms + 1000)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    self.now_ms += step.ms
                    step = steps.send(None)
                    continue
                assert isinstance(step, Ask)
                self.asked.append(step.request)
                answer = self.answer(step.request)
                step = steps.throw(answer) if isinstance(answer, LostError) else steps.send(answer)
        except StopIteration as end:
            return end.value

    def answer(self, request):
        given = self.answers.get(request.api)
        if given:
            return given.pop(0)
        if request.api is Api.FIND_COORDINATOR:
            return FindCoordinatorResponse(coordinators=(Coordinator(key="g", node_id=1),))
        if request.api is Api.METADATA:
            part = MetadataResponsePartition(partition_index=0, leader_id=1)
            return MetadataResponse(topics=(MetadataResponseTopic(name="t0", topic_id=TOPIC, partitions=(part,)),))
        if request.api is Api.SHARE_GROUP_HEARTBEAT:
            place = Assignment(topic_partitions=(TopicPartitions(topic_id=TOPIC, partitions=(0,)),))
            return ShareGroupHeartbeatResponse(member_epoch=1, heartbeat_interval_ms=1000, assignment=place)
        if request.api is Api.SHARE_ACKNOWLEDGE:
            return acknowledged()
        return gave()

    def sent(self, api):
        return [request for request in self.asked if request.api is api]


def values(*offsets):
    data = b""
    for offset in offsets:
        one = record.batch_of([(None, encode(Stamp("t0/0", 0, 0, 100 + offset)))], timestamp_ms=1)
        one[0:8] = offset.to_bytes(8, "big")
        data += bytes(one)
    return data


def gave(*acquired, records=(), damage=0, code=0, acknowledged=0, **more):
    content = bytearray(values(*records))
    if damage:
        content[-damage] ^= 1
    data = PartitionData(
        partition_index=0,
        error_code=code,
        acknowledge_error_code=acknowledged,
        records=bytes(content),
        acquired_records=tuple(
            AcquiredRecords(first_offset=first, last_offset=last, delivery_count=count)
            for first, last, count in acquired
        ),
    )
    topic = ShareFetchableTopicResponse(topic_id=TOPIC, partitions=(data,))
    return ShareFetchResponse(acquisition_lock_timeout_ms=3000, responses=(topic,), **more)


def acknowledged(code=0, **more):
    topic = ShareAcknowledgeTopicResponse(
        topic_id=TOPIC, partitions=(Acknowledged(partition_index=0, error_code=code),)
    )
    return ShareAcknowledgeResponse(responses=(topic,), **more)


def fetch(cluster):
    return cluster.do("share-fetch", {"records-max": 5})


def fetch_with(cluster, *said):
    """Fetch, and say [offset, kind] of records of t0/0."""
    return cluster.do("share-fetch", {"records-max": 5, "acknowledge": [["t0/0", list(said)]]})


def accept(cluster, *offsets):
    return cluster.do("share-acknowledge", {"key": "t0/0", "records": [[offset, "accept"] for offset in offsets]})


def test_a_member_joins_finds_the_leader_and_shows_what_it_was_given():
    cluster = Cluster(share_fetch=[gave((4, 5, 2), records=(3, 4, 5))])
    done = fetch(cluster)
    assert done.type == OK
    assert done.value["records"] == [["t0/0", [[4, 104, 2], [5, 105, 2]]]], "3 is in the batch, but not the member's"
    assert (done.value["keys"], done.value["lock-ms"], done.value["node"]) == (["t0/0"], 3000, "1")
    assert done.group == "harness-share"
    assert done.value["session"] == fetch(cluster).value["session"]
    assert [request.share_session_epoch for request in cluster.sent(Api.SHARE_FETCH)] == [0, 1]


def test_records_of_a_batch_that_changed_on_its_way_are_shown_as_what_nobody_sent():
    done = fetch(Cluster(share_fetch=[gave((4, 5, 1), records=(4, 5), damage=5)]))
    assert (done.type, done.value["records"]) == (OK, [["t0/0", [[4, 104, 1], [5, "?00", 1]]]])


def test_gaps_are_acknowledged_with_the_records_that_they_came_with():
    cluster = Cluster(share_fetch=[gave((4, 6, 1), records=(4, 6))])
    fetch(cluster)
    assert accept(cluster, 4).type == OK
    assert accept(cluster, 6).type == OK
    first, second = cluster.sent(Api.SHARE_ACKNOWLEDGE)
    (batch,) = first.topics[0].partitions[0].acknowledgement_batches
    assert (batch.first_offset, batch.last_offset, batch.acknowledge_types) == (4, 5, (1, 0))
    (batch,) = second.topics[0].partitions[0].acknowledgement_batches
    assert (batch.first_offset, batch.last_offset, batch.acknowledge_types) == (6, 6, (1,))
    assert (first.share_session_epoch, second.share_session_epoch) == (1, 2)


def test_gaps_that_came_alone_are_acknowledged_with_the_next_fetch():
    cluster = Cluster(share_fetch=[gave((7, 7, 1))])
    assert fetch(cluster).value["records"] == []
    fetch(cluster)
    (batch,) = cluster.sent(Api.SHARE_FETCH)[1].topics[0].partitions[0].acknowledgement_batches
    assert (batch.first_offset, batch.last_offset, batch.acknowledge_types) == (7, 7, (0,))
    fetch(cluster)
    assert not cluster.sent(Api.SHARE_FETCH)[2].topics, "once"


@pytest.mark.parametrize(("sent", "type_"), [(True, INFO), (False, FAIL)])
def test_a_fetch_without_an_answer_is_info_unless_it_was_never_sent(sent, type_):
    cluster = Cluster(share_fetch=[LostError("gone", sent=sent)])
    done = fetch(cluster)
    assert (done.type, done.value["keys"]) == (type_, ["t0/0"])
    fetch(cluster)
    assert [request.share_session_epoch for request in cluster.sent(Api.SHARE_FETCH)] == [0, 0], "a new session"


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        (LostError("gone", sent=True), INFO),
        (LostError("gone", sent=False), FAIL),
        (acknowledged(INVALID_RECORD_STATE), FAIL),
        (acknowledged(6), INFO),
        (acknowledged(15), INFO),
        (ShareAcknowledgeResponse(error_code=SHARE_SESSION_NOT_FOUND), FAIL),
    ],
)
def test_what_an_acknowledgement_came_to(answer, type_):
    cluster = Cluster(share_fetch=[gave((0, 0, 1), records=(0,))], share_acknowledge=[answer])
    fetch(cluster)
    done = accept(cluster, 0)
    assert done.type == type_
    assert done.error["stage"] == "share-acknowledge"
    assert accept(cluster, 0).error["name"] == "_STATE", "once"
    assert len(cluster.sent(Api.SHARE_ACKNOWLEDGE)) == 1


@pytest.mark.parametrize(
    ("answer", "type_", "outcome"),
    [
        (gave((9, 9, 1), records=(9,)), OK, ["t0/0", "ok", None]),
        (gave(acknowledged=INVALID_RECORD_STATE), OK, ["t0/0", "fail", "INVALID_RECORD_STATE"]),
        (gave(acknowledged=15), OK, ["t0/0", "info", "COORDINATOR_NOT_AVAILABLE"]),
        (ShareFetchResponse(), OK, ["t0/0", "info", None]),
        (ShareFetchResponse(error_code=SHARE_SESSION_NOT_FOUND), FAIL, None),
        (LostError("gone", sent=True), INFO, None),
    ],
)
def test_an_acknowledgement_goes_with_a_fetch_and_has_an_outcome_of_its_own(answer, type_, outcome):
    cluster = Cluster(share_fetch=[gave((4, 6, 1), records=(4, 6)), answer])
    fetch(cluster)
    done = fetch_with(cluster, [4, "accept"], [6, "release"])
    (partition,) = cluster.sent(Api.SHARE_FETCH)[1].topics[0].partitions
    (batch,) = partition.acknowledgement_batches
    assert (batch.first_offset, batch.last_offset, batch.acknowledge_types) == (4, 6, (1, 0, 2))
    assert done.type == type_
    assert done.value["acknowledge"] == [["t0/0", [[4, "accept"], [6, "release"]]]]
    assert done.value.get("acknowledged") == (None if outcome is None else [outcome])
    assert not cluster.sent(Api.SHARE_ACKNOWLEDGE)
    assert accept(cluster, 4).error["name"] == "_STATE", "once"


def test_without_what_it_speaks_of_a_fetch_is_not_sent():
    cluster = Cluster(share_fetch=[gave((0, 0, 1), records=(0,)), LostError("gone", sent=True)])
    fetch(cluster)
    fetch(cluster)
    done = fetch_with(cluster, [0, "accept"])
    assert (done.type, done.error["name"]) == (FAIL, "_STATE")
    assert done.value == {"keys": [], "acknowledge": [["t0/0", [[0, "accept"]]]]}
    assert len(cluster.sent(Api.SHARE_FETCH)) == 2


def test_what_is_acknowledged_of_a_partition_that_others_have_by_now_does_not_bring_it_back_into_the_session():
    cluster = Cluster(share_fetch=[gave((0, 0, 1), records=(0,))])
    fetch(cluster)
    cluster.now_ms += 500
    nothing = Assignment(topic_partitions=())
    cluster.answers[Api.SHARE_GROUP_HEARTBEAT] = [
        ShareGroupHeartbeatResponse(member_epoch=2, heartbeat_interval_ms=1000, assignment=nothing)
    ]
    assert fetch_with(cluster, [0, "accept"]).value["acknowledged"] == [["t0/0", "ok", None]]
    request = cluster.sent(Api.SHARE_FETCH)[1]
    assert [place.partition_index for place in request.topics[0].partitions] == [0]
    assert [topic.partitions for topic in request.forgotten_topics_data] == [(0,)]


def test_what_is_renewed_is_the_members_still():
    cluster = Cluster(share_fetch=[gave((0, 1, 1), records=(0,))])
    fetch(cluster)
    renewed = cluster.do("share-acknowledge", {"key": "t0/0", "records": [[0, "renew"]]})
    assert renewed.type == OK
    assert accept(cluster, 0).type == OK
    first, second = cluster.sent(Api.SHARE_ACKNOWLEDGE)
    assert (first.is_renew_ack, second.is_renew_ack) == (True, False)
    types = [
        request.topics[0].partitions[0].acknowledgement_batches[0].acknowledge_types for request in (first, second)
    ]
    assert types == [(4,), (1, 0)], "gaps go with what is not renewed"


def test_what_came_in_a_session_that_is_lost_is_not_acknowledged_in_another():
    cluster = Cluster(share_fetch=[gave((0, 0, 1), records=(0,)), LostError("gone", sent=True)])
    fetch(cluster)
    fetch(cluster)
    fetch(cluster)
    assert accept(cluster, 0).type == FAIL
    assert not cluster.sent(Api.SHARE_ACKNOWLEDGE)


def test_a_partition_that_is_refused_is_named_and_its_leader_looked_for():
    cluster = Cluster(share_fetch=[gave(code=6)])
    assert fetch(cluster).value["refused"] == ["t0/0"]
    fetch(cluster)
    assert len(cluster.sent(Api.METADATA)) == 2


def test_a_member_that_is_out_joins_again_and_fetches_meanwhile():
    cluster = Cluster()
    fetch(cluster)
    cluster.now_ms += 500
    cluster.answers[Api.SHARE_GROUP_HEARTBEAT] = [ShareGroupHeartbeatResponse(error_code=25)]
    assert fetch(cluster).type == OK
    assert [beat.member_epoch for beat in cluster.sent(Api.SHARE_GROUP_HEARTBEAT)] == [0, 1, 0]


def test_without_a_coordinator_nothing_is_fetched():
    cluster = Cluster(find_coordinator=[FindCoordinatorResponse(coordinators=(Coordinator(error_code=15),))] * 100)
    done = fetch(cluster)
    assert (done.type, done.value) == (FAIL, {"keys": []})
    assert not cluster.sent(Api.SHARE_FETCH)


def test_who_leaves_closes_the_session_and_comes_back_as_somebody_else():
    cluster = Cluster()
    before = fetch(cluster).value["session"]
    assert cluster.do("share-leave", {}).type == OK
    assert cluster.sent(Api.SHARE_ACKNOWLEDGE)[0].share_session_epoch == -1
    assert cluster.sent(Api.SHARE_GROUP_HEARTBEAT)[-1].member_epoch == -1
    assert fetch(cluster).value["session"] == before + 1, "its sessions are others, too"
    first, *_, last = cluster.sent(Api.SHARE_FETCH)
    assert first.member_id != last.member_id


def test_a_heartbeat_after_one_without_an_answer_says_all_again():
    """Seed 30111 of the share groups: the answer that told the assignment was lost, and nobody ever told it again."""
    first = ShareGroupHeartbeatResponse(member_epoch=1, heartbeat_interval_ms=1000)
    lost = LostError("reset", sent=True)
    cluster = Cluster(share_group_heartbeat=[first, lost])
    for _ in range(4):
        fetch(cluster)
        cluster.now_ms += 1000
    told = [beat.subscribed_topic_names for beat in cluster.sent(Api.SHARE_GROUP_HEARTBEAT)]
    assert told[:2] == [("t0",), None], "the first joins, the next one has nothing new to say"
    assert told[2] == ("t0",), "it may be that something was told in between"
    assert told[3:] == [None] * len(told[3:])
    assert fetch(cluster).type == OK
