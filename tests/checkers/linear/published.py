"""Reads the published histories of ../shared/data/linearizability."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from checkers.linear.model import MODELS, NEVER, UNKNOWN, Operation

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "linearizability"


def histories():
    return sorted(FOLDER.glob("*/*.jsonl")) if FOLDER.is_dir() else []


def load(path):
    """Return (model, expected verdict, {key: [Operation]})."""
    header, *lines = (json.loads(line) for line in path.read_text().splitlines())
    model = MODELS[header["model"]]
    initial = header["initial"]
    if isinstance(initial, dict):
        initial = tuple(sorted(initial.items()))
    by_key = defaultdict(list)
    for line in lines:
        op = _operation(header, line)
        if op is not None:
            by_key[line.get("k")].append(op)
    return replace(model, initial=initial), header["valid"], by_key


def _operation(header, line):
    f, status = line["f"], line["st"]
    output, ret = line["out"], line["ret"]
    if status == "fail":
        if header.get("fail") != "cas-fail-observed" or f != "cas":
            return None
        output = False
    elif f == "cas":
        output = True
    elif f == "read" and status == "ok" and output is None and header.get("read-nil") == "unknown":
        return None
    if status == "info" or ret is None:
        output, ret = UNKNOWN, NEVER
    return Operation(f, line["in"], output, line["call"], ret, line["i"], line["p"])
