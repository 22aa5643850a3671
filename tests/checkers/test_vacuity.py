"""A run that tested nothing is not valid."""

from __future__ import annotations

import msgspec

from checkers.judge import judge
from checkers.options import CheckOptions, options_of_scenario
from checkers.verdict import Validity
from harness.history import NEMESIS
from tests.checkers.story import Story, poll, send


def run(*, bit=True, inside=True, expects="progress"):
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.fault(1, "kill-leader", bit=bit, expects=expects)
    if inside:
        story.ok(0, "send", [send("x", 2, 1)])
        story.ok(1, "poll", [poll(("x", [[1, 2]]))])
    story.heal(1)
    story.phase("drain")
    story.ok(2, "poll", [poll(("x", [[0, 1]] + ([[1, 2]] if inside else [])))])
    story.drain("x", 2 if inside else 1)
    return story


def test_run_whose_fault_bit_is_valid():
    assert judge(run().ops).validity is Validity.VALID


def test_run_whose_only_injection_missed_is_vacuous():
    judgement = judge(run(bit=False).ops)
    assert judgement.validity is Validity.VACUOUS
    assert judgement.reasons == ("The fault kill-leader never bit (1 injection).",)
    assert judgement.verdict_json()["valid"] == "vacuous"


def test_an_injection_that_missed_says_why():
    ops = [
        msgspec.structs.replace(op, value=op.value | {"evidence": {"reason": "kill: `x` ended badly"}})
        if op.process == "nemesis" and op.type == "info" and op.f == "kill-leader"
        else op
        for op in run(bit=False).ops
    ]
    assert any(note.endswith(" missed: kill: `x` ended badly") for note in judge(ops).warnings)


def test_a_run_that_was_ended_early_says_so():
    for value, told in ((None, True), ({"anomaly": "lost-write", "why": "gone"}, False)):
        story = run()
        story.event("harness", "info", "interrupt", value)
        after_main = judge(story.ops)
        assert after_main.validity is Validity.VALID
        assert not [note for note in after_main.warnings if "ended early" in note], "the drain had begun"
        place = next(index for index, op in enumerate(story.ops) if op.value == "drain")
        early = [*story.ops[:place], story.ops[-1], *story.ops[place:-1]]
        ops = [msgspec.structs.replace(op, index=index, time=index) for index, op in enumerate(early)]
        assert any("ended early, by Ctrl-C" in note for note in judge(ops).warnings) is told


def test_run_whose_requested_fault_never_came_is_vacuous():
    judgement = judge(run().ops, CheckOptions(faults=("kill-leader", "pause-leader")))
    assert judgement.validity is Validity.VACUOUS
    assert "pause-leader" in judgement.reasons[0]


def test_window_without_progress_is_vacuous_when_progress_was_expected():
    assert judge(run(inside=False).ops).validity is Validity.VACUOUS
    assert judge(run(inside=False, expects="stall").ops).validity is Validity.VALID


def test_window_that_a_stalling_fault_overlaps_is_not_held_to_progress():
    def story(*, overlapped):
        made = Story()
        made.phase("main")
        made.ok(0, "send", [send("x", 1, 0)])
        made.ok(1, "poll", [poll(("x", [[0, 1]]))])
        made.fault(1, "kill-controller", bit=True, expects="progress")
        if overlapped:
            made.fault(2, "kill-all", bit=True, expects="stall")
        made.heal(1)
        if overlapped:
            made.heal(2)
        made.phase("drain")
        made.ok(2, "poll", [poll(("x", [[0, 1]]))])
        made.drain("x", 1)
        return judge(made.ops)

    assert story(overlapped=True).validity is Validity.VALID
    assert story(overlapped=False).validity is Validity.VACUOUS


def test_kind_of_operation_that_never_succeeded_is_vacuous():
    story = run()
    story.ops.insert(0, story.ops.pop(0))
    broken = Story()
    broken.phase("main")
    broken.ok(0, "send", [send("x", 1, 0)])
    broken.ok(3, "poll", [poll(("x", [[0, 1]]))])
    broken.fail(1, "txn", [send("x", 2)])
    broken.phase("drain")
    broken.ok(2, "poll", [poll(("x", [[0, 1]]))])
    broken.drain("x", 1)
    judgement = judge(broken.ops)
    assert judgement.validity is Validity.VACUOUS
    assert judgement.reasons == ("No txn succeeded in the whole run (1 tried).",)


def quiet(*, written=True, read=True, drained=("x",)):
    """A run without faults of which one thing or another never happened."""
    story = Story()
    story.phase("main")
    story.call(0, "ok" if written else "fail", "txn", [send("x", 1, 0) if written else send("x", 1)])
    story.ok(0, "txn", [["poll", []]])
    if read == "by a transaction that failed":
        story.call(0, "fail", "txn", [poll(("x", [[0, 1]]))])
    story.ok(1, "poll", [poll(("x", [[0, 1]])) if read is True else ["poll", []]])
    story.ok(3, "send", [send("y", 2, 0)]) if written else None
    story.phase("drain")
    story.ok(2, "poll", [poll(("x", [[0, 1]]), ("y", [[0, 2]])) if written else ["poll", []]])
    for key in drained:
        story.drain(key, 1 if written else 0)
    return judge(story.ops)


def test_run_in_which_nothing_was_written_is_vacuous_whatever_succeeded():
    judgement = quiet(written=False, read=False)
    assert judgement.validity is Validity.VACUOUS
    assert judgement.reasons == ("No record was written by an operation that succeeded.",)


def test_run_whose_polls_all_came_back_empty_is_vacuous():
    judgement = quiet(read=False, drained=("x", "y"))
    assert judgement.validity is Validity.VACUOUS
    assert judgement.reasons == ("No record was read before the final reads.",)
    assert quiet(drained=("x", "y")).validity is Validity.VALID
    assert quiet(read="by a transaction that failed", drained=("x", "y")).validity is Validity.VALID


def test_run_that_was_killed_between_two_final_reads_is_unknown_and_names_the_key():
    judgement = quiet(drained=("x",))
    assert judgement.validity is Validity.UNKNOWN
    assert "final read of y was over" in judgement.reasons[0]


def test_run_that_was_killed_before_it_did_anything_is_not_valid():
    for f, value in (("assign", ["x"]), ("poll", [["poll", []]])):
        story = Story()
        story.phase("main")
        story.ok(0, f, value)
        assert judge(story.ops).validity is Validity.VACUOUS


def test_final_read_that_stopped_below_the_end_is_not_complete_whatever_it_says():
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.phase("drain")
    story.ok(2, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 10, complete=True, **{"read-to": 1})
    judgement = judge(story.ops)
    assert judgement.validity is Validity.UNKNOWN
    assert "stopped at 1 of 10" in judgement.reasons[0]


def test_all_faults_of_which_none_was_injected_are_vacuous_and_any_will_do():
    every = options_of_scenario({"nemesis": "all"})
    assert judge(run().ops, every).validity is Validity.VALID
    assert judge(run(bit=False).ops, every).validity is Validity.VACUOUS
    without = Story()
    without.ops = [op for op in run().ops if op.process != NEMESIS]
    judgement = judge(without.ops, every)
    assert judgement.validity is Validity.VACUOUS
    assert judgement.reasons == ("Faults were asked for, but none was ever injected.",)
    assert judge(without.ops).validity is Validity.VALID


def test_run_whose_late_commits_were_all_refused_tested_something():
    story = run()
    refused = Story()
    refused.phase("main")
    refused.fail(3, "commit", [["x", 1]], group="g")
    refused.ops += story.ops[1:]
    for index, op in enumerate(refused.ops):
        refused.ops[index] = op.at(index, (index + 1) * 1_000_000)
    assert judge(refused.ops).validity is Validity.VALID


def test_run_that_was_never_told_what_a_group_has_committed_is_vacuous():
    story = run()
    story.fail(3, "committed", {"group": "g"})
    judgement = judge(story.ops)
    assert judgement.validity is Validity.VACUOUS
    assert judgement.reasons == ("No committed succeeded in the whole run (1 tried).",)


def test_foreign_history_is_never_vacuous():
    story = Story()
    story.fail(1, "txn", [send("x", 2)])
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    assert judge(story.ops).validity is Validity.VALID


def test_killed_run_without_final_read_is_unknown_and_accuses_nobody():
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])
    judgement = judge(story.ops)
    assert judgement.validity is Validity.UNKNOWN
    assert judgement.anomalies == ()


def test_slow_reader_is_our_own_fault():
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0), send("x", 2, 1)])
    story.ok(3, "poll", [poll(("x", [[0, 1]]))])
    story.phase("drain")
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 2, complete=False, **{"read-to": 1})
    judgement = judge(story.ops)
    assert judgement.validity is Validity.UNKNOWN
    assert "stopped at 1 of 2" in judgement.reasons[0]


def test_invalid_wins_over_vacuous():
    story = run(bit=False)
    story.ok(7, "poll", [poll(("x", [[0, 99]]))])
    assert judge(story.ops).validity is Validity.INVALID


def test_fault_list_tells_windows_and_recovery():
    judgement = judge(run().ops)
    (fault,) = judgement.faults
    assert fault["name"] == "kill-leader"
    assert fault["begin-ns"] < fault["end-ns"] < fault["healed-ns"]
    assert fault["ok-inside"] == {"poll": 1, "send": 1}
    assert judgement.stats["send"] == {"count": 2, "ok": 2, "fail": 0, "info": 0}
    assert judgement.availability["send"]["longest-outage-s"] > 0


def test_nothing_is_out_where_nobody_asks():
    story = Story()
    story.phase("main")
    story.wait(30)
    story.ok(0, "send", [send("x", 1, 0)])
    story.wait(2)
    story.ok(0, "send", [send("x", 2, 1)])
    story.wait(1)
    waiting = story.begin(0, "send", [send("x", 3)])
    story.phase("heal")
    story.wait(4)
    story.event(0, "info", "send", waiting.value)
    story.wait(60)
    story.phase("drain")
    (send_,) = judge(story.ops).availability.values()
    assert send_["ok"] == 2
    assert round(send_["longest-outage-s"]) == 5


def test_asking_only_for_what_the_history_holds_no_evidence_for_is_vacuous():
    story = Story()
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    judgement = judge(story.ops, CheckOptions(anomalies=("zombie-commit", "dlq-loss")))
    assert judgement.validity is Validity.VACUOUS
    assert "zombie-commit" in judgement.reasons[0]
    assert judge(story.ops, CheckOptions(anomalies=("zombie-commit", "lost-write"))).validity is Validity.VALID


def test_the_lag_of_the_final_reads_is_none():
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("x", 1, 0)])
    story.ok(1, "assign", ["x"])
    story.wait(2.0)
    story.ok(1, "poll", [poll(("x", []))])
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    story.wait(60.0)
    story.phase("drain")
    story.ok(2, "assign", ["x"], seek_to_beginning=True)
    story.ok(2, "poll", [poll(("x", []))])
    story.ok(2, "poll", [poll(("x", [[0, 1]]))])
    story.drain("x", 1)
    judgement = judge(story.ops)
    assert judgement.validity is Validity.VALID
    assert 2e9 < judgement.extra["worst-realtime-lag"]["lag"] < 3e9
    assert {lag["process"] for lag in judgement.extra["realtime-lag"]} == {1}


def test_foreign_history_in_which_nothing_was_written_and_nothing_read_is_vacuous():
    story = Story()
    for _ in range(3):
        story.ok(1, "poll", [poll()])
    judgement = judge(story.ops)
    assert judgement.validity is Validity.VACUOUS
    assert judgement.reasons == ("No record was written by an operation that succeeded, and none was read.",)
    story.info(0, "send", [send("x", 1)])
    assert judge(story.ops).validity is Validity.VACUOUS
    story.ok(1, "poll", [poll(("x", [[0, 1]]))])
    assert judge(story.ops).validity is Validity.VALID


def test_what_only_offsets_can_show_is_not_checked_where_none_is_told():
    story = Story()
    story.ok(0, "send", [send("x", 1)])
    story.ok(1, "poll", [["poll", [["x", [[None, 1]]]]]])
    places = {"inconsistent-offsets", "duplicate", "lost-write", "poll-skip", "nonmonotonic-send"}
    judgement = judge(story.ops)
    assert judgement.validity is Validity.VALID
    assert places <= set(judgement.not_checked)
    assert "unseen" not in judgement.not_checked
    story.ok(0, "send", [send("x", 2, 1)])
    story.ok(1, "poll", [poll(("x", [[1, 2]]))])
    assert not places & set(judge(story.ops).not_checked)


def test_run_on_topics_that_forget_of_which_no_whole_read_shows_anything_is_unknown():
    for forgets, uncommitted in (({"compacted": True}, Validity.UNKNOWN), ({"retention_ms": 5000}, Validity.VALID)):
        assert judge(run().ops, CheckOptions(**forgets)).validity is Validity.UNKNOWN
        for isolation, verdict in (("read_committed", Validity.VALID), ("read_uncommitted", uncommitted)):
            story = run()
            story.event(7, "invoke", "scan", "x")
            found = [poll(("x", [[0, 1], [1, 2]]))]
            story.event(7, "ok", "scan", found, isolation=isolation, extra={"end": 2, "key": "x"})
            assert judge(story.ops, CheckOptions(**forgets)).validity is verdict


def copying(outcome):
    """A run whose transactions that only read succeed; of those that write, this comes."""
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("in", 1, 0)])
    story.ok(1, "txn", [["poll", []]])
    told = {"commit_time": story.now + 100} if outcome == "ok" else {"commit_time": None}
    story.call(1, outcome, "txn", [poll(("in", [[0, 1]])), send("out", 2, 0)], **told)
    story.phase("drain")
    story.ok(2, "poll", [poll(("in", [[0, 1]]), *([("out", [[0, 2]])] if outcome == "ok" else ()))])
    story.drain("in", 1)
    story.drain("out", 2)
    return judge(story.ops)


def test_run_that_committed_no_transaction_that_writes_is_vacuous():
    for outcome in ("fail", "info"):
        judgement = copying(outcome)
        assert judgement.validity is Validity.VACUOUS
        assert judgement.reasons == ("No transaction that writes was committed for certain (1 tried).",)
    assert copying("ok").validity is Validity.VALID


def copied(*, asked_at_the_end):
    """A run that copies two inputs, and asks what the group has committed in between, and maybe at the end."""
    story = Story()
    story.phase("main")
    story.ok(0, "send", [send("in", 1, 0), send("in", 2, 1)])
    for at in (0, 1):
        value = [poll(("in", [[at, 1 + at]])), send("out", 5 + at, 2 * at)]
        story.ok(1, "txn", value, group="g", offsets=[["in", at + 1]], commit_time=story.now)
        if at == 0 or asked_at_the_end:
            story.begin(3, "committed", {"group": "g"})
            story.event(3, "ok", "committed", [["in", at + 1]], group="g")
    story.phase("drain")
    out = [[2 * at, 5 + at, {"source": ["in", at]}] for at in (0, 1)]
    story.ok(2, "poll", [poll(("in", [[0, 1], [1, 2]]), ("out", out))])
    story.drain("in", 2)
    story.drain("out", 4)
    return judge(story.ops)


def test_copies_of_which_nobody_knows_what_was_committed_at_the_end_are_not_judged():
    assert copied(asked_at_the_end=True).validity is Validity.VALID
    judgement = copied(asked_at_the_end=False)
    assert judgement.validity is Validity.UNKNOWN
    assert "whether it was copied exactly once was not judged" in judgement.reasons[0]
