"""Instances of a program of the user's as processes: started, told, killed with all that they have started, found again."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from harness import application, store
from harness.application import Application
from harness.cluster import pids
from harness.cluster.api import ClusterError, UsageError
from harness.scenario import Scenario
from tests.contracts.test_cluster import until

WAITS = "import signal, sys; print('up', *sys.argv[1:], flush=True); signal.pause()"


def command(code: str, *arguments: str) -> str:
    return " ".join([sys.executable, "-c", f'"{code}"', *arguments])


def made(tmp_path: Path, app: str, instances: int = 2, **named: tuple[str, ...]) -> Application:
    scenario = Scenario(workload="app", app=app, app_instances=instances, prefix="p-", topics=4, **named)
    return Application(scenario, tmp_path, "localhost:1,localhost:2")


def output(tmp_path: Path, name: str = "app-1") -> str:
    return (tmp_path / "application" / name / "output.log").read_text()


def test_an_instance_is_told_where_what_and_who_it_is(tmp_path):
    words = "{bootstrap} {input} {output} {group} {instance} {folder} {other}"
    shown = "import os; print([os.environ['HARNESS_' + n] for n in ('INPUT', 'INSTANCE')], flush=True)"
    app = made(tmp_path, command(f"{shown}; {WAITS}", words))
    with app.running(lambda _: None):
        assert app.names == ("app-1", "app-2")
        assert until(lambda: "up" in output(tmp_path, "app-2"))
    folder = tmp_path / "application" / "app-2"
    told = f"up localhost:1,localhost:2 p-t0,p-t1 p-t2,p-t3 p-harness-app app-2 {folder} {{other}}"
    assert told in output(tmp_path, "app-2")
    assert "['p-t0,p-t1', 'app-2']" in output(tmp_path, "app-2")


def test_a_program_with_topics_of_its_own_is_told_their_names(tmp_path):
    named = {"app_input": ("orders",), "app_output": ("done.orders", "done.copies")}
    app = made(tmp_path, command(WAITS, "{input} {output} {group}"), 1, **named)
    with app.running(lambda _: None):
        assert until(lambda: "up" in output(tmp_path))
    assert output(tmp_path).strip() == "up orders done.orders,done.copies p-harness-app"


def test_faults_end_stop_and_start_an_instance(tmp_path):
    app = made(tmp_path, command(WAITS))
    with app.running(lambda _: None):
        first = app.pid("app-1")
        assert first is not None
        app.kill("app-1")
        assert app.pid("app-1") is None
        app.start("app-1")
        assert app.pid("app-1") not in {None, first}
        app.pause("app-1")
        assert app.paused("app-1")
        assert not app.paused("app-2")
        app.resume("app-1")
        assert until(lambda: not app.paused("app-1"))
        app.stop("app-1")
        assert app.pid("app-1") is None
        with pytest.raises(ClusterError, match="app-1 can't be paused: it is not running"):
            app.pause("app-1")
        left = app.pid("app-2")
    assert pids.identify(left) is None


def test_what_an_instance_has_started_goes_with_it(tmp_path):
    code = "import signal, subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); print(child.pid, flush=True); signal.pause()"
    app = made(tmp_path, command(code), instances=1)
    with app.running(lambda _: None):
        assert until(lambda: output(tmp_path).strip())
        child = int(output(tmp_path))
        app.pause("app-1")
        assert until(lambda: pids.is_stopped(pids.identify(child)))
        app.kill("app-1")
        assert until(lambda: pids.identify(child) is None)


def test_who_ends_by_itself_is_started_again_and_the_history_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(application, "AGAIN_S", 0.1)
    told = []
    app = made(tmp_path, command(WAITS), instances=1)
    with app.running(told.append):
        first = app.pid("app-1")
        os.kill(first, signal.SIGTERM)
        assert until(lambda: app.pid("app-1") not in {None, first})
        assert [(op.f, op.value) for op in told] == [("exited", {"instance": "app-1", "status": -signal.SIGTERM})]
        app.kill("app-1")
        assert until(lambda: app.pid("app-1") is None)
    assert len(told) == 1, "who was killed by a fault has not ended by itself"


def test_a_program_that_ends_again_and_again_ends_the_main_phase(tmp_path, monkeypatch):
    monkeypatch.setattr(application, "AGAIN_S", 0.1)
    monkeypatch.setattr(application, "BEGINS_S", 0.0)
    told = []
    app = made(tmp_path, command("import sys; sys.exit('no such topic')"), instances=1)
    with app.running(told.append):
        assert until(lambda: [op for op in told if op.f == "exited"][3:])
    (stop,) = [op for op in told if op.f == "interrupt"]
    assert [op.value for op in told if op.f == "given-up"] == [{"instance": "app-1"}]
    assert stop.value["why"] == "app-1 ends as soon as it begins: no such topic"


def test_who_has_ended_is_sent_nothing_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(application, "AGAIN_S", 600.0)
    monkeypatch.setattr(application, "BEGINS_S", 0.0)
    told, sent = [], []
    app = made(tmp_path, command("pass"), instances=1)
    with app.running(told.append):
        assert until(lambda: told)
        monkeypatch.setattr(os, "killpg", lambda pid, number: sent.append((pid, number)))
        app.resume("app-1")
        app.kill("app-1")
    assert sent == [], "its number may be somebody else's by now"
    assert application.remove(tmp_path) == ("app-1",)


def test_one_that_has_settled_may_end_as_often_as_it_likes(tmp_path, monkeypatch):
    for name, seconds in (("AGAIN_S", 0.1), ("BEGINS_S", 0.0), ("SETTLED_S", 0.0)):
        monkeypatch.setattr(application, name, seconds)
    told = []
    app = made(tmp_path, command("pass"), instances=1)
    with app.running(told.append):
        assert until(lambda: len(told) > 4)
    assert {op.f for op in told} == {"exited"}


def test_a_program_that_is_not_there_for_a_while_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(application, "AGAIN_S", 0.1)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    app = made(tmp_path, str(program), instances=1)
    with app.running(lambda _: None):
        program.rename(tmp_path / "away")
        os.kill(app.pid("app-1"), signal.SIGKILL)
        assert until(lambda: app.pid("app-1") is None)
        (tmp_path / "away").rename(program)
        assert until(lambda: app.pid("app-1") is not None)


@pytest.mark.parametrize(
    ("app", "why"),
    [
        ("no-such-program --x", "there is no program 'no-such-program'"),
        ("'", "No closing quotation"),
        ("   ", "there is no command"),
    ],
)
def test_what_is_no_command_is_refused(tmp_path, app, why):
    with pytest.raises(UsageError, match=why):
        made(tmp_path, app)


def test_a_program_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    app = made(tmp_path, command("import sys; print('one'); sys.exit('no topic')"))
    with pytest.raises(UsageError, match=r"it ended at once, with status 1: no topic"), app.running(lambda _: None):
        pytest.fail("it runs")
    assert all(app.pid(name) is None for name in app.names)


def test_what_a_killed_run_has_left_is_found_and_removed(tmp_path):
    app = made(tmp_path, command(WAITS))
    app.start("app-1")
    app.start("app-2")
    found = [app.pid(name) for name in app.names]
    assert application.remove(tmp_path) == ("app-1", "app-2")
    assert [pids.identify(pid) for pid in found] == [None, None]
    assert application.remove(tmp_path) == ("app-1", "app-2"), "it may be done twice"
    app.kill("app-1")
    app.kill("app-2")


def test_a_pid_that_somebody_else_has_now_is_left_alone(tmp_path):
    store.write_json(tmp_path / application.HANDLES, [{"name": "app-1", "pid": os.getpid(), "started": "another time"}])
    assert application.remove(tmp_path) == ("app-1",)
    assert application.remove(tmp_path / "elsewhere") == ()
