"""Every message that `broker.wire` knows, and Hypothesis strategies for them in a given version."""

import dataclasses
import importlib
import pkgutil
import typing

from hypothesis import strategies as st
from kio.schema.errors import ErrorCode
from kio.schema.index import api_key_map

import broker.wire.messages
from broker.wire import codec, schema
from broker.wire.definitions import definition
from broker.wire.message import Request, Response

for module in pkgutil.iter_modules(broker.wire.messages.__path__):
    importlib.import_module(f"broker.wire.messages.{module.name}")

KINDS = sorted(Request.__subclasses__() + Response.__subclasses__(), key=lambda kind: kind.__name__)
VERSIONS = [
    (kind, version) for kind in KINDS for version in range(codec.versions(kind.api)[0], codec.versions(kind.api)[1] + 1)
]

OF_KIO = [(kind, version) for kind, version in VERSIONS if kind.api in api_key_map]
"""Those that kio has, too."""

NEVER_NULL = {"uuid", "datetime_i64"}
"""Null in kio where the wire has zeros or -1."""

_PRIMITIVES = {
    "bool": st.booleans(),
    "int8": st.integers(-(2**7), 2**7 - 1),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "uint16": st.integers(0, 2**16 - 1),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "error_code": st.sampled_from([int(code) for code in ErrorCode]),
    "timedelta_i32": st.integers(0, 2**31 - 1),
    "timedelta_i64": st.integers(0, 2**40),  # kio keeps days and microseconds
    "datetime_i64": st.integers(0, 2**42),  # kio keeps a datetime, until the year 9999
    "float64": st.floats(allow_nan=False, allow_infinity=False),
    "bytes": st.binary(max_size=40),
    "records": st.binary(max_size=40),
    "uuid": st.binary(min_size=16, max_size=16),
    "string": st.text(max_size=40),
}


def theirs(kind, version):
    """Return kio's class for that version, or the one that stands in for it."""
    return definition(kind.api, version, request=issubclass(kind, Request))


def messages(kind, version):
    """Return a strategy for messages of ours that only set what that version carries."""
    return _part(kind, theirs(kind, version))


def our_name(field):
    """Return our name of a field of kio's."""
    return f"{field.name}_ms" if field.metadata.get("kafka_type") in schema._TIMES else field.name


def _part(ours, their):
    hints = typing.get_type_hints(ours)
    strategies = {}
    for field in dataclasses.fields(their):
        if our_name(field) not in hints:
            continue  # written as its default, skipped when read
        shape, nullable, is_array = schema._shape(field.type)
        kafka_type = field.metadata.get("kafka_type")
        one = _PRIMITIVES[kafka_type] if kafka_type else _part(schema._part(hints[our_name(field)]), shape)
        if is_array:
            one = st.lists(one, max_size=4).map(tuple)
        strategies[our_name(field)] = one | st.none() if nullable and kafka_type not in NEVER_NULL else one
    return st.builds(ours, **strategies)
