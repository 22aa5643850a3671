"""What `harness run` refuses before it starts anything."""

import pytest

from harness.cluster.api import UsageError
from harness.launch import refuse_unknown
from harness.scenario import Scenario
from nemesis.faults import ALL


@pytest.mark.parametrize("nemesis", ["partition-leader", "slow-links", "lossy-links", "cut-clients"])
def test_faults_of_links_are_refused_without_links(nemesis):
    assert refuse_unknown(Scenario(cluster="embedded", nemesis=nemesis)) == ((nemesis,),)
    with pytest.raises(UsageError, match=f"--nemesis {nemesis} needs the power to .*(partition|shape)"):
        refuse_unknown(Scenario(cluster="embedded", nemesis=nemesis, links=False))


def test_all_faults_without_links_are_those_that_need_none():
    names = {name for (name,) in refuse_unknown(Scenario(cluster="embedded", nemesis=ALL, links=False))}
    assert "kill-leader" in names
    assert not names & {"partition-leader", "slow-links", "lossy-links", "cut-clients"}
