"""Registration, heartbeats and fencing of nodes (KIP-631; unclean stops KIP-966).

    absent -> fenced (registered) -> active -> stopping -> fenced
                        ^______________|  silent for the session time-out, or its process has ended, or it asks for it

A fenced or stopping node leaves all ISRs and leads nothing. One that lives is active again when it has heard that it
was fenced: until then it may believe that it leads what others lead by now. A node that registers anew without having
stopped in order has lost what was not synced: it leaves the eligible replicas too. Sessions are soft state: a new
controller gives every node a full session from its election on; only a node that it has heard itself keeps another
incarnation out.
"""

from __future__ import annotations

from broker.core.controller.pipeline import Pipeline
from broker.core.errors import Code
from broker.core.metadata.image import Broker
from broker.core.metadata.records import NO_LEADER, BrokerChanged, BrokerForgotten, BrokerRegistered, Endpoint
from broker.wire.messages.broker_heartbeat import BrokerHeartbeatRequest, BrokerHeartbeatResponse
from broker.wire.messages.broker_registration import BrokerRegistrationRequest, BrokerRegistrationResponse
from broker.wire.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse


class Brokers:
    """See the module."""

    def __init__(self, pipeline: Pipeline, now_ms: int) -> None:
        self._pipeline = pipeline
        self._heard_ms = {b.id: now_ms for b in pipeline.image.brokers.values() if not b.fenced}
        self._contacted: dict[int, int] = {}
        before = pipeline.next_offset - 1  # another controller's fencing lies there or below
        self._fenced_at = {b.id: before for b in pipeline.image.brokers.values() if b.fenced}

    @property
    def deadline_ms(self) -> int:
        """When the next session may expire."""
        return min(self._heard_ms.values(), default=1 << 62) + self._pipeline.config.session_timeout_ms

    def register(self, request: BrokerRegistrationRequest, now_ms: int) -> BrokerRegistrationResponse:
        """Take a node in, fenced, under a new epoch."""
        pipeline, broker_id = self._pipeline, request.broker_id
        if request.cluster_id != pipeline.config.cluster_id:
            return BrokerRegistrationResponse(error_code=Code.INCONSISTENT_CLUSTER_ID)
        incarnation = request.incarnation_id.hex()
        old = pipeline.image.brokers.get(broker_id)
        if old is not None and old.incarnation == incarnation:
            return BrokerRegistrationResponse(broker_epoch=old.epoch)
        if old is not None and self._has_session(broker_id, now_ms):
            return BrokerRegistrationResponse(error_code=Code.DUPLICATE_BROKER_REGISTRATION)
        self._heard_ms.pop(broker_id, None)
        epoch = pipeline.next_offset
        endpoints = tuple(Endpoint(item.name, item.host, item.port) for item in request.listeners)
        pipeline.stage(BrokerRegistered(broker_id, epoch, incarnation, endpoints, request.rack))
        if old is not None:
            unclean = request.previous_broker_epoch != old.epoch
            self._leave(broker_id, unclean=unclean)
        pipeline.commit(now_ms)
        return BrokerRegistrationResponse(broker_epoch=epoch)

    def _has_session(self, broker_id: int, now_ms: int) -> bool:
        heard = self._contacted.get(broker_id)
        return heard is not None and now_ms - heard < self._pipeline.config.session_timeout_ms

    def heartbeat(self, request: BrokerHeartbeatRequest, now_ms: int) -> BrokerHeartbeatResponse:
        """Note that a node is alive; unfence it when it has caught up, let it stop when it leads nothing."""
        pipeline = self._pipeline
        broker = pipeline.image.brokers.get(request.broker_id)
        if broker is None:
            return BrokerHeartbeatResponse(error_code=Code.BROKER_ID_NOT_REGISTERED)
        if broker.epoch != request.broker_epoch:
            return BrokerHeartbeatResponse(error_code=Code.STALE_BROKER_EPOCH)
        self._contacted[broker.id] = now_ms
        caught_up = request.current_metadata_offset > max(broker.epoch, self._fenced_at.get(broker.id, -1))
        if request.want_shut_down:
            return self._stop(broker, now_ms, caught_up=caught_up)
        if broker.fenced and not request.want_fence and caught_up:
            self._unfence(broker)
        elif not broker.fenced and request.want_fence:
            self._fence(broker)
        pipeline.commit(now_ms)
        fenced = pipeline.image.brokers[broker.id].fenced
        if not fenced:
            self._heard_ms[broker.id] = now_ms
        return BrokerHeartbeatResponse(is_caught_up=caught_up, is_fenced=fenced)

    def confirm(self, broker_id: int) -> None:
        """Write down what a node is, as it is: when that is committed, this is still the controller.

        One that stood still, or that nobody follows, would tell its own node that it is active, and the node as a
        coordinator be sure of what its successors know better.
        """
        broker = self._pipeline.image.brokers.get(broker_id)
        if broker is not None:
            self._pipeline.stage(BrokerChanged(broker.id, broker.epoch, fenced=broker.fenced, stopping=broker.stopping))

    def _stop(self, broker: Broker, now_ms: int, *, caught_up: bool) -> BrokerHeartbeatResponse:
        pipeline = self._pipeline
        if not broker.stopping and not broker.fenced:
            self._heard_ms[broker.id] = now_ms
            pipeline.stage(BrokerChanged(broker.id, broker.epoch, fenced=False, stopping=True))
            self._leave(broker.id)
        leads = any(partition.leader == broker.id for partition in pipeline.image.partitions())
        if not leads:
            pipeline.stage(BrokerChanged(broker.id, broker.epoch, fenced=True, stopping=True))
            self._heard_ms.pop(broker.id, None)
            self._contacted.pop(broker.id, None)
        pipeline.commit(now_ms)
        fenced = pipeline.image.brokers[broker.id].fenced
        return BrokerHeartbeatResponse(is_caught_up=caught_up, is_fenced=fenced, should_shut_down=not leads)

    def unregister(self, request: UnregisterBrokerRequest, now_ms: int) -> UnregisterBrokerResponse:
        """Forget a node: it leaves all ISRs. One that still lives registers anew with its next heartbeat."""
        pipeline, broker_id = self._pipeline, request.broker_id
        if broker_id not in pipeline.image.brokers:
            message = f"Broker ID {broker_id} is not currently registered"
            return UnregisterBrokerResponse(error_code=Code.BROKER_ID_NOT_REGISTERED, error_message=message)
        self._heard_ms.pop(broker_id, None)
        self._contacted.pop(broker_id, None)
        pipeline.stage(BrokerForgotten(broker_id))
        self._leave(broker_id, unclean=True)
        pipeline.commit(now_ms)
        return UnregisterBrokerResponse()

    def _unfence(self, broker: Broker) -> None:
        self._pipeline.stage(BrokerChanged(broker.id, broker.epoch, fenced=False))
        for partition in self._pipeline.image.partitions():
            if partition.leader == NO_LEADER and broker.id in partition.replicas:
                self._pipeline.change(partition)

    def _fence(self, broker: Broker) -> None:
        self._heard_ms.pop(broker.id, None)
        self._fenced_at[broker.id] = self._pipeline.next_offset
        self._pipeline.stage(BrokerChanged(broker.id, broker.epoch, fenced=True))
        self._leave(broker.id)

    def _leave(self, broker_id: int, *, unclean: bool = False) -> None:
        """Take the node out of every ISR, and out of the eligible replicas after an unclean stop."""
        for partition in self._pipeline.image.partitions():
            if broker_id in partition.isr or partition.leader == broker_id or (unclean and broker_id in partition.elr):
                isr = tuple(replica for replica in partition.isr if replica != broker_id)
                self._pipeline.change(partition, isr=isr, unclean=broker_id if unclean else None)

    def gone(self, broker_id: int, now_ms: int) -> None:
        """Fence a node whose process has ended, without waiting for its session; its next life may register at once."""
        self._contacted.pop(broker_id, None)
        broker = self._pipeline.image.brokers.get(broker_id)
        if broker is not None and not broker.fenced:
            self._fence(broker)
            self._pipeline.commit(now_ms)

    def tick(self, now_ms: int) -> None:
        """Fence the nodes that were silent for too long."""
        timeout_ms = self._pipeline.config.session_timeout_ms
        for broker_id in [broker for broker, heard in self._heard_ms.items() if now_ms - heard >= timeout_ms]:
            broker = self._pipeline.image.brokers.get(broker_id)
            if broker is None or broker.fenced:
                del self._heard_ms[broker_id]
            else:
                self._fence(broker)
                self._pipeline.commit(now_ms)
