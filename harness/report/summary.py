"""Many runs at a glance: the index page of a soak, a GitHub step summary in Markdown, and its annotations.

GitHub refuses a step summary past 1 MiB and shows ten annotations a step: both are bounds here, failures come first and
what is left out is counted. Foreign text is escaped for where it goes: HTML, Markdown, or a workflow command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import jinja2

from harness import store
from harness.report.digest import Digest, Told, digest
from harness.report.words import VerdictWord

MAX_SUMMARY_BYTES = 1024 * 1024 - 1024
MAX_ANNOTATIONS = 10
MAX_PROOFS = 3
WORST_FIRST: tuple[VerdictWord, ...] = ("invalid", "no verdict", "unknown", "vacuous", "valid")
MARKS: Mapping[VerdictWord, str] = {
    "invalid": "❌",
    "no verdict": "🔧",
    "unknown": "❓",
    "vacuous": "⭕",
    "valid": "✅",
}
INDEX = "index.html"


def _ordered(runs: Sequence[Told], base: Path) -> list[Digest]:
    digests = [digest(run, base) for run in runs]
    return sorted(digests, key=lambda one: WORST_FIRST.index(one.word))


def _counts(digests: Sequence[Digest]) -> list[tuple[VerdictWord, int]]:
    counted = Counter(one.word for one in digests)
    return [(word, counted[word]) for word in WORST_FIRST if counted[word]]


def summary_markdown(runs: Sequence[Told], base: Path) -> str:
    """Return a step summary: counts, then a fold for each run that is not valid, worst first; below 1 MiB."""
    digests = _ordered(runs, base)
    told = ", ".join(f"{count} {word}" for word, count in _counts(digests)) or "no runs"
    head = f"## kafka-harness: {told}\n\n"
    parts, size_bytes, left_out = [head], len(head.encode()), 0
    for one in digests:
        part = _fold(one) if one.word != "valid" else f"- {MARKS[one.word]} {_md(one.name)}\n"
        if size_bytes + len(part.encode()) > MAX_SUMMARY_BYTES:
            left_out += 1
            continue
        parts.append(part)
        size_bytes += len(part.encode())
    if left_out:
        parts.append(f"\n{left_out} more runs did not fit here.\n")
    return "".join(parts)


def _fold(one: Digest) -> str:
    lines = [f"<details open><summary>{MARKS[one.word]} <b>{one.word}</b>: {_md(one.name)}</summary>\n", ""]
    lines.append(f"{_md(one.sentence)}\n")
    lines += [f"- {_md(line)}" for line in one.proofs()[:MAX_PROOFS]]
    if one.command:
        lines.append(f"\n<pre>{_md(one.command)}</pre>")
    return "\n".join([*lines, "", "</details>", ""])


def _md(text: str) -> str:
    """Escape for Markdown: as HTML, and without the characters that begin Markdown's own markup."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for char in "\\`*_{}[]()|~!":
        escaped = escaped.replace(char, f"&#{ord(char)};")
    return " ".join(escaped.split())


def workflow_commands(runs: Sequence[Told], base: Path) -> list[str]:
    """Return workflow commands, one a line, for the worst runs: errors for invalid, warnings for the others."""
    odd = [one for one in _ordered(runs, base) if one.word != "valid"]
    lines = [_annotation(one) for one in odd[:MAX_ANNOTATIONS]]
    if len(odd) > MAX_ANNOTATIONS:
        rest = len(odd) - MAX_ANNOTATIONS + 1
        lines[-1] = f"::warning title=kafka-harness::{rest} more runs were not valid; see the step summary"
    return lines


def _annotation(one: Digest) -> str:
    level = "error" if one.word == "invalid" else "warning"
    title = f"kafka-harness {one.word}: {one.name}"
    message = "\n".join([one.sentence, *one.proofs()[:1], one.command]).strip()
    return f"::{level} title={_property(title)}::{_message(message)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def publish(runs: Sequence[Told], base: Path, environment: Mapping[str, str]) -> list[str]:
    """Append the summary to GITHUB_STEP_SUMMARY, where set, and return the workflow commands to print."""
    target = environment.get("GITHUB_STEP_SUMMARY")
    if not target:
        return []
    with Path(target).open("a", encoding="utf-8") as file:
        file.write(summary_markdown(runs, base))
    return workflow_commands(runs, base)


def write_index(folder: Path, runs: Sequence[Told]) -> Path:
    """Write folder/index.html: a list of runs, newest last as given, with verdicts and links to their reports."""
    digests = [digest(run, folder) for run in runs]
    package = files("harness.report")
    template = package.joinpath("templates/index.html.j2").read_text(encoding="utf-8")
    macros = package.joinpath("templates/macros.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"index.html.j2": template, "macros.html.j2": macros}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("index.html.j2").render(
        name=folder.resolve().name,
        styles=package.joinpath("assets/report.css").read_text(encoding="utf-8"),
        counts=_counts(digests),
        rows=[_row(one) for one in reversed(digests)],
        total_s=sum(one.seconds for one in digests),
    )
    target = folder / INDEX
    temporary = folder / f".{INDEX}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target)
    return target


def _row(one: Digest) -> dict[str, object]:
    link = f"{quote(one.folder)}/{store.REPORT}" if one.has_report else f"{quote(one.folder)}/" if one.folder else ""
    what = ", ".join(one.anomalies) or " ".join(one.reasons)
    return {"run": one, "link": link, "what": f"{what} What to do: {one.advice}." if one.advice else what}
