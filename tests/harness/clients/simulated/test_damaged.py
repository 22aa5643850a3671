"""A batch that changed on every disk: simulated readers name it, as librdkafka's do, and stay where it is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from broker.wire import batch
from checkers.judge import judge
from harness.history import INVOKE, Op
from tests.harness.clients.simulated.scene import OpScene

KEY, LOG = "t0/0", "t0-0"
BAD = 1
"""The offset of the batch that changes."""


class Damaged(OpScene):
    """Three batches, of which the second changes; and the history of what is done after that."""

    def __init__(self, **changes):
        super().__init__(**changes)
        self.history = []
        writer = self.open(9)
        for v in range(3):
            self.note(writer, "send", [["send", KEY, v]], 9)
        for node in self.cluster.nodes.values():
            for base, size in node.disk.segments(LOG) if LOG in node.disk.logs() else ():
                (_, (position, header), _) = batch.parse(node.disk.read(LOG, base, 0, size))
                node.disk.damage(LOG, base, position + header.size - 5)

    def note(self, client, f, value, process=0):
        op = Op(process=process, type=INVOKE, f=f, value=value)
        for one in (op, self.run(client.invoke(op))):
            self.history.append(replace(one, index=len(self.history), time=self.now() + len(self.history)))
        return self.history[-1]


@pytest.mark.parametrize("codec", ["none", "gzip"])
def test_a_poll_shows_what_is_before_it_then_names_it_again_and_again(codec):
    scene = Damaged(compression=codec)
    client = scene.open()
    scene.note(client, "assign", [KEY])
    first, second, third = (scene.note(client, "poll", [["poll"]]) for _ in range(3))
    assert first.type == "ok"
    assert [record[:2] for record in first.value[0][1][0][1]] == [[0, 0]]
    for poll in (second, third):
        assert (poll.type, poll.error["name"]) == ("info", "_BAD_MSG")
        ((key, ((offset, value, seen),)),) = poll.value[0][1]
        assert (key, offset, value) == (KEY, BAD, f"?@{BAD}")
        assert "can't be read" in seen["altered"]
    (found,) = [one for one in judge(scene.history).anomalies if one.name == "record-altered"]
    assert {example.details["offset"] for example in found.examples} == {BAD}


@pytest.mark.parametrize(("f", "value"), [("scan", KEY), ("read-at", [KEY, BAD])])
def test_a_scan_that_meets_it_fails_and_names_it(f, value):
    scene = Damaged()
    done = scene.note(scene.open(), f, value)
    assert (done.type, done.error["name"]) == ("fail", "_BAD_MSG")
    assert done.value[0][1][0][1][0][:2] == [BAD, f"?@{BAD}"]
    (found,) = [one for one in judge(scene.history).anomalies if one.name == "record-altered"]
    assert found.count == 1


def test_a_transaction_that_meets_it_is_aborted():
    scene = Damaged()
    client = scene.open()
    scene.note(client, "assign", [KEY])
    assert scene.note(client, "txn", [["poll"], ["send", "t0/1", 8]]).type == "ok"
    assert scene.note(client, "txn", [["poll"], ["send", "t0/1", 9]]).type == "fail"
