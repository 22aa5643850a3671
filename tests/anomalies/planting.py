"""Registries of small histories: what is planted has to be found and nothing else, what is golden has to be silent."""

from __future__ import annotations

from checkers.judge import judge
from checkers.options import CheckOptions
from tests.checkers.story import Story


class Plants:
    """Name -> (how to tell the story, classes that must be found, options)."""

    def __init__(self):
        self.table = {}

    def planted(self, *names, **options):
        def register(plant):
            self.table[plant.__name__] = (plant, set(names), options)
            return plant

        return register

    def golden(self, **options):
        return self.planted(**options)

    def check(self, name):
        plant, expected, options = self.table[name]
        story = Story()
        plant(story)
        judgement = judge(story.ops, CheckOptions(**options))
        found = (*judgement.anomalies, *judgement.allowed)
        assert {anomaly.name for anomaly in found} == expected, found
        assert not [reason for reason in judgement.reasons if "crashed" in reason]
        for anomaly in found:
            assert anomaly.count >= len(anomaly.examples) >= 1
            for example in anomaly.examples:
                assert example.ops
                assert set(example.ops) <= {op.index for op in story.ops}
                assert example.why.endswith((".", ")"))
        return judgement


def probe(story, node, api, key="x", **answer):
    asked = {"api": api, "key": key}
    story.event(f"probe/{node}", "invoke", "probe", asked)
    return story.event(f"probe/{node}", "ok", "probe", asked | {k.replace("_", "-"): v for k, v in answer.items()})


def rebalance(story, process, generation, *, assigned=(), revoked=(), lost=(), group="g", **more):
    value = {
        "process": process,
        "group": group,
        "member": f"m{process}",
        "generation": generation,
        "assigned": list(assigned),
        "revoked": list(revoked),
        "lost": list(lost),
        **more,
    }
    return story.event("group", "info", "rebalance", value)


def commit(story, process, offset, type_="ok", key="x", group="g"):
    story.begin(process, "commit", [[key, offset]], group=group)
    return story.event(process, type_, "commit", [[key, offset]], group=group)


def committed(story, process, offset, key="x", group="g"):
    story.begin(process, "committed", {"group": group})
    return story.event(process, "ok", "committed", [[key, offset]], group=group)
