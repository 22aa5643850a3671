"""Histories as other tools write them: plain JSON objects, told by hand, and the same in every form that is read."""

from __future__ import annotations

import gzip
import json

import zstandard

from checkers.archive import COLUMNAR
from checkers.convert import convert
from checkers.judge import judge
from checkers.options import CheckOptions
from harness.history import HistoryError

TEXT = (".jsonl", ".edn")
FORMS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".edn", ".parquet", ".arrow")
REFUSED = "refused"


class Foreign:
    """A history, line by line; times rise by ten, indexes are left out."""

    def __init__(self):
        self.lines = []

    def add(self, process, type_, f, value=None, **more):
        line = {"process": process, "type": type_, "f": f, "value": value, "time": 10 * len(self.lines)}
        self.lines.append(line | {name.replace("_", "-"): part for name, part in more.items()})
        return self

    def op(self, process, type_, f, value=None, *, asked=..., **more):
        """An invocation and its completion; what was asked is the completion's value without its answers."""
        self.add(process, "invoke", f, question(f, value) if asked is ... else asked)
        return self.add(process, type_, f, value, **more)

    def sent(self, *values, key="x"):
        """Each value, one after another, at offsets from 0."""
        for offset, value in enumerate(values):
            self.op(0, "ok", "send", [send(key, value, offset)])
        return self

    def polled(self, *records, process=1, type_="ok", key="x"):
        return self.op(process, type_, "poll", [poll([key, [list(record) for record in records]])])


def send(key, value, offset=None):
    return ["send", key, value if offset is None else [offset, value]]


def poll(*pairs):
    return ["poll", list(pairs)]


def question(f, value):
    """Return what an invocation says where its completion says `value`."""
    if f not in {"send", "poll", "txn"} or not isinstance(value, list):
        return value
    asked = []
    for micro in value:
        match micro:
            case ["send", key, [_, value]]:
                asked.append(["send", key, value])
            case ["poll", *_]:
                asked.append(["poll"])
            case ["r", key, *_]:
                asked.append(["r", key, None])
            case _:
                asked.append(micro)
    return asked


def edn(value):
    """Return a value in EDN."""
    match value:
        case None | True | False:
            return {None: "nil", True: "true", False: "false"}[value]
        case str():
            return json.dumps(value, ensure_ascii=False)
        case ["poll", [*pairs]] if all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            return f"[:poll {{{', '.join(f'{edn(key)} {edn(records)}' for key, records in pairs)}}}]"
        case ["send" | "poll" | "append" | "r" as kind, *rest]:
            return f"[:{kind} {' '.join(map(edn, rest))}]"
        case list():
            return f"[{' '.join(map(edn, value))}]"
        case dict():
            return f"{{{', '.join(f':{name} {edn(part)}' for name, part in value.items())}}}"
        case _:
            return repr(value)


def edn_line(line):
    """Return a line as Jepsen writes it."""
    words = {"type", "f"} if isinstance(line["process"], int) else {"type", "f", "process"}
    parts = [f":{name} {':' + part if name in words and part else edn(part)}" for name, part in line.items()]
    return "#jepsen.history.Op{" + ", ".join(parts) + "}\n"


def written(folder, lines, form, workload="kafka"):
    """Write a history in one of the forms; return its path. HistoryError where it can't be converted."""
    source = folder / "source.jsonl"
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    source.write_bytes(content)
    path = folder / f"history{form}"
    if form in COLUMNAR:
        convert(source, path, CheckOptions(workload=workload), print)
    elif form == ".edn":
        path.write_text("".join(map(edn_line, lines)))
    else:
        pack = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.compress}[form]
        path.write_bytes(pack(content))
    return path


def found(folder, lines, form, **options):
    """Return the invalidating classes, or the word for another verdict; REFUSED where it is malformed."""
    try:
        judgement = judge(written(folder, lines, form, options.get("workload", "kafka")), CheckOptions(**options))
    except HistoryError as error:
        return REFUSED if "\n" not in str(error) else str(error)
    assert not [reason for reason in judgement.reasons if "crashed" in reason]
    names = {anomaly.name for anomaly in judgement.anomalies}
    return names or judgement.validity.name.lower()
