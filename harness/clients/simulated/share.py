"""A share group's member on the virtual clock: performs the steps of `harness.clients.share` with a `Contact`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from broker.sim.client.contact import METADATA_VERSION, Contact
from broker.sim.client.coordinator import FIND_VERSION
from broker.sim.client.errors import ClientError
from broker.wire.apis import Api
from harness.clients.share.asking import LostError, Steps, Wait

T = TypeVar("T")

VERSIONS: Final[Mapping[Api, int]] = {
    Api.METADATA: METADATA_VERSION,
    Api.FIND_COORDINATOR: FIND_VERSION,
    Api.SHARE_ACKNOWLEDGE: 2,
}
"""Acknowledgements that renew are new in 2 (KIP-1222). Of the others, 1: the first of KIP-932 that is no draft."""


async def perform(contact: Contact, steps: Steps[T]) -> T:
    """Return what the steps return; raises what they raise."""
    try:
        step = next(steps)
        while True:
            if isinstance(step, Wait):
                await contact.loop.sleep(step.ms)
                step = steps.send(None)
                continue
            node = contact.any_node() if step.node is None else step.node
            sent = False
            try:
                await contact.reach(node)
                sent = True
                answer = await contact.call(node, step.request, VERSIONS.get(step.request.api, 1), step.timeout_ms)
            except ClientError as error:
                step = steps.throw(LostError(str(error), sent=sent))
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
