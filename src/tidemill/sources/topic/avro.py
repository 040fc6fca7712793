"""Avro records, decoded with the schema that they were written with."""

from __future__ import annotations

import json
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
    named: dict[str, Any] = {}
    try:
        for text in schema.references.values():
            parse_schema(json.loads(text), named)
        parsed = parse_schema(json.loads(schema.text), named)
    except UnknownType as error:
        raise ValueError(f"the type {error.name} is not in it, nor in a schema that it refers to") from None
    except (SchemaParseException, *BROKEN) as error:
        raise ValueError(f"it is no Avro schema: {error}") from None

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
