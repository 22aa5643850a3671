"""Who led: the highest epoch is believed, silence is told, and only changes are kept."""

from __future__ import annotations

from harness.history import Op
from harness.report.leaders import NOBODY, UNKNOWN, LeaderLog, Segment, natural

S = 1_000_000_000


def said(time_s: float, node: str, leader: object, epoch: int | None, isr: list[str] | None = None) -> Op:
    value = {"api": "Metadata", "key": "t0/0", "leader": leader, "epoch": epoch, "isr": isr or ["n1", "n2", "n3"]}
    return Op(process=f"probe/{node}", type="ok", f="probe", time=int(time_s * S), value=value)


def lane(*ops: Op, names: dict[int, str] | None = None) -> list[Segment]:
    log = LeaderLog(names or {})
    for op in ops:
        log.event(op)
    return list(log.lanes()["t0/0"])


def leaders(segments: list[Segment]) -> list[str]:
    return [segment.leader for segment in segments]


def test_a_lower_epoch_is_not_believed() -> None:
    found = lane(said(1, "n1", "n1", 1), said(2, "n2", "n2", 2), said(2.1, "n1", "n1", 1), said(2.5, "n3", "n2", 2))
    assert leaders(found) == ["n1", "n2"]


def test_nobody_leads_between_two_leaders() -> None:
    found = lane(said(1, "n1", "n1", 1), said(2, "n2", None, 2), said(3, "n2", "n3", 3))
    assert leaders(found) == ["n1", NOBODY, "n3"]
    assert [segment.begins for segment in found] == [S, 2 * S, 3 * S]


def test_minus_one_is_nobody_and_ids_become_names() -> None:
    found = lane(said(1, "n1", 2, 1), said(2, "n1", -1, 2), names={2: "n2"})
    assert leaders(found) == ["n2", NOBODY]


def test_repeated_answers_keep_one_segment() -> None:
    assert len(lane(*(said(1 + i / 10, "n2", "n1", 4) for i in range(50)))) == 1


def test_the_leader_is_believed_about_its_isr() -> None:
    found = lane(
        said(1, "n1", "n1", 1),
        said(2, "n1", "n1", 1, ["n1", "n2"]),
        said(2.5, "n3", "n1", 1),  # cut off: still sees itself in the ISR
        said(3, "n1", "n1", 1, ["n1", "n2"]),
    )
    assert [segment.isr for segment in found] == [3, 2]


def test_silence_is_told_as_unknown() -> None:
    before = [said(i / 2, "n1", "n1", 1) for i in range(10)]
    after = [said(60 + i / 2, "n1", "n1", 1) for i in range(20)]
    found = lane(*before, *after)
    assert leaders(found) == ["n1", UNKNOWN, "n1"]
    assert (found[1].begins, found[2].begins) == (int(4.5 * S), 60 * S)


def test_a_change_that_ends_a_silence_is_told_once() -> None:
    before = [said(i / 2, "n1", "n1", 1) for i in range(10)]
    after = [said(60 + i / 2, "n2", "n2", 2) for i in range(20)]
    assert leaders(lane(*before, *after)) == ["n1", UNKNOWN, "n2"]


def test_rare_probes_are_no_silence() -> None:
    assert leaders(lane(*(said(10 * i, "n1", "n1", 1) for i in range(20)))) == ["n1"]


def test_partitions_are_in_natural_order() -> None:
    keys = ["t0/10", "t0/2", "t10/0", "t2/0"]
    assert sorted(keys, key=natural) == ["t0/2", "t0/10", "t2/0", "t10/0"]


def test_answers_that_are_not_about_leaders_say_nothing() -> None:
    offsets = {"api": "ListOffsets", "key": "t0/0", "hw": 3, "leader": None, "epoch": 9}
    other = Op(process="probe/n1", type="ok", f="probe", time=2 * S, value=offsets)
    assert leaders(lane(said(1, "n1", "n1", 1), other, said(3, "n1", "n1", 1))) == ["n1"]
