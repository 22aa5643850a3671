"""Histories of any size in which much goes wrong: `SHAPES` tells them, by what of them grows.

A broken cluster is when somebody waits for the verdict. What each of these needs must grow as the history does, not
with its square; `test_growth` holds the checkers to it, `bench.checkers.growth` measures it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checkers.options import CheckOptions
from harness.history import DELETE_RECORDS
from tests.anomalies.planting import commit, committed, probe, rebalance
from tests.anomalies.share_stories import ack, fetch, lose
from tests.checkers.story import Story, poll, send

SHAPES: dict[str, tuple[Callable[[Story, int], None], CheckOptions]] = {}
"""Name -> (what tells a story of so many steps, how it is judged)."""
RC, RU = "read_committed", "read_uncommitted"


def shape(**options: Any) -> Callable[[Callable[[Story, int], None]], Callable[[Story, int], None]]:
    def register(tell: Callable[[Story, int], None]) -> Callable[[Story, int], None]:
        SHAPES[tell.__name__] = tell, CheckOptions(**options)
        return tell

    return register


def told(name: str, size: int) -> Story:
    """Return a story of a shape, of so many steps."""
    story = Story()
    SHAPES[name][0](story, size)
    return story


@shape()
def offsets_that_fall_back(story: Story, size: int) -> None:
    story.phase("main")
    for at in range(size):
        commit(story, 0, at + 1)
        committed(story, 1, at + 1 if at % 4 else at // 2)


@shape()
def members_that_overlap(story: Story, size: int) -> None:
    for at in range(size):
        member = at % 5
        story.ok(9, "send", [send("x", at, at)])
        rebalance(story, member, None, assigned=["x"])
        story.ok(member, "poll", [poll(("x", [[at, at]]))])
        commit(story, member, at - at % 7)


@shape()
def records_at_other_offsets(story: Story, size: int) -> None:
    for at in range(size):
        story.ok(0, "send", [send("x", at, at)])
    for at in range(size):
        story.ok(1, "poll", [poll(("x", [[size + at, at]]))])


@shape()
def copies_made_twice(story: Story, size: int) -> None:
    for at in range(size):
        story.ok(0, "send", [send("in", at, at)])
    for at in range(2 * size):
        source = (at * 7) % size if at < size else at - size
        story.begin(1, "txn", [["poll"], ["send", "out", at]], group="g")
        fields = {"group": "g", "offsets": [["in", min(at + 1, size)]], "commit_time": story.now}
        story.event(1, "ok", "txn", [["poll", [["in", [[source, source]]]]], send("out", at, at)], **fields)
        story.ok(2, "poll", [poll(("out", [[at, at, {"source": ["in", source]}]]))])
    committed(story, 5, size, key="in")


@shape()
def sessions_that_were_fenced(story: Story, size: int) -> None:
    waiting = None
    for at in range(size):
        process = at % 2
        story.begin(process, "txn", [["send", "x", at]], txn_id="t")
        begun = story.now
        if waiting is not None:
            _end(story, *waiting)
        waiting = process, at, begun
    _end(story, *waiting)
    story.ok(5, "poll", [poll(("x", [[at, at] for at in range(size)]))])


def _end(story: Story, process: int, value: int, begun: int) -> None:
    session = {"init-time": begun, "end-attempts": 2}
    fields = {"txn_id": "t", "commit_time": story.now + 1, "extra": session}
    story.event(process, "ok" if value % 3 else "fail", "txn", [send("x", value, value)], **fields)


@shape()
def positions_that_jump_back(story: Story, size: int) -> None:
    story.phase("main")
    story.ok(0, "send", [send("x", at, at) for at in range(size)])
    story.ok(1, "assign", ["x"])
    for at in reversed(range(size)):
        story.ok(2, "assign", ["y"])
        story.ok(1, "poll", [poll(("x", [[at, at]]))])


@shape()
def reads_that_lack_a_record(story: Story, size: int) -> None:
    story.ok(0, "send", [send("x", at, at) for at in range(10)])
    story.ok(1, "assign", ["x"], isolation=RU, seek_to_beginning=True)
    story.ok(1, "poll", [poll(("x", [[at, at] for at in range(10)]))], isolation=RU)
    for _ in range(size):
        story.ok(2, "assign", ["x"], isolation=RC, seek_to_beginning=True)
        story.ok(2, "poll", [poll(("x", [[at, at] for at in range(10) if at != 4]))], isolation=RC)


@shape(fresh=True)
def reads_of_old_ends(story: Story, size: int) -> None:
    for at in range(size):
        story.ok(0, "send", [["send", "x", [at, at, {"epoch": 1}]]])
        probe(story, "n1", "ListOffsets", epoch=1, hw=at + 1 - at % 2, lso=at + 1 - at % 2)
        story.ok(1, "assign", ["x"], isolation=RU, seek_to_beginning=True)
        story.ok(1, "poll", [poll(("x", [[at, at]]))], isolation=RU)


@shape()
def records_of_a_share_group(story: Story, size: int) -> None:
    for at in range(size):
        story.ok(0, "send", [send("x", 10 + at, at)])
        member = 1 + at % 5
        if at % 6 == 0:
            lose(story, 10 + at)
        fetch(story, member, (at, 1))
        ack(story, member, at, "release" if at % 4 == 0 else "accept")
        fetch(story, 6 + at % 3, (at, 2))


@shape(faults=("kill-leader",), recovery_bound_s=0.001)
def faults(story: Story, size: int) -> None:
    story.phase("main")
    for at in range(size):
        story.fault(at, "kill-leader")
        story.ok(0, "send", [send("x", at, at)])
        story.heal(at)
        story.fail(1, "poll", [["poll"]])
        story.info(2, "send", [send("x", -at - 1)])


@shape()
def deletions_and_who_leads(story: Story, size: int) -> None:
    for at in range(size):
        probe(story, "n1", "Metadata", epoch=1, leader="n1", isr=["n1", "n2"])
        story.ok(0, DELETE_RECORDS, ["x", at])
        probe(story, "n1", "ListOffsets", epoch=1, log_start=at - 10 * (at % 9 == 0), hw=at, lso=at)


@shape()
def questions_for_times(story: Story, size: int) -> None:
    for at in range(size):
        story.ok(0, "send", [send("x", at, at)])
        story.ok(1, "poll", [poll(("x", [[at, at, {"ts": at}]]))])
        probe(story, "n1", "ListOffsets", timestamp=at, offset=at + at % 2, epoch=1)
        story.ok(2, "poll", [poll(("x", [[at, at, {"ts": at}]]))])


@shape(min_isr=2)
def answers_of_few_in_sync(story: Story, size: int) -> None:
    for at in range(size):
        probe(story, "n1", "Metadata", epoch=1, leader="n1", isr=["n1"], partition_epoch=at // 10)
        story.ok(0, "send", [send("x", at, at)])


@shape()
def epochs_of_controllers_and_leaders(story: Story, size: int) -> None:
    for at in range(size):
        probe(story, "n1", "DescribeQuorum", key="m", leader=f"n{at % 3}", epoch=at, hw=at)
        epoch = at // 50
        probe(story, "n1", "ListOffsets", epoch=epoch, hw=at + 5, lso=at + 5 - 9 * (at % 3 == 0))
        probe(story, "n1", "Fetch", epoch=epoch, hw=at, last_offset=at + 7 * (at % 3 == 0))


@shape()
def partitions_that_stand_still(story: Story, size: int) -> None:
    keys = [f"x/{at}" for at in range(size // 4)]
    for at, key in enumerate(keys):
        story.ok(0, "send", [send(key, at, 0)])
    for process in (1, 2):
        story.ok(process, "assign", keys, seek_to_beginning=True)
        for at, key in enumerate(keys):
            story.ok(process, "poll", [poll((key, [[0, at]]))])
    for _ in range(size):
        story.wait(1)
        story.ok(1, "poll", [poll()])
        story.ok(2, "poll", [poll()])


@shape(compacted=True, delete_retention_ms=100)
def keys_that_were_compacted_away(story: Story, size: int) -> None:
    latest: dict[str, list[Any]] = {}
    for at in range(size):
        name, said = f"k{at % 40}", {"record-key": f"k{at % 40}", "tombstone": at % 3 == 0}
        story.ok(0, "send", [["send", "x", [at, at, said]]])
        latest.pop(name, None)
        latest[name] = [at, at, said]
        if at % 20 == 0:
            _scan(story, list(latest.values())[::2], at + 1)


@shape(retention_ms=200)
def records_that_expired_too_early(story: Story, size: int) -> None:
    for at in range(size):
        story.ok(0, "send", [send("x", at, at)])
        if at % 10 == 9:
            story.ok(0, DELETE_RECORDS, ["x", max(0, at - 80)])
            _scan(story, [[offset, offset] for offset in range(max(0, at - 30), at + 1, 2)], at + 1)


def _scan(story: Story, records: list[Any], end: int) -> None:
    story.event(9, "invoke", "scan", "x")
    fields = {"isolation": RC, "extra": {"end": end, "key": "x"}}
    story.event(9, "ok", "scan", [poll(("x", [list(record) for record in records]))], **fields)
