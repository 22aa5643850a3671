"""A node's clock: it never jumps, and what its wall shows is up to a file."""

from __future__ import annotations

from broker.io.clock import FORM, Clock


def test_without_a_file_the_wall_is_right():
    clock = Clock()
    assert clock.skew_ms(clock.now_ms()) == 0
    clock.close()


def test_what_is_written_holds_at_once_and_the_time_by_which_the_node_waits_does_not_jump(tmp_path):
    file = tmp_path / "clock"
    clock = Clock(file)
    before = clock.now_ms()
    assert clock.skew_ms(before) == 0
    for offset_ms in (90_000, -90_000, 0):
        with file.open("r+b") as opened:
            opened.write(FORM.pack(offset_ms, 0))
        assert clock.skew_ms(clock.now_ms()) == offset_ms
    assert 0 <= clock.now_ms() - before < 60_000
    clock.close()


def test_a_node_that_starts_with_a_wrong_clock_has_it(tmp_path):
    file = tmp_path / "clock"
    file.write_bytes(FORM.pack(500, 20))
    clock = Clock(file)
    assert {clock.skew_ms(now_ms) for now_ms in range(1000, 1040)} == {0, 500}
    assert clock.skew_ms(1000) == clock.skew_ms(1019) != clock.skew_ms(1020)
    clock.close()
