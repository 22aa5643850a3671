"""The producer: acknowledged once, in order, whatever the brokers do meanwhile."""

from __future__ import annotations

import pytest

from broker.sim.client.errors import ClientError
from broker.sim.client.metadata import Leader
from tests.broker.sim.client.scene import Scene


def test_a_record_that_was_sent_is_read_at_the_offset_that_was_told():
    scene = Scene()
    producer = scene.producer()
    offsets = [scene.run(producer.send("t", 0, b"v%d" % i, scene.in_ms(5000))) for i in range(5)]
    assert offsets == [0, 1, 2, 3, 4]
    assert scene.read_all()[0] == [(i, b"v%d" % i) for i in range(5)]


def test_records_produced_together_go_in_one_batch_and_keep_their_order():
    scene = Scene()
    producer = scene.producer()
    reports = [producer.produce("t", 1, b"%d" % i) for i in range(300)]
    scene.run(producer.flush(scene.in_ms(5000)))
    assert [report.result() for report in reports] == list(range(300))
    assert scene.read_all()[1] == [(i, b"%d" % i) for i in range(300)]


@pytest.mark.parametrize("idempotence", [True, False])
def test_a_leader_that_is_killed_costs_time_and_no_record(idempotence):
    scene = Scene(seed=7)
    producer = scene.producer(idempotence=idempotence, delivery_timeout_ms=30_000)
    leader = scene.leader()

    async def send():
        acknowledged = []
        for i in range(60):
            if i == 20:
                scene.cluster.nodes[leader].kill()
            if i == 40:
                scene.cluster.nodes[leader].start()
            await producer.send("t", 0, b"%d" % i, scene.in_ms(30_000))
            acknowledged.append(b"%d" % i)
        return acknowledged

    acknowledged = scene.run(send())
    values = [value for _, value in scene.read_all()[0]]
    if idempotence:
        assert values == acknowledged
    assert list(dict.fromkeys(values)) == acknowledged


def test_idempotence_makes_pipelined_batches_once_and_in_order_through_lost_connections():
    scene = Scene(seed=3)
    producer = scene.producer(delivery_timeout_ms=60_000, batch_records=3)
    leader = scene.leader()

    async def send():
        reports = []
        for i in range(200):
            reports.append(producer.produce("t", 0, b"%d" % i))
            if i % 10 == 0:
                await scene.loop.sleep(3)
            if i % 60 == 30:
                scene.network.cut("p", f"n{leader}")
                scene.loop.later(4000, lambda: scene.network.join("p", f"n{leader}"))
                await scene.loop.sleep(200)
        await producer.flush(scene.in_ms(60_000))
        return [report.result() for report in reports]

    offsets = scene.run(send())
    assert offsets == sorted(offsets)
    assert [value for _, value in scene.read_all()[0]] == [b"%d" % i for i in range(200)]


def test_a_record_that_can_not_be_delivered_is_given_up_in_time_and_the_next_ones_are_numbered_anew():
    scene = Scene(seed=5)
    producer = scene.producer(delivery_timeout_ms=4000)
    scene.run(producer.send("t", 0, b"first", scene.in_ms(5000)))
    for node in scene.bootstrap:
        scene.network.cut("p", f"n{node}")
    began = scene.loop.now_ms
    with pytest.raises(ClientError) as failed:
        scene.run(producer.send("t", 0, b"lost", scene.in_ms(20_000)))
    assert failed.value.name == "_MSG_TIMED_OUT"
    assert scene.loop.now_ms - began < 8000
    for node in scene.bootstrap:
        scene.network.join("p", f"n{node}")
    scene.run(producer.send("t", 0, b"last", scene.in_ms(20_000)))
    values = [value for _, value in scene.read_all()[0]]
    assert values in ([b"first", b"last"], [b"first", b"lost", b"last"])


def test_too_few_replicas_refuse_until_the_time_is_up():
    scene = Scene(seed=5, nodes=3, min_isr=3)
    producer = scene.producer(delivery_timeout_ms=8000)
    leader = scene.leader()
    scene.cluster.nodes[next(n for n in scene.bootstrap if n != leader)].kill()
    scene.pass_ms(6000)
    with pytest.raises(ClientError) as failed:
        scene.run(producer.send("t", 0, b"x", scene.in_ms(20_000)))
    assert failed.value.name == "_MSG_TIMED_OUT"
    assert "NOT_ENOUGH_REPLICAS" in str(failed.value)


def test_acks_0_tells_no_offset_and_acks_1_does():
    scene = Scene()
    none = scene.producer("p0", acks=0, idempotence=False)
    one = scene.producer("p1", acks=1, idempotence=False)
    assert scene.run(none.send("t", 0, b"a", scene.in_ms(5000))) is None
    scene.pass_ms(100)
    assert scene.run(one.send("t", 0, b"b", scene.in_ms(5000))) == 1
    assert scene.read_all()[0] == [(0, b"a"), (1, b"b")]


def test_without_acks_a_producer_learns_by_a_closed_connection_that_another_node_leads():
    scene = Scene(seed=5, nodes=3)
    producer = scene.producer("p0", acks=0, idempotence=False)
    scene.run(producer.send("t", 0, b"a", scene.in_ms(5000)))
    old = scene.leader()
    scene.cluster.nodes[old].kill()
    scene.pass_ms(15_000)
    scene.cluster.nodes[old].start()
    scene.pass_ms(15_000)
    new = scene.leader()
    assert new != old
    for is_stale, value in ((True, b"lost"), (True, b"lost"), (False, b"b")):
        if is_stale:
            producer.contact.metadata.leaders["t", 0] = Leader(old, 0)  # it has not heard of the change
        scene.run(producer.send("t", 0, value, scene.in_ms(5000)))
        scene.pass_ms(3000)
    assert [value for _, value in scene.read_all()[0]] == [b"a", b"b"]


def test_the_same_seed_gives_the_same_offsets_at_the_same_times():
    def run():
        scene = Scene(seed=11)
        producer = scene.producer()
        reports = [scene.run(producer.send("t", i % 2, b"%d" % i, scene.in_ms(5000))) for i in range(10)]
        return scene.loop.now_ns, reports

    assert run() == run()


def test_records_carry_the_time_of_the_brokers_clocks_so_that_producers_do_not_expire():
    scene = Scene()
    producer = scene.producer()
    scene.run(producer.send("t", 0, b"x", scene.in_ms(5000)))
    node = scene.cluster.nodes[scene.leader()]
    replica = next(one for one in node.broker.replicas if one.name == "t" and one.key[1] == 0)
    (state,) = replica.log.producers.all()
    assert 0 <= node.now_ms() - state.last_timestamp < 10_000
