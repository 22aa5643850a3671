"""Readers and writers of whole messages, compiled from kio's schemas, for the version-free classes of ours.

kio has one class per message *version*; its field order and types are the schema here. `compiled` walks such a class
together with one of ours (`broker.wire.message`) and returns a reader and a writer: fields are matched by name, what
only the version has is skipped when read and written as its default, what only ours has keeps its default.

kio's own decoder is not used on bytes from outside: on an array length that lies it asks for as much memory as the
length says and *aborts the process*; readers here check every length against the bytes that are left. Tests compare
both on valid messages. Schemas are imported lazily, one per API key, kind and version that is really used.

Numbers that follow one another are read and written in one go, as a *run*: most of a message are such.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import struct
import typing
from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from broker.wire.errors import WireError
from broker.wire.message import Part, Request
from broker.wire.primitives import (
    NO_UUID,
    Buffer,
    Reader,
    Writer,
    array,
    fixed,
    read_compact_length,
    read_int16_length,
    read_int32_length,
    read_uuid,
    read_uvarint,
    sized,
    write_compact_length,
    write_int16_length,
    write_int32_length,
    write_uuid,
    write_uvarint,
)

_LAYOUTS: Final[Mapping[str, str]] = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "float64": "d",
    "error_code": "h",
    "timedelta_i32": "i",
    "timedelta_i64": "q",
    "datetime_i64": "q",
}
_FIXED: Final[Mapping[str, tuple[Reader, Writer]]] = {
    **{name: fixed(f">{layout}") for name, layout in _LAYOUTS.items()},
    "uuid": (read_uuid, write_uuid),
}
_TIMES: Final = frozenset({"timedelta_i32", "timedelta_i64", "datetime_i64"})
_NO_TIME_MS: Final = -1
"""A time that is null in kio is -1 on the wire."""
_ABSENT: Final = object()
"""Stands for a structure that our class lacks: its writer has every field as a constant and looks at nothing."""
_int8_read, _int8_write = _FIXED["int8"]


class _Field(NamedTuple):
    name: str
    tag: int | None
    read: Reader
    write: Writer
    default: Any
    ours: bool
    """Whether our class has the field."""
    layout: str = ""
    """Of a number, in `struct` notation."""


def compiled(ours: type[Part] | None, theirs: type) -> tuple[Reader, Writer]:
    """Return reader and writer of the message version `theirs` (a class of kio) for our class; None reads and drops."""
    return _compiled(ours, theirs)


@cache
def _compiled(ours: type[Part] | None, theirs: Any) -> tuple[Reader, Writer]:
    defaults = {one.name: one.default for one in msgspec.structs.fields(ours)} if ours else {}
    hints = typing.get_type_hints(ours) if ours else {}
    fields = [_field(ours, one, hints, defaults, flexible=theirs.__flexible__) for one in dataclasses.fields(theirs)]
    plain = [one for one in fields if one.tag is None]
    tagged = sorted((one for one in fields if one.tag is not None), key=lambda one: one.tag or 0)
    missing = set(defaults) - {one.name for one in fields}
    lost = [(name, defaults[name]) for name in sorted(missing)] if ours and issubclass(ours, Request) else []
    return _reader(ours, plain, tagged, flexible=theirs.__flexible__), _writer(
        plain, tagged, lost, what=f"{theirs.__name__} version {theirs.__version__}", flexible=theirs.__flexible__
    )


def _runs(fields: list[_Field]) -> list[list[_Field]]:
    """Return the fields in their order; numbers of ours that follow one another are together."""
    runs: list[list[_Field]] = []
    for one in fields:
        if one.layout and one.ours and runs and runs[-1][0].layout and runs[-1][0].ours:
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _packed(run: list[_Field]) -> struct.Struct:
    return struct.Struct(">" + "".join(one.layout for one in run))


def _run_reader(run: list[_Field]) -> Reader:
    """Return what reads several numbers at once, as a tuple."""
    packed = _packed(run)
    size, unpack_from = packed.size, packed.unpack_from

    def read(data: Buffer, at: int) -> tuple[Any, int]:
        return unpack_from(data, at), at + size

    return read


def _reader(build: Callable[..., Part] | None, plain: list[_Field], tagged: list[_Field], *, flexible: bool) -> Reader:
    steps: list[tuple[str | tuple[str, ...] | None, Reader]] = []
    for run in _runs(plain):
        if len(run) > 1:
            steps.append((tuple(one.name for one in run), _run_reader(run)))
        else:
            steps.append((run[0].name if run[0].ours else None, run[0].read))
    by_tag = {one.tag: one for one in tagged}

    def read(data: Buffer, at: int) -> tuple[Part | None, int]:
        values: dict[str, Any] = {}
        for name, read_field in steps:
            value, at = read_field(data, at)
            if name.__class__ is str:
                values[name] = value
            elif name is not None:
                values.update(zip(name, value, strict=True))
        if flexible:
            at = _read_tags(data, at, by_tag, values)
        return build(**values) if build else None, at

    return read


def _read_tags(data: Buffer, at: int, by_tag: Mapping[int | None, _Field], values: dict[str, Any]) -> int:
    count, at = read_uvarint(data, at)
    if not count:
        return at
    if count > len(data) - at:
        raise WireError(f"truncated: {count} tagged fields where {len(data) - at} bytes are left")
    for _ in range(count):
        tag, at = read_uvarint(data, at)
        size, at = read_uvarint(data, at)
        end = at + size
        if end > len(data):
            raise WireError(f"truncated: a tagged field of {size} bytes where {len(data) - at} are left")
        known = by_tag.get(tag)
        if known is not None:
            value, at = known.read(data, at)
            if at != end:
                raise WireError(f"the tagged field {known.name} ends at byte {at}, not at {end} as announced")
            if known.ours:
                values[known.name] = value
        at = end
    return at


def _run_writer(run: list[_Field]) -> Writer:
    """Return what writes several numbers at once, from a tuple."""
    pack = _packed(run).pack

    def write(out: bytearray, values: Any) -> None:
        out += pack(*values)

    return write


def _writer(
    plain: list[_Field], tagged: list[_Field], lost: list[tuple[str, Any]], *, what: str, flexible: bool
) -> Writer:
    steps: list[tuple[Callable[[Any], Any] | None, Writer | bytes]] = []
    for run in _runs(plain):
        if len(run) > 1:
            steps.append((attrgetter(*(one.name for one in run)), _run_writer(run)))
        elif run[0].ours:
            steps.append((attrgetter(run[0].name), run[0].write))
        else:
            out = bytearray()
            run[0].write(out, run[0].default)
            steps.append((None, bytes(out)))
    tags = [one for one in tagged if one.ours]

    def write(out: bytearray, message: Any) -> None:
        for name, default in lost:
            if getattr(message, name) != default:
                raise WireError(f"{what} can't carry {name}")
        for get, write_field in steps:
            if get is None:
                out += write_field  # type: ignore[arg-type]  # a constant
            else:
                write_field(out, get(message))  # type: ignore[operator]
        if flexible:
            _write_tags(out, message, tags)

    return write


def _write_tags(out: bytearray, message: Any, tags: list[_Field]) -> None:
    if not tags:
        out.append(0)
        return
    present = [(one, value) for one in tags if (value := getattr(message, one.name)) != one.default]
    write_uvarint(out, len(present))
    for one, value in present:
        body = bytearray()
        one.write(body, value)
        write_uvarint(out, one.tag or 0)
        write_uvarint(out, len(body))
        out += body


def _field(
    ours: type[Part] | None,
    one: dataclasses.Field[Any],
    hints: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    flexible: bool,
) -> _Field:
    kafka_type = one.metadata.get("kafka_type", "")
    name = f"{one.name}_ms" if kafka_type in _TIMES else one.name
    wanted = ours is not None and name in defaults
    shape, nullable, is_array = _shape(one.type)
    if kafka_type:
        # In an array, null is the array's; alone, it is the value's.
        read, write = _primitive(kafka_type, flexible=flexible, nullable=nullable and not is_array)
    else:
        inner = _part(hints[name]) if wanted else None
        if wanted and inner is None:
            raise TypeError(f"{ours}.{name} must hold a Part")
        read, write = _compiled(inner, shape)
        if nullable and not is_array:
            read, write = _nullable(read, write)
    if is_array:
        lengths = (read_compact_length, write_compact_length) if flexible else (read_int32_length, write_int32_length)
        read, write = array((read, write), *lengths, nullable=nullable)
    default = defaults[name] if wanted else _their_default(one, kafka_type, nullable=nullable, is_array=is_array)
    layout = "" if is_array or nullable else _LAYOUTS.get(kafka_type, "")
    return _Field(name, one.metadata.get("tag"), read, write, default, wanted, layout)


def _primitive(kafka_type: str, *, flexible: bool, nullable: bool) -> tuple[Reader, Writer]:
    if kafka_type in _FIXED:
        return _FIXED[kafka_type]
    if kafka_type not in {"string", "bytes", "records"}:
        raise TypeError(f"a Kafka type that is not known here: {kafka_type}")
    text = kafka_type == "string"
    if flexible:
        return sized(read_compact_length, write_compact_length, text=text, nullable=nullable)
    if text:
        return sized(read_int16_length, write_int16_length, text=True, nullable=nullable)
    return sized(read_int32_length, write_int32_length, text=False, nullable=nullable)


def _nullable(read_struct: Reader, write_struct: Writer) -> tuple[Reader, Writer]:
    """Wrap a structure that may be null: an int8 before it, -1 for null (KIP-893)."""

    def read(data: Buffer, at: int) -> tuple[Any, int]:
        marker, at = _int8_read(data, at)
        return (None, at) if marker < 0 else read_struct(data, at)

    def write(out: bytearray, value: Any) -> None:
        _int8_write(out, -1 if value is None else 1)
        if value is not None:
            write_struct(out, value)

    return read, write


def _shape(hint: Any) -> tuple[Any, bool, bool]:
    """Take an annotation of kio apart: (inner type, nullable, is an array)."""
    arguments = typing.get_args(hint)
    nullable = type(None) in arguments
    if nullable:
        hint = next(one for one in arguments if one is not type(None))
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], nullable, True
    return hint, nullable, False


def _part(hint: Any) -> type[Part] | None:
    """Return the class of ours inside an annotation of ours."""
    if isinstance(hint, type) and issubclass(hint, Part):
        return hint
    return next((found for one in typing.get_args(hint) if (found := _part(one))), None)


def _their_default(one: dataclasses.Field[Any], kafka_type: str, *, nullable: bool, is_array: bool) -> Any:
    """Return what to write for a field that our class lacks: the schema's default, else the type's zero."""
    if one.default is not dataclasses.MISSING:
        return _plain(one.default, kafka_type)
    if is_array:
        return ()
    if kafka_type == "uuid":
        return NO_UUID
    if kafka_type == "datetime_i64":
        return _NO_TIME_MS
    if nullable:
        return None
    if kafka_type:
        return {"string": "", "bytes": b"", "records": b"", "bool": False}.get(kafka_type, 0)
    return _ABSENT


def _plain(value: Any, kafka_type: str) -> Any:
    if value is None and kafka_type == "uuid":
        return NO_UUID
    if value is None and kafka_type == "datetime_i64":
        return _NO_TIME_MS
    if isinstance(value, dt.timedelta):
        return round(value.total_seconds() * 1000)
    return value
