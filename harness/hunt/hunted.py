"""The table of a score, as Markdown, and where it is put: between two marks of a document.

One line for each bug: whether the checkers found it, by which seed, how many seeds were tried, how long that took in
virtual time and on one core, by which anomalies; and, apart, the first invariant of the simulator that the bug broke.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from broker.bugs.registry import Bug
from harness.cluster.api import UsageError
from harness.hunt.hunting import Hunt, Score
from harness.hunt.permitted import PERMITS

BEGIN, END = "<!-- score: begin -->", "<!-- score: end -->"
MANY = 3
"""Anomalies that a line names; the rest is counted."""


def table(score: Score, bugs: Mapping[str, Bug], command: str) -> str:
    """Return the whole section: the command, the table, what the clean seeds said."""
    found = [hunt for hunt in score.hunts if hunt.found is not None]
    times = sorted(hunt.cpu_s for hunt in found)
    lines = [f"`{command}`", ""]
    if score.hunts:
        said = f"Found {len(found)} of {len(score.hunts)} bugs"
        if times:
            middle, most = statistics.median(times), times[-1]
            said += f"; time to find one, on one core: median {middle:.1f} s, at most {most:.1f} s"
        lines += [f"{said}.", ""]
        lines += ["| bug | found | seeds tried | simulated | on one core | anomalies | simulator's invariant |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_line(hunt) for hunt in score.hunts]
        lines += [""]
    if score.permits:
        lines += [*_permits(score.permits), ""]
    lines += _clean(score)
    unforeseen = sorted(
        hunt.bug for hunt in found if hunt.found and not set(bugs[hunt.bug].proof) & set(hunt.found.anomalies)
    )
    if unforeseen:
        lines += ["", f"By an anomaly that the registry did not foresee: {', '.join(unforeseen)}."]
    return "\n".join(lines) + "\n"


def _line(hunt: Hunt) -> str:
    one, seen = hunt.found, hunt.seen
    found = "**no**" if one is None else f"seed {one.seed}"
    shown = "" if one is None else ", ".join(one.anomalies[:MANY])
    if one is not None and len(one.anomalies) > MANY:
        shown += f" and {len(one.anomalies) - MANY} more"
    invariant = "-" if seen is None else f"{', '.join(seen.invariants)} (seed {seen.seed})"
    return (
        f"| `{hunt.bug}` | {found} | {hunt.tried} | {hunt.virtual_s:.0f} s | {hunt.cpu_s:.1f} s "
        f"| {shown or '-'} | {invariant} |"
    )


def _permits(permits: Sequence[Hunt]) -> list[str]:
    """Return the second table: what settings did to the clean broker, and whether all of it is permitted."""
    lines = ["| setting | it permits | shown by | seeds tried | anomalies, permitted by it | not permitted |"]
    lines += ["|---|---|---|---|---|---|"]
    for hunt in permits:
        one = hunt.found
        shown = "no seed" if one is None else f"seed {one.seed}"
        lawful = "-" if one is None else ", ".join(one.permitted) or "-"
        other = "-" if one is None else ", ".join(name for name in one.anomalies if name not in one.permitted) or "-"
        lines.append(f"| {hunt.bug} | {PERMITS[hunt.bug].why} | {shown} | {hunt.tried} | {lawful} | {other} |")
    return lines


def _clean(score: Score) -> list[str]:
    if not score.clean:
        return []
    alarms = [one for one in score.clean if one.valid is False or one.invariants]
    other = [one for one in score.clean if one.valid in {"unknown", "vacuous"}]
    broken = [one for one in score.clean if one.valid is None]
    virtual_s, cpu_s = sum(one.virtual_s for one in score.clean), sum(one.cpu_s for one in score.clean)
    first, last = score.clean[0].seed, score.clean[-1].seed
    said = (
        f"Clean seeds {first} to {last}: {len(score.clean)} runs, {virtual_s:.0f} s simulated in {cpu_s:.0f} s; "
        f"{len(alarms)} raised an anomaly or an invariant, {len(broken)} broke, "
        f"{len(other)} were vacuous or unknown (a fault that found nothing to do, or no operation inside its window)."
    )
    return [said, *(f"* seed {one.seed}: {', '.join((*one.anomalies, *one.invariants))}" for one in alarms)]


def put(path: Path, text: str) -> None:
    """Replace what stands between the marks; raises UsageError where they are missing."""
    before, after = parts(path)
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def parts(path: Path) -> tuple[str, str]:
    """Return what stands before and after the marks; raises UsageError where they are missing."""
    try:
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    except OSError as error:
        raise UsageError(f"--write {path}: {error.strerror}") from error
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"--write {path}: it must hold the lines {BEGIN} and {END}")
    return before, after
