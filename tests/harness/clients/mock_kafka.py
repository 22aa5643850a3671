"""librdkafka's mock cluster, with its error injection, through the C functions of the library that confluent-kafka brings.

confluent-kafka exposes `test.mock.num.brokers` only; the rest of rd_kafka_mock.h is exported by the same shared library,
which is loaded already: here it is called through ctypes. The mock cluster keeps transactions, groups and logs; it does
not fence sessions by itself and knows no CreateTopics. An injected error is answered instead of doing what the request
asks for.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Self

import confluent_kafka  # noqa: F401  loads the library

from harness.clients.patience import bounded

BUFFER_BYTES = 512
TRANSPORT = -195
"""Injected, it makes the mock broker break the connection instead of answering."""
DESTROY_S = 60.0
ALL = -1
"""Every broker."""


class Api(IntEnum):
    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


@cache
def _library() -> ctypes.CDLL:
    maps = Path("/proc/self/maps").read_text()
    found = re.search(r"\s(/\S*librdkafka[^/\s]*)$", maps, re.MULTILINE)
    assert found is not None, "confluent-kafka's librdkafka is not among the loaded libraries"
    library = ctypes.CDLL(found.group(1))
    pointer, text, i32, i16 = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int16
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", ctypes.c_int, (pointer, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (ctypes.c_int, pointer, text, ctypes.c_size_t)),
        ("rd_kafka_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_new", pointer, (pointer, ctypes.c_int)),
        ("rd_kafka_mock_cluster_destroy", None, (pointer,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (pointer,)),
        ("rd_kafka_mock_topic_create", ctypes.c_int, (pointer, text, ctypes.c_int, ctypes.c_int)),
        ("rd_kafka_mock_topic_set_error", None, (pointer, text, ctypes.c_int)),
        ("rd_kafka_mock_partition_set_leader", ctypes.c_int, (pointer, text, i32, i32)),
        ("rd_kafka_mock_coordinator_set", ctypes.c_int, (pointer, text, text, i32)),
        ("rd_kafka_mock_broker_set_down", ctypes.c_int, (pointer, i32)),
        ("rd_kafka_mock_broker_set_up", ctypes.c_int, (pointer, i32)),
        ("rd_kafka_mock_broker_set_rtt", ctypes.c_int, (pointer, i32, ctypes.c_int)),
        ("rd_kafka_mock_push_request_errors_array", None, (pointer, i16, ctypes.c_size_t, pointer)),
        ("rd_kafka_mock_clear_request_errors", None, (pointer, i16)),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, (pointer, i32)),
        ("rd_kafka_mock_start_request_tracking", None, (pointer,)),
        ("rd_kafka_mock_get_requests", ctypes.POINTER(pointer), (pointer, ctypes.POINTER(ctypes.c_size_t))),
        ("rd_kafka_mock_request_api_key", i16, (pointer,)),
        ("rd_kafka_mock_request_destroy_array", None, (ctypes.POINTER(pointer), ctypes.c_size_t)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class MockKafka:
    """A mock cluster on loopback. Use as a context manager."""

    def __init__(self, brokers: int = 1, topics: dict[str, int] | None = None) -> None:
        """Prepare; `topics` maps names to numbers of partitions."""
        self._brokers = brokers
        self._topics = topics if topics is not None else {"t0": 3}

    def __enter__(self) -> Self:
        self._c = _library()
        why = ctypes.create_string_buffer(BUFFER_BYTES)
        conf = self._c.rd_kafka_conf_new()
        assert self._c.rd_kafka_conf_set(conf, b"log_level", b"0", why, BUFFER_BYTES) == 0, why.value
        self._handle = self._c.rd_kafka_new(0, conf, why, BUFFER_BYTES)
        assert self._handle, why.value
        self._cluster = self._c.rd_kafka_mock_cluster_new(self._handle, self._brokers)
        self.bootstrap = self._c.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._c.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        for name, partitions in self._topics.items():
            self.make_topic(name, partitions)
        return self

    def __exit__(self, *_: object) -> None:
        # In a thread: neither call is bound to return, and a test that waits in C can't be ended.
        def destroy() -> None:
            self._c.rd_kafka_mock_cluster_destroy(self._cluster)
            self._c.rd_kafka_destroy(self._handle)

        bounded(destroy, DESTROY_S)

    def make_topic(self, name: str, partitions: int) -> None:
        assert self._c.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, self._brokers) == 0

    def fail_topic(self, name: str, code: int) -> None:
        """Answer metadata of the topic with this error."""
        self._c.rd_kafka_mock_topic_set_error(self._cluster, name.encode(), code)

    def lead(self, name: str, partition: int, broker: int) -> None:
        """Make the broker the partition's leader."""
        code = self._c.rd_kafka_mock_partition_set_leader(self._cluster, name.encode(), partition, broker)
        assert code == 0, code

    def coordinate(self, kind: str, name: str, broker: int) -> None:
        """Make the broker the coordinator of a "transaction" or "group"."""
        code = self._c.rd_kafka_mock_coordinator_set(self._cluster, kind.encode(), name.encode(), broker)
        assert code == 0, code

    def push(self, api: Api, *codes: int) -> None:
        """Answer the next requests of this kind, on any broker, with these errors."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._c.rd_kafka_mock_push_request_errors_array(self._cluster, api, len(codes), array)

    def clear(self, api: Api) -> None:
        """Forget pushed errors."""
        self._c.rd_kafka_mock_clear_request_errors(self._cluster, api)

    def down(self, broker: int = ALL) -> None:
        """Refuse connections, as a killed broker."""
        self._c.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def up(self, broker: int = ALL) -> None:
        """Take connections again."""
        self._c.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def answer_after_ms(self, milliseconds: int, broker: int = ALL) -> None:
        """Answer late; past every time-out it is a paused broker. What was asked for is done at once."""
        self._c.rd_kafka_mock_broker_set_rtt(self._cluster, broker, milliseconds)

    def track(self) -> None:
        """Count requests from now on."""
        self._c.rd_kafka_mock_start_request_tracking(self._cluster)

    def requests(self) -> Counter[int]:
        """Return how many requests of each kind came since `track`."""
        count = ctypes.c_size_t()
        array = self._c.rd_kafka_mock_get_requests(self._cluster, ctypes.byref(count))
        seen = Counter(self._c.rd_kafka_mock_request_api_key(array[i]) for i in range(count.value))
        self._c.rd_kafka_mock_request_destroy_array(array, count)
        return seen
