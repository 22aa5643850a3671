"""--fail-fast: the first violation ends the main phase, once, and the run is judged whole."""

from __future__ import annotations

import json

from checkers.options import CheckOptions
from harness.cli import guarded
from harness.failfast import FailFast, trims
from harness.generator import INTERRUPT
from harness.history import HARNESS, INFO, Op
from harness.scenario import Scenario
from tests.checkers.story import Story, poll, send


def duplicated():
    story = Story()
    story.ok(0, "send", [send("t0/0", 1, 0)])
    story.ok(1, "poll", [poll(("t0/0", [[0, 1], [1, 1]]))])
    story.ok(1, "poll", [poll(("t0/0", [[2, 1]]))])
    return story.ops


def test_first_alarm_interrupts_once():
    posted = []
    watch = FailFast(Scenario(), CheckOptions(), posted.append)
    for op in duplicated():
        watch.take(op)
    (event,) = posted
    assert (event.process, event.type, event.f) == (HARNESS, INFO, INTERRUPT)
    assert event.value["anomaly"] == "duplicate"
    assert event.value["ops"] == [1, 3]


def test_final_reads_interrupt_nothing():
    posted = []
    watch = FailFast(Scenario(), CheckOptions(), posted.append)
    watch.take(Op(process=HARNESS, type=INFO, f="phase", value="drain", index=0, time=0))
    for op in duplicated():
        watch.take(op)
    assert posted == []


def test_what_crashes_while_looking_ahead_is_told_and_ends_nothing():
    posted = []
    watch = FailFast(Scenario(), CheckOptions(), posted.append)
    for _ in range(3):
        watch.take(Op(process=0, type="invoke", f="send", value=[[]], index=0, time=0))
    (event,) = posted
    assert event.f == "online"
    assert "IndexError" in event.value["crashed"]


def test_order_is_left_to_the_end_where_logs_are_trimmed():
    assert not trims(Scenario())
    assert trims(Scenario(topic_config={"retention.ms": "100"}))


def test_run_ends_at_the_first_violation_and_is_judged_whole(tmp_path, capsys):
    arguments = ["run", "--cluster", "simulated", "--nemesis", "none", "--seed", "4", "--time-limit", "30", "--json"]
    small = ["--rate", "50", "--topics", "1", "--partitions", "2", "--concurrency", "4", "--bug", "lso-ignored"]
    status = guarded([*arguments, *small, "--fail-fast", "--results", str(tmp_path), "--name", "r"])
    verdict = json.loads(capsys.readouterr().out)
    lines = (tmp_path / "r" / "latest" / "history.jsonl").read_text().splitlines()
    (stop,) = [op for op in map(json.loads, lines) if op["f"] == "interrupt"]
    assert status == 1
    assert stop["value"]["anomaly"] in verdict["anomalies"]
    assert stop["time"] < 25_000_000_000
    assert [op["value"] for op in map(json.loads, lines) if op["f"] == "phase"] == ["main", "heal", "drain"]
