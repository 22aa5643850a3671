"""Which anomalies a setting makes legal: they stay invalid, and the verdict names the setting."""

from __future__ import annotations

import pytest

from checkers.catalog import permitted
from checkers.options import CheckOptions


@pytest.mark.parametrize("name", ["lost-write", "G1a", "aborted-read", "int-poll-skip", "epoch-regression"])
def test_an_unclean_election_permits_what_a_log_that_was_cut_off_shows(name):
    assert permitted(CheckOptions(unclean_election=True), reads_disagree=False)[name] == "unclean election"
    assert name not in permitted(CheckOptions(), reads_disagree=False)


def test_an_unclean_election_permits_no_duplicate_and_no_read_of_what_nobody_sent():
    assert (
        not {"duplicate", "phantom-read", "record-altered"}
        & permitted(CheckOptions(unclean_election=True), reads_disagree=False).keys()
    )


def test_acks_1_permits_two_records_at_one_offset_only_where_no_two_reads_say_so():
    weak = CheckOptions(acks="1")
    assert permitted(weak, reads_disagree=False)["inconsistent-offsets"] == "acks=1"
    assert "inconsistent-offsets" not in permitted(weak, reads_disagree=True)
