"""The terminal: plain lines for a pipe, nothing for --json, a panel for a terminal, a table in 80 columns."""

from __future__ import annotations

import dataclasses
import io
import threading

import msgspec
import pytest
from rich.console import Console

from checkers.judge import judge
from harness.history import Op
from harness.report import terminal
from harness.report.progress import Progress
from harness.report.terminal import LiveView, plain, verdict_table
from harness.scenario import Scenario
from tests.checkers.test_vacuity import quiet

DEADLINE_S = 10


class Paper(io.StringIO):
    """Text output that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def write(self, text: str) -> int:
        with self.changed:
            written = super().write(text)
            self.changed.notify_all()
        return written

    def wait_for(self, text: str) -> str:
        with self.changed:
            self.changed.wait_for(lambda: text in self.getvalue(), DEADLINE_S)
            return self.getvalue()


def pipe() -> tuple[Console, Paper]:
    paper = Paper()
    return Console(file=paper, force_terminal=False, width=80), paper


def screen() -> tuple[Console, Paper]:
    paper = Paper()
    return Console(file=paper, force_terminal=True, width=100, legacy_windows=False), paper


def ok(f: str = "txn", process: int = 1) -> Op:
    return Op(process=process, type="ok", f=f, time=5, value=[])


INJECTED = Op(
    process="nemesis",
    type="info",
    f="kill-leader",
    time=7,
    value={"fault-id": 1, "nodes": ["n2"], "keys": ["t0/1"], "evidence": {"new-leader": "n3"}, "bit": True},
)
HEALED = Op(process="nemesis", type="info", f="heal", time=9, value={"fault-id": 1})


def probed(leader: object, epoch: int) -> Op:
    value = {"api": "Metadata", "key": "t0/1", "leader": leader, "epoch": epoch, "isr": ["n1", "n3"]}
    return Op(process="probe/n1", type="ok", f="probe", time=6, value=value)


def test_a_pipe_gets_a_line_for_each_phase_and_fault() -> None:
    console, paper = pipe()
    with LiveView(Scenario(seed=9), console=console) as view:
        view.phase("main")
        view.event(INJECTED)
        view.event(HEALED)
    lines = paper.getvalue().splitlines()
    assert "seed 9" in lines[0]
    assert lines[1].endswith("phase main")
    assert lines[2].endswith("fault kill-leader n2 t0/1: bit (new-leader n3)")
    assert lines[3].endswith("fault 1 healed")


def test_an_injection_that_failed_says_why_in_words() -> None:
    console, paper = pipe()
    failed = msgspec.structs.replace(INJECTED, error={"name": "CLUSTER_ERROR", "message": "kill: `x` ended badly"})
    with LiveView(Scenario(seed=9), console=console) as view:
        view.event(failed)
    assert paper.getvalue().splitlines()[-1].endswith("fault kill-leader could not be injected: kill: `x` ended badly")


def test_a_simulated_run_is_told_by_its_own_clock() -> None:
    console, paper = pipe()
    with LiveView(Scenario(cluster="simulated"), console=console) as view:
        view.event(msgspec.structs.replace(INJECTED, time=12_300_000_000))
        view.phase("heal")
        view.event(msgspec.structs.replace(HEALED, time=20_000_000_000))
    assert [line.split(" s  ")[0].strip() for line in paper.getvalue().splitlines()[1:]] == ["12.3", "12.3", "20.0"]


def test_a_pipe_gets_a_status_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "LINE_EVERY_S", 0.02)
    console, paper = pipe()
    with LiveView(Scenario(), console=console) as view:
        view.phase("main")
        view.event(ok())
        view.event(probed(None, 4))
        for text in ("1 ok, 0 info, 0 fail", "no leader for t0/1"):
            assert text in paper.wait_for(text)
    assert "\x1b" not in paper.getvalue()


INTERRUPT = Op(process="harness", type="info", f="interrupt", time=8)


@pytest.mark.parametrize("paper_of", [pipe, screen])
def test_who_interrupts_a_run_is_told_what_happens_now(paper_of) -> None:
    console, paper = paper_of()
    with LiveView(Scenario(), console=console) as view:
        view.phase("main")
        view.event(INTERRUPT)
        assert terminal.INTERRUPTED in paper.wait_for(terminal.INTERRUPTED)


def test_quiet_says_nothing() -> None:
    console, paper = pipe()
    with LiveView(Scenario(), quiet=True, console=console) as view:
        view.phase("main")
        view.event(INJECTED)
    assert paper.getvalue() == ""


def test_quiet_says_nothing_on_a_terminal_either() -> None:
    console, paper = screen()
    with LiveView(Scenario(), quiet=True, console=console) as view:
        view.phase("main")
    assert paper.getvalue() == ""


def test_a_terminal_gets_a_panel_with_counts_leaders_and_the_fault() -> None:
    console, paper = screen()
    with LiveView(Scenario(nemesis="kill-leader"), console=console) as view:
        view.phase("main")
        view.event(Op(process=1, type="invoke", f="txn", value=[]))
        view.event(ok())
        view.event(probed("n3", 4))
        view.event(INJECTED)
        for text in ("main", "txn", "t0/1", "n3", "kill-leader n2 t0/1", "1 of 1 bit"):
            assert text in paper.wait_for(text)


def test_a_closed_pipe_never_ends_a_run() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with LiveView(Scenario(), console=Console(file=Broken(), force_terminal=False)) as view:
        view.phase("main")
        view.event(INJECTED)
        shown = view._progress.fault
    assert shown is not None


def test_counts_and_what_is_open_are_right() -> None:
    progress = Progress()
    for kind in ("invoke", "invoke", "invoke", "ok", "info"):
        progress.event(Op(process=1, type=kind, f="txn", time=3))
    shot = progress.snapshot(1.0)
    assert shot.counts == {"txn": (1, 1, 0, 1)}
    assert shot.total == (1, 1, 0, 1)


def test_the_rate_is_of_the_last_seconds() -> None:
    progress = Progress()
    for _ in range(50):
        progress.event(ok())
    assert progress.snapshot(2.0).rate == 25.0, "the first one has the time since the beginning"
    for second in range(3, 12):
        last = progress.snapshot(float(second)).rate
    assert last == 0.0


def test_a_leader_of_a_lower_epoch_is_not_shown() -> None:
    progress = Progress()
    progress.event(probed("n3", 4))
    progress.event(probed("n1", 2))
    assert progress.snapshot(0.0).leaders["t0/1"][1] == "n3"


def test_overlapping_faults_are_shown_while_they_hold() -> None:
    progress = Progress()
    for number, name in ((1, "pause-followers"), (2, "kill-leader")):
        value = {"fault-id": number, "nodes": [], "keys": [], "evidence": {}, "bit": True}
        progress.event(Op(process="nemesis", type="info", f=name, value=value))
    assert [fault.name for fault in progress.snapshot(0).shown_faults] == ["pause-followers", "kill-leader"]
    progress.event(Op(process="nemesis", type="info", f="heal", value={"fault-id": 1}))
    assert [fault.name for fault in progress.snapshot(0).shown_faults] == ["kill-leader"]
    progress.event(Op(process="nemesis", type="info", f="heal", value={"fault-id": 2}))
    assert [(fault.name, fault.holds) for fault in progress.snapshot(0).shown_faults] == [("kill-leader", False)]


def test_foreign_text_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\nc\x9b1md\u2028") == "a [2Jb c 1md "


def printed(judgement: object, width: int = 80, **options) -> str:
    paper = io.StringIO()
    verdict_table(judgement, console=Console(file=paper, force_terminal=False, width=width), **options)
    return paper.getvalue()


@pytest.mark.parametrize(("sub_via", "told"), [(("assign",), False), (("assign", "subscribe"), True)])
def test_the_worst_lag_is_told_of_consumers_that_go_on_where_they_were(bad_run, sub_via, told) -> None:
    """Who is assigned begins again at the beginning: a lag of the run's length would be told of every run."""
    judgement = judge(bad_run / "history.jsonl")
    assert "worst lag" in printed(judgement)
    assert ("worst lag" in printed(judgement, scenario=Scenario(sub_via=sub_via))) == told


def test_operations_are_told_without_what_did_not_happen() -> None:
    counts = {
        "txn": {"count": 9, "ok": 6, "info": 1, "fail": 2},
        "poll": {"count": 2_000, "ok": 2_000, "info": 0, "fail": 0},
    }
    told = dataclasses.replace(quiet(), stats=counts | {"send": dict.fromkeys(("count", "ok", "info", "fail"), 0)})
    assert "operations   txn 6 ok, 1 info, 2 fail; poll 2,000 ok; send 0 ok" in printed(told)


def test_the_table_fits_into_eighty_columns(bad_run) -> None:
    text = printed(judge(bad_run / "history.jsonl"))
    assert max(map(len, text.splitlines())) <= 80
    assert "INVALID" in text
    assert "lost-write" in text
    assert "2 of 3 bit (kill-leader)" in text
    assert "kinds of anomaly: this run holds nothing that shows them" in " ".join(text.split())


@pytest.mark.parametrize(("count", "shown"), [(2, "2: class-0; class-1"), (7, "7 kinds of anomaly")])
def test_a_few_unchecked_kinds_are_named_and_many_are_counted(bad_run, count: int, shown: str) -> None:
    names = tuple(f"class-{at}" for at in range(count))
    judgement = dataclasses.replace(judge(bad_run / "history.jsonl"), not_checked=names)
    assert f"not checked {shown}" in " ".join(printed(judgement).split())


def test_the_table_names_the_report_and_the_command_unbroken(bad_run) -> None:
    scenario = Scenario(seed=77, topic_config={"unclean.leader.election.enable": "true"})
    lines = printed({"valid": True}, folder=bad_run, scenario=scenario).splitlines()
    assert any(line.endswith(str(bad_run / "report.html")) for line in lines)
    assert any(line.endswith("--seed 77") and "harness run" in line for line in lines)


@pytest.mark.parametrize(
    ("valid", "said"), [(True, "VALID"), ("vacuous", "VACUOUS"), ("unknown", "UNKNOWN"), (None, "NO VERDICT")]
)
def test_each_verdict_has_its_word(valid: object, said: str) -> None:
    text = printed({"valid": valid, "anomalies": {}, "reasons": ["the one reason"]})
    assert said in text
    assert ("the one reason" in text) is (valid is not True)


def test_what_is_permitted_is_said_beside_the_anomaly() -> None:
    entry = {"count": 3, "permitted-by": "acks=1", "examples": [{"why": "Because \x1b[31mof it.", "ops": [3, 7]}]}
    text = printed({"valid": False, "anomalies": {"lost-write": entry}})
    assert "permitted by acks=1" in text
    assert "operations 3, 7" in text
    assert "\x1b" not in text


def test_a_vacuous_run_is_told_what_to_do() -> None:
    console, paper = pipe()
    verdict_table(quiet(written=False, read=False), scenario=Scenario(time_limit_s=30), console=console)
    assert "What to do: clients got nothing done: raise --time-limit" in " ".join(paper.getvalue().split())
