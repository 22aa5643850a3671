"""A mailbox: everything that is put comes out once, in order, and a wait always ends."""

import queue
import signal
import subprocess
import sys
import threading

import pytest

from harness.process.mailbox import Mailbox


def test_what_is_put_comes_out_in_order():
    box = Mailbox()
    for number in range(5):
        box.put(number)
    assert [box.get(0.0) for _ in range(5)] == list(range(5))
    assert box.empty()
    with pytest.raises(queue.Empty):
        box.get(0.0)


def test_every_item_of_many_writers_wakes_the_reader_once():
    box = Mailbox()
    writers = [
        threading.Thread(target=lambda who=who: [box.put((who, n)) for n in range(500)], daemon=True)
        for who in range(4)
    ]
    for writer in writers:
        writer.start()
    found = [box.get(30.0) for _ in range(2000)]
    for who in range(4):
        assert [n for by, n in found if by == who] == list(range(500))
    assert box.empty()


def test_a_reader_without_a_time_waits_for_an_item():
    box = Mailbox()
    threading.Timer(0.05, box.put, ("late",)).start()
    assert box.get() == "late"


def test_a_signal_handler_may_put():
    box = Mailbox()
    before = signal.signal(signal.SIGALRM, lambda *_: box.put("from the handler"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert box.get(30.0) == "from the handler"
    finally:
        signal.signal(signal.SIGALRM, before)


TORTURE = """
import queue, signal, time
from harness.process.mailbox import Mailbox
box = Mailbox()
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.00007)
for turn in range(3000):
    if turn % 3 == 0:  # leaves the bell open
        box.put(turn)
        assert box.get(1.0) == turn
    try:
        box.get(0.0001)
    except queue.Empty:
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
print("every wait ended")
"""


def test_a_wait_ends_whatever_interrupts_it():
    """`queue.SimpleQueue.get(timeout=0.0001)` hangs within a hundred turns of this (CPython 3.11.7)."""
    done = subprocess.run([sys.executable, "-c", TORTURE], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "every wait ended\n", done
