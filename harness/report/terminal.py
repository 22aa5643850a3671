"""The terminal: a live view while a run goes, and the table of its verdict.

`LiveView` has three ways to speak, chosen once: a panel that is redrawn (a terminal), plain lines (anything else: a
file, a pipe, CI), nothing (`quiet`, for --json). The panel is redrawn `REFRESH_PER_S` times a second by its own thread,
however many ops are recorded. A simulated run is told by its own clock, as its report is. A view that can't be written
to (a closed pipe) falls silent; it never ends a run.
Foreign text (values, errors, node names) is stripped of control characters before it reaches a terminal.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from checkers.judgement import Judgement
from harness.history import HARNESS, NEMESIS, Op
from harness.process.commit import commit
from harness.process.exits import let_go_of_stdout
from harness.report import words
from harness.report.command import repeat_command
from harness.report.judged import Judged, from_judgement
from harness.report.leaders import natural
from harness.report.program import last_output
from harness.report.progress import FaultNow, Progress, Snapshot
from harness.report.times import took
from harness.scenario import Scenario
from harness.swarm import SIMULATED

SHOWN_UNCHECKED = 6
"""More names than that say nothing on a terminal."""

SAID = 3
"""Last lines of an instance of a program that has stalled; the report shows more."""

REFRESH_PER_S = 4
LINE_EVERY_S = 5.0
INTERRUPTED = "Ctrl-C: heals, reads everything and judges it; once more stops at once"
MAX_LEADERS = 24
"""Partitions named in the panel."""
WIDEST = 120
MARKS = {"valid": "✓", "invalid": "✗", "unknown": "?", "vacuous": "∅", "no verdict": "!"}
STYLES = {
    "valid": "bold blue",
    "invalid": "bold magenta",
    "unknown": "bold yellow",
    "vacuous": "bold cyan",
    "no verdict": "bold",
}
_CONTROL = dict.fromkeys((*range(32), *range(127, 160), 0x2028, 0x2029), " ")


def plain(text: object) -> str:
    """Return foreign text without control characters, so that it can't steer the terminal."""
    return str(text).translate(_CONTROL)


class LiveView:
    """Shows a run while it goes. Use it as a context manager around the run; feed it with `phase` and `event`."""

    def __init__(self, scenario: Scenario, *, quiet: bool = False, console: Console | None = None) -> None:
        """quiet: say nothing at all; console: where to (default: stdout)."""
        self._scenario = scenario
        self._console = console or Console(highlight=False)
        self._speaks = not quiet
        self._progress = Progress()
        self._virtual = scenario.cluster == SIMULATED
        self._event_ns = 0
        self._began_s = time.monotonic()
        self._phase_began_s = 0.0
        self._live: Live | None = None
        self._stops = ""
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._began_s = time.monotonic()
        if not self._speaks:
            return self
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                refresh_per_second=REFRESH_PER_S,
                get_renderable=self._panel,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        else:
            self._say(self._title())
            self._thread = threading.Thread(target=self._status_lines, name="status-lines", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()
        if self._thread is not None:
            self._thread.join()

    def phase(self, name: str) -> None:
        """Tell of a new phase of the run."""
        self._progress.phase = name
        self._phase_began_s = self._now_s()
        if self._live is None:
            self._say(f"{self._clock()}  phase {name}")

    def event(self, op: Op) -> None:
        """Take a recorded op; costs about a microsecond."""
        self._event_ns = op.time
        if self._progress.event(op) and self._live is None and self._speaks:
            self._say(f"{self._clock()}  {self._fault_line(op)}")
        elif op.f == "interrupt" and op.process == HARNESS:
            alarm = op.value if isinstance(op.value, Mapping) else None
            self._stops = f"stops early: {alarm.get('anomaly')}: {alarm.get('why')}" if alarm else INTERRUPTED
            self._say(f"{self._clock()}  {self._stops}")

    # plain lines

    def _say(self, line: str) -> None:
        if self._speaks and self._live is None:
            with contextlib.suppress(OSError):
                print(plain(line), file=self._console.file, flush=True)

    def _clock(self) -> str:
        return f"{self._now_s():7.1f} s"

    def _now_s(self) -> float:
        return self._event_ns / 1e9 if self._virtual else time.monotonic() - self._began_s

    def _title(self) -> str:
        s = self._scenario
        return f"harness: {s.workload} on {s.cluster}, nemesis {s.nemesis}, seed {s.seed}, {s.time_limit_s:g} s"

    def _fault_line(self, op: Op) -> str:
        if op.f == "heal":
            value = op.value if isinstance(op.value, Mapping) else {}
            number = value.get("fault-id")
            return "whatever still held is healed" if number is None else f"fault {number} healed"
        fault = self._progress.fault
        if op.error or fault is None or op.process != NEMESIS:
            return f"fault {op.f} could not be injected: {(op.error or {}).get('message') or 'it did not say why'}"
        bit = {True: "bit", False: "missed", None: "injected"}[fault.bit]
        return f"fault {fault.name} {fault.where}: {bit}" + (f" ({fault.evidence})" if fault.evidence else "")

    def _status_lines(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            shot = self._progress.snapshot(self._now_s())
            ok, info, failed, open_ = shot.total
            leaderless = [key for key, (_, leader, _) in shot.leaders.items() if leader is None]
            line = f"{self._clock()}  {shot.phase}: {ok:,} ok, {info:,} info, {failed:,} fail"
            if shot.phase != "check":  # nobody does anything any more
                line += f", {open_} open, {shot.rate:,.0f}/s"
            if leaderless:
                line += f", no leader for {' '.join(sorted(leaderless, key=natural)[:MAX_LEADERS])}"
            self._say(line)

    # the panel

    def _panel(self) -> RenderableType:
        now_s = self._now_s()
        shot = self._progress.snapshot(now_s)
        parts: list[RenderableType] = [Text(plain(self._title()), style="bold"), self._head(shot, now_s)]
        if shot.counts:
            parts.append(self._counts(shot))
        if shot.leaders:
            parts.append(_leaders(shot))
        parts.extend(_fault(fault, shot) for fault in shot.shown_faults)
        if self._stops:
            parts.append(Text(plain(self._stops), style="yellow"))
        return Group(*parts)

    def _head(self, shot: Snapshot, now_s: float) -> Text:
        text = Text()
        text.append(f"{shot.phase:<8}", style="bold cyan")
        if shot.phase == "main":
            share = min(1.0, (now_s - self._phase_began_s) / self._scenario.time_limit_s)
            width = 24
            text.append("━" * round(share * width), style="blue")
            text.append("━" * (width - round(share * width)), style="bright_black")
            text.append(f"  {now_s - self._phase_began_s:.0f} of {self._scenario.time_limit_s:g} s")
        else:
            text.append(f"{now_s - self._phase_began_s:.0f} s")
        text.append(f"   {shot.rate:,.0f} operations/s")
        return text

    def _counts(self, shot: Snapshot) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name, style in (
            ("", "bold"),
            ("● ok", "blue"),
            ("◆ info", "yellow"),
            ("✗ fail", "magenta"),
            ("open", "default"),
        ):
            table.add_column(name, justify="left" if not name else "right", style=style, header_style=style)
        for kind, numbers in sorted(shot.counts.items(), key=lambda item: -sum(item[1])):
            table.add_row(plain(kind), *(f"{number:,}" for number in numbers))
        return table


def _leaders(shot: Snapshot) -> Text:
    text = Text("leaders  ", style="bright_black")
    named = sorted(shot.leaders.items(), key=lambda item: natural(item[0]))
    for key, (_, leader, isr) in named[:MAX_LEADERS]:
        text.append(plain(key), style="default")
        if leader is None:
            text.append(" nobody  ", style="bold magenta")
        else:
            text.append(f" {plain(leader)}", style="bold default")
            text.append("  " if isr is None else f"/{isr}  ", style="bright_black")
    if len(named) > MAX_LEADERS:
        text.append(f"and {len(named) - MAX_LEADERS} more")
    return text


def _fault(fault: FaultNow, shot: Snapshot) -> Text:
    text = Text("fault    ", style="bright_black")
    state = "holds" if fault.holds else "healed"
    bit = {True: "bit", False: "missed", None: "injected"}[fault.bit]
    text.append(plain(f"{fault.name} {fault.where}"), style="bold yellow" if fault.holds else "default")
    text.append(f"  {bit}, {state}", style="default")
    text.append(f"  {shot.bit} of {shot.faults} bit", style="bright_black")
    if fault.evidence:
        text.append(f"\n         {plain(fault.evidence)}", style="bright_black")
    return text


class Patient(Console):
    """A console whose reader may go away: the exit status is the verdict's all the same, not rich's own 1."""

    def on_broken_pipe(self) -> None:
        """Write on into nothing."""
        self.quiet = True
        let_go_of_stdout()


def verdict_table(
    judgement: Judgement | Mapping[str, Any],
    *,
    folder: Path | None = None,
    scenario: Scenario | None = None,
    console: Console | None = None,
) -> None:
    """Print a verdict: word, sentence, anomalies with their first proof, and what else a reader must know.

    judgement: a `Judgement`, or the object of verdict.json. folder: the run's, to name its report. scenario: to name
    the command that repeats it. Works in 80 columns.
    """
    judged = from_judgement(judgement) if isinstance(judgement, Judgement) else Judged(verdict=judgement)
    faults = judgement.faults if isinstance(judgement, Judgement) else []
    out = console or Patient(highlight=False)
    width = min(out.width, WIDEST)
    word = words.verdict_word(judged.valid)
    out.print()
    title = Text(f"{MARKS[word]} {word.upper()}", style=STYLES[word])
    title.append(f"  {plain(words.headline(word, judged.anomalies, judged.reasons, len(faults)))}", style="default")
    out.print(title, width=width)
    if word == "invalid" or len(judged.reasons) > 1:
        for reason in judged.reasons if word == "invalid" else judged.reasons[1:]:
            out.print(Text(f"  {plain(reason)}"), width=width)
    if tip := judged.advice(scenario):
        out.print(Text(f"  What to do: {plain(tip)}."), width=width)
    if judged.anomalies:
        out.print()
        out.print(_anomalies(judged), width=width)
    out.print()
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bright_black", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in [*_facts(judgement, judged, faults, scenario), *_said(judged, folder)]:
        facts.add_row(name, Text(plain(value)))
    out.print(facts, width=width)
    if scenario is not None:
        out.print(Text(f"repeat       {repeat_command(scenario, folder)}"), soft_wrap=True)
        if scenario.cluster == SIMULATED and word != "valid" and (made_with := commit()) is not None:
            out.print(Text(f"commit       {made_with}"), soft_wrap=True)
    if folder is not None and (folder / "report.html").exists():
        out.print(Text(f"report       {plain(folder / 'report.html')}"), soft_wrap=True)


MAX_PROOF = 2_000
"""Characters of a proof that are printed: a value may be a payload of megabytes, which rich folds for minutes."""


def _anomalies(judged: Judged) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.add_column("anomaly", style="bold", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("first proof", overflow="fold", ratio=1)
    found = judged.anomalies
    for name in sorted(found, key=lambda one: words.severity(one, found[one].get("permitted-by"))):
        entry = found[name]
        examples = entry.get("examples") or [{}]
        first = examples[0] if isinstance(examples, list) and isinstance(examples[0], Mapping) else {}
        why = str(first.get("why", ""))
        proof = Text(plain(why if len(why) <= MAX_PROOF else f"{why[:MAX_PROOF]} ... (the rest is in the verdict)"))
        ops = first.get("ops")
        if isinstance(ops, list) and ops:
            proof.append(
                f"\noperation{'s' if len(ops) > 1 else ''} {', '.join(str(one) for one in ops[:6])}",
                style="bright_black",
            )
        if permitted := entry.get("permitted-by"):
            proof.append(f"\npermitted by {plain(permitted)}", style="yellow")
        table.add_row(plain(name), f"{int(entry.get('count', 1)):,}", proof)
    return table


def _facts(
    judgement: Judgement | Mapping[str, Any],
    judged: Judged,
    faults: list[dict[str, Any]],
    scenario: Scenario | None,
) -> list[tuple[str, str]]:
    facts = []
    stats = judgement.stats if isinstance(judgement, Judgement) else {}
    if stats:
        facts.append(("operations", "; ".join(f"{kind} {_ended(counts)}" for kind, counts in stats.items())))
    elif "ops" in judged.verdict:
        facts.append(("operations", f"{judged.verdict['ops']:,} in the history"))
    if faults:
        bit = sum(fault.get("bit") is True for fault in faults)
        kinds = ", ".join(dict.fromkeys(str(fault.get("name")) for fault in faults))
        facts.append(("faults", f"{bit} of {len(faults)} bit ({kinds})"))
    lag = judged.lag(scenario)
    if lag.get("lag"):
        facts.append(("worst lag", f"{took(int(lag['lag']))} behind on {lag['key']} (process {lag['process']})"))
    if judged.availability:
        kind = max(judged.availability, key=lambda one: float(judged.availability[one].get("longest-outage-s", 0)))
        worst_s = float(judged.availability[kind].get("longest-outage-s", 0))
        facts.append(("outage", f"{worst_s:.2f} s without an ok {kind}, at the longest"))
    if models := words.models_text(judged.verdict.get("models")):
        facts.append(("models", models))
    if judged.allowed:
        legal = ", ".join(f"{name} ({entry.get('count', 1)})" for name, entry in judged.allowed.items())
        facts.append(("legal", f"{legal}: Kafka allows it, no anomaly"))
    if judged.not_checked:
        facts.append(("not checked", _unchecked(judged.not_checked)))
    facts.extend(("note", note) for note in judged.notes)
    return facts


def _said(judged: Judged, folder: Path | None) -> Iterator[tuple[str, str]]:
    for instance, lines in last_output(judged, folder, SAID):
        for number, line in enumerate(lines):
            yield f"{instance} said" if number == 0 else "", line


def _ended(counts: Mapping[str, int]) -> str:
    """Return how the operations of a kind ended, without what did not happen."""
    return (
        ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in ("ok", "info", "fail") if counts[outcome]) or "0 ok"
    )


def _unchecked(names: Sequence[str]) -> str:
    """Return what was not checked: the names of a few, the number of many, and where each is told with its need."""
    if len(names) <= SHOWN_UNCHECKED:
        return f"{len(names)}: {'; '.join(names)}"
    return f"{len(names)} kinds of anomaly: this run holds nothing that shows them (the report says what each needs)"
