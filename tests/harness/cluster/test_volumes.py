"""What is told of a volume, and what of it may be lost."""

from harness.cluster.volumes import unsynced

SAID = f"""0
3
t0 0 40
t0 1 41
__cluster_metadata 0 7
900 t0-0/{0:020d}.log
300 t0-0/{40:020d}.log
500 t0-1/{40:020d}.log
700 a-b.c_d-12/{0:020d}.log
0 t1-0/{0:020d}.log
800 __cluster_metadata-0/{0:020d}.log
10 t0-0/{40:020d}.snapshot
"""


def test_the_newest_segments_that_no_checkpoint_reaches_may_be_lost():
    everything = {"t0", "t1", "a-b.c_d", "__cluster_metadata"}
    whole = {f"t0-0/{40:020d}.log": 300, f"a-b.c_d-12/{0:020d}.log": 700}
    assert unsynced(SAID, everything) == whole, "t0-1 is synced in part, t1-0 is empty"
    assert unsynced(SAID, {"t0"}) == {f"t0-0/{40:020d}.log": 300}
    assert unsynced("", everything) == {}
