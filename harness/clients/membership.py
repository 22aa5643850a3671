"""One consumer's place in its group, as the rebalance callbacks tell of it.

The callbacks come inside poll, in the thread that polls, or inside close, in the thread that closes. They are told to
`on_event` as ops of the process "group", from any thread. Only while the membership is `active` do they also reach the
reader: a consumer that was given up must not take positions away from the one that followed it.

A member leaves with `leave`. Closing alone has two faults in librdkafka 2.16 where the group has dealt out keys that
no poll has heard of yet: they are told as assigned and never as revoked, and the call may wait for ever, with Python's
lock held (librdkafka answers nobody once the group has ended; its issues 4041 and 4884).
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, TopicPartition

from harness.client import Now
from harness.history import INFO, Op, Process

GROUP: Final = "group"
_MAGIC: Final = b"CGMDv2:"
"""How librdkafka writes a group's metadata: this, a native int32 generation, group\\0, member\\0."""

LEAVE_S: Final = 1.0
"""How long a member that leaves waits for its last rebalances."""
_QUIET_POLLS: Final = 2
_POLL_S: Final = 0.05

OnEvent = Callable[[Op], None]


class Membership:
    """Made for one subscription of one consumer."""

    def __init__(
        self,
        process: Process,
        group: str,
        now: Now,
        *,
        on_event: OnEvent | None,
        on_keys: Callable[[str, list[str]], None],
        protocol: str = "classic",
    ) -> None:
        """Prepare; `on_keys` hears ("assigned" | "revoked" | "lost", keys) while this is active."""
        self.active = True
        self._process = process
        self._group = group
        self._now = now
        self._on_event = on_event
        self._on_keys = on_keys
        self._protocol = protocol
        self.metadata: object = None
        """librdkafka's of the member when it was last dealt keys; None before that."""
        self._member: str | None = None
        self._generation: int | None = None

    def assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take note of keys that the group dealt out.

        A member that was told in the background that it is out has generation -1 by now; which one dealt the keys can't
        be known any more, and it must not look like one that somebody else shares.
        """
        self.metadata = consumer.consumer_group_metadata()
        generation, self._member = generation_and_member(self.metadata)
        self._generation = generation if generation is not None and generation >= 0 else None
        self._tell("assigned", partitions)

    def revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Take note of keys that the group wants back."""
        self._tell("revoked", partitions)

    def lost(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        """Take note of keys that the group has given away already."""
        self._tell("lost", partitions)

    def _tell(self, what: str, partitions: list[TopicPartition]) -> None:
        keys = [key_of(partition) for partition in partitions]
        if self.active:
            self._on_keys(what, keys)
        if self._on_event is None:
            return
        value: dict[str, Any] = {
            "process": self._process,
            "group": self._group,
            "member": self._member,
            "generation": self._generation,
            **protocol_of(self._protocol),
            **{kind: keys if kind == what else [] for kind in ("assigned", "revoked", "lost")},
        }
        self._on_event(Op(process=GROUP, type=INFO, f="rebalance", value=value, time=self._now()))


def leave(consumer: Consumer) -> None:
    """Leave the group: take its last rebalances while librdkafka still serves them, then close."""
    consumer.unsubscribe()
    deadline, quiet = time.monotonic() + LEAVE_S, 0
    while quiet < _QUIET_POLLS and time.monotonic() < deadline:
        quiet = quiet + 1 if consumer.poll(_POLL_S) is None else 0
    consumer.close()


def protocol_of(name: str) -> dict[str, str]:
    """Return what a rebalance event says of the group's protocol: nothing of the classic one."""
    return {} if name == "classic" else {"protocol": name}


def key_of(partition: TopicPartition) -> str:
    """Return the key of a topic-partition."""
    return f"{partition.topic}/{partition.partition}"


def generation_and_member(metadata: object) -> tuple[int | None, str | None]:
    """Return (generation, member id) from librdkafka's serialized group metadata; None: it is written otherwise."""
    start = len(_MAGIC) + struct.calcsize("=i")
    if not isinstance(metadata, bytes) or not metadata.startswith(_MAGIC) or len(metadata) < start:
        return None, None
    (generation,) = struct.unpack_from("=i", metadata, len(_MAGIC))
    strings = metadata[start:].split(b"\0")
    member = strings[1].decode("utf-8", "replace") if len(strings) > 1 else None
    return generation, member or None
