"""Whatever a client asks, in whatever state: the node goes on. Fixed seeds, so that every run asks the same."""

from __future__ import annotations

import dataclasses
import random
import typing

import pytest

from broker.core import queries
from broker.core.errors import Code
from broker.core.quorum.follower import METADATA_TOPIC_ID
from broker.io import door
from broker.io.served import SERVED
from broker.wire import codec, record, schema
from broker.wire.errors import WireError
from broker.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from tests.broker.core.test_broker import cluster, create
from tests.broker.wire.messages import our_name, theirs

REQUESTS = 500
BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
NAMES = [
    *("", "t", "u", "g", "x", "consumer", "range", "uniform", "1", "-1", "*", "User:a", "kafka-cluster", "127.0.0.1"),
    *("__consumer_offsets", "n" * 300, "q" * 40_000, "9" * 5000, "\0", "\u00e9"),
    *("retention.ms", "cleanup.policy", "leader.replication.throttled.replicas", "share.auto.offset.reset", "match"),
    *("compact", f"{'9' * 5000}:1", "by_duration:PT1H", f"by_duration:PT{'9' * 400}H", "client_id=a{99999999999}"),
    *("user", "client-id", "ip", "producer_byte_rate", "share.version", "group.version"),
]
PATTERNS = [".*", "(", "a{99999999999}", "(" * 3000, "(?=x)", ""]
SUBSCRIPTION = b"\0\3\0\0\0\1\0\1t\xff\xff\xff\xff\0\0\0\1\0\1t\0\0\0\1\0\0\0\0"


class Asker:
    """Makes requests up: values that there are, bounds, and nonsense."""

    def __init__(self, rng, topic_ids):
        self.rng, self.topic_ids, self.members = rng, topic_ids, ["m"]

    def message(self, entry, version):
        return self.part(entry.request, theirs(entry.request, version))

    def part(self, ours, their):
        hints, values = typing.get_type_hints(ours), {}
        for field in dataclasses.fields(their):
            name = our_name(field)
            if name not in hints or self.rng.random() < 0.15:
                continue
            shape, nullable, is_array = schema._shape(field.type)
            kind = field.metadata.get("kafka_type")
            if nullable and kind not in {"uuid", "datetime_i64"} and self.rng.random() < 0.25:
                values[name] = None
                continue
            count = self.rng.choice([0, 1, 1, 1, 2, 3]) if is_array else 1
            made = [
                self.value(kind, name) if kind else self.part(schema._part(hints[name]), shape) for _ in range(count)
            ]
            values[name] = tuple(made) if is_array else made[0]
        return ours(**values)

    def value(self, kind, name):
        rng = self.rng
        if kind in BITS:
            return self.number(name, 1 << BITS[kind] - 1)
        if kind == "string":
            return self.text(name)
        if kind == "records":
            return self.records()
        return {
            "bool": lambda: rng.random() < 0.5,
            "uint16": lambda: rng.choice([0, 1, 65_535]),
            "error_code": lambda: rng.choice([0, 1, 3]),
            "timedelta_i32": lambda: rng.choice([-1, 0, 1, 100, 6000, 30_000, 2**31 - 1]),
            "timedelta_i64": lambda: rng.choice([-1, 0, 1, 100, 6000]),
            "datetime_i64": lambda: rng.choice([0, 1, 2**41]),
            "float64": lambda: rng.choice([0.0, 1.0, 0.5, -1.0, 1e300, float("inf"), float("nan")]),
            "bytes": lambda: rng.choice([b"", b"x", SUBSCRIPTION, rng.randbytes(20)]),
            "uuid": lambda: rng.choice(self.topic_ids),
        }[kind]()

    def number(self, name, beyond):
        rng = self.rng
        if name == "producer_id" and rng.random() < 0.7:
            return rng.choice([-1, 0, 1])
        if ("epoch" in name or "partition" in name) and rng.random() < 0.6:
            return rng.choice([0, 0, 1, -1])
        one = rng.choice([-1, 0, 0, 1, 1, 2, 3, 4, 5, 8, 32, 100, 6000, 45_000, -beyond, beyond - 1, beyond - 2])
        return max(-beyond, min(beyond - 1, one))

    def text(self, name):
        rng = self.rng
        likely = rng.random() < 0.7
        if likely and (name == "topic" or "topic_name" in name):
            return rng.choice(["t", "t", "u"])
        if likely and "group" in name:
            return rng.choice(["g", "h"])
        if likely and "member" in name:
            return rng.choice(self.members[-3:])
        if "regex" in name or "pattern" in name:
            return rng.choice(PATTERNS)
        return "consumer" if name == "protocol_type" else rng.choice(NAMES)

    def records(self):
        rng = self.rng
        who = {"producer_id": rng.choice([0, 1]), "producer_epoch": 0, "transactional": rng.random() < 0.5}
        pairs = [(rng.choice([None, b"k"]), b"v")] * rng.randint(1, 3)
        batch = record.batch_of(pairs, timestamp_ms=rng.choice([0, 1_000_000]), **(who if rng.random() < 0.5 else {}))
        return rng.choice([bytes(batch), bytes(batch), b"x", b""])


def answered(node, network, message, version):
    """Return the answer if it comes soon; it must be one that can be sent."""
    if type(message) in queries.QUESTIONS:
        answer = queries.answer(node, network.disks[1], message, network.now_ms)
        if answer is not None:
            return answer
    request = network.send(1, message, version=version)
    network.run(network.rng.choice([3, 3, 20, 300]))
    return network.client_replies.get(request)


@pytest.mark.parametrize("seed", range(6))
def test_no_request_of_a_client_ends_a_node_or_holds_it_up(seed):
    small = {
        f"{topic}_{what}": 1
        for topic in ("offsets", "transaction", "share")
        for what in ("partitions", "replication_factor", "min_isr")
        if (topic, what) != ("offsets", "min_isr")
    }
    settings = {"share_enable": True, "has_authorizer": seed % 2 == 0, "group_initial_delay_ms": 20, **small}
    network = cluster(1, seed, group_min_session_timeout_ms=0, **settings)
    create(network, "t", factor=1)
    node, rng = network.nodes[1], random.Random(seed)
    known = [bytes.fromhex(topic_id) for topic_id in node.image.topics]
    asker = Asker(rng, [bytes(16), METADATA_TOPIC_ID, rng.randbytes(16), *known])
    kinds = [one for _, one in sorted(SERVED.items()) if not one.nodes_only]
    heard = 0
    for _ in range(REQUESTS):
        entry = rng.choice(kinds)
        version = rng.randint(entry.lowest, entry.highest)
        try:
            data = codec.encode_request(asker.message(entry, version), version, correlation_id=1, client_id="c")
            asked = door.open_frame(memoryview(data), to_nodes=False, image=lambda: node.image)
        except WireError:
            continue
        if not isinstance(asked, door.Asked) or not isinstance(asked.message, entry.request):
            continue
        if entry.request.__name__.startswith("Sasl") or "Token" in entry.request.__name__:
            continue  # answered by the door
        answer = answered(node, network, asked.message, version)
        heard += answer is not None
        asker.members += [answer.member_id] if getattr(answer, "member_id", "") else []
    assert heard > REQUESTS / 4
    assert node.quorum.is_leader


def test_no_client_reads_the_metadata_log_or_moves_its_epoch():
    network = cluster(1)
    create(network, "t", factor=1)
    epoch = network.nodes[1].quorum.epoch
    part = FetchPartition(partition=0, current_leader_epoch=2**31 - 1, last_fetched_epoch=0, fetch_offset=0)
    asked = FetchRequest(topics=(FetchTopic(topic_id=METADATA_TOPIC_ID, partitions=(part,)),), max_wait_ms=0)
    (topic,) = answered(network.nodes[1], network, asked, 13).responses
    assert (topic.partitions[0].error_code, topic.partitions[0].records) == (Code.UNKNOWN_TOPIC_ID, None)
    assert (network.nodes[1].quorum.epoch, network.nodes[1].quorum.is_leader) == (epoch, True)
