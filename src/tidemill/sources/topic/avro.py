"""Avro records, decoded with the schema that they were written with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

from fastavro import parse_schema, schemaless_reader
from fastavro.schema import SchemaParseException, UnknownType

from tidemill.sources.topic.framed_values import Decode
from tidemill.sources.topic.registry import RegisteredSchema

# what fastavro raises where bytes are no value of the schema
BROKEN = (ArithmeticError, EOFError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


def avro_decoder(schema: RegisteredSchema) -> Decode:
    """The decoder of a schema's values, logical types included.

    Raises:
        ValueError: it is no schema that can be read.
    """
    parsed, _ = parsed_schema(schema)

    def decode(payload: bytes) -> object:
        stream = BytesIO(payload)
        try:
            value = schemaless_reader(stream, parsed, None)
        except BROKEN as error:
            reason = "it ends early" if isinstance(error, EOFError | IndexError) else str(error)
            raise ValueError(f"not a value of its Avro schema, or truncated: {reason}") from None
        if left := len(payload) - stream.tell():
            raise ValueError(f"not a value of its Avro schema: {left} bytes are left behind it")
        return value

    return decode


def parsed_schema(schema: RegisteredSchema) -> tuple[Any, dict[str, Any]]:
    """The schema as fastavro has it, and the types in it and in those that it refers to, by their names.

    Raises:
        ValueError: it is no schema that can be read.
    """
    named: dict[str, Any] = {}
    try:
        for text in schema.references.values():
            parse_schema(json.loads(text), named)
        return parse_schema(json.loads(schema.text), named), named
    except UnknownType as error:
        raise ValueError(f"the type {error.name} is not in it, nor in a schema that it refers to") from None
    except (SchemaParseException, *BROKEN) as error:
        raise ValueError(f"it is no Avro schema: {error}") from None


def nullable_paths(schema: RegisteredSchema) -> Iterator[str]:
    """The paths of the fields that may be null, those within records included.

    Raises:
        ValueError: it is no schema that can be read.
    """
    parsed, named = parsed_schema(schema)

    def within(kind: Any, before: str, around: frozenset[str]) -> Iterator[str]:
        record = named.get(kind) if isinstance(kind, str) else kind
        if not isinstance(record, dict) or record.get("type") != "record" or record["name"] in around:
            return
        for field in record["fields"]:
            path = f"{before}{field['name']}"
            kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
            if "null" in kinds:
                yield path
            for inner in kinds:
                yield from within(inner, f"{path}.", around | {record["name"]})

    yield from within(parsed, "", frozenset())
