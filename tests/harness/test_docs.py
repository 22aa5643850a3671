"""The documentation against the command line: it names no option that there is not, and its tables are tables."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from checkers.judge import judge
from harness.cli import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")], key=str)
CODE = re.compile(r"```\w*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"(?:^|(?<=[\s/`]))harness ((?:[a-z][a-z-]*)\b[^|\n#`]*)")


def commands(text: str) -> list[list[str]]:
    """Return the words after each `harness` in a page's code."""
    found = []
    for fenced, inline in CODE.findall(text):
        code = (fenced or inline).replace("\\\n", " ")
        found += [shlex.split(match[1].replace("'", "")) for match in COMMAND.finditer(code)]
    return found


def resolved(words: list[str]) -> click.Command | None:
    """Return the command that the words begin with, None where they are no command line."""
    command: click.Command = typer.main.get_command(app)
    for word in words:
        if not isinstance(command, click.Group) or word not in command.commands:
            break
        command = command.commands[word]
    return None if isinstance(command, click.Group) else command


def test_pages_name_only_options_that_there_are() -> None:
    seen, unknown = 0, []
    for page in PAGES:
        for words in commands(page.read_text()):
            if (command := resolved(words)) is None:
                continue
            seen += 1
            known = {"--help"} | {name for one in command.params for name in [*one.opts, *one.secondary_opts]}
            unknown += [
                f"{page.name}: harness {' '.join(words)}: {word}"
                for word in words
                if word.startswith("--") and word not in known
            ]
    assert unknown == []
    assert seen > 50, "hardly any command found: the test would see nothing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_has_a_head(page: Path) -> None:
    lines = page.read_text().splitlines()
    begins = [at for at, line in enumerate(lines) if line.startswith("|") and not lines[at - 1].startswith("|")]
    assert [lines[at][:60] for at in begins if not re.match(r"\|[ :|-]+\|$", lines[at + 1])] == []


def test_the_example_of_a_history_is_one(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text((ROOT / "docs/history.md").read_text().split("```\n")[1])
    verdict = judge(path)
    assert verdict.anomalies == ()
    assert verdict.stats["txn"]["ok"] == 1
