"""The types of values in requests: for each its JSON and text forms, JSON Schema, an example, its name in messages.

Beside the columns' types there are "text", for which a number may stand too (a key, an item), "object", and "json",
any JSON value.
"""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from tidemill.errors import ParameterError
from tidemill.pipeline import Column
from tidemill.pipeline.timestamps import utc_moment

MIN_INT, MAX_INT = -(2**63), 2**63 - 1
MAX_SHOWN = 60  # characters of a value in a message

FEATURE_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "minimum": MIN_INT, "maximum": MAX_INT},
    "float": {"type": "number"},
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
}
JSON_TYPES = FEATURE_TYPES | {
    "timestamp": {"type": "string", "format": "date-time"},
    "text": {"type": ["string", "number", "boolean"]},
    "object": {"type": "object"},
    "json": {},
}
EXAMPLES: dict[str, Any] = {
    "int": 1,
    "float": 1.5,
    "string": "text",
    "bool": True,
    "timestamp": "2026-01-31T12:00:00Z",
    "text": "1",
    "object": {},
    "json": {},
}
EXPECTED = {
    "int": "a whole number of 64 bits",
    "float": "a finite number",
    "string": "a string",
    "bool": "true or false",
    "timestamp": "a timestamp (ISO 8601)",
    "text": "a string or a number",
    "object": "a JSON object",
    "json": "a JSON value",
}
INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def from_text(kind: str, text: str) -> Any:
    """The value of this type that a text of a path, a query or a form stands for.

    Raises:
        ValueError: it stands for none.
    """
    if kind in ("string", "text"):
        return text
    if kind == "int" and INTEGER.fullmatch(text):
        return checked_int(int(text))
    if kind == "float" and NUMBER.fullmatch(text):
        return checked_float(float(text))
    if kind == "bool" and text in ("true", "false"):
        return text == "true"
    if kind == "timestamp":
        return utc_moment(text)
    raise ValueError(f"no {kind}")


def from_json(kind: str, value: Any) -> Any:
    """A JSON value as one of this type. A number does not stand for a "string", nor a text for a number.

    Raises:
        ValueError: it is of another type.
    """
    if kind == "json" or (kind == "bool" and isinstance(value, bool)) or (kind == "object" and isinstance(value, dict)):
        return value
    if isinstance(value, str):
        if kind in ("string", "text", "timestamp"):
            return from_text(kind, value)
    elif kind == "text" and isinstance(value, int | float):
        return orjson.dumps(value).decode()
    elif kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return checked_int(value)
    elif kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return checked_float(float(value))
    raise ValueError(f"no {kind}")


def checked_int(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise ValueError("over 64 bits")
    return value


def checked_float(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def key_value(column: Column, text: str) -> Any:
    """The value of the stream's key column that a text stands for.

    Raises:
        ParameterError: it stands for none.
    """
    try:
        return from_text(column.kind, text)
    except ValueError:
        message = f"the key {column.name} is {shown(text)}, not {EXPECTED[column.kind]}"
        raise ParameterError(message, "give a key as it was streamed") from None


def shown(value: Any) -> str:
    """A value from a request as JSON, cut to a readable length."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # orjson reads deeper values than it writes
        return "a deeply nested value"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
