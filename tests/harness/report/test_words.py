"""The report's prose: every class is explained, every verdict has its own sentence, and nobody is wrongly accused."""

from __future__ import annotations

import pytest

from checkers.append.consistency import ruled_out
from checkers.catalog import ORDER
from harness.report import words


def test_every_class_of_the_checkers_is_explained() -> None:
    assert [name for name in ORDER if not words.meaning(name).guarantee] == []


def test_an_unknown_class_is_still_told_by_its_name() -> None:
    assert words.meaning("brand-new-thing").title == "Brand new thing"
    assert words.happened("brand-new-thing", 2) == "2 cases of brand-new-thing"


def test_a_realtime_variant_is_explained_as_its_class() -> None:
    assert words.meaning("G1c-realtime") == words.meaning("G1c")


def test_each_verdict_has_a_sentence_of_its_own() -> None:
    lost = {"lost-write": {"count": 3}}
    sentences = {
        word: words.headline(word, lost if word == "invalid" else {}, ["the reason."], 2)
        for word in ("valid", "vacuous", "unknown", "invalid", "no verdict")
    }
    assert len(set(sentences.values())) == 5
    assert sentences["invalid"] == "3 acknowledged records are gone."
    assert sentences["vacuous"].endswith(": the reason.")


def test_a_failure_of_the_harness_accuses_nobody() -> None:
    sentence = words.headline("no verdict", {}, ["no engine"], 0)
    assert "says nothing about the system under test" in sentence


def test_what_is_permitted_is_said_and_stays_wrong() -> None:
    sentence = words.headline("invalid", {"lost-write": {"count": 1, "permitted-by": "acks=1"}}, [], 1)
    assert "1 acknowledged record is gone" in sentence
    assert sentence.endswith("The configuration permits this (acks=1), and the data is wrong all the same.")
    dirty = words.headline("invalid", {"G1a": {"count": 1, "permitted-by": "read_uncommitted"}}, [], 1)
    assert dirty.endswith("(read_uncommitted), and what was read is wrong all the same.")


def test_one_unpermitted_class_takes_the_permission_out_of_the_headline() -> None:
    found = {"lost-write": {"count": 1, "permitted-by": "acks=1"}, "phantom-read": {"count": 1}}
    sentence = words.headline("invalid", found, [], 1)
    assert sentence.startswith("1 record was read that nobody sent")
    assert "acks=1" not in sentence


def test_what_nothing_permits_comes_first() -> None:
    assert words.severity("unseen", None) < words.severity("lost-write", "acks=1")
    assert words.severity("lost-write", None) < words.severity("unseen", None)


def test_the_headline_says_first_whether_data_is_gone() -> None:
    found = {"inconsistent-offsets": {"count": 7}, "lost-write": {"count": 2}}
    assert words.headline("invalid", found, [], 1).startswith("2 acknowledged records are gone")
    assert words.severity("inconsistent-offsets", None) < words.severity("lost-write", None)


def test_what_rules_out_weaker_models_comes_first_and_variants_stand_together() -> None:
    order = ["incompatible-order", "G1a", "G0", "G1c", "G1c-realtime", "G-single-item", "G2-item", "unavailable"]
    assert sorted(order, key=lambda name: words.severity(name, None)) == order


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (["G0"], "none"),
        (["G1a"], "strong-read-uncommitted"),
        (["G-single-item"], "strong-read-committed"),
        (["lost-update", "G-single-item"], "strong-read-committed"),
        (
            ["G-nonadjacent-item"],
            "forward-consistent-view, monotonic-snapshot-read, parallel-snapshot-isolation, strong-read-committed",
        ),
        (["G2-item"], "strong-snapshot-isolation"),
        (["G1c-process"], "serializable, strong-read-uncommitted"),
        (["G2-item-realtime"], "strong-session-serializable, strong-snapshot-isolation"),
    ],
)
def test_models_that_are_left_are_told_beside_those_ruled_out(found, left) -> None:
    text = words.models_text(ruled_out(found))
    assert text.startswith("This history is not ")
    assert text.endswith(f" The strongest that nothing found touches: {left}.")


def test_no_models_are_told_where_none_are_ruled_out_and_none_are_left_of_what_is_no_model_of_transactions() -> None:
    assert words.models_text({"not": [], "also-not": []}) == words.models_text(None) == ""
    assert words.models_text({"not": ["linearizable"], "also-not": []}) == "This history is not linearizable."
