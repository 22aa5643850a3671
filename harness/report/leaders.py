"""Who led each partition, and when nobody did: from what the probes were told.

Every node is asked again and again for its view (`probe/NODE` ops with a leader in their answer). Views differ while
the cluster changes its mind: a node that was cut off still names the old leader. The view with the highest leader
epoch is the truth about who leads; an answer with a lower epoch is ignored. Inside one epoch the leader's own answer
about the ISR counts first, since it is the leader who changes it; another node's answer is taken only when the leader
has not answered for `LEADER_SILENT_NS`. Only changes are kept, so a run of any length stays small.

States of a partition: led by a node, led by nobody (an answer says so), unknown (nobody answered for a while).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.history import OK, Op

LEADER_SILENT_NS = 2_000_000_000
MIN_UNKNOWN_NS = 3_000_000_000
UNKNOWN_INTERVALS = 6
"""No accepted answer for this many mean intervals (and MIN_UNKNOWN_NS) draws the partition as unknown."""
MAX_SEGMENTS = 5_000
"""Changes kept a partition: beyond it the lane says that it was cut."""

METADATA_APIS = frozenset({"Metadata", "DescribeTopicPartitions"})

NOBODY = ""
UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Segment:
    """From `begins` (ns) on, until the next segment: the leader's name (or NOBODY, UNKNOWN), epoch and ISR size."""

    begins: int
    leader: str
    epoch: int | None
    isr: int | None


@dataclass(slots=True)
class _Track:
    segments: list[Segment] = field(default_factory=list)
    epoch: int = -1
    leader: str = UNKNOWN
    isr: int | None = None
    leader_spoke: int = -LEADER_SILENT_NS
    last: int = -1
    first: int = -1
    answers: int = 0
    silences: list[tuple[int, int]] = field(default_factory=list)
    cut: bool = False


class LeaderLog:
    """Listens to probe events in history order; `lanes` gives the segments of each partition."""

    def __init__(self, node_names: Mapping[int, str]) -> None:
        """node_names: Kafka's node.id -> the node's name, for answers that name the leader by id."""
        self._names = dict(node_names)
        self._tracks: dict[str, _Track] = {}

    def event(self, op: Op) -> None:
        """Take one event; what is not a probe's answer about a leader is ignored."""
        if op.type != OK or not isinstance(op.process, str) or not op.process.startswith("probe/"):
            return
        if isinstance(op.value, Mapping) and "key" in op.value and says_who_leads(op.value):
            self._answer(op.time, op.process.removeprefix("probe/"), op.value)

    def _answer(self, time: int, node: str, value: Mapping[str, Any]) -> None:
        track = self._tracks.setdefault(str(value["key"]), _Track())
        epoch = value.get("epoch")
        epoch = epoch if isinstance(epoch, int) and epoch >= 0 else track.epoch
        if epoch < track.epoch:
            return
        leader = self._name(value["leader"])
        same = epoch == track.epoch and leader == track.leader
        if same and leader not in (node, NOBODY) and time - track.leader_spoke < LEADER_SILENT_NS:
            self._heard(track, time)
            return
        isr = value.get("isr")
        size = len(isr) if isinstance(isr, list) else isr if isinstance(isr, int) else None
        if not same or size != track.isr or not track.segments:
            if len(track.segments) < MAX_SEGMENTS:
                track.segments.append(Segment(time, leader, epoch if epoch >= 0 else None, size))
            else:
                track.cut = True
        track.epoch, track.leader, track.isr = epoch, leader, size
        if node == leader:
            track.leader_spoke = time
        self._heard(track, time)

    def _heard(self, track: _Track, time: int) -> None:
        if track.first < 0:
            track.first = time
        elif time - track.last > MIN_UNKNOWN_NS and len(track.silences) < MAX_SEGMENTS:
            track.silences.append((track.last, time))
        track.last = time
        track.answers += 1

    def _name(self, leader: Any) -> str:
        if leader is None or (isinstance(leader, int) and leader < 0):
            return NOBODY
        return self._names.get(leader, f"node {leader}") if isinstance(leader, int) else str(leader)

    def lanes(self) -> dict[str, Sequence[Segment]]:
        """Return each partition's segments in time order, silences included, keys in natural order."""
        return {key: _with_silences(self._tracks[key]) for key in sorted(self._tracks, key=natural)}

    def cut(self) -> bool:
        """Return whether a partition changed more often than is kept."""
        return any(track.cut for track in self._tracks.values())


def says_who_leads(value: Mapping[str, Any]) -> bool:
    """Return whether a probe's answer is about the leader; "nobody" is believed only where metadata was asked for."""
    return "leader" in value and (value["leader"] is not None or value.get("api") in METADATA_APIS)


def _with_silences(track: _Track) -> list[Segment]:
    mean = (track.last - track.first) / max(1, track.answers - 1)
    long = [pair for pair in track.silences if pair[1] - pair[0] > UNKNOWN_INTERVALS * mean]
    if not long:
        return list(track.segments)
    segments, quiet = list[Segment](), iter(long)
    silence = next(quiet, None)
    current: Segment | None = None
    for segment in [*track.segments, None]:
        while silence is not None and current is not None and (segment is None or silence[0] < segment.begins):
            segments.append(Segment(silence[0], UNKNOWN, None, None))
            if segment is None or silence[1] < segment.begins:
                segments.append(Segment(silence[1], current.leader, current.epoch, current.isr))
            silence = next(quiet, None)
        if segment is not None:
            segments.append(segment)
            current = segment
    return segments


def natural(key: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key that puts t0/2 before t0/10."""
    parts, digits = list[tuple[int, int | str]](), ""
    for char in [*key, ""]:
        if char.isdecimal() and char.isascii():
            digits += char
            continue
        if digits:
            parts.append((0, int(digits)))
            digits = ""
        if char:
            parts.append((1, char))
    return tuple(parts)
