"""How share groups' members are told of in histories of tests: fetches, acknowledgements, and the final reads."""

from __future__ import annotations

from tests.checkers.story import poll, send

LOCK_S = 3


def fetch(story, process, *records, keys=("x",), node="n1", isolation="read_committed", **more):
    """A fetch that was given (offset, count) or (offset, count, value) of x; values are 10 more than offsets."""
    begin_fetch(story, process)
    return given(story, process, *records, keys=keys, node=node, isolation=isolation, **more)


def begin_fetch(story, process):
    story.event(process, "invoke", "share-fetch", {"records-max": 20}, group="g")


def given(story, process, *records, type_="ok", keys=("x",), node="n1", isolation="read_committed", **more):
    shown = [[offset, *(rest or [10 + offset]), count] for offset, count, *rest in records]
    value = {
        "keys": list(keys),
        "node": node,
        "session": int(node[1:]),
        "isolation": isolation,
        "lock-ms": LOCK_S * 1000,
        "records-max": 20,
        "records": [["x", shown]] if shown else [],
        **more,
    }
    return story.event(process, type_, "share-fetch", value, group="g")


def lose(story, process):
    """A fetch without an answer."""
    begin_fetch(story, process)
    return story.event(process, "info", "share-fetch", {"keys": ["x"], "node": "n1"}, group="g")


def ack(story, process, offset, kind="accept", type_="ok", node="n1"):
    value = {"key": "x", "records": [[offset, kind]], "node": node, "session": int(node[1:])}
    story.event(process, "invoke", "share-acknowledge", value, group="g")
    return story.event(process, type_, "share-acknowledge", value, group="g")


def fetch_with(story, process, said, outcome, *records, node="n1", type_="ok"):
    """A fetch with which the member said what became of offset 0, and what came of that."""
    story.event(process, "invoke", "share-fetch", {"records-max": 20, "acknowledge": [["x", [[0, said]]]]}, group="g")
    told = {"acknowledge": [["x", [[0, said]]]]}
    if type_ == "ok":
        told["acknowledged"] = [["x", outcome, None if outcome == "ok" else "INVALID_RECORD_STATE"]]
    return given(story, process, *records, node=node, type_=type_, **told)


def sent(story, *offsets):
    for offset in offsets:
        story.ok(1, "send", [send("x", 10 + offset, offset)])


def finish(story, *offsets, process=90, quiet=True):
    """The final reads: an ordinary consumer sees the offsets, then members of the group ask in vain."""
    story.phase("drain")
    story.ok(process, "assign", ["x"], seek_to_beginning=True)
    if offsets:
        story.ok(process, "poll", [poll(("x", [[offset, 10 + offset] for offset in offsets]))])
    story.drain("x", max(offsets, default=-1) + 1)
    if quiet:
        story.wait(LOCK_S + 15)
        fetch(story, 91)
        fetch(story, 91)
