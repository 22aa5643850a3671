"""A worker's thread outlives what its clients raise."""

from __future__ import annotations

import queue

import pytest

from harness.history import INFO, INVOKE, OK, Op
from harness.interpreter import Worker
from harness.process.mailbox import Mailbox

PATIENCE_S = 20.0


class Clients:
    """Clients whose closing fails, the first of them alone."""

    def __init__(self):
        self.opened = 0

    def open(self, process, now):
        self.opened += 1
        return Client(fails=self.opened == 1)


class Client:
    def __init__(self, *, fails):
        self.fails = fails

    def invoke(self, op):
        return op.completed(OK)

    def close(self):
        if self.fails:
            raise RuntimeError("can't start new thread")


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_client_that_cannot_be_closed_costs_one_op_and_not_the_thread():
    clients, outbox = Clients(), Mailbox()
    worker = Worker(0, clients, lambda: 0, outbox)
    worker.start()
    done = []
    try:
        for process in (0, 4, 8):
            worker.inbox.put(Op(process=process, type=INVOKE, f="poll"))
            done.append(outbox.get(PATIENCE_S))
    except queue.Empty:
        pass
    finally:
        worker.inbox.put(None)
        worker.join(PATIENCE_S)
    assert [(op.process, op.type) for op in done] == [(0, OK), (4, INFO), (8, OK)]
    assert done[1].error["name"] == "CLIENT_CRASHED"
