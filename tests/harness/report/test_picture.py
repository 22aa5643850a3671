"""The pictures of a proof: what overlaps in the history overlaps in the picture, and a cycle closes."""

from __future__ import annotations

from harness.report.picture import MAX_BARS, cycle, window
from harness.report.proof import CallRow, Effect


def call(begun, index, process=0, f="write", outcome="ok", text="1"):
    effects = [Effect(f, "x", [(text, False)])]
    return CallRow(index, begun, process, f, outcome, begun, index, effects, 0, "")


def test_bars_are_in_the_order_of_events():
    first, second, third = call(0, 1), call(2, 5, 1), call(3, 4, 2)
    picture = window([first, second], [third])
    bars = {bar.index: bar for bar in picture.bars}
    assert bars[1].x + bars[1].width < bars[5].x
    assert bars[5].x < bars[4].x < bars[4].x + bars[4].width < bars[5].x + bars[5].width
    assert [bar.named for bar in picture.bars] == [True, True, False]
    assert len(picture.lanes) == 3


def test_operation_nobody_knows_of_has_no_right_end():
    picture = window([call(0, 1, outcome="info"), call(2, 3, 1)], [])
    unknown, known = sorted(picture.bars, key=lambda bar: bar.index)
    assert unknown.open
    assert not known.open
    assert unknown.x + unknown.width > known.x + known.width


def test_others_are_drawn_only_if_they_overlap_and_within_a_bound():
    named = call(0, 1000)
    others = [call(2 * n + 1, 2 * n + 2, 1) for n in range(60)] + [call(2000, 2001, 2)]
    picture = window([named], others)
    assert len(picture.bars) == MAX_BARS
    assert picture.left_out == 60 - MAX_BARS + 1
    assert 2001 not in {bar.index for bar in picture.bars}


def test_one_operation_alone_has_no_picture():
    assert window([call(0, 1)], []) is None
    assert window([call(1, 1), call(2, 2)], []) is None


def test_cycle_is_drawn_step_by_step():
    steps = [
        {"type": "wr", "from": 1, "to": 3, "key": "x", "value": 7},
        {"type": "rw", "from": 3, "to": 5},
        {"type": "realtime", "from": 5, "to": 1},
    ]
    picture = cycle(steps, {1: call(0, 1)})
    assert [node.index for node in picture.nodes] == [1, 3, 5]
    assert [edge.kind for edge in picture.edges] == ["wr", "rw", "realtime"]
    assert "7 on x" in picture.edges[0].text
    assert all(0 < node.x < picture.width and 0 < node.y < picture.height for node in picture.nodes)


def test_what_is_no_cycle_is_not_drawn():
    assert cycle(None, {}) is None
    assert cycle([{"type": "wr", "from": 1, "to": 2}], {}) is None
    assert cycle([{"type": "wr", "from": 1, "to": 2}, {"type": "wr", "from": 2, "to": 9}], {}) is None
    assert cycle([{"from": "<b>"}], {}) is None
