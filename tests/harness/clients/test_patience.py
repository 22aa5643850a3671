"""Calls with a bound, and things that are let go in the background."""

from __future__ import annotations

import threading
import weakref

import pytest

from harness.clients.patience import Deadline, OutOfPatienceError, bounded, let_go


class Thing:
    pass


def test_a_bounded_call_returns_what_the_call_returns():
    assert bounded(lambda: 7, 5) == 7
    assert bounded(lambda: None, 5) is None


def test_a_bounded_call_raises_what_the_call_raises():
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, 5)


def test_a_call_that_does_not_return_is_given_up_and_goes_on():
    gate, done = threading.Event(), threading.Event()

    def call():
        gate.wait(10)
        done.set()

    with pytest.raises(OutOfPatienceError, match=r"0\.1 s"):
        bounded(call, 0.1)
    gate.set()
    assert done.wait(10)


def test_letting_go_destroys_the_thing_after_its_farewell():
    thing, farewells = Thing(), []
    gone = weakref.ref(thing)
    things = [thing]
    del thing
    assert let_go(things, lambda t: farewells.append(type(t)), 5)
    assert (things, farewells, gone()) == ([], [Thing], None)


def test_letting_go_of_nothing_is_done_at_once():
    assert let_go([], None, 0)


def test_a_farewell_that_hangs_does_not_hold_the_caller():
    gate = threading.Event()
    assert not let_go([Thing()], lambda _: gate.wait(10), 0.05)
    gate.set()


def test_a_farewell_that_raises_harms_nobody():
    assert let_go([Thing()], lambda _: 1 // 0, 5)


def test_a_deadline_never_lies_in_the_past():
    deadline = Deadline(0)
    assert deadline.over()
    assert (deadline.left_s(), deadline.left_s(at_least=1)) == (0, 1)
    assert deadline.sooner(5).left_s() == 0
    assert 4 < Deadline(10).sooner(5).left_s() <= 5
