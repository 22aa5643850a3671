"""The report: one self-contained report.html from a run's folder. It needs no network and opens from a disk.

The history is streamed twice: once into columns and events, and once more for the operations that prove an anomaly.
Style sheet, scripts, the chart library and the data all stand in the page; a content security policy names the scripts
by their hash and forbids everything else, so that a foreign value that got past the escaping still could not run.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import msgspec

from checkers.convert import json_lines
from checkers.judgement import Judgement
from checkers.options import options_of_scenario
from harness import store
from harness.cluster.api import UsageError
from harness.history import Op, read_lines
from harness.report.bundle import bundle
from harness.report.cards import named, places
from harness.report.columns import Calls, read_calls
from harness.report.faults import FaultLog
from harness.report.judged import Judged, from_folder, from_judgement
from harness.report.leaders import LeaderLog
from harness.report.order import Locator
from harness.report.page import Source, content, drawn_facts
from harness.report.program import last_output
from harness.report.proof import Evidence, collect
from harness.scenario import Scenario

STYLES = ("vendor/uPlot.min.css", "assets/report.css")
SCRIPTS = (
    "vendor/uPlot.iife.min.js",
    "assets/data.js",
    "assets/view.js",
    "assets/ruler.js",
    "assets/charts.js",
    "assets/leaders.js",
    "assets/timeline.js",
    "assets/picture.js",
    "assets/main.js",
)
MAX_FILES = 40
"""Files beside the page that it links to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a page is made from."""

    ops: Callable[[], Iterator[Op]]
    """Reads the history from its beginning."""
    name: str
    began: str
    judged: Judged
    scenario: Scenario | None
    cluster: Mapping[str, Any]
    workload: str
    files: Sequence[Mapping[str, str]]
    folder: Path | None = None
    """The run's."""


def write_report(folder: Path, judgement: Judgement | None = None) -> Path:
    """Write folder/report.html and return its path.

    judgement: what to report; without one, the folder's verdict.json is the verdict.
    Raises HistoryError where the history can't be read; a missing history, scenario or verdict is told in the page.
    """
    return _write(folder / store.REPORT, _run(folder, judgement))


def write_page(history: Path, target: Path, judgement: Judgement, workload: str) -> Path:
    """Write the report of any history, in any form that `harness check` reads; raises UsageError where it can't."""
    if history.is_dir() and (history / store.SCENARIO).exists():
        told = _run(history, judgement)
    else:
        told = _Told(
            ops=lambda: read_lines((line + b"\n" for line in json_lines(history, lambda _: None)), name=history.name),
            name=history.name,
            began="",
            judged=from_judgement(judgement),
            scenario=None,
            cluster={},
            workload=workload,
            files=(),
        )
    try:
        return _write(target, told)
    except OSError as error:
        raise UsageError(f"--report {target}: {error.strerror or error}") from error


def _write(target: Path, told: _Told) -> Path:
    page, facts, block = _load(told)
    scripts = [_script(name) for name in SCRIPTS]
    environment = _environment()
    text = environment.get_template("report.html.j2").render(
        page=page | {"calls_block": block, "facts_block": _packed(facts)},
        styles="\n".join(_asset(name) for name in STYLES),
        scripts=scripts,
        script_hashes=" ".join(_hash(script) for script in scripts),
    )
    _put(target, text)
    return target


def _put(target: Path, text: str) -> None:
    """Write the page whole or not at all: half of one, from a full disk, would be read as one that found nothing."""
    if target.exists() and not target.is_file():  # a device, or a folder, which is refused
        target.write_text(text, encoding="utf-8")
        return
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _run(folder: Path, judgement: Judgement | None) -> _Told:
    scenario = _scenario(folder)
    return _Told(
        ops=lambda: _ops(folder),
        name=_name(folder),
        began=_began(folder),
        judged=from_judgement(judgement) if judgement is not None else from_folder(folder, scenario),
        scenario=scenario,
        cluster=_cluster(folder),
        workload="" if scenario is None else options_of_scenario(msgspec.to_builtins(scenario)).workload,
        files=_files(folder),
        folder=folder,
    )


def _load(told: _Told) -> tuple[dict[str, Any], dict[str, Any], str]:
    judged, cluster = told.judged, told.cluster
    log, leaders = FaultLog(), LeaderLog(_node_names(cluster))
    indexes = named(judged)
    locator = Locator(indexes)
    last = 0

    def event(op: Op) -> None:
        nonlocal last
        last = max(last, op.time)
        log.event(op)
        leaders.event(op)

    calls = read_calls(_located(told.ops(), locator), event)
    end = max(last, int(calls.end.max()) if len(calls) else 0)
    evidence = collect(told.ops(), indexes, places(judged, locator)) if indexes else Evidence()
    source = Source(
        name=told.name,
        began=told.began,
        scenario=told.scenario,
        cluster=cluster,
        judged=judged,
        calls=calls,
        end=end,
        faults=log.faults,
        phases=log.phases,
        lanes=leaders.lanes(),
        evidence=evidence,
        locator=locator,
        workload=told.workload,
        notes=_notes(calls, log, leaders),
    )
    packed = bundle(calls, indexes)
    page = content(source) | {
        "has_time": source.end > 0,
        "files": told.files,
        "program": last_output(judged, told.folder),
        "footer": f"Made by kafka-harness {_version()}.",
    }
    return page, drawn_facts(source, packed), packed.block


def _notes(calls: Calls, log: FaultLog, leaders: LeaderLog) -> list[str]:
    notes = [f"The final read of {key} did not reach its end." for key in log.incomplete_drains]
    if leaders.cut():
        notes.append("A partition's leader changed more often than the lane keeps; its end is missing there.")
    if not len(calls):
        notes.append("The history holds no client operation.")
    return notes


def _ops(folder: Path) -> Iterator[Op]:
    path = folder / store.HISTORY
    if path.exists():
        with path.open("rb") as lines:
            yield from read_lines(lines, name=path.name)


def _located(ops: Iterator[Op], locator: Locator) -> Iterator[Op]:
    for op in ops:
        locator.take(op)
        yield op


def _scenario(folder: Path) -> Scenario | None:
    try:
        return store.read_scenario(folder)
    except store.StoreError:
        return None


def _cluster(folder: Path) -> Mapping[str, Any]:
    try:
        described = store.read_json(folder / store.CLUSTER)
    except store.StoreError:
        return {}
    return described if isinstance(described, dict) else {}


def _node_names(cluster: Mapping[str, Any]) -> dict[int, str]:
    """Return Kafka's node.id -> our name of the node, from what the cluster's `describe` said."""
    nodes = cluster.get("nodes")
    described = nodes.items() if isinstance(nodes, dict) else ()
    return {node["id"]: name for name, node in described if isinstance(node, dict) and isinstance(node.get("id"), int)}


def _name(folder: Path) -> str:
    resolved = folder.resolve()
    return resolved.parent.name if _stamp(resolved.name) else resolved.name


def _began(folder: Path) -> str:
    return _stamp(folder.resolve().name)


def _stamp(name: str) -> str:
    """Return the date and time in a run folder's name (20261103T101502.123), or nothing."""
    if len(name) < 15 or name[8:9] != "T" or not (name[:8] + name[9:15]).isdigit():
        return ""
    return f"{name[:4]}-{name[4:6]}-{name[6:8]} {name[9:11]}:{name[11:13]}:{name[13:15]}"


def _files(folder: Path) -> list[dict[str, str]]:
    listed = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != store.REPORT
        and not path.name.startswith(".")
        and _is_for_readers(path, folder)
    ]
    return [
        {"name": str(path.relative_to(folder)), "href": quote(str(path.relative_to(folder))), "size": _size(path)}
        for path in listed[:MAX_FILES]
    ]


def _is_for_readers(path: Path, folder: Path) -> bool:
    """Leave out the cluster's own data: segments and indexes are no reading."""
    return path.relative_to(folder).parts[0] != "cluster"


def _size(path: Path) -> str:
    size_bytes = path.stat().st_size
    for unit, scale in (("MB", 1_000_000), ("kB", 1_000)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:,.1f} {unit}"
    return f"{size_bytes} B"


def _version() -> str:
    try:
        return version("kafka-harness")
    except PackageNotFoundError:
        return "(not installed)"


def _packed(facts: Mapping[str, Any]) -> str:
    return base64.b64encode(zlib.compress(msgspec.json.encode(facts), 9)).decode("ascii")


@cache
def _asset(name: str) -> str:
    return files("harness.report").joinpath(name).read_text(encoding="utf-8").strip()


def _script(name: str) -> str:
    text = _asset(name)
    assert "</script" not in text.lower(), f"{name} would end its own element"
    return text


def _hash(script: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") + "'"


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(lambda name: _asset(f"templates/{name}"))
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
