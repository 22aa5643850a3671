"""A small simulated cluster with a topic, and clients for it."""

from __future__ import annotations

from broker.sim.client.admin import create_topics
from broker.sim.client.config import ClientConfig, ConsumerConfig, ProducerConfig
from broker.sim.client.consumer import BEGINNING, Consumer
from broker.sim.client.contact import Contact
from broker.sim.client.producer import Producer
from broker.sim.client.transactional import TransactionalProducer
from broker.sim.cluster import Cluster, Shape
from broker.sim.loop import Loop

SETTINGS = {
    "transaction_partitions": 2,
    "offsets_partitions": 2,
    "transaction_sweep_ms": 500,
    "group_initial_delay_ms": 100,
    "election_timeout_ms": 500,
    "session_timeout_ms": 3000,
    "heartbeat_interval_ms": 500,
    "replica_lag_ms": 2000,
}


class Scene:
    def __init__(self, seed=1, *, nodes=3, partitions=2, replication=3, min_isr=2, settings=None, **shape):
        self.loop = Loop(seed)
        self.cluster = Cluster(self.loop, Shape(nodes=nodes, settings=SETTINGS | (settings or {}), **shape))
        self.cluster.start()
        assert self.cluster.until(self.cluster.is_ready)
        self.bootstrap = tuple(self.cluster.nodes)
        self.admin = Contact(self.loop, self.network, self.client("admin"))
        config = {"min.insync.replicas": str(min_isr)}
        making = create_topics(
            self.admin,
            ["t"],
            partitions=partitions,
            replication=replication,
            config=config,
            deadline_ms=self.loop.now_ms + 30_000,
        )
        self.run(making)

    @property
    def network(self):
        return self.cluster.network

    def run(self, coro, limit_s=120):
        result = self.loop.run(coro, self.loop.now_ns + limit_s * 10**9)
        self.loop.check()
        return result

    def pass_ms(self, duration_ms):
        self.loop.run_until(self.loop.now_ns + duration_ms * 10**6)
        self.loop.check()

    def in_ms(self, duration_ms):
        return self.loop.now_ms + duration_ms

    def client(self, name, **settings):
        return ClientConfig(client_id=name, bootstrap=self.bootstrap, **settings)

    def producer(self, name="p", **settings):
        return Producer(self.loop, self.network, ProducerConfig(client=self.client(name), **settings))

    def transactional(self, name="tx", *, client=None, **settings):
        config = ProducerConfig(client=self.client(client or name), transactional_id=name, **settings)
        return TransactionalProducer(self.loop, self.network, config)

    def consumer(self, name="c", **settings):
        return Consumer(self.loop, self.network, ConsumerConfig(client=self.client(name), **settings))

    def leader(self, partition=0):
        """The node that leads in the eyes of the newest metadata."""
        self.run(self.admin.until(self.admin.refresh(), self.in_ms(10_000)))
        self.admin.watch("t")
        self.run(self.admin.until(self.admin.refresh(), self.in_ms(10_000)))
        return self.admin.metadata.leaders["t", partition].node

    def read_all(self, *, partitions=(0, 1), read_committed=True, quiet_ms=1500):
        """Values by partition, in order, read until nothing comes for a while."""
        consumer = self.consumer("reader", read_committed=read_committed)
        consumer.assign({("t", p): BEGINNING for p in partitions})
        found = {p: [] for p in partitions}

        async def read():
            silent_since = self.loop.now_ms
            while self.loop.now_ms - silent_since < quiet_ms:
                for record in await consumer.poll(100, 1000):
                    found[record.partition].append((record.offset, record.value))
                    silent_since = self.loop.now_ms

        self.run(read())
        consumer.close()
        return found
