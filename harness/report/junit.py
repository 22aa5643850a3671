"""JUnit XML: each run is a test case, as CI systems read it.

valid: passed. invalid: a failure with the anomalies, their first proofs and the command that repeats the run. vacuous
and unknown: failures of their own type, since a run that proved nothing must not be green. No verdict: an *error*,
which is JUnit's word for a test that could not be run: the harness broke, the system under test is not accused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from harness import store
from harness.report.digest import Digest, Told, digest

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 can't hold, even escaped."""
MAX_TEXT = 20_000


def write_junit(path: Path, runs: Sequence[Told]) -> Path:
    """Write the runs (folders, or rows of soak.jsonl) as JUnit XML; folders in rows are relative to the file's."""
    digests = [digest(run, path.parent) for run in runs]
    failed = sum(one.word in {"invalid", "vacuous", "unknown"} for one in digests)
    broken = sum(one.word == "no verdict" for one in digests)
    attributes = {
        "name": "kafka-harness",
        "tests": str(len(digests)),
        "failures": str(failed),
        "errors": str(broken),
        "skipped": "0",
        "time": f"{sum(one.seconds for one in digests):.3f}",
    }
    root = ET.Element("testsuites", attributes)
    suite = ET.SubElement(root, "testsuite", attributes)
    for one in digests:
        _case(suite, one)
    ET.indent(root)
    path.write_bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")
    return path


def _case(suite: ET.Element, one: Digest) -> None:
    attributes = {
        "classname": _clean(f"kafka-harness.{one.cluster or 'history'}.{one.workload or 'kafka'}"),
        "name": _clean(one.name),
        "time": f"{one.seconds:.3f}",
    }
    case = ET.SubElement(suite, "testcase", attributes)
    if one.word == "no verdict":
        told = ET.SubElement(case, "error", {"type": "harness", "message": _clean(one.sentence)})
        told.text = _clean(_text(one))
    elif one.word != "valid":
        told = ET.SubElement(case, "failure", {"type": one.word, "message": _clean(one.sentence)})
        told.text = _clean(_text(one))
    if one.folder:
        ET.SubElement(case, "system-out").text = _clean(
            f"{one.folder}/{store.REPORT}" if one.has_report else one.folder
        )


def _text(one: Digest) -> str:
    lines = [*one.proofs(), *one.reasons, *([f"What to do: {one.advice}."] if one.advice else [])]
    if one.command:
        lines += ["", f"Repeat: {one.command}"]
    return "\n".join(lines)[:MAX_TEXT]


def _clean(text: str) -> str:
    return ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
