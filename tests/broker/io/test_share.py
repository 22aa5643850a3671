"""Share groups over a socket: off until they are switched on, then records come with their bytes, once accepted no more."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer

from broker.wire import batch, codec, record
from broker.wire.apis import Api
from broker.wire.messages.share_acknowledge import (
    AcknowledgePartition,
    AcknowledgeTopic,
    ShareAcknowledgeRequest,
    ShareAcknowledgeResponse,
)
from broker.wire.messages.share_fetch import (
    AcknowledgementBatch,
    FetchPartition,
    FetchTopic,
    ShareFetchRequest,
    ShareFetchResponse,
)
from broker.wire.messages.share_group_heartbeat import ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse
from broker.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest, UpdateFeaturesResponse
from harness.cluster.probe import Probe, ProbeError
from tests.broker.io.process import NodeProcess, until

WITHIN_S = 30.0
UNSUPPORTED_VERSION, COORDINATOR_ERRORS = 35, {14, 15, 16}
FOR_CLIENTS = {76, 77, 78, 79, 90, 91, 92}
ACCEPT, RELEASE = 1, 2
FETCHES = 6
"""Each waits for 5 s: together less than the test may take."""


@pytest.fixture
def node(tmp_path):
    one = NodeProcess(
        tmp_path,
        offsets_topic_num_partitions=1,
        share_coordinator_state_topic_num_partitions=1,
        group_share_heartbeat_interval_ms=100,
    ).start()
    yield one
    one.kill()


@pytest.fixture
def probe(node):
    with Probe("127.0.0.1", node.port, timeout_s=WITHIN_S) as one:
        yield one


def refused(node, request, version):
    """Ask without looking whether that is announced; return the error code of the answer."""
    with node.connect() as connection:
        connection.settimeout(WITHIN_S)
        payload = codec.encode_request(request, version, correlation_id=5, client_id="c")
        connection.sendall(len(payload).to_bytes(4, "big") + payload)
        answer = connection.makefile("rb")
        size = int.from_bytes(answer.read(4), "big")
        kinds = {Api.SHARE_FETCH: ShareFetchResponse, Api.SHARE_GROUP_HEARTBEAT: ShareGroupHeartbeatResponse}
        return codec.decode_response(kinds[request.api], version, answer.read(size))[1].error_code


def switch_on(node, probe):
    on = FeatureUpdateKey(feature="share.version", max_version_level=1, upgrade_type=1)
    assert probe._call(UpdateFeaturesRequest(feature_updates=(on,)), UpdateFeaturesResponse).error_code == 0

    def announces():
        with Probe("127.0.0.1", node.port, timeout_s=WITHIN_S) as other:
            return other.api_versions().keys() >= FOR_CLIENTS

    until(announces, what="share groups")


def is_coordinated(probe):
    try:
        return probe.find_coordinator("group", "g") >= 0
    except ProbeError:
        return False


def joined(probe, topic):
    """Join until a partition is assigned; return the topic's id."""
    until(lambda: is_coordinated(probe), what="a coordinator")
    epoch, deadline = 0, time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        names = (topic,) if epoch == 0 else None
        ask = ShareGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=epoch, subscribed_topic_names=names)
        answer = probe._call(ask, ShareGroupHeartbeatResponse)
        assert answer.error_code in {0, *COORDINATOR_ERRORS}, answer
        epoch = answer.member_epoch if answer.error_code == 0 else epoch
        if answer.assignment is not None and answer.assignment.topic_partitions:
            return answer.assignment.topic_partitions[0].topic_id
        probe.metadata(())
    raise AssertionError("nothing is assigned")


def fetched(probe, topic_id, turn, acks=(), **what):
    one = FetchPartition(
        acknowledgement_batches=tuple(
            AcknowledgementBatch(first_offset=first, last_offset=last, acknowledge_types=(kind,))
            for first, last, kind in acks
        )
    )
    ask = ShareFetchRequest(
        **{
            "group_id": "g",
            "member_id": "m",
            "share_session_epoch": turn,
            "max_wait_ms": 5000,
            "min_bytes": 1,
            "max_records": 100,
            "batch_size": 100,
            "topics": (FetchTopic(topic_id=topic_id, partitions=(one,)),),
            **what,
        }
    )
    answer = probe._call(ask, ShareFetchResponse)
    assert answer.error_code == 0, answer
    return answer.responses[0].partitions[0] if answer.responses else None


def test_share_groups_are_switched_on_and_serve_records(node, probe):
    assert not probe.api_versions().keys() & FOR_CLIENTS
    assert refused(node, ShareFetchRequest(group_id="g", member_id="m"), 2) == UNSUPPORTED_VERSION
    assert refused(node, ShareGroupHeartbeatRequest(group_id="g", member_id="m"), 1) == UNSUPPORTED_VERSION
    switch_on(node, probe)
    producer = Producer({"bootstrap.servers": node.address, "linger.ms": 0, "compression.type": "none"})
    producer.produce("t", b"first")
    assert producer.flush(WITHIN_S) == 0
    with Probe("127.0.0.1", node.port, timeout_s=WITHIN_S) as member:
        topic_id = joined(member, "t")
        turn = 0
        data = fetched(member, topic_id, turn)  # the group begins at the end: "first" is not for it
        for _ in range(FETCHES):
            if data is not None and data.acquired_records:
                break
            producer.produce("t", b"next")
            assert producer.flush(WITHIN_S) == 0
            turn += 1
            data = fetched(member, topic_id, turn)
        (got,) = [one for one in data.acquired_records if one.first_offset >= 1][:1]
        values = [
            item.value
            for position, header in batch.parse(data.records)
            for item in record.decode(data.records, position, header)
        ]
        assert set(values) == {b"next"}
        acks = [(one.first_offset, one.last_offset, RELEASE) for one in data.acquired_records]
        again = fetched(member, topic_id, turn + 1, acks)
        assert again.acknowledge_error_code == 0
        assert (again.acquired_records[0].first_offset, again.acquired_records[0].delivery_count) == (
            got.first_offset,
            2,
        )
        last = again.acquired_records[-1].last_offset
        one = AcknowledgePartition(
            acknowledgement_batches=(
                AcknowledgementBatch(first_offset=got.first_offset, last_offset=last, acknowledge_types=(ACCEPT,)),
            )
        )
        ask = ShareAcknowledgeRequest(
            group_id="g",
            member_id="m",
            share_session_epoch=turn + 2,
            topics=(AcknowledgeTopic(topic_id=topic_id, partitions=(one,)),),
        )
        answer = member._call(ask, ShareAcknowledgeResponse)
        assert answer.responses[0].partitions[0].error_code == 0
        rest = fetched(member, topic_id, turn + 3, max_wait_ms=100)
        assert rest is None or all(one.first_offset > last for one in rest.acquired_records)
        producer.produce("t", b"left")
        assert producer.flush(WITHIN_S) == 0
        left = fetched(member, topic_id, turn + 4)
        assert [one.delivery_count for one in left.acquired_records] == [1]
    # Its connection is closed: long before the lock runs out the record is somebody else's, as if never delivered.
    with Probe("127.0.0.1", node.port, timeout_s=WITHIN_S) as other:
        data = fetched(other, topic_id, 0, member_id="n")
        for turn in range(1, FETCHES):
            if data is not None and data.acquired_records:
                break
            data = fetched(other, topic_id, turn, member_id="n")
        assert (data.acquired_records[0].first_offset, data.acquired_records[0].delivery_count) == (
            left.acquired_records[0].first_offset,
            1,
        )
