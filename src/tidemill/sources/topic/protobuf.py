"""Protobuf messages, decoded with the schema that they were written with.

A registry has the texts of .proto files, which Google's own compiler reads (in grpcio-tools, as a process of its own),
or their descriptors. https://protobuf.dev/programming-guides/ has the meaning of fields and their presence.
"""

from __future__ import annotations

import base64
import binascii
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tidemill.errors import StreamFailed
from tidemill.run.files import disk_errors
from tidemill.sources.topic.framed_values import Decode
from tidemill.sources.topic.registry import RegisteredSchema
from tidemill.texts import shorten_text

ROOT = "the_schema_of_the_registry.proto"
COMPILE_SECONDS = 60.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_DECIMAL_BYTES = 64

# Files that Confluent's registry and its clients know without a reference: the part of them that descriptors need.
KNOWN = {
    "confluent/meta.proto": """
        syntax = "proto3";
        package confluent;
        import "google/protobuf/descriptor.proto";
        message Rule { string name = 1; string doc = 2; string expr = 3; string sql = 4; }
        message Meta {
          string doc = 1;
          map<string, string> params = 2;
          repeated string tags = 3;
          repeated Rule rules = 4;
        }
        extend google.protobuf.FileOptions { Meta file_meta = 1088; }
        extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
        extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
        extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
        extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }
    """,
    "confluent/type/decimal.proto": """
        syntax = "proto3";
        package confluent.type;
        message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
    """,
}


def protobuf_decoder(schema: RegisteredSchema) -> Decode:
    """The decoder of a schema's values, whose first bytes say which of its messages they are.

    Raises:
        ValueError: it is no schema that can be read.
    """
    files = compiled(schema)
    pool = DescriptorPool()
    try:
        for file in files.file:
            pool.Add(file)
        root = pool.FindFileByName(ROOT)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its descriptor can't be read: {error}") from None
    messages = list(root.message_types_by_name.values())

    @cache
    def message_class(path: tuple[int, ...]) -> Callable[[], Message]:
        return GetMessageClass(descriptor_at(messages, path))  # type: ignore[no-any-return]  # it has no types

    def decode(payload: bytes) -> object:
        path, start = message_path(payload)
        message = message_class(path)()
        try:
            message.ParseFromString(payload[start:])
            return record_of(message)
        except DecodeError:
            name = message.DESCRIPTOR.full_name
            raise ValueError(f"not a value of its Protobuf message {name}, or truncated") from None
        except OverflowError as error:
            raise ValueError(f"it has a time beyond the calendar: {error}") from None

    return decode


def message_path(payload: bytes) -> tuple[tuple[int, ...], int]:
    """The place of the message in its file, outermost first, and where the message begins.

    It is written as a count and as many positions, each in zigzag notation; a count of 0 stands for the first message.
    """
    count, start = varint(payload, 0)
    if count == 0:
        return (0,), start
    if not 0 < count <= len(payload):
        raise ValueError("truncated, or without the place of its message in the schema")
    path = []
    for _ in range(count):
        position, start = varint(payload, start)
        path.append(position)
    return tuple(path), start


def varint(payload: bytes, start: int) -> tuple[int, int]:
    """A number in zigzag notation, and where it ends."""
    number = shift = 0
    for index in range(start, min(start + 5, len(payload))):
        number |= (payload[index] & 0x7F) << shift
        shift += 7
        if not payload[index] & 0x80:
            return (number >> 1) ^ -(number & 1), index + 1
    raise ValueError("truncated, or without the place of its message in the schema")


def descriptor_at(messages: list[Descriptor], path: tuple[int, ...]) -> Descriptor:
    """The message at a place.

    Raises:
        ValueError: there is none.
    """
    found: Descriptor | None = None
    for position in path:
        if not 0 <= position < len(messages):
            raise ValueError(f"its schema has no message at {list(path)}")
        found = messages[position]
        messages = list(found.nested_types)
    assert found is not None
    return found


# --- compiling ----------------------------------------------------------------------------------------------------


def compiled(schema: RegisteredSchema) -> FileDescriptorSet:
    """The descriptors of the schema, named :data:`ROOT`, and of all that it needs, each behind what it needs itself.

    Raises:
        ValueError: it can't be compiled.
        StreamFailed, DiskError: the compiler can't work now.
    """
    texts = {**KNOWN, **schema.references, ROOT: schema.text}
    where = "the folder for temporary files"
    with disk_errors(where), tempfile.TemporaryDirectory(prefix="tidemill-proto-") as scratch:
        folder = Path(scratch)
        known = FileDescriptorSet()
        for name, text in texts.items():
            if (descriptor := descriptor_of(name, text)) is not None:
                known.file.append(descriptor)
            else:
                write_proto(folder / "proto", name, text)
        (folder / "known").write_bytes(known.SerializeToString())
        (folder / "proto").mkdir(exist_ok=True)
        return run_compiler(folder)


def descriptor_of(name: str, text: str) -> FileDescriptorProto | None:
    """The descriptor that a registered text is base64 of, under its name; None where the text is a .proto file."""
    try:
        descriptor = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, DecodeError, ValueError):
        return None
    descriptor.name = name
    return descriptor


def write_proto(folder: Path, name: str, text: str) -> None:
    """
    Raises:
        ValueError: the name leads out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError(f"it refers to {name!r}, which is no name to import")
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text, encoding="utf-8")


def run_compiler(folder: Path) -> FileDescriptorSet:
    """Compile :data:`ROOT` from the folder ``proto`` and the descriptors in ``known``.

    Raises:
        ValueError: the compiler refuses.
        StreamFailed: it does not end, or was killed: that is no fault of the schema.
    """
    command = [sys.executable, "-P", "-m", "grpc_tools.protoc", "-Iproto", "--descriptor_set_in=known"]
    command += ["--include_imports", "--descriptor_set_out=out", ROOT]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=COMPILE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise StreamFailed(f"Protobuf's compiler did not end within {COMPILE_SECONDS:g} s") from None
    if done.returncode < 0:
        raise StreamFailed(f"Protobuf's compiler was killed (signal {-done.returncode})")
    if done.returncode != 0:
        text = done.stderr.decode(errors="replace").replace(ROOT, "the schema").strip()
        raise ValueError(f"it can't be compiled: {shorten_text(' '.join(text.split()), 300)}")
    return FileDescriptorSet.FromString((folder / "out").read_bytes())


# --- messages as records ------------------------------------------------------------------------------------------


def record_of(message: Message) -> dict[str, Any]:
    """A message's fields by their names.

    A field that is not set is None where the schema tells that from a default value; otherwise it has that value.
    """
    record: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not field.has_default_value and not message.HasField(field.name):
            record[field.name] = None
        else:
            record[field.name] = field_value(getattr(message, field.name), field)
    return record


def field_value(value: Any, field: FieldDescriptor) -> Any:
    if not field.is_repeated:
        return plain(value, field)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        parts = entry.fields_by_name["value"]
        return {str(key): plain(value[key], parts) for key in value}
    return [plain(item, field) for item in value]


def plain(value: Any, field: FieldDescriptor) -> Any:
    """A single value: enums by name, where the schema has one."""
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    if field.message_type is None:
        return value
    convert: Callable[[Any], Any] = WELL_KNOWN.get(field.message_type.full_name, record_of)
    return convert(value)


def moment(value: Any) -> object:
    """A timestamp; one that is finer than microseconds as its text."""
    if value.nanos % 1000:
        return f"{EPOCH + timedelta(seconds=value.seconds):%Y-%m-%dT%H:%M:%S}.{value.nanos:09}Z"
    return EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def decimal(value: Any) -> Decimal:
    """https://github.com/confluentinc/schema-registry, confluent/type/decimal.proto: an unscaled whole number in two's
    complement, the highest byte first, and how many digits are behind the point."""
    if len(value.value) > MOST_DECIMAL_BYTES:
        raise ValueError(f"a decimal of {len(value.value)} bytes, more than {MOST_DECIMAL_BYTES}")
    with localcontext(prec=4 * MOST_DECIMAL_BYTES):
        return Decimal(int.from_bytes(value.value, "big", signed=True)).scaleb(-value.scale)


def unwrapped(value: Any) -> Any:
    return value.value


WRAPPERS = ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
WELL_KNOWN: Mapping[str, Callable[[Any], Any]] = {
    "google.protobuf.Timestamp": moment,
    "google.protobuf.Duration": lambda value: f"{Decimal(value.seconds) + Decimal(value.nanos).scaleb(-9):f}s",
    "google.protobuf.Struct": MessageToDict,
    "google.protobuf.Value": MessageToDict,
    "google.protobuf.ListValue": MessageToDict,
    "confluent.type.Decimal": decimal,
    **{f"google.protobuf.{name}Value": unwrapped for name in WRAPPERS},
}
"""Messages that stand for a single value, by their full names."""
