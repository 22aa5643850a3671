"""Who coordinates a group or a transactional id: found when needed, forgotten when it says that it is not the one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from broker.sim.client.contact import Contact
from broker.sim.client.errors import COORDINATOR, LOST, TIMED_OUT, ClientError, of_code
from broker.wire.errors import error_name
from broker.wire.messages.find_coordinator import GROUP, FindCoordinatorRequest

FIND_VERSION = 4
DOUBT_MS = 500
"""How long a node may take to say who coordinates; one that is dead or stopped can't."""
AGAIN = COORDINATOR | LOST
"""What is asked again, at the coordinator that there is by then."""


class Coordinator:
    """The coordinator of one key; `kind` is GROUP or TRANSACTION of `broker.wire.messages.find_coordinator`."""

    def __init__(self, contact: Contact, kind: int, key: str) -> None:
        """Prepare; nobody is asked yet."""
        self._contact, self._kind, self._key = contact, kind, key
        self.asked = 0
        """How many requests were made, in all."""
        self._node: int | None = None
        self._channel = "group" if kind == GROUP else ""

    async def ask(
        self,
        message: Any,
        version: int,
        deadline_ms: float,
        code_of: Callable[[Any], int],
        again: frozenset[str] = frozenset(),
        *,
        timeout_ms: float | None = None,
    ) -> Any:
        """Ask until the answer is none of those to ask again for; raises ClientError with what was answered.

        The deadline ends it with _TIMED_OUT, retriable: a request may still be under way then.
        """
        attempt = 0
        while True:
            try:
                return await self.ask_once(message, version, deadline_ms, code_of, timeout_ms=timeout_ms)
            except ClientError as error:
                if error.name not in AGAIN | again:
                    raise
                attempt += 1
                await self._pause(attempt, deadline_ms, error)

    async def ask_once(
        self,
        message: Any,
        version: int,
        deadline_ms: float,
        code_of: Callable[[Any], int],
        *,
        timeout_ms: float | None = None,
    ) -> Any:
        """Ask one time, as soon as it is known whom; raises ClientError: what was answered, or why nothing was."""
        contact = self._contact
        try:
            node = await self._find(deadline_ms)
            left_ms = deadline_ms - contact.loop.now_ms
            wait_ms = contact.config.request_timeout_ms if timeout_ms is None else timeout_ms
            self.asked += 1
            answer = await contact.call(node, message, version, max(min(wait_ms, left_ms), 1), self._channel)
            code = code_of(answer)
            if code:
                raise of_code(code)
        except ClientError as error:
            if error.name in AGAIN:
                self._node = None
            raise
        return answer

    async def is_doubtful(self, nodes: Iterable[int]) -> bool:
        """Return whether one of the nodes names another coordinator than the one that answered last.

        Who was deposed answers questions until it hears of it: Kafka has no lease, and a read needs no majority.
        """
        ask = FindCoordinatorRequest(key_type=self._kind, coordinator_keys=(self._key,))
        answered = self._node
        for node in nodes:
            try:
                answer = await self._contact.call(node, ask, FIND_VERSION, DOUBT_MS)
            except ClientError:
                continue
            found = answer.coordinators[0]
            if not found.error_code and found.node_id != answered:
                return True
        return False

    async def _pause(self, attempt: int, deadline_ms: float, last: ClientError) -> None:
        loop = self._contact.loop
        pause_ms = self._contact.backoff_ms(attempt)
        if loop.now_ms + pause_ms >= deadline_ms:
            await loop.sleep(max(deadline_ms - loop.now_ms, 0))
            raise ClientError(TIMED_OUT, f"{self._key}: {last}", retriable=True)
        await loop.sleep(pause_ms)

    async def _find(self, deadline_ms: float) -> int:
        attempt = 0
        while self._node is None:
            attempt += 1
            error = await self._look(deadline_ms)
            if error is not None:
                await self._pause(attempt, deadline_ms, error)
        return self._node

    async def _look(self, deadline_ms: float) -> ClientError | None:
        """Ask one node; return why it is not known now."""
        contact = self._contact
        ask = FindCoordinatorRequest(key_type=self._kind, coordinator_keys=(self._key,))
        wait_ms = max(min(contact.config.request_timeout_ms, deadline_ms - contact.loop.now_ms), 1)
        try:
            answer = await contact.call(contact.any_node(), ask, FIND_VERSION, wait_ms)
        except ClientError as error:
            return error
        found = answer.coordinators[0]
        if found.error_code:
            return ClientError(error_name(found.error_code), found.error_message or "")
        self._node = found.node_id
        return None
