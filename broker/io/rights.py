"""What whoever is on a connection may do: what the rules and the core ask, answered for one request.

The rules are those of the image as the request found it. See `broker.core.security.access`.
"""

from __future__ import annotations

from broker.core.metadata.image import Image
from broker.core.security.access import judge
from broker.core.security.acl import Authorizer, Operation, Question, ResourceType
from broker.core.security.rules import Verdict
from broker.wire.message import Request


class Rights:
    """See the module. `creates`: topics that are asked about are made."""

    def __init__(self, authorizer: Authorizer, image: Image, principal: str, host: str, *, creates: bool) -> None:
        self._authorizer, self._image, self._creates = authorizer, image, creates
        self._principal, self._host = principal, host

    def judge(self, message: Request) -> Verdict:
        """Return what of the request may be done."""
        return judge(message, self.may, self._name_of)

    def may(self, operation: Operation, kind: ResourceType, name: str | None) -> bool:
        """Answer as `rules.May`."""
        question = Question(self._principal, self._host, operation, kind, name)
        return self._authorizer.allows(self._image.acls, self._image.acls_version, question)

    def may_describe(self, topic: str) -> bool:
        """Return whether the topic of that name may be seen."""
        return self.may(Operation.DESCRIBE, ResourceType.TOPIC, topic)

    def _name_of(self, topic: bytes | str) -> str:
        """Answer as `rules.NameOf`."""
        if isinstance(topic, str):
            return topic if topic in self._image.topic_ids or not self._creates else ""
        known = self._image.topics.get(topic.hex())
        return "" if known is None else known.name
