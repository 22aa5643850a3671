"""No false alarm: histories of a correct Kafka in all its legal oddity are never invalid."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from checkers.judge import judge
from checkers.options import CheckOptions
from checkers.verdict import Validity
from tests.checkers import kafka_evidence, kafka_forgets, kafka_members, program_model
from tests.checkers.kafka_model import RU, run

RUNS_PER_TEST = int(os.environ.get("HARNESS_VALID_RUNS", "50"))
"""Ten tests of so many runs each, by the models in turn; 200 gives the 2,000 of the published figure."""

MODELS = (run, kafka_evidence.run, kafka_forgets.run, kafka_evidence.run)
FORGETS = 2
FORGOTTEN = {
    "compaction-lost-latest",
    "compaction-reordered",
    "compaction-too-early",
    "tombstone-resurrected",
    "premature-deletion",
    "offset-reset-silent",
}
EVIDENT = {
    "eos-loss",
    "eos-duplicate",
    "eos-reorder",
    "double-ownership",
    "resume-gap",
    "zombie-commit",
    "cross-transaction",
    "isolation-mismatch",
    "stale-poll",
    "deposed-leader-ack",
    "epoch-regression",
    "min-isr-violation",
    "metadata-divergence",
    "time-index-wrong",
    "stuck-consumer",
    "nonlinearizable",
}


@pytest.mark.parametrize("tenth", range(10))
def test_correct_kafka_is_never_accused(tenth):
    for seed in range(tenth * RUNS_PER_TEST, (tenth + 1) * RUNS_PER_TEST):
        world = MODELS[seed % 4](seed)
        options = world.options if seed % 4 == FORGETS else CheckOptions(min_isr=2, fresh=seed % 8 == 1)
        judgement = judge(world.ops, options)
        found = {anomaly.name for anomaly in judgement.anomalies}
        assert not found, f"seed {seed}: {judgement.anomalies}"
        assert not [reason for reason in judgement.reasons if "crashed" in reason], f"seed {seed}"


def test_group_that_its_members_come_to_and_leave_is_never_accused():
    protocols, told = Counter(), Counter()
    for seed in range(5 * RUNS_PER_TEST):
        world = kafka_members.run(seed)
        judgement = judge(world.ops, kafka_members.OPTIONS)
        assert not judgement.anomalies, f"seed {seed}: {judgement.anomalies}"
        assert not [reason for reason in judgement.reasons if "crashed" in reason], f"seed {seed}"
        assert not {"poll-skip", "nonmonotonic-poll"} & {one.name for one in judgement.allowed}, f"seed {seed}"
        protocols[world.group.protocol] += world.group.generation
        told.update(op.type for op in world.ops if op.f == "commit")
    assert min(protocols[one] for one in ("eager", "cooperative", "consumer")) > RUNS_PER_TEST
    assert min(told[one] for one in ("ok", "fail", "info")) > RUNS_PER_TEST // 5


def test_a_program_that_keeps_its_promise_is_never_accused():
    seen = Counter()
    for seed in range(5 * RUNS_PER_TEST):
        world = program_model.run(seed)
        judgement = judge(world.ops)
        assert not judgement.anomalies, f"seed {seed}: {judgement.anomalies}"
        assert judgement.validity in {Validity.VALID, Validity.VACUOUS}, f"seed {seed}: {judgement.reasons}"
        told = {one.name for one in judgement.allowed}
        assert told <= (set() if world.exact else {"eos-duplicate"}), f"seed {seed}"
        seen[world.exact, bool(told), judgement.validity] += 1
    assert min(seen[kind] for kind in ((True, False, Validity.VALID), (False, True, Validity.VALID))) > RUNS_PER_TEST


def test_most_runs_of_the_model_are_decided():
    judged = [judge(run(seed).ops).validity for seed in range(100)]
    assert judged.count(Validity.VALID) > 60
    assert judged.count(Validity.UNKNOWN) < 25


def test_evidence_of_the_model_lets_every_class_be_judged():
    seen = set()
    for seed in range(60):
        seen |= EVIDENT - set(judge(kafka_evidence.run(seed).ops, CheckOptions(min_isr=2, fresh=True)).not_checked)
    assert seen == EVIDENT


def test_topics_that_forget_really_do_and_let_their_classes_be_judged():
    seen, happened = set(), Counter()
    for seed in range(60):
        world = kafka_forgets.run(seed)
        happened.update(world.happened)
        seen |= FORGOTTEN - set(judge(world.ops, world.options).not_checked)
    assert seen == FORGOTTEN
    assert min(happened[what] for what in ("replaced", "forgotten", "expired", "told")) > 5, happened


def test_write_dependencies_accuse_no_correct_kafka():
    options = CheckOptions(ww_deps=True)
    for seed in range(100):
        assert not judge(run(seed).ops, options).anomalies, f"seed {seed}"


def test_aborted_data_that_an_uncommitted_reader_asked_for_are_told_and_legal():
    told = [judgement for seed in range(100) if (judgement := judge(run(seed).ops)).allowed]
    assert any("G1a" in {anomaly.name for anomaly in judgement.allowed} for judgement in told)
    worlds = [run(seed) for seed in range(100)]
    everybody = CheckOptions(isolation=RU)
    assert any("G1a" in {anomaly.name for anomaly in judge(world.ops, everybody).anomalies} for world in worlds)


def test_same_seed_gives_the_same_history():
    assert run(17).ops == run(17).ops
