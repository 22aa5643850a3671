"""The rules of the house (CONTRIBUTING.md), each as a test that names the file which breaks it."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import cli

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("harness", "checkers", "workloads", "nemesis", "broker")
LONGEST_FILE = 500
GIT_TIMEOUT_S = 60
LINT_TIMEOUT_S = 120
CLOCKS_AND_FILES = frozenset(
    {
        "asyncio",
        "datetime",
        "io",
        "logging",
        "os",
        "pathlib",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "time",
    }
)
PURE = ("broker/core", "checkers")
READS_FILES = frozenset(f"checkers/{name}.py" for name in ("source", "archive", "columnar", "convert", "judge"))
"""The checker modules that open what a user names (a run's folder, a compressed or a foreign history), and the door of
the checkers, which measures how long the judgement took."""
VAGUE_NAMES = frozenset({"util.py", "utils.py", "helper.py", "helpers.py", "common.py", "misc.py"})
TEXT = frozenset(
    {
        ".py",
        ".md",
        ".toml",
        ".txt",
        ".yml",
        ".yaml",
        ".xml",
        ".properties",
        ".sh",
        ".html",
        ".j2",
        ".css",
        ".json",
        ".cfg",
        ".ini",
        ".mk",
        ".svg",
        ".conf",
    }
)
VENDORED = "vendor/"

# Written in pieces, so that this file does not match itself.
HOSTS = re.compile(
    r"(?:py"
    r"pi|python"
    r"hosted|npm"
    r"js|crates|go"
    r"lang|debian|ubuntu)\.(?:org|com|io)"
    r"|repo1?\.maven"
    r"\.|registry-1\.|ghcr"
    r"\.io|quay"
    r"\.io",
    re.IGNORECASE,
)
MACHINE_PATHS = re.compile(r"(?<![\w.$}/-])/(?:work|root|home|Users)/\w")
ANY_ADDRESS = "0.0.0" + ".0"


@functools.cache
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks or would add, relative to the root; all files where there is no git (an sdist)."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=GIT_TIMEOUT_S)
    if listing.returncode == 0:
        names = [Path(name) for name in listing.stdout.split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*") if not path.parts[len(ROOT.parts)].startswith(".")]
    return tuple(sorted(path for path in names if (ROOT / path).is_file()))


@functools.cache
def modules() -> tuple[Path, ...]:
    return tuple(path for path in tracked() if path.suffix == ".py" and path.parts[0] in PACKAGES)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(), filename=str(path))


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        named = path.suffix in TEXT or path.name in {"Makefile", "Dockerfile"} or path.parts[0] == ".ci"
        if named and VENDORED not in str(path):
            yield path, (ROOT / path).read_text()


def lines_matching(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_walk_sees_the_house() -> None:
    seen = {path.parts[0] for path in modules()}
    assert seen == set(PACKAGES)
    assert Path("Makefile") in tracked()


def test_init_files_hold_a_docstring_and_nothing_else() -> None:
    wrong = [
        str(path)
        for path in modules()
        if path.name == "__init__.py" and (len(tree(path).body) != 1 or not ast.get_docstring(tree(path)))
    ]
    assert wrong == []


def test_every_module_opens_with_its_theory_of_operation() -> None:
    python = [path for path in tracked() if path.suffix == ".py" and tree(path).body]
    assert [str(path) for path in python if not ast.get_docstring(tree(path))] == []


def test_files_are_named_after_what_they_know() -> None:
    assert [str(path) for path in tracked() if path.name in VAGUE_NAMES] == []


def test_no_python_file_is_too_long() -> None:
    lengths = {str(path): len((ROOT / path).read_text().splitlines()) for path in tracked() if path.suffix == ".py"}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_import_linter_keeps_every_contract() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LINT_TIMEOUT_S)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_module_of_the_harness_has_a_layer() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [contract for contract in configuration["contracts"] if contract["id"] == "layers"]
    layers = {name.strip(" ()") for layer in contract["layers"] for name in re.split(r"[|:]", layer)}
    names = [".".join(path.with_suffix("").parts) for path in modules() if path.name != "__init__.py"]
    homeless = [
        name
        for name in names
        if name.startswith("harness.") and not any(f"{name}.".startswith(f"{layer}.") for layer in layers)
    ]
    assert homeless == [], "add the module to the layers in pyproject.toml, where it belongs"


def imported_roots(path: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            roots.add(node.module.partition(".")[0])
    return roots


def impurities(path: Path) -> set[str]:
    """What in a module reaches for a clock, files, threads, logs, or randomness but a generator that it is given."""
    found = imported_roots(path) & CLOCKS_AND_FILES
    for node in ast.walk(tree(path)):
        match node:
            case ast.Attribute(value=ast.Name(id="random"), attr=name) if name != "Random":
                found.add(f"random.{name}")
            case ast.ImportFrom(module="random"):
                found.add("from random import")
            case ast.Call(func=ast.Name(id="open" | "print" | "input" as name)):
                found.add(f"{name}()")
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="random"):
                found.add("numpy.random")
    return found


def test_checkers_and_the_broker_core_are_pure() -> None:
    pure = [path for path in modules() if str(path).startswith(PURE) and str(path) not in READS_FILES]
    assert pure, "no pure module found: the test would see nothing"
    assert {str(path): found for path in pure if (found := impurities(path))} == {}


def test_nothing_listens_on_every_address() -> None:
    assert lines_matching(re.compile(re.escape(ANY_ADDRESS) + r"(?!\d)")) == []


def test_no_file_names_a_registry_host() -> None:
    assert lines_matching(HOSTS) == []


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_matching(MACHINE_PATHS) == []


def test_every_dependency_has_a_note_of_why() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in wanted}
    notes = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "decisions").glob("*.md")))
    noted = {name.lower() for name in re.findall(r"\*\*([\w.-]+)\*\*", notes)}
    assert sorted(names - noted) == [], "write why in docs/decisions, the name in bold"


def test_every_requirement_is_pinned_with_hashes() -> None:
    text = (ROOT / "requirements.txt").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    packages = [block for block in blocks if not block.startswith("#")]
    assert len(packages) > 10
    assert [block.splitlines()[0] for block in packages if "==" not in block or "--hash=sha256:" not in block] == []


# A test asserts when it states something, expects a raise, or calls a function of the tests that does.


def asserting_names(node: ast.AST) -> bool:
    for child in ast.walk(node):
        match child:
            case ast.Assert():
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="pytest"), attr="raises" | "warns" | "fail")):
                return True
    return False


def called(node: ast.AST) -> set[str]:
    """The plain and last names of everything that a function calls or takes as a fixture."""
    names: set[str] = set()
    for child in ast.walk(node):
        match child:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                names.add(name)
    return names


def test_every_test_asserts() -> None:
    files = [path for path in tracked() if path.suffix == ".py" and path.parts[0] == "tests"]
    functions = [
        (path, node)
        for path in files
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    asserting = {node.name for _, node in functions if asserting_names(node)}
    tests = [(path, node) for path, node in functions if node.name.startswith("test_")]
    assert len(tests) > len(files)
    # Two steps are enough for a test that calls a check which calls a comparison.
    for _ in range(2):
        asserting |= {node.name for _, node in functions if called(node) & asserting}
    silent = [f"{path}:{node.lineno} {node.name}" for path, node in tests if node.name not in asserting]
    assert silent == []


def test_no_test_sleeps() -> None:
    files = [path for path in tracked() if path.suffix == ".py" and path.parts[0] == "tests"]
    sleeping = [
        f"{path}:{node.lineno}"
        for path in files
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}
    ]
    assert sleeping == [], "wait for a condition with a deadline, or use the virtual clock"


def commands() -> dict[tuple[str, ...], set[str]]:
    """The options of every command of `harness`, by the words that name it."""
    found: dict[tuple[str, ...], set[str]] = {}

    def visit(words: tuple[str, ...], command: Any) -> None:
        found[words] = {name for part in command.params for name in (*part.opts, *part.secondary_opts)} | {"--help"}
        for name, child in getattr(command, "commands", {}).items():
            visit((*words, name), child)

    visit((), typer.main.get_command(cli.app))
    return found


def unknown_words(line: str, known: dict[tuple[str, ...], set[str]]) -> list[str]:
    """What a line of documentation tells `harness` to do that it can't: options, or a command that there is none of."""
    wrong = []
    for told in re.findall(r"(?<![\w/.-])harness ((?:[^`|;&]|\|(?! ))*)", line):
        words: tuple[str, ...] = ()
        for word in told.split():
            if (*words, word) not in known:
                break
            words = (*words, word)
        options = re.findall(r"(?<![\w-])--[a-z][\w-]*", told)
        wrong += [f"harness {' '.join(words)} {option}" for option in options if option not in known[words]]
    return wrong


def test_documentation_names_only_options_that_exist() -> None:
    known = commands()
    assert {("run",), ("check",), ("soak",), ("cluster", "up")} <= set(known)
    assert unknown_words("`harness run --no-such 1` and `harness check --json`", known) == ["harness run --no-such"]
    wrong = [
        f"{path}: {word}"
        for path, text in texts()
        if path.suffix in {".md", ".yml"} or path.name == "Makefile"
        for line in text.replace("\\\n", " ").splitlines()
        for word in unknown_words(line, known)
    ]
    assert wrong == []


def test_links_between_documents_lead_somewhere() -> None:
    links = [
        (path, target)
        for path, text in texts()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text)
        if "://" not in target
    ]
    assert links, "no link found: the test would see nothing"
    assert [f"{path}: {target}" for path, target in links if not (ROOT / path.parent / target).exists()] == []


@pytest.mark.parametrize("index", ["docs/index.md", "docs/decisions/README.md"])
def test_every_document_is_in_its_index(index: str) -> None:
    folder = Path(index).parent
    others = [path for path in tracked() if path.parent == folder and path.suffix == ".md" and str(path) != index]
    text = (ROOT / index).read_text()
    assert others
    assert [str(path) for path in others if f"({path.name})" not in text] == []


def test_the_wheel_carries_everything_that_an_installed_harness_opens(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LINT_TIMEOUT_S)
    assert answer.returncode == 0, answer.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path) for path in tracked() if path.parts[0] in {*PACKAGES, "compose"}}
    assert "compose/image/build.sh" in wanted
    assert wanted - packed == set()
    assert [name for name in packed if name.startswith(("tests/", "bench/", "docs/"))] == []
