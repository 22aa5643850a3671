"""Every planted bug does what the registry says, and only while it is planted."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from broker.bugs import planting
from broker.bugs.registry import BUGS
from tests.broker.bugs import scenes

FLAGS = ["-c", "import broker.io.node, sys; print([m for m in sys.modules if m.startswith('broker.bugs.')])"]


def scene_of(name):
    return getattr(scenes, name.replace("-", "_"))


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_shows_and_the_clean_broker_is_right(name):
    seen, right = scene_of(name)()
    assert seen == right
    with planting.planted(name):
        seen, right = scene_of(name)()
    assert seen != right
    assert all(getattr(item.owner, item.name) is not item.new for item in planting.replacements(name))


def test_no_bug_is_no_replacement():
    with planting.planted(""):
        seen, right = scenes.min_isr_ignored()
    assert seen == right


def test_what_was_planted_goes_even_when_the_run_dies():
    with pytest.raises(ZeroDivisionError), planting.planted("min-isr-ignored"):
        _ = 1 // 0
    seen, right = scenes.min_isr_ignored()
    assert seen == right


def test_a_node_without_a_bug_loads_none():
    answer = subprocess.run([sys.executable, *FLAGS], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "['broker.bugs.registry']"


@pytest.mark.parametrize("name", sorted(BUGS))
def test_what_a_bug_replaces_can_be_called_the_same_way(name):
    for one in planting.replacements(name):
        old = inspect.getattr_static(one.owner, one.name)
        if isinstance(old, property) or not callable(one.new):
            continue
        old, new = (inspect.signature(getattr(each, "__func__", each)) for each in (old, one.new))
        by_name = {each.name: each.default for each in old.parameters.values() if each.kind is each.KEYWORD_ONLY}
        by_place = [each for each in old.parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
        assert new.bind(*by_place, **by_name)
        needed = [each for each in by_place if each.default is each.empty]
        assert new.bind(*needed, **{key: value for key, value in by_name.items() if value is inspect.Parameter.empty})
