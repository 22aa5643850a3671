"""How a controller decides: records are applied to its own image at once, and answered for when they are committed.

The image runs ahead of what is committed, so that decisions build on each other without waiting; if the leadership is
lost, the controller and its image are thrown away, and whoever waits hears NOT_CONTROLLER. One `commit` is one batch:
all of its records count, or none.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from broker.core.config import BrokerConfig, TopicConfig, topic_config
from broker.core.controller.partition_change import Election, Rules, change
from broker.core.metadata.image import Image
from broker.core.metadata.records import NO_LEADER, PartitionState, Record, encode
from broker.core.quorum.quorum import Quorum
from broker.core.ready import Outbox, Reply
from broker.core.topic_settings import NO_RECOVERY


class Pipeline:
    """See the module."""

    def __init__(self, config: BrokerConfig, quorum: Quorum, image: Image, out: Outbox) -> None:
        self.config = config
        self.image = image
        self._quorum, self._out = quorum, out
        self._staged: list[bytes] = []
        self._end = quorum.metadata.end
        self._waiting: deque[tuple[int, Reply, Any]] = deque()
        self.leaderless = {(one.topic_id, one.index): None for one in image.partitions() if one.leader == NO_LEADER}
        """Partitions without a leader; those of deleted topics may still be among them."""

    @property
    def next_offset(self) -> int:
        """Offset that the batch being staged will have."""
        return self._quorum.metadata.end

    def is_in_doubt(self, now_ms: int) -> bool:
        """Return whether another controller may have been elected, and nothing waits whose commit would tell."""
        leadership = self._quorum.leadership
        is_followed = leadership is not None and leadership.has_majority(now_ms, 1.0)
        return not is_followed and self._end <= self._quorum.high_watermark

    def stage(self, record: Record) -> None:
        """Decide on a record: the image has it from now on."""
        self.image.apply(record)
        if isinstance(record, PartitionState):
            key = record.topic_id, record.index
            if record.leader == NO_LEADER:
                self.leaderless[key] = None
            else:
                self.leaderless.pop(key, None)
        self._staged.append(encode(record))

    def commit(self, now_ms: int) -> None:
        """Append what was staged as one batch."""
        if self._staged:
            staged, self._staged = self._staged, []
            self._end = self._quorum.append(staged, now_ms)

    def answer(self, request_id: object, message: Any, refusal: Any) -> None:
        """Answer when all decided so far is committed; with `refusal` if the leadership is lost before."""
        self._waiting.append((self._end, Reply(request_id, message), refusal))
        self.release()

    def release(self) -> None:
        """Send the answers whose decisions are committed."""
        committed = self._quorum.high_watermark
        while self._waiting and self._waiting[0][0] <= committed:
            self._out.replies.append(self._waiting.popleft()[1])

    def close(self) -> None:
        """Refuse everybody who waits."""
        self._out.replies.extend(Reply(reply.id, refusal) for _, reply, refusal in self._waiting)
        self._waiting.clear()

    # Partitions.

    def topic_config(self, topic_id: str) -> TopicConfig:
        """Return a topic's settings as decided so far."""
        return topic_config(self.config, self.image, self.image.topics[topic_id].name)

    def change(
        self,
        old: PartitionState,
        *,
        isr: tuple[int, ...] | None = None,
        unclean: int | None = None,
        election: Election = Election.ONLINE,
        best: int | None = None,
        vouched: bool = False,
        **reassignment: tuple[int, ...],
    ) -> PartitionState | None:
        """Stage a change of one partition by the rules; return the new state, None if there is nothing to change."""
        settings = self.topic_config(old.topic_id)
        if settings.unclean and election is Election.ONLINE:
            election = Election.UNCLEAN
        rules = Rules(
            is_active=self.image.is_active,
            min_isr=settings.min_isr,
            elr=self.image.has_elr,
            compares=settings.recovery != NO_RECOVERY,
        )
        new = change(
            old, rules, isr=isr, unclean=unclean, election=election, best=best, vouched=vouched, **reassignment
        )
        if new is not None:
            self.stage(new)
        return new
