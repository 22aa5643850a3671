"""Messages that kio does not have: their bytes are those of Kafka's definitions."""

from broker.wire import codec
from broker.wire.messages.get_replica_log_info import (
    GetReplicaLogInfoRequest,
    GetReplicaLogInfoResponse,
    PartitionLogInfo,
    TopicPartitionLogInfo,
    TopicPartitions,
)

TOPIC = bytes(range(16))


def test_a_question_for_log_infos_is_written_as_kafka_does():
    message = GetReplicaLogInfoRequest(topic_partitions=(TopicPartitions(topic_id=TOPIC, partitions=(3, 5)),))
    payload = codec.encode_request(message, 0, correlation_id=7, client_id=None)
    header = b"\x00\x5d\x00\x00\x00\x00\x00\x07\xff\xff\x00"
    body = b"\x02" + TOPIC + b"\x03\x00\x00\x00\x03\x00\x00\x00\x05\x00\x00"
    assert payload == header + body
    assert codec.decode_body(GetReplicaLogInfoRequest, 0, payload, len(header)) == message


def test_an_answer_with_log_infos_is_written_as_kafka_does():
    info = PartitionLogInfo(partition=3, last_written_leader_epoch=4, current_leader_epoch=6, log_end_offset=260)
    message = GetReplicaLogInfoResponse(
        broker_epoch=9,
        topic_partition_log_info_list=(TopicPartitionLogInfo(topic_id=TOPIC, partition_log_info=(info,)),),
    )
    payload = codec.encode_response(message, 0, correlation_id=7)
    head = b"\x00\x00\x00\x07\x00" + bytes(4) + bytes(7) + b"\x09" + b"\x00"
    one = b"\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x06" + bytes(6) + b"\x01\x04" + b"\x00\x00\x00"
    assert payload == head + b"\x02" + TOPIC + b"\x02" + one + b"\x00\x00"
    assert codec.decode_response(GetReplicaLogInfoResponse, 0, payload) == (7, message)
