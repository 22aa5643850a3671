"""`harness check --model FILE.py:NAME`: a model of one's own judges, and what is wrong with it is one line."""

from __future__ import annotations

import json

import pytest

from harness.cli import guarded

MODEL = """
from checkers.linear.model import IMPOSSIBLE, UNKNOWN, Model

def step(state, op):
    if op.f == "raise":
        return max(state, op.input)
    return state if op.output in (UNKNOWN, state) else IMPOSSIBLE

MAXIMUM = Model("maximum", 0, step, reads=frozenset({"read"}))
LIKE_OURS = Model("register", 0, step)
NUMBER = 3
def broken(state, op):
    return state + op.output["x"]
BROKEN = Model("broken", 0, broken)
"""


def lines(*reads):
    events = [(0, "invoke", "raise", 3), (0, "ok", "raise", 3), (0, "invoke", "raise", 2), (0, "ok", "raise", 2)]
    for value in reads:
        events += [(1, "invoke", "read", None), (1, "ok", "read", value)]
    keys = ("process", "type", "f", "value")
    return "".join(json.dumps(dict(zip(keys, event, strict=True))) + "\n" for event in events)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MODEL)
    return path


def check(tmp_path, text, model, *more):
    history = tmp_path / "h.jsonl"
    history.write_text(text)
    return guarded(["check", str(history), "--model", str(model), "--json", *more])


def test_own_model_judges(tmp_path, model, capsys):
    assert check(tmp_path, lines(3), f"{model}:MAXIMUM") == 0
    capsys.readouterr()
    assert check(tmp_path, lines(3, 2), f"{model}:MAXIMUM") == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["anomalies"]["nonlinearizable"]["examples"][0]["model"] == "maximum"


def test_model_that_raises_is_unknown_with_the_reason(tmp_path, model, capsys):
    assert check(tmp_path, lines(3), f"{model}:BROKEN") == 2
    assert "TypeError" in json.loads(capsys.readouterr().out)["reasons"][0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.py:NOTHING", "defines no NOTHING"),
        ("mine.py:NUMBER", "NUMBER is a int"),
        ("mine.py:LIKE_OURS", "is taken"),
        ("mine.py", "say FILE.py:NAME"),
        ("other.py:MAXIMUM", "no such file"),
        ("wrong.py:MAXIMUM", "wrong.py:2 raised SyntaxError"),
        ("raises.py:MAXIMUM", "raises.py:2 raised ZeroDivisionError"),
    ],
)
def test_wrong_model_is_one_line(tmp_path, model, capsys, name, said):
    (tmp_path / "wrong.py").write_text("\nMAXIMUM = (\n")
    (tmp_path / "raises.py").write_text("\nMAXIMUM = 1 / 0\n")
    assert check(tmp_path, lines(3), tmp_path / name) == 254
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
