"""DeleteTopics (20): by name, or from version 6 on by id."""

from __future__ import annotations

from typing import ClassVar

from broker.wire.apis import Api
from broker.wire.message import Part, Request, Response
from broker.wire.primitives import NO_UUID


class DeleteTopicState(Part, frozen=True, kw_only=True, gc=False):
    """A topic, by name or id."""

    name: str | None = None
    topic_id: bytes = NO_UUID


class DeleteTopicsRequest(Request, frozen=True, kw_only=True, gc=False):
    """`topic_names` up to version 5, `topics` from 6 on."""

    api: ClassVar[Api] = Api.DELETE_TOPICS
    topics: tuple[DeleteTopicState, ...] = ()
    topic_names: tuple[str, ...] = ()
    timeout_ms: int = 60000


class DeletableTopicResult(Part, frozen=True, kw_only=True, gc=False):
    """What came of one topic."""

    name: str | None = None
    topic_id: bytes = NO_UUID
    error_code: int = 0
    error_message: str | None = None


class DeleteTopicsResponse(Response, frozen=True, kw_only=True, gc=False):
    """One result per topic."""

    api: ClassVar[Api] = Api.DELETE_TOPICS
    throttle_time_ms: int = 0
    responses: tuple[DeletableTopicResult, ...] = ()
