"""Where share groups begin to read: described, set and forgotten by administrators (KIP-932).

The group's coordinator asks the share coordinators of the partitions, and answers when all have answered. What is set
gets a new state epoch, the group's next one: whoever leads a partition with an older one is fenced. Only an empty group
may be changed; setting offsets makes one that is not there.

The group's log never names a state that may not be there, since nobody would make it: a state is noted when it is made,
and struck out, with a new epoch, before it is forgotten. What is left over by a coordinator that goes in between is
made anew, in that later epoch, when somebody subscribes. Kafka: GroupCoordinatorService.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from broker.core.errors import Code, Refused
from broker.core.group.consumer.places import Place
from broker.core.group.consumer.records import GroupEpoch, Key
from broker.core.group.group_shard import GroupShard
from broker.core.group.share.group import ShareGroup
from broker.core.group.share.records import GROUP, ShareChange
from broker.core.replication.replicas import Replicas
from broker.core.share.state import UNKNOWN_START, ShareKey
from broker.wire.messages import share_group_offsets as wire

if TYPE_CHECKING:
    from broker.core.group.coordinator import GroupCoordinator

Results = dict[Place, Any]
UNKNOWN_PLACE = "This server does not host this topic-partition."


def gathered(places: Sequence[Place], ask: Callable[[Place, Callable[[Any], None]], None], done: Any) -> None:
    """Ask about each place; `done` gets all answers by place, at once where there are none to come."""
    results: Results = {}
    if not places:
        done(results)

    def settler(place: Place) -> Callable[[Any], None]:
        def settle(result: Any) -> None:
            results[place] = result
            if len(results) == len(places):
                done(results)

        return settle

    for place in places:
        ask(place, settler(place))


class ShareOffsets:
    """See the module."""

    def __init__(self, coordinator: GroupCoordinator, replicas: Replicas) -> None:
        self._coordinator, self._replicas = coordinator, replicas

    def _empty(self, name: str, *, makes: bool = False) -> tuple[GroupShard, ShareGroup]:
        """Return an empty group. Raise Refused."""
        shard = self._coordinator.shard(name)
        group = self._coordinator.share_heartbeats.group(shard, name, makes=makes)
        if group.members:
            raise Refused(Code.NON_EMPTY_GROUP, f"the group {name!r} has members")
        return shard, group

    # Describe.

    def describe(self, request_id: object, request: wire.DescribeShareGroupOffsetsRequest, now_ms: int) -> None:
        """Answer where groups begin."""
        found: dict[int, wire.DescribedGroup] = {}

        def settler(number: int) -> Callable[[wire.DescribedGroup], None]:
            def settle(described: wire.DescribedGroup) -> None:
                found[number] = described
                if len(found) == len(request.groups):
                    groups = tuple(found[each] for each in range(len(found)))
                    answer = wire.DescribeShareGroupOffsetsResponse(groups=groups)
                    self._coordinator.answer(request_id, answer)

            return settle

        if not request.groups:
            self._coordinator.answer(request_id, wire.DescribeShareGroupOffsetsResponse())
        for number, ask in enumerate(request.groups):
            settle = settler(number)
            try:
                shard = self._coordinator.shard(ask.group_id)
                group = self._coordinator.share_heartbeats.group(shard, ask.group_id, makes=False)
            except Refused as refused:
                settle(
                    wire.DescribedGroup(group_id=ask.group_id, error_code=refused.code, error_message=refused.message)
                )
                continue
            self._describe(group, ask, settle, now_ms)

    def _describe(
        self, group: ShareGroup, ask: wire.DescribeGroup, settle: Callable[[wire.DescribedGroup], None], now_ms: int
    ) -> None:
        image = self._coordinator.image()
        wanted: dict[str, tuple[int, ...]] = {}
        if ask.topics is None:
            for topic_id, index in group.states.places:
                topic = image.topics.get(topic_id)
                if topic is not None:
                    wanted[topic.name] = (*wanted.get(topic.name, ()), index)
        else:
            wanted = {topic.topic_name: topic.partitions for topic in ask.topics}
        there = set(group.states.places)
        places = [
            (image.topic_ids[name], index)
            for name, indexes in wanted.items()
            for index in indexes
            if name in image.topic_ids and (image.topic_ids[name], index) in there
        ]

        def done(results: Results) -> None:
            topics = tuple(
                wire.DescribedTopic(
                    topic_name=name,
                    topic_id=bytes.fromhex(image.topic_ids.get(name, "0" * 32)),
                    partitions=tuple(
                        self._described(name, index, results.get((image.topic_ids.get(name, ""), index)))
                        for index in indexes
                    ),
                )
                for name, indexes in wanted.items()
            )
            settle(wire.DescribedGroup(group_id=group.name, topics=topics))

        gathered(
            places,
            lambda place, settle: self._coordinator.persister.summary(ShareKey(group.name, *place), settle, now_ms),
            done,
        )

    def _described(self, name: str, index: int, result: Any) -> wire.DescribedPartition:
        place = (self._coordinator.image().topic_ids.get(name, ""), index)
        if self._coordinator.image().partition(*place) is None:
            return wire.DescribedPartition(
                partition_index=index,
                error_code=Code.UNKNOWN_TOPIC_OR_PARTITION,
                error_message=UNKNOWN_PLACE,
            )
        if result is None:
            return wire.DescribedPartition(partition_index=index, start_offset=UNKNOWN_START)
        if result.error_code:
            return wire.DescribedPartition(
                partition_index=index, error_code=result.error_code, error_message=result.error_message
            )
        replica = self._replicas.get(place)
        lag = -1
        if replica is not None and result.start_offset >= 0:  # as far as a replica here knows
            behind = replica.log.high_watermark - result.start_offset
            lag = max(0, behind - max(0, result.delivery_complete_count))
        return wire.DescribedPartition(
            partition_index=index, start_offset=result.start_offset, leader_epoch=result.leader_epoch, lag=lag
        )

    # Set.

    def alter(self, request_id: object, request: wire.AlterShareGroupOffsetsRequest, now_ms: int) -> None:
        """Set where an empty group begins."""
        image = self._coordinator.image()
        ids = {topic.topic_name: image.topic_ids.get(topic.topic_name, "") for topic in request.topics}
        wanted: dict[Place, int] = {}
        unknown: dict[tuple[str, int], wire.AlteredPartition] = {}
        for topic in request.topics:
            for one in topic.partitions:
                place = (ids[topic.topic_name], one.partition_index)
                if image.partition(*place) is None:
                    unknown[topic.topic_name, one.partition_index] = wire.AlteredPartition(
                        partition_index=one.partition_index,
                        error_code=Code.UNKNOWN_TOPIC_OR_PARTITION,
                        error_message=UNKNOWN_PLACE,
                    )
                else:
                    wanted[place] = one.start_offset

        def done(results: Results) -> None:
            responses = tuple(
                wire.AlteredTopic(
                    topic_name=topic.topic_name,
                    topic_id=bytes.fromhex(ids[topic.topic_name] or "0" * 32),
                    partitions=tuple(
                        unknown.get((topic.topic_name, one.partition_index))
                        or _altered(one.partition_index, results[ids[topic.topic_name], one.partition_index])
                        for one in topic.partitions
                    ),
                )
                for topic in request.topics
            )
            self._coordinator.answer(request_id, wire.AlterShareGroupOffsetsResponse(responses=responses))

        def refuse(code: Code, message: str | None = None) -> None:
            answer = wire.AlterShareGroupOffsetsResponse(error_code=code, error_message=message)
            self._coordinator.answer(request_id, answer)

        try:
            shard, group = self._empty(request.group_id, makes=True)
            epoch = group.epoch + 1
            changes: list[ShareChange] = [(Key(GROUP, group.name), GroupEpoch(epoch, group.topics_hash))]

            def made(results: Results) -> None:
                _let_go(group, wanted)
                there = [
                    place for place, result in results.items() if not result.error_code and place[0] in image.topics
                ]
                names = {topic: image.topics[topic].name for topic, _ in there}
                self._note(
                    shard,
                    group,
                    [*group.states.places, *there],
                    names,
                    lambda code: refuse(code) if code else done(results),
                )

            def begun(code: Code) -> None:
                if code:
                    refuse(code)
                    return
                group.changing.update(dict.fromkeys(wanted))
                gathered(
                    list(wanted),
                    lambda place, settle: self._coordinator.persister.initialize(
                        ShareKey(group.name, *place), epoch, wanted[place], settle, now_ms
                    ),
                    made,
                )

            self._coordinator.change_share(shard, group, changes if wanted else [], begun)
        except Refused as refused:
            refuse(refused.code, refused.message)

    def _note(
        self,
        shard: GroupShard,
        group: ShareGroup,
        places: Sequence[Place],
        names: dict[str, str],
        done: Callable[[Code], None],
    ) -> None:
        """Note of which partitions there are states."""
        if not self._coordinator.is_current_share(shard, group):
            done(Code.NOT_COORDINATOR)
            return
        try:
            self._coordinator.change_share(shard, group, [group.with_states(places, names)], done)
        except Refused as refused:
            done(refused.code)

    # Forget.

    def delete(self, request_id: object, request: wire.DeleteShareGroupOffsetsRequest, now_ms: int) -> None:
        """Forget where an empty group begins, topic by topic."""
        image = self._coordinator.image()
        ids = {topic.topic_name: image.topic_ids.get(topic.topic_name, "") for topic in request.topics}
        try:
            shard, group = self._empty(request.group_id)
        except Refused as refused:
            answer = wire.DeleteShareGroupOffsetsResponse(error_code=refused.code, error_message=refused.message)
            self._coordinator.answer(request_id, answer)
            return
        gone = [place for place in group.states.places if place[0] in ids.values()]

        def done(code: Code, results: Results) -> None:
            responses = tuple(_deleted(name, topic_id, results, image.topics) for name, topic_id in ids.items())
            answer = wire.DeleteShareGroupOffsetsResponse(error_code=code, responses=() if code else responses)
            self._coordinator.answer(request_id, answer)

        self.forget(shard, group, gone, done, now_ms)

    def forget(
        self,
        shard: GroupShard,
        group: ShareGroup,
        places: Sequence[Place],
        done: Callable[[Code, Results], None],
        now_ms: int,
    ) -> None:
        """Strike states out, then forget them; what could not be forgotten is noted again."""
        names = dict(group.states.names)

        def deleted(results: Results) -> None:
            _let_go(group, places)
            back = [place for place, result in results.items() if result.error_code]
            if back:
                self._note(shard, group, [*group.states.places, *back], names, lambda code: done(code, results))
            else:
                done(Code.NONE, results)

        def struck(code: Code) -> None:
            if code:
                _let_go(group, places)
                done(code, {})
                return
            gathered(
                places,
                lambda place, settle: self._coordinator.persister.delete(ShareKey(group.name, *place), settle, now_ms),
                deleted,
            )

        left = [place for place in group.states.places if place not in places]
        epoch: ShareChange = (Key(GROUP, group.name), GroupEpoch(group.epoch + 1, group.topics_hash))
        group.changing.update(dict.fromkeys(places))
        try:
            self._coordinator.change_share(shard, group, [epoch, group.with_states(left, {})], struck)
        except Refused as refused:
            _let_go(group, places)
            done(refused.code, {})


def _let_go(group: ShareGroup, places: Iterable[Place]) -> None:
    for place in places:
        group.changing.pop(place, None)


def _altered(index: int, result: Any) -> wire.AlteredPartition:
    return wire.AlteredPartition(
        partition_index=index, error_code=result.error_code, error_message=result.error_message
    )


def _deleted(name: str, topic_id: str, results: Results, topics: Any) -> wire.DeletedTopic:
    mine = [result for place, result in results.items() if place[0] == topic_id]
    code = next((result.error_code for result in mine if result.error_code), Code.NONE)
    if topic_id not in topics or not mine:
        code = Code.UNKNOWN_TOPIC_OR_PARTITION
    return wire.DeletedTopic(
        topic_name=name,
        topic_id=bytes.fromhex(topic_id or "0" * 32),
        error_code=code,
        error_message=UNKNOWN_PLACE if code == Code.UNKNOWN_TOPIC_OR_PARTITION else None,
    )
