"""Small foreign histories of the queue workload, each with the verdict that the definitions give, in every form.

What is legal is odd and silent; what is malformed is refused; every value, key and offset that JSON can hold counts.
"""

from __future__ import annotations

import pytest

from checkers.judge import judge
from tests.checkers.foreign import FORMS, REFUSED, TEXT, Foreign, found, poll, send, written

RU = "read_uncommitted"
FAR = (1 << 62) - 1
HISTORIES = {}


def history(expected, **options):
    def register(tell):
        HISTORIES[tell.__name__] = (tell(Foreign()), expected, options)
        return tell

    return register


def told(name, lines, expected, **options):
    HISTORIES[name] = (lines, expected, options)


@pytest.mark.parametrize("name", HISTORIES)
def test_foreign_history_has_the_verdict_of_the_definitions(tmp_path, name):
    story, expected, options = HISTORIES[name]
    for form in TEXT if expected == REFUSED else FORMS:
        assert found(tmp_path, story.lines, form, **options) == expected, form


# Values, keys and offsets

for value in (
    None,
    "",
    True,
    False,
    1.5,
    1.0,
    2**70,
    -(2**63),
    -(2**62),
    "\u00e9\u0000",
    {"b": [1]},
    [],
    [1, 2],
    [3, 4, 5],
):
    told(f"value {value!r}", Foreign().sent(value).polled((0, value)), "valid")
for key in (0, -3, 2**70, "", "\u00e9"):
    told(f"key {key!r}", Foreign().sent(1, key=key).polled((0, 1), key=key), "valid")
for key in (True, 1.0, None, ["x"], {"a": 1}):
    told(f"no key: {key!r}", Foreign().sent(1).op(0, "ok", "send", [send(key, 2, 0)]).polled((0, 1)), REFUSED)
for offset in (2**31, 2**53 + 1, FAR):
    story = Foreign().op(0, "ok", "send", [send("x", 1, offset - 1)]).op(0, "ok", "send", [send("x", 2, offset)])
    told(f"offset {offset}", story.polled((offset - 1, 1), (offset, 2)), "valid")
    story = Foreign().op(0, "ok", "send", [send("x", 1, offset - 1)]).op(3, "ok", "send", [send("x", 2, offset)])
    swapped = {"inconsistent-offsets", "duplicate", "rolled-back-offset"}
    told(f"offset {offset} swapped", story.polled((offset - 1, 2), (offset, 1)), swapped)
for offset in (2**62, 2**63, 2**80, -2, 1.5, True, "3"):
    told(f"no offset: {offset!r}, sent", Foreign().op(0, "ok", "send", [["send", "x", [offset, 1]]]), REFUSED)
    told(f"no offset: {offset!r}, polled", Foreign().sent(1).polled((offset, 1)), REFUSED)


@history({"inconsistent-offsets", "phantom-read", "lost-write", "unseen"})
def true_is_not_1(story):
    return story.sent(1).polled((0, True))


@history("valid")
def keys_1_and_the_string_1_are_two(story):
    return story.sent(5, key=1).sent(6, key="1").op(1, "ok", "poll", [poll([1, [[0, 5]]], ["1", [[0, 6]]])])


@history("valid")
def unanswered_send_of_a_list_turns_up(story):
    return story.add(7, "invoke", "send", [["send", "x", [1, 2]]]).sent(9).polled((0, 9), (5, [1, 2]))


@history("valid")
def undecided_send_of_a_list_turns_up(story):
    return (
        story.op(7, "info", "send", [["send", "x", [1, 2]]], asked=[["send", "x", [1, 2]]])
        .sent(9)
        .polled((5, [1, 2]), process=2)
        .polled((0, 9))
    )


@history("valid")
def offset_minus_1_is_no_offset(story):
    return story.op(0, "ok", "send", [["send", "x", [-1, 1]]]).polled((0, 1))


# Shapes

for name, value in {
    "a micro-op that is a word": ["poll"],
    "an object": {"poll": 1},
    "a word": "abc",
    "an empty word": "",
    "zero": 0,
    "false": False,
    "an empty object": {},
    "a short send": [["send", "x"]],
    "a long send": [["send", "x", 2, 3]],
    "records that are words": [["poll", [["x", ["ab"]]]]],
    "a pair of three": [["poll", [["x", [[0, 1]], 2]]]],
    "a record of one": [["poll", [["x", [[0]]]]]],
    "a record of four": [["poll", [["x", [[0, 1, {}, 2]]]]]],
    "a record with a number beside": [["poll", [["x", [[0, 1, 5]]]]]],
}.items():
    told(f"no value: {name}", Foreign().sent(1).op(2, "ok", "txn", value).polled((0, 1)), REFUSED)
for f, value in (
    ("assign", "xy"),
    ("assign", {"x": 1}),
    ("subscribe", 7),
    ("commit", {"x": 1}),
    ("commit", [["x"]]),
    ("commit", [["x", 1.5]]),
    ("committed", {"x": 1}),
    ("committed", [["x", "7"]]),
):
    told(f"no value of {f}: {value!r}", Foreign().sent(1).op(2, "ok", f, value).polled((0, 1)), REFUSED)
for more in (
    {"isolation": "serializable"},
    {"times": [[5]]},
    {"rebalance_log": ["x"]},
    {"rebalance_log": [{"keys": "xy"}]},
    {"rebalance_log": [{}]},
    {"offsets": {"x": 1}},
    {"commit_time": -7},
):
    told(f"no field: {more!r}", Foreign().sent(1).op(1, "ok", "poll", [poll(["x", [[0, 1]]])], **more), REFUSED)
for process, f, value in (
    ("harness", "phase", None),
    ("harness", "drain", None),
    ("harness", "drain", {}),
    ("harness", "drain", {"key": ["x"]}),
    ("harness", "drain", {"key": "x", "end": "a"}),
    ("nemesis", "kill", {"fault-id": [1]}),
    ("nemesis", "kill", {"fault-id": 1, "keys": 5}),
    ("nemesis", "heal", {"fault-id": {}}),
    ("group", "rebalance", None),
    ("group", "rebalance", {"assigned": 5}),
    ("group", "rebalance", {"assigned": [["x"]]}),
    ("probe/n1", "probe", {"api": "Fetch", "key": ["x"]}),
):
    told(f"no event: {f} {value!r}", Foreign().sent(1).polled((0, 1)).add(process, "info", f, value), REFUSED)


@history("valid")
def nothing_polled_in_several_ways(story):
    empty = (["poll"], ["poll", None], ["poll", []], poll(["x", []]), poll(["x", []], ["x", [[0, 1]]]))
    story.sent(1)
    for process, micro in enumerate(empty, start=1):
        story.op(process, "ok", "poll", [micro])
    return story.op(8, "ok", "txn", []).op(8, "ok", "poll", None)


@history("valid")
def crashes_and_looks_at_topics_say_nothing(story):
    story.sent(1).op(2, "info", "crash").op(3, "fail", "debug-topic-partitions", ["x"])
    return story.op(4, "ok", "debug-topic-partitions", {"x": {"a": 1}}).polled((0, 1))


@history("valid")
def foreign_nemesis_says_what_it_likes(story):
    story.sent(1).add("nemesis", "info", "kill", 5).add("nemesis", "info", "kill", {"n1": ["killed"]})
    return story.add("nemesis", "info", "heal").add("nemesis", "info", None).polled((0, 1))


@history({"empty-transaction-graph"})
def only_a_nemesis(story):
    return story.add("nemesis", "invoke", "kill").add("nemesis", "info", "kill")


@history("valid")
def only_a_group_that_answers(story):
    return story.op(1, "ok", "commit", [["x", 5]], group="g").op(2, "ok", "committed", [["x", 5]], group="g")


@history("valid")
def only_a_node_that_answers(story):
    for end in (8, 10):
        asked = {"api": "ListOffsets", "key": "x", "isolation": "read_uncommitted"}
        answer = asked | {"hw": end, "epoch": 3, "leader": "n1"}
        story.add("probe/n1", "invoke", "probe", asked).add("probe/n1", "ok", "probe", answer)
    return story


@history("valid")
def undecided_send_turns_up_in_the_only_poll(story):
    return story.op(0, "info", "send", [send("x", 1)]).polled((0, 1))


@history({"empty-transaction-graph"})
def a_single_invocation(story):
    return story.add(0, "invoke", "send", [["send", "x", 1]])


# What is told of order and time


def numbered(story, *indexes):
    for line, index in zip(story.lines, indexes, strict=True):
        line["index"] = index
    return story


told("indexes that rise, with gaps", numbered(Foreign().sent(1).polled((0, 1)), 0, 2, 5, 6), "valid")
told("one index for all", numbered(Foreign().sent(1).polled((0, 1)), 7, 7, 7, 7), "unknown")
told("indexes that fall", numbered(Foreign().sent(1).polled((0, 1)), 0, 3, 2, 4), "unknown")


@history("valid")
def equal_times(story):
    story.sent(1).polled((0, 1))
    for line in story.lines:
        line["time"] = 7
    return story


@history("unknown")
def times_that_fall(story):
    story.sent(1).polled((0, 1))
    story.lines[2]["time"] = 3
    return story


# Classes


@history({"inconsistent-offsets", "lost-write", "unseen"})
def failed_poll_shows_another_value(story):
    story.sent(1).op(0, "ok", "send", [send("x", 2)])
    return story.polled((0, 2), type_="fail").polled((0, 1), process=2)


@history({"duplicate"})
def undecided_polls_show_one_value_twice(story):
    return (
        story.op(0, "info", "send", [send("x", 1)]).polled((3, 1), type_="fail").polled((7, 1), process=2, type_="info")
    )


def aborted(story):
    return story.op(0, "fail", "send", [send("x", 1)]).op(0, "ok", "send", [send("x", 2, 1)])


def undecided_reader(story):
    return aborted(story).polled((0, 1), type_="info").polled((1, 2), process=2)


told("undecided poll of aborted data", undecided_reader(Foreign()), {"aborted-read"})
told("the same under read_uncommitted", undecided_reader(Foreign()), "valid", isolation=RU)
told("ok poll of aborted data", aborted(Foreign()).polled((0, 1), (1, 2)), {"G1a"})


@history("valid")
def isolation_is_told_by_an_invocation(story):
    story.op(0, "ok", "txn", [send("x", 0, 0)]).op(0, "fail", "txn", [send("x", 1, 1)])
    story.add(1, "invoke", "assign", ["x"], isolation=RU).add(1, "ok", "assign", ["x"])
    return story.polled((0, 0), (1, 1), type_="info").polled((0, 0), process=2)


@history({"aborted-read"})
def commit_was_never_called(story):
    story.sent(0).op(3, "info", "txn", [send("x", 1)], commit_time=None)
    return story.polled((0, 0), (1, 1))


def lost_by_another_key(story, **more):
    story.op(0, "info", "txn", [send("x", 1, 0), send("y", 2, 0)], **more).op(3, "ok", "send", [send("x", 3, 1)])
    return story.polled((0, 2), process=2, key="y").polled((1, 3))


told("one value proves a transaction, another is lost", lost_by_another_key(Foreign()), {"lost-write"})
torn = {"lost-write", "torn-transaction"}
told("and torn, if commit was called", lost_by_another_key(Foreign(), commit_time=5), torn)


@history({"lost-write", "unseen"})
def seen_by_a_failed_poll_only(story):
    return story.sent(1, 2).polled((0, 1), type_="fail").polled((1, 2), process=2)


@history({"unseen"})
def unknown_offset_is_never_lost(story):
    return story.op(0, "ok", "send", [send("x", 1)]).op(0, "ok", "send", [send("x", 2, 1)]).polled((1, 2))


@history("valid")
def nobody_knows_an_offset(story):
    story.op(0, "ok", "send", [send("x", 1)]).op(0, "ok", "send", [send("x", 2)])
    return story.polled((None, 2), (None, 1))


@history({"precommitted-read"})
def undecided_transaction_polls_its_own(story):
    story.sent(1).op(3, "info", "txn", [send("x", 5), poll(["x", [[0, 1], [1, 5]]])])
    return story.polled((0, 1))


@history({"phantom-read"})
def failed_poll_of_what_nobody_sent(story):
    return story.polled((0, 9), type_="fail").op(0, "ok", "send", [send("x", 1, 1)]).polled((1, 1))


def skipping(story, **more):
    story.sent(0, 1, 2, 3).polled((0, 0), process=2).op(2, "ok", "poll", [poll(["x", [[2, 2]]])], **more)
    return story.polled((0, 0), (1, 1), (2, 2), (3, 3), process=3)


log = [{"keys": ["x"]}]
told("a skip between operations", skipping(Foreign()), {"poll-skip"})
told("is not excused by their rebalances", skipping(Foreign(), rebalance_log=log), {"poll-skip"})
told("but by a subscription", skipping(Foreign()), "valid", sub_via=("subscribe",))


@history("valid")
def skip_inside_of_an_operation_is_excused_by_its_rebalance(story):
    story.sent(0, 1, 2).op(2, "ok", "poll", [poll(["x", [[0, 0], [2, 2]]])], rebalance_log=log)
    return story.polled((0, 0), (1, 1), (2, 2), process=3)


@history({"poll-skip"})
def failed_poll_is_not_repeated(story):
    story.sent(0, 1, 2).polled((0, 0)).polled((1, 1), type_="fail").polled((2, 2))
    return story.polled((0, 0), (1, 1), (2, 2), process=3)


def again(story, type_, **more):
    read = ((0, 0), (1, 1), (2, 2))
    story.sent(0, 1, 2).polled(*read).op(1, type_, "assign", ["y"]).op(1, "ok", "assign", ["x"], **more)
    return story.polled(*read)


told("an undecided assign forgets", again(Foreign(), "info"), "valid")
told("a failed assign forgets nothing", again(Foreign(), "fail"), {"nonmonotonic-poll"})


@history({"nonmonotonic-poll"})
def seeking_forgets_nothing(story):
    story.sent(0, 1).polled((0, 0), (1, 1)).op(1, "ok", "assign", ["x"], **{"seek-to-beginning?": True})
    return story.polled((0, 0), (1, 1))


@history({"nonmonotonic-send"})
def undecided_send_before_an_earlier_one(story):
    story.op(0, "ok", "send", [send("x", 1, 5)]).op(0, "info", "send", [send("x", 2, 3)])
    return story.polled((3, 2), (5, 1))


def two_ways(story):
    story.add(0, "invoke", "txn", [send("x", 1), ["poll"]]).add(1, "invoke", "txn", [send("y", 2), ["poll"]])
    story.add(0, "ok", "txn", [send("x", 1, 0), poll(["y", [[0, 2]]])])
    return story.add(1, "ok", "txn", [send("y", 2, 0), poll(["x", [[0, 1]]])])


told("two transactions that read each other", two_ways(Foreign()), {"G1c"})
told("are allowed with ww-deps", two_ways(Foreign()), "valid", ww_deps=True)


def dirty(end, type_="ok"):
    story = Foreign().add(0, "invoke", "txn", [send("x", 1)]).add(1, "invoke", "poll", [["poll"]])
    story.add(1, "ok", "poll", [poll(["x", [[0, 1]]])], times=[[5, end]])
    return story.add(0, type_, "txn", [send("x", 1, 0)], **{"commit-time": 11})


told("a poll that ended before commit was called", dirty(10), {"dirty-read"})
told("a poll that ended as commit was called", dirty(11), "valid")
told("read_uncommitted may", dirty(10), "valid", isolation=RU)


def groups(*calls, group="g"):
    story = Foreign().sent(0, 1, 2).polled((0, 0), (1, 1), (2, 2))
    more = {} if group is None else {"group": group}
    for process, type_, f, asked, answer in calls:
        story.add(process, "invoke", f, asked, **more).add(process, type_, f, answer, **more)
    return story


three, two = [["x", 3]], [["x", 2]]
read_two = (2, "ok", "committed", {"group": "g"}, two)
told("offset that fell", groups((1, "ok", "commit", three, three), read_two), {"committed-offset-regression"})
told(
    "undecided commit without its value",
    groups((1, "ok", "commit", three, three), (4, "info", "commit", two, None), read_two),
    "valid",
)
told("delayed commit", groups((4, "info", "commit", two, None), (1, "ok", "commit", three, three), read_two), "valid")
told(
    "nobody says of which group",
    groups((1, "ok", "commit", three, three), (2, "ok", "committed", None, two), group=None),
    "valid",
)


def with_offsets(*answers, ours=False, drained=(), **more):
    """A transaction that sends 1 to `out` and commits 8 of `in` for g; then 2 is sent to `out`, and what is read."""
    story = Foreign()
    if ours:
        story.add("harness", "info", "phase", "main")
    story.op(0, "info", "txn", [send("out", 1, 0)], group="g", offsets=[["in", 8]], commit_time=5, **more)
    story.op(2, "ok", "send", [send("out", 2, 5)])
    if ours:
        story.add("harness", "info", "phase", "drain")
    for answer in answers:
        story.op(3, "ok", "committed", [["in", answer]], asked={"group": "g"}, group="g")
    story.polled(*drained, key="out", process=4)
    if ours:
        story.add("harness", "info", "drain", {"key": "out", "end": 9, "lso": 9, "read-to": 9, "complete": True})
    return story


gone, whole = [(5, 2)], [(0, 1), (5, 2)]
told("offset is stored, record is not there", with_offsets(8, drained=gone), {"torn-transaction"})
told("offset and record are there", with_offsets(8, drained=whole), "valid")
told("neither is there", with_offsets(None, drained=gone), "valid")
told("another offset is stored", with_offsets(9, drained=gone), "valid")
told("record is there, offset is not", with_offsets(None, ours=True, drained=whole), {"torn-transaction"})
told("record is there, the last read shows the offset", with_offsets(3, 8, ours=True, drained=whole), "vacuous")
told("of others nobody knows when all is decided", with_offsets(None, drained=whole), "valid")
other = with_offsets(8, drained=gone)
other.lines[2:2] = Foreign().op(7, "info", "commit", [["in", 8]], group="g").lines
for at, line in enumerate(other.lines):
    line["time"] = at
told("offset may be another commit's", other, "valid")


def test_what_only_a_run_of_ours_records_is_not_checked(tmp_path):
    judgement = judge(written(tmp_path, Foreign().sent(1).polled((0, 1)).lines, ".jsonl"))
    unseen = {"broken-invariant", "hung-transaction", "unavailable", "record-altered"}
    assert unseen <= set(judgement.not_checked)
    assert unseen <= judgement.verdict_json()["not-checked-because"].keys()
