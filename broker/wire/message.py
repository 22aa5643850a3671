"""What a message of ours is: version-free, all fields of all versions with defaults, as in Kafka's own message classes.

Fields are named as in the schemas of kio, plus `_ms` on times and durations. A field that a version does not carry has
its default after reading; writing a *request* whose version can't carry a field that was set is a `WireError`, while a
response drops what an old client could not read.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from broker.wire.apis import Api


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A structure inside a message."""


class Request(Part, frozen=True, kw_only=True, gc=False):
    """The body of a request."""

    api: ClassVar[Api]


class Response(Part, frozen=True, kw_only=True, gc=False):
    """The body of a response."""

    api: ClassVar[Api]
