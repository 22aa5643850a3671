"""What client processes draw of codecs and sizes: from the seed, each its own, and nothing that permits an anomaly."""

from __future__ import annotations

import pytest

from broker.wire import compression
from harness.clients.packing import CODECS, MIXED, MOST_BYTES, PLAIN, Packing, padding, sizes_bytes
from harness.cluster.api import UsageError
from harness.random import Rng
from harness.scenario import Scenario

ALL = Scenario(compression=MIXED, value_size="100-8000", seed=5)


def drawn(scenario, processes=200):
    return [Packing.of(scenario, process) for process in range(processes)]


def test_processes_draw_every_codec_and_the_same_seed_the_same():
    assert {one.codec for one in drawn(ALL)} == set(CODECS)
    assert drawn(ALL) == drawn(ALL)
    assert drawn(ALL) != drawn(Scenario(compression=MIXED, value_size="100-8000", seed=6))
    assert {one.codec for one in drawn(Scenario(compression="lz4"))} == {"lz4"}


def test_a_new_incarnation_draws_again():
    assert len({Packing.of(ALL, 3 + 10 * incarnation).codec for incarnation in range(20)}) == len(CODECS)


def test_nothing_is_packed_or_padded_where_nobody_asks():
    assert set(drawn(Scenario())) == {PLAIN}
    assert PLAIN.pad(7, 30) == b""


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("parity", [0, 1])
def test_half_of_the_odd_and_of_the_even_processes_send_together_in_every_run(seed, parity):
    """A workload may give them other work: with odd ones alone, one run in fourteen had no batch of several records."""
    some = drawn(Scenario(compression=MIXED, seed=seed), 8)[parity::2]
    assert sorted(one.together for one in some) == [False, False, True, True]


def test_without_idempotence_nobody_sends_together():
    assert not any(
        one.together for one in drawn(Scenario(workload="send-poll", compression=MIXED, idempotence=False, acks="1"))
    )


def test_half_fetch_in_pieces_that_are_smaller_than_the_biggest_value():
    big = drawn(Scenario(compression="none", value_size="0-80000"))
    assert {one.fetch_bytes for one in big} == {None, 20000}
    assert {one.fetch_bytes for one in drawn(Scenario(compression=MIXED))} == {None}


def test_most_values_are_small_and_some_are_big():
    packing = Packing(sizes=(100, 8000), seed=3)
    sizes = [packing.size_bytes(v) for v in range(4000)]
    assert min(sizes) == 100
    assert 6000 < max(sizes) <= 8000
    assert 0.04 < sum(size > 100 for size in sizes) / len(sizes) < 0.09
    assert len(packing.pad(sizes.index(max(sizes)), 30)) == max(sizes) - 30


@pytest.mark.parametrize("size", [1, 31, 32, 1000, 20000])
def test_padding_is_as_long_as_asked_and_the_seeds_and_the_values_own(size):
    assert len(padding(1, 2, size)) == size
    assert padding(1, 2, size) == padding(1, 2, size)
    if size > 8:
        assert len({padding(1, 2, size), padding(1, 3, size), padding(2, 2, size)}) == 3


@pytest.mark.parametrize("codec", range(1, len(CODECS)))
def test_padding_gives_every_codec_something_to_do_and_something_left(codec):
    packed = compression.compress(codec, padding(1, 2, 4000))
    assert 800 < len(packed) < 3000


@pytest.mark.parametrize("wrong", ["", "x", "-1", "1-", "9-8", f"0-{MOST_BYTES + 1}", "1-2-3"])
def test_sizes_that_can_not_be_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=f"--value-size {wrong}: it must"):
        sizes_bytes(wrong)


def test_a_stream_of_names_is_that_of_the_first_ones_and_then_the_others():
    assert Rng.seeded(7, "a", "b", 31) == Rng.seeded(7, "a", "b").of(31) == Rng.seeded(7).of("a", "b", 31)
