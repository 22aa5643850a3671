"""The virtual clock: order, coroutines, time-outs, cancellation, randomness by concern."""

from __future__ import annotations

import pytest

from broker.sim.loop import CancelledError, Loop, TimedOutError


def test_timers_go_off_in_the_order_of_time_then_of_setting():
    loop, seen = Loop(1), []
    for name, delay_ms in (("c", 3), ("a", 1), ("b", 1)):
        loop.later(delay_ms, lambda name=name: seen.append((name, loop.now_ms)))
    assert not loop.run_until(10_000_000)
    assert seen == [("a", 1), ("b", 1), ("c", 3)]
    assert loop.now_ms == 10


def test_a_cancelled_timer_does_not_move_the_clock():
    loop = Loop(1)
    loop.later(5, lambda: pytest.fail("cancelled")).cancel()
    assert not loop.run_until(1_000_000)
    assert loop.now_ms == 1


def test_coroutines_sleep_on_the_virtual_clock_and_return_values():
    loop = Loop(1)

    async def double(value):
        await loop.sleep(value)
        return value * 2

    async def both():
        return await loop.all([double(7), double(3)])

    assert loop.run(both()) == [14, 6]
    assert loop.now_ms == 7


def test_an_error_goes_to_whoever_awaits_and_to_check_if_nobody_does():
    loop = Loop(1)

    async def broken():
        raise ValueError("x")

    async def careful():
        with pytest.raises(ValueError, match="x"):
            await loop.spawn(broken())

    loop.run(careful())
    loop.check()
    loop.spawn(broken())
    loop.run_until(1)
    with pytest.raises(ValueError, match="x"):
        loop.check()


def test_a_timeout_ends_the_waiting_and_not_the_work():
    loop = Loop(1)
    done = []

    async def slow():
        await loop.sleep(100)
        done.append(loop.now_ms)

    async def hasty():
        with pytest.raises(TimedOutError):
            await loop.within(loop.spawn(slow()), 10)
        return loop.now_ms

    assert loop.run(hasty()) == 10
    loop.run_until(1_000_000_000)
    assert done == [100]


def test_cancel_ends_a_task_where_it_waits_and_lets_it_clean_up():
    loop, seen = Loop(1), []

    async def endless():
        try:
            await loop.sleep(1_000_000)
        except CancelledError:
            seen.append("cleaned")
            raise

    task = loop.spawn(endless())
    loop.run_until(1)
    task.cancel()
    loop.run_until(2)
    assert seen == ["cleaned"]
    assert task.done
    loop.check()


def test_a_concern_draws_the_same_whatever_others_draw():
    one, other = Loop(7), Loop(7)
    other.random("disk").random()
    assert one.random("network").random() == other.random("network").random()
    assert one.random("network").random() != one.random("disk").random()
    assert Loop(8).random("network").random() != Loop(7).random("network").random()
