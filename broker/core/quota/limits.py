"""Which limit holds for whom (Kafka: ClientQuotaManager, KIP-13, KIP-55).

An entity is a user, a client id, or both; each may be the default (None): everybody who has no limit of their own. The
first of these that has a limit of the asked kind decides, and all that it covers share it as Kafka has them share it:

    (user, client) (user, *) (user) (*, client) (*, *) (*) (client) (* client)

Limits are bytes per second: `producer_byte_rate` and `consumer_byte_rate`. The other quotas of Kafka
(`WITHOUT_EFFECT`, and those of addresses) are kept and told, so that tools that set them go on; they hold nobody back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

USER, CLIENT, IP = "user", "client-id", "ip"
PRODUCER, CONSUMER = "producer_byte_rate", "consumer_byte_rate"
KINDS = (PRODUCER, CONSUMER)
WITHOUT_EFFECT = ("request_percentage", "controller_mutation_rate")
OF_ADDRESSES = ("connection_creation_rate",)
WHOLE = frozenset({PRODUCER, CONSUMER, *OF_ADDRESSES})
"""Quotas whose values are whole numbers."""

Entity = tuple[tuple[str, str | None], ...]
"""(type, name) pairs, the user first; None: the default."""

Quotas = Mapping[str, Mapping[str, float]]
"""By entity (see `key_of`), then by kind."""


class Limit(NamedTuple):
    """A limit, and who shares it."""

    bytes_per_s: float
    shared_by: tuple[str, str, str]
    """(kind, user, client id); "" where it is shared by all."""


def key_of(entity: Entity) -> str:
    """Return where an entity's limits stand in the image."""
    return msgspec.json.encode(entity).decode()


def entity_of(key: str) -> Entity:
    """Return the entity of a key."""
    return msgspec.json.decode(key, type=Entity)


def limit(quotas: Quotas, kind: str, user: str, client: str) -> Limit | None:
    """Return the limit of that kind for a user's client, None for none."""
    candidates: tuple[tuple[Entity, str, str], ...] = (
        (((USER, user), (CLIENT, client)), user, client),
        (((USER, user), (CLIENT, None)), user, client),
        (((USER, user),), user, ""),
        (((USER, None), (CLIENT, client)), user, client),
        (((USER, None), (CLIENT, None)), user, client),
        (((USER, None),), user, ""),
        (((CLIENT, client),), "", client),
        (((CLIENT, None),), "", client),
    )
    for entity, by_user, by_client in candidates:
        value = quotas.get(key_of(entity), {}).get(kind)
        if value is not None:
            return Limit(value, (kind, by_user, by_client))
    return None
