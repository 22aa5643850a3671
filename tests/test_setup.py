"""`make setup` takes the first interpreter that is of a version that fits, optimised and whole; else the first that fits."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

VENV = Path(__file__).parents[1] / ".ci" / "venv"
FAKE = """#!/bin/sh
case "$*" in
*version_info*) exit {old} ;;
*CONFIG_ARGS*) exit {slow} ;;
*ensurepip*) exit {bare} ;;
*--version*) echo Python of the test ;;
*"-m venv"*) echo "taken: $0"; exit 9 ;;
esac
"""
GOOD = {"old": 0, "slow": 0, "bare": 0}


def taken(folder, *interpreters, **environment):
    """Return what `.ci/venv` says when these (name, what is wrong) stand on PATH, each in a folder of its own."""
    places = []
    for number, (name, wrong) in enumerate(interpreters):
        place = folder / f"a folder {number}"
        place.mkdir()
        (place / name).write_text(FAKE.format(**(GOOD | dict.fromkeys(wrong, 1))))
        (place / name).chmod(0o755)
        places.append(place)
    for tool in ("sh", "head", "env"):
        (places[-1] / tool).symlink_to(shutil.which(tool))
    path = os.pathsep.join(map(str, places))
    done = subprocess.run(
        ["/bin/sh", VENV],
        check=False,
        cwd=folder,
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode
    return done.stdout.replace(f"{folder}/", "").strip(), done.stderr


@pytest.mark.parametrize(
    ("interpreters", "expected"),
    [
        ([("python3", [])], "a folder 0/python3"),
        ([("python3", ["slow"])], "a folder 0/python3"),
        ([("python3", ["old"]), ("python3.12", [])], "a folder 1/python3.12"),
        ([("python3", ["slow"]), ("python3", [])], "a folder 1/python3"),
        ([("python3.11", []), ("python3", ["slow"])], "a folder 0/python3.11"),
        ([("python3.11", []), ("python3", [])], "a folder 1/python3"),
        ([("python3", ["slow"]), ("python3", ["bare"])], "a folder 0/python3"),
        ([("python3", ["old"]), ("python3.13", ["slow"])], "a folder 1/python3.13"),
    ],
)
def test_the_first_good_interpreter_is_taken(tmp_path, interpreters, expected):
    assert taken(tmp_path, *interpreters)[0] == f"taken: {expected}"


def test_whoever_names_one_gets_it(tmp_path):
    said, errors = taken(tmp_path, ("python3", []), ("python3.11", ["slow"]), PYTHON="python3.11")
    assert said.endswith("python3.11")
    assert not errors


def test_another_than_the_usual_one_is_said_in_a_line(tmp_path):
    _, errors = taken(tmp_path, ("python3", ["slow"]), ("python3", []))
    assert errors.count("\n") == 1
    assert "PYTHON=" in errors


def test_none_is_said_in_a_line(tmp_path):
    said, errors = taken(tmp_path, ("python3", ["old"]))
    assert not said
    assert errors == (
        "make setup: needs Python 3.11 to 3.14 (on Intel Macs to 3.13), found Python of the test: "
        "install one, or name it with PYTHON=python3.12\n"
    )


def test_one_without_venv_is_said_in_a_line(tmp_path):
    said, errors = taken(tmp_path, ("python3", ["bare"]))
    assert not said
    assert errors.startswith("make setup: ")
    assert "has no venv module" in errors
