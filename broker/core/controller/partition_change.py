"""How one partition changes: pure rules from the old state and a wish to the new state (Kafka: PartitionChangeBuilder).

Who may lead, in this order: a member of the ISR; an eligible leader replica (KIP-966); the last known leader, when ISR
and ELR are empty, unless the logs are to be compared first (see `controller.recovery`, which names the `best` one); any
live replica, if unclean election is allowed. All but the first two make the ISR anew from that replica and may lose
records. Replicas stand in the order of preference.

With ELR on, a member that leaves an ISR which falls below min.insync.replicas stays eligible until the ISR is large
enough again, and the ISR may become empty. Without it, the last member stays in the ISR although it is gone. A node
that came back from an unclean stop is taken from both: what it acknowledged may be lost there. That it was one of them
is remembered as long as the ISR is that small (the last known ELR), also while the one with the best log leads: what it
has alone may be lost before others have it. It is remembered beside a larger ISR, too, until the leader asks for an ISR
and shows by that that it lives: where all lose power at once, the first to be back knows most, perhaps, and the others
are still said to be in sync. Who was elected without a look at the logs has settled the matter.

A reassignment is done when all target replicas are in the ISR. The leader epoch rises with every change of the leader
and when the replicas lose a member; the partition epoch with every change.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable

import msgspec

from broker.core.metadata.records import NO_LEADER, PartitionState


class Election(enum.Enum):
    """What the change wants of the leader."""

    ONLINE = "online"
    """Keep the leader if it can stay, else elect cleanly."""
    PREFERRED = "preferred"
    """The first replica, if it can lead."""
    UNCLEAN = "unclean"
    """Any live replica if nobody else can."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a change depends on beside the partition: who is alive, and the topic's settings."""

    is_active: Callable[[int], bool]
    min_isr: int
    elr: bool
    compares: bool = False
    """Whether logs are compared where ISR and ELR are empty, instead of trusting the last known leader."""


def change(
    old: PartitionState,
    rules: Rules,
    *,
    isr: Iterable[int] | None = None,
    unclean: int | None = None,
    election: Election = Election.ONLINE,
    best: int | None = None,
    vouched: bool = False,
    replicas: tuple[int, ...] | None = None,
    adding: tuple[int, ...] | None = None,
    removing: tuple[int, ...] | None = None,
) -> PartitionState | None:
    """Return the new state, None if nothing changes.

    `unclean` is a node that lost its unsynced writes, `best` the replica to elect: none is known to have more.
    `vouched`: the leader asks for this ISR.
    """
    target_replicas = old.replicas if replicas is None else replicas
    target_isr = tuple(old.isr if isr is None else isr)
    target_adding = old.adding if adding is None else adding
    target_removing = old.removing if removing is None else removing
    done = _completed(target_replicas, target_isr, target_adding, target_removing)
    if done is not None:
        target_replicas, target_isr = done
        target_adding = target_removing = ()
    elr = _eligible(old, rules, target_isr, target_replicas, unclean)
    eligible = (*target_isr, *elr)
    leader, clean = (best, False) if best is not None else _elect(old, rules, eligible, target_replicas, election)
    if not clean:
        target_isr, elr = (leader,), ()
    elif leader != NO_LEADER and leader not in target_isr:
        target_isr = (*target_isr, leader)
        elr = _eligible(msgspec.structs.replace(old, elr=elr), rules, target_isr, target_replicas, unclean)
    elif not target_isr and not rules.elr:
        target_isr = old.isr
    last_leader = old.last_leader
    if rules.elr and not target_isr and old.isr:
        last_leader = old.leader if old.leader != NO_LEADER else old.last_leader
    elif leader != NO_LEADER:
        last_leader = NO_LEADER
    new = msgspec.structs.replace(
        old,
        replicas=target_replicas,
        isr=target_isr,
        elr=elr,
        leader=leader,
        last_leader=last_leader,
        last_known_elr=_last_known(old, rules, target_isr, elr, target_replicas, unclean=unclean, vouched=vouched)
        if clean or best is not None
        else (),
        adding=target_adding,
        removing=target_removing,
    )
    if new == old and clean:
        return None
    return msgspec.structs.replace(
        new, leader_epoch=_leader_epoch(old, new, clean=clean), partition_epoch=old.partition_epoch + 1
    )


def _leader_epoch(old: PartitionState, new: PartitionState, *, clean: bool) -> int:
    shrunk = not set(old.replicas) <= set(new.replicas)
    return old.leader_epoch + (new.leader != old.leader or shrunk or not clean)


def _completed(
    replicas: tuple[int, ...], isr: tuple[int, ...], adding: tuple[int, ...], removing: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return (replicas, ISR) of a reassignment that is done, None while it is not, or when there is none."""
    if not adding and not removing:
        return None
    target = tuple(replica for replica in replicas if replica not in removing)
    target_isr = tuple(replica for replica in isr if replica in target)
    if not target_isr or not set(target) <= set(isr):
        return None
    return target, target_isr


def _eligible(
    old: PartitionState, rules: Rules, isr: tuple[int, ...], replicas: tuple[int, ...], unclean: int | None
) -> tuple[int, ...]:
    if not rules.elr or len(isr) >= min(rules.min_isr, len(replicas)):
        return ()
    candidates = dict.fromkeys((*old.elr, *old.isr))
    return tuple(r for r in candidates if r not in isr and r != unclean and r in replicas)


def _last_known(
    old: PartitionState,
    rules: Rules,
    isr: tuple[int, ...],
    elr: tuple[int, ...],
    replicas: tuple[int, ...],
    *,
    unclean: int | None,
    vouched: bool,
) -> tuple[int, ...]:
    is_enough = len(isr) >= min(rules.min_isr, len(replicas))
    if not rules.elr or (is_enough and vouched):
        return ()
    members = dict.fromkeys((*old.elr, *old.isr))
    missing = [unclean] if unclean in members else []
    candidates = dict.fromkeys((*old.last_known_elr, *(missing if is_enough else members)))
    return tuple(r for r in candidates if r not in isr and r not in elr and r in replicas)


def _elect(
    old: PartitionState,
    rules: Rules,
    eligible: tuple[int, ...],
    replicas: tuple[int, ...],
    election: Election,
) -> tuple[int, bool]:
    """Return (leader, whether nothing can be lost by it)."""
    valid = [r for r in replicas if r in eligible and rules.is_active(r)]
    if election is Election.PREFERRED and replicas[0] in valid:
        return replicas[0], True
    if old.leader in valid:
        return old.leader, True
    if valid:
        return valid[0], True
    last = old.last_leader
    trusted = not rules.compares or election is Election.UNCLEAN or replicas == (last,)
    if rules.elr and not eligible and trusted and last in replicas and rules.is_active(last):
        return last, False
    if election is Election.UNCLEAN:
        alive = [r for r in replicas if rules.is_active(r)]
        if alive:
            return alive[0], False
    return NO_LEADER, True
