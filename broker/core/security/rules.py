"""How a request is judged: the forms that the rows of `access` are made of.

A rule takes the request, `may` (has whoever asks this right?), and the names of topic ids. It returns None (go on), an
answer or a bare code (nothing of it may be done), or `Narrowed`: what may be done, and how the refusals are added to
the answer to that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from broker.core.errors import Code
from broker.core.security.acl import CLUSTER_NAME, Operation, ResourceType
from broker.wire.message import Request, Response
from broker.wire.primitives import NO_UUID

TOPIC, GROUP, CLUSTER, TRANSACTIONAL_ID = (
    ResourceType.TOPIC,
    ResourceType.GROUP,
    ResourceType.CLUSTER,
    ResourceType.TRANSACTIONAL_ID,
)
CODES = {
    TOPIC: Code.TOPIC_AUTHORIZATION_FAILED,
    GROUP: Code.GROUP_AUTHORIZATION_FAILED,
    CLUSTER: Code.CLUSTER_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID: Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}

May = Callable[[Operation, ResourceType, str | None], bool]
"""Whether whoever asks may do that to the resource of that type and name (None: to any of that type)."""
NameOf = Callable[[bytes | str], str]
"""The name of the topic with that id, "" for none; of a name: itself, "" if a topic would be made for who asks."""


class Narrowed(NamedTuple):
    """What may be done of a request, and what makes the answer to it the answer to all of it."""

    message: Request
    finish: Callable[[Any], Response]


Verdict = None | Code | Response | Narrowed
Rule = Callable[[Any, May, NameOf], Verdict]


# Requests that are done whole or not at all.


def whole(kind: ResourceType, operation: Operation, refuse: Callable[[Any, Code], Response], field: str = "") -> Rule:
    """Need one right, on the cluster or on what the field of that name names."""

    def rule(message: Any, may: May, _: NameOf) -> Verdict:
        name = getattr(message, field) if field else CLUSTER_NAME
        return None if may(operation, kind, name or "") else refuse(message, CODES[kind])

    return rule


def error(answer: type[Response]) -> Callable[[Any, Code], Response]:
    """Return what refuses a request whose answer has one error code."""
    make: Any = answer
    return lambda _, code: make(error_code=code)


def free(message: Any, may: May, name_of: NameOf) -> Verdict:  # noqa: ARG001
    """Need no right."""
    return None


# Requests of which each entry is judged by itself.


def split(  # noqa: PLR0917
    message: Any, field: str, keep: Callable[[Any], bool], deny: Callable[[Any], Any], answer: type[Response], into: str
) -> Verdict:
    """Keep the entries of `field` that may be; the others' refusals join the answer's `into`."""
    entries: Iterable[Any] = getattr(message, field) or ()
    kept: list[Any] = []
    denied: list[Any] = []
    for entry in entries:
        (kept if keep(entry) else denied).append(entry)
    if not denied:
        return None
    refusals = tuple(map(deny, denied))
    if not kept:
        return answer(**{into: refusals})
    return Narrowed(
        msgspec.structs.replace(message, **{field: tuple(kept)}),
        lambda given: msgspec.structs.replace(given, **{into: (*getattr(given, into), *refusals)}),
    )


def topics(
    operation: Operation,
    deny: Callable[[Any, Code], Any],
    answer: type[Response],
    *,
    field: str = "topics",
    into: str = "topics",
    name: str = "name",
    code: Code | None = None,
) -> Rule:
    """Need the right on each topic; `code`: the refusal of all, when something else is refused.

    An id that no topic has is no secret: who asked hears so, and looks again, as for a topic that is not here yet.
    """

    def rule(message: Any, may: May, name_of: NameOf) -> Verdict:
        def keep(entry: Any) -> bool:
            topic_id = getattr(entry, "topic_id", NO_UUID)
            named = getattr(entry, name) or name_of(topic_id)
            is_nobodys = not named and topic_id != NO_UUID
            return code is None and (is_nobodys or may(operation, TOPIC, named))

        refusal = Code.TOPIC_AUTHORIZATION_FAILED if code is None else code
        return split(message, field, keep, lambda entry: deny(entry, refusal), answer, into)

    return rule


def after(first: list[tuple[ResourceType, Operation, str]], rule: Rule, refused: Callable[[Code], Rule]) -> Rule:
    """Need rights on what fields name first (a field that is None needs none); else all entries are refused."""

    def both(message: Any, may: May, name_of: NameOf) -> Verdict:
        for kind, operation, field in first:
            name = getattr(message, field)
            if name is not None and not may(operation, kind, name):
                return refused(CODES[kind])(message, may, name_of)
        return rule(message, may, name_of)

    return both


def names(
    kind: ResourceType,
    operation: Operation,
    deny: Callable[[str, Code], Any],
    answer: type[Response],
    *,
    field: str,
    into: str,
) -> Rule:
    """Need the right on each of the names in `field`."""

    def rule(message: Any, may: May, _: NameOf) -> Verdict:
        return split(
            message, field, lambda name: may(operation, kind, name), lambda name: deny(name, CODES[kind]), answer, into
        )

    return rule


def shown(kind: ResourceType, into: str, name: str) -> Rule:
    """Go on, and leave out of the answer what may not be described."""

    def rule(message: Any, may: May, _: NameOf) -> Verdict:
        def finish(given: Any) -> Response:
            shown = tuple(one for one in getattr(given, into) if may(Operation.DESCRIBE, kind, getattr(one, name)))
            finished: Response = msgspec.structs.replace(given, **{into: shown})
            return finished

        return Narrowed(message, finish)

    return rule
