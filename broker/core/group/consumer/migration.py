"""A group changes its protocol while its members work (KIP-848): the group as a whole, and back.

    upgrade     a member of the consumer protocol joins a classic group of consumers: its members stay, at the group's
                generation, with what they have; they go on by the classic protocol until they are replaced
    downgrade   the last member of the consumer protocol is gone: those that are left become a classic group again,
                which rebalances

Whether either may happen is the policy's (`group.consumer.migration.policy`). Kafka: ConsumerGroup.fromClassicGroup,
ClassicGroup.fromConsumerGroup.
"""

from __future__ import annotations

from collections.abc import Iterable

from broker.core.config import BrokerConfig
from broker.core.group.consumer.group import ConsumerGroup
from broker.core.group.consumer.places import Places, by_topic, sort
from broker.core.group.consumer.reconcile import Current
from broker.core.group.consumer.records import (
    CURRENT,
    GROUP,
    MEMBER,
    TARGET,
    TARGET_EPOCH,
    Change,
    ClassicMember,
    GroupEpoch,
    Key,
    Subscription,
)
from broker.core.group.consumer_protocol import read_assignment, read_subscription, write_assignment
from broker.core.group.group import Group
from broker.core.group.members import Member
from broker.core.metadata.image import Image

CONSUMERS = "consumer"
"""The protocol type of consumers; other classic groups (Connect workers) can't be migrated."""


def may_upgrade(config: BrokerConfig, group: Group) -> bool:
    """Return whether a classic group with members may become a consumer group."""
    allowed = config.consumer_migration_policy in {"bidirectional", "upgrade"}
    return allowed and group.protocol_type == CONSUMERS and len(group.members) < config.consumer_max_size


def may_downgrade(config: BrokerConfig, group: ConsumerGroup, gone: Iterable[str]) -> bool:
    """Return whether only classic members are left when some are gone."""
    without = set(gone)
    left = [member for member_id, member in group.members.items() if member_id not in without]
    allowed = config.consumer_migration_policy in {"bidirectional", "downgrade"}
    return allowed and bool(left) and all(member.classic is not None for member in left)


def upgraded(image: Image, classic: Group) -> tuple[ConsumerGroup, list[Change]]:
    """Return the consumer group that a classic one becomes, and its records."""
    group, name, epoch = ConsumerGroup(classic.name), classic.name, classic.generation
    changes: list[Change] = [(Key(GROUP, name), GroupEpoch(epoch)), (Key(TARGET_EPOCH, name), epoch)]
    taken: set[tuple[str, int]] = set()
    for member in classic.members.values():
        assigned = sort(place for place in to_places(image, read_assignment(member.assignment)) if place not in taken)
        taken.update(assigned)
        changes += [
            (Key(MEMBER, name, member.id), subscription(member)),
            (Key(TARGET, name, member.id), assigned),
            (Key(CURRENT, name, member.id), Current(epoch, epoch, assigned=assigned)),
        ]
    for key, value in changes:
        group.apply(key, value)
    return group, changes


def subscription(member: Member) -> Subscription:
    """Return a classic member as a member of a consumer group."""
    return Subscription(
        instance_id=member.instance_id,
        client_id=member.client_id,
        host=member.host,
        topics=tuple(sorted(set(read_subscription(member.protocols[0][1]).topics))) if member.protocols else (),
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        classic=ClassicMember(member.session_timeout_ms, member.protocols),
    )


def downgraded(image: Image, group: ConsumerGroup, classic: Group, gone: Iterable[str]) -> None:
    """Give a new classic group the members that are left, as they are."""
    without = set(gone)
    for member_id, value in group.members.items():
        if member_id in without or value.classic is None:
            continue
        classic.members[member_id] = Member(
            id=member_id,
            instance_id=value.instance_id,
            client_id=value.client_id,
            host=value.host,
            rebalance_timeout_ms=value.rebalance_timeout_ms,
            session_timeout_ms=value.classic.session_timeout_ms,
            protocols=value.classic.protocols,
            assignment=to_assignment(image, group.member(member_id).assigned),
        )
    classic.go_on(CONSUMERS, group.epoch)


def to_places(image: Image, pairs: Iterable[tuple[str, int]]) -> Places:
    """Return (topic name, partition) pairs by topic id, those that there are."""
    known = [(image.topic_ids[topic], index) for topic, index in pairs if topic in image.topic_ids]
    return sort(place for place in known if place[1] in image.topics[place[0]].partitions)


def to_assignment(image: Image, places: Places) -> bytes:
    """Return what a classic member hears of its partitions."""
    return write_assignment(
        {image.topics[topic_id].name: indexes for topic_id, indexes in by_topic(places) if topic_id in image.topics}
    )
