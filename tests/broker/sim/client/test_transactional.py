"""Transactions by both protocols: whole or not at all, fenced by the next, and errors that say what can be done."""

from __future__ import annotations

import pytest

from broker.sim.client.errors import ClientError
from tests.broker.sim.client.scene import Scene

protocols = pytest.mark.parametrize("version", [1, 2])


async def one(scene, producer, values, *, commit=True):
    producer.begin()
    for partition, value in values:
        await producer.send("t", partition, value, scene.in_ms(8000))
    await (producer.commit if commit else producer.abort)(scene.in_ms(10_000))


@protocols
def test_committed_records_are_seen_and_aborted_ones_are_not(version):
    scene = Scene()
    producer = scene.transactional(transaction_version=version)

    async def go():
        await producer.init(scene.in_ms(10_000))
        for i in range(6):
            await one(scene, producer, [(0, b"a%d" % i), (1, b"b%d" % i)], commit=i % 2 == 0)

    scene.run(go())
    found = scene.read_all()
    assert [value for _, value in found[0]] == [b"a0", b"a2", b"a4"]
    assert [value for _, value in found[1]] == [b"b0", b"b2", b"b4"]
    everything = scene.read_all(read_committed=False)
    assert [value for _, value in everything[0]] == [b"a%d" % i for i in range(6)]


@protocols
def test_the_epoch_rises_with_every_transaction_in_protocol_2_only(version):
    scene = Scene()
    producer = scene.transactional(transaction_version=version)

    async def go():
        await producer.init(scene.in_ms(10_000))
        epochs = []
        for i in range(3):
            epochs.append(producer.identity[1])
            await one(scene, producer, [(0, b"%d" % i)])
        return epochs

    assert scene.run(go()) == ([0, 0, 0] if version == 1 else [0, 1, 2])


@protocols
def test_the_next_session_fences_the_last_one_and_ends_its_transaction(version):
    scene = Scene()
    old = scene.transactional(transaction_version=version, client="old")
    new = scene.transactional(transaction_version=version, client="new")

    async def go():
        await old.init(scene.in_ms(10_000))
        old.begin()
        await old.send("t", 0, b"old", scene.in_ms(5000))
        await new.init(scene.in_ms(10_000))
        await one(scene, new, [(0, b"new")])
        with pytest.raises(ClientError) as fenced:
            await old.commit(scene.in_ms(5000))
        return fenced.value

    error = scene.run(go())
    assert (error.name, error.fatal) == ("_FENCED", True)
    with pytest.raises(ClientError):
        old.begin()
    assert [value for _, value in scene.read_all()[0]] == [b"new"]


@protocols
def test_an_orphan_is_aborted_by_its_time_out_and_its_producer_fenced(version):
    scene = Scene()
    producer = scene.transactional(transaction_version=version, transaction_timeout_ms=2000)

    async def go():
        await producer.init(scene.in_ms(10_000))
        producer.begin()
        await producer.send("t", 0, b"late", scene.in_ms(1000))
        await scene.loop.sleep(4000)
        with pytest.raises(ClientError) as fenced:
            await producer.commit(scene.in_ms(5000))
        return fenced.value

    assert scene.run(go()).fatal
    assert scene.read_all()[0] == []


@protocols
def test_an_empty_transaction_needs_no_coordinator(version):
    scene = Scene()
    producer = scene.transactional(transaction_version=version)

    async def go():
        await producer.init(scene.in_ms(10_000))
        for node in scene.bootstrap:
            scene.network.cut("tx", f"n{node}")
        before = producer.identity
        producer.begin()
        await producer.commit(scene.in_ms(100))
        producer.begin()
        await producer.abort(scene.in_ms(100))
        return before, producer.identity

    before, after = scene.run(go())
    assert after == before
    assert scene.read_all(read_committed=False) == scene.read_all()


@protocols
def test_a_send_that_is_given_up_lets_the_transaction_only_be_aborted_and_the_next_one_is_sound(version):
    scene = Scene(seed=4)
    producer = scene.transactional(transaction_version=version, delivery_timeout_ms=3000)

    async def go():
        await producer.init(scene.in_ms(10_000))
        await one(scene, producer, [(0, b"before")])
        producer.begin()
        await producer.send("t", 0, b"half", scene.in_ms(3000))
        for node in scene.bootstrap:
            scene.network.cut("tx", f"n{node}")
        with pytest.raises(ClientError) as given_up:
            await producer.send("t", 1, b"other half", scene.in_ms(20_000))
        for node in scene.bootstrap:
            scene.network.join("tx", f"n{node}")
        with pytest.raises(ClientError) as refused:
            await producer.commit(scene.in_ms(5000))
        await producer.abort(scene.in_ms(15_000))
        for i in range(3):
            await one(scene, producer, [(0, b"after%d" % i), (1, b"after%d" % i)])
        return given_up.value.name, refused.value.requires_abort

    assert scene.run(go()) == ("_MSG_TIMED_OUT", True)
    found = scene.read_all()
    assert [value for _, value in found[0]] == [b"before", b"after0", b"after1", b"after2"]
    assert [value for _, value in found[1]] == [b"after0", b"after1", b"after2"]


@protocols
def test_a_commit_without_an_answer_says_that_its_end_is_unknown(version):
    scene = Scene(seed=4)
    producer = scene.transactional(transaction_version=version)

    async def go():
        await producer.init(scene.in_ms(10_000))
        producer.begin()
        await producer.send("t", 0, b"x", scene.in_ms(3000))
        for node in scene.bootstrap:
            scene.network.cut("tx", f"n{node}")
        with pytest.raises(ClientError) as unknown:
            await producer.commit(scene.in_ms(2000))
        with pytest.raises(ClientError) as conflict:
            await producer.abort(scene.in_ms(2000))
        for node in scene.bootstrap:
            scene.network.join("tx", f"n{node}")
        await producer.commit(scene.in_ms(20_000))
        return unknown.value, conflict.value.name

    error, conflict = scene.run(go())
    assert (error.name, error.retriable, error.requires_abort, error.fatal) == ("_TIMED_OUT", True, False, False)
    assert conflict == "_CONFLICT"
    assert [value for _, value in scene.read_all()[0]] == [b"x"]


@protocols
@pytest.mark.parametrize("seed", range(3))
def test_transactions_stay_whole_while_nodes_are_killed(version, seed):
    scene = Scene(seed=seed + 20)
    producer = scene.transactional(transaction_version=version)
    ended = {}

    async def go():
        await producer.init(scene.in_ms(60_000))
        for i in range(12):
            victim = scene.cluster.nodes[scene.bootstrap[i // 4 % 3]]
            if i % 4 == 1:
                victim.kill()
            if i % 4 == 3:
                victim.start()
                await scene.loop.sleep(3000)
            try:
                await one(scene, producer, [(0, b"%d" % i), (1, b"%d" % i)])
                ended[i] = "commit"
            except ClientError as error:
                if error.fatal:
                    raise
                await producer.abort(scene.in_ms(60_000))
                ended[i] = "abort"

    scene.run(go(), limit_s=600)
    committed = [b"%d" % i for i, end in ended.items() if end == "commit"]
    found = scene.read_all(quiet_ms=12_000)
    assert [value for _, value in found[0]] == committed
    assert [value for _, value in found[1]] == committed
    assert len(committed) >= 8


def test_a_record_of_the_next_transaction_waits_for_the_marker_of_the_last_one():
    """Found by random faults: the record fell into the open transaction, and that one's abort took it along."""
    scene = Scene(seed=2, settings={"transaction_replication_factor": 1, "transaction_min_isr": 1})
    producer = scene.transactional(transaction_version=2)

    async def go():
        await producer.init(scene.in_ms(10_000))
        await one(scene, producer, [(0, b"x"), (1, b"x")])
        coordinator = producer._coordinator._node
        leaders = producer.contact.metadata.leaders
        partition = next(p for p in (0, 1) if leaders["t", p].node != coordinator)
        link = f"n{coordinator}", f"n{leaders['t', partition].node}"
        producer.begin()
        await producer.send("t", partition, b"aborted", scene.in_ms(5000))
        scene.network.cut(*link)
        scene.loop.later(1500, lambda: scene.network.join(*link))
        await producer.abort(scene.in_ms(10_000))
        await one(scene, producer, [(partition, b"committed")])
        return partition

    partition = scene.run(go())
    assert [value for _, value in scene.read_all()[partition]] == [b"x", b"committed"]


def test_a_late_batch_of_an_old_epoch_is_refused_alone():
    """Found by random faults: the next epoch's batch waited behind it, and was told that it is fenced."""
    scene = Scene(seed=2, settings={"transaction_replication_factor": 1, "transaction_min_isr": 1})
    producer = scene.transactional(transaction_version=2, delivery_timeout_ms=2500)

    async def go():
        await producer.init(scene.in_ms(10_000))
        await one(scene, producer, [(0, b"x"), (1, b"x")])
        coordinator = producer._coordinator._node
        leaders = producer.contact.metadata.leaders
        partition = next(p for p in (0, 1) if leaders["t", p].node != coordinator)
        leader = scene.cluster.nodes[leaders["t", partition].node]
        producer.begin()
        leader.pause()
        with pytest.raises(ClientError) as given_up:
            await producer.send("t", partition, b"late", scene.in_ms(10_000))
        scene.loop.later(1500, leader.resume)
        await producer.abort(scene.in_ms(10_000))
        await one(scene, producer, [(partition, b"next")])
        return given_up.value.name, partition

    name, partition = scene.run(go())
    assert name == "_MSG_TIMED_OUT"
    assert [value for _, value in scene.read_all()[partition]] == [b"x", b"next"]
