"""The types of values in requests: for each its JSON and text forms, JSON Schema, an example, its name in messages.

Beside the columns' types there are "text", for which a number may stand too (a key, an item), "object", and "json",
any JSON value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tidemill.errors import BadJson, FeatureError, ParameterError
from tidemill.pipeline import Column
from tidemill.types import COLUMN_TYPES, whole

MAX_SHOWN = 60  # characters of a value in a message

JSON_TYPES: dict[str, Mapping[str, Any]] = {kind: entry.json_schema for kind, entry in COLUMN_TYPES.items()} | {
    "text": {"type": ["string", "number", "boolean"]},
    "object": {"type": "object"},
    "json": {},
}
EXAMPLES: dict[str, Any] = {kind: entry.example for kind, entry in COLUMN_TYPES.items()} | {
    "text": "1",
    "object": {},
    "json": {},
}
EXPECTED = {kind: entry.description for kind, entry in COLUMN_TYPES.items()} | {
    "text": "a string or a number",
    "object": "a JSON object",
    "json": "a JSON value",
}


def from_text(kind: str, text: str) -> Any:
    """The value of this type that a text of a path, a query or a form stands for.

    Raises:
        ValueError: it stands for none.
    """
    if kind in COLUMN_TYPES:
        return COLUMN_TYPES[kind].from_text(text)
    if kind == "text":
        return text
    raise ValueError(f"no {kind}")


def from_json(kind: str, value: Any) -> Any:
    """A JSON value as one of this type. A number does not stand for a "string", nor a text for a number.

    Raises:
        ValueError: it is of another type.
    """
    if kind in COLUMN_TYPES:
        return COLUMN_TYPES[kind].from_json(value)
    if kind == "json" or (kind == "object" and isinstance(value, dict)) or (kind == "text" and isinstance(value, str)):
        return value
    if kind == "text" and isinstance(value, int | float):
        return orjson.dumps(whole(value)).decode()
    raise ValueError(f"no {kind}")


def json_object(
    body: bytes, hint: Callable[[], str], refusal: type[FeatureError] | type[ParameterError]
) -> dict[str, Any]:
    """A request's body as a JSON object. ``hint`` is called for an error only, as every prediction comes by here.

    Raises:
        BadJson: it is not JSON.
        FeatureError, ParameterError: it is another JSON value; ``refusal`` says which of them.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadJson(f"the body is not JSON: {error}" if body.strip() else "the body is empty", hint()) from None
    if not isinstance(document, dict):
        raise refusal(f"the body is {shown(document)}, not a JSON object", hint())
    return document


def key_value(column: Column, text: str) -> Any:
    """The value of the stream's key column that a text stands for.

    Raises:
        ParameterError: it stands for none.
    """
    try:
        return column.moment(text) if column.kind == "timestamp" else from_text(column.kind, text)
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
