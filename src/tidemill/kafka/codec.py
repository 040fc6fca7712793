"""The wire format: one Kafka message per row, whose value is a JSON object of the declared columns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from tidemill.pipeline import Column, arrow_schema
from tidemill.texts import shorten
from tidemill.types import COLUMN_TYPES, JSON_TIMESTAMP, MOST_EXACT, is_instant

LINE_END, OBJECT = b"\n{"
LENIENT = json.JSONDecoder(parse_int=orjson.loads)  # big numbers are floats, as orjson reads them


class BadMessage(NamedTuple):
    """A message that is not a row: its position among the given messages, and the reason."""

    position: int
    reason: str


class Keyed(Protocol):
    """The part of a Kafka message that has its key."""

    def key(self) -> bytes | None: ...


class ValueDecoder(Protocol):
    """Decodes messages to rows of the declared columns."""

    @property
    def timestamp(self) -> str | None:
        """The column whose value is a row's time; None where Kafka's timestamp is."""

    @property
    def native(self) -> bool:
        """Whether it decodes outside Python's lock, for the most part, and asks nobody: then a thread may do it beside
        other work."""

    def decode(self, messages: Sequence[Keyed], values: Sequence[bytes | None]) -> tuple[pa.Table, list[BadMessage]]:
        """The rows of the messages, which have these values, in order, and the messages that are not rows, in order."""


@dataclass(frozen=True)
class OwnRows:
    """Decodes the messages that :func:`encode` made."""

    columns: Sequence[Column]
    timestamp: None = None
    native: bool = True

    def decode(self, messages: Sequence[Keyed], values: Sequence[bytes | None]) -> tuple[pa.Table, list[BadMessage]]:
        return decode(values, self.columns)


def encode(table: pa.Table) -> list[bytes]:
    """Each row as a JSON object: floats in their shortest exact form, timestamps in ISO 8601, missing ones as null."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    stamps = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    objects = frame.with_columns(pl.col(stamps).dt.strftime(JSON_TIMESTAMP)).select(
        pl.struct(pl.all()).struct.json_encode().cast(pl.Binary)
    )
    values: list[bytes] = objects.to_series().to_list()
    return values


def decode(values: Sequence[bytes | None], columns: Sequence[Column]) -> tuple[pa.Table, list[BadMessage]]:
    """The rows in ``values``, in order, and the values that are not rows.

    Each value is checked by itself. Values are read many at once; where that fails, bisection finds the bad ones.
    """
    return _decode(values, columns, 0)


def _decode(values: Sequence[bytes | None], columns: Sequence[Column], first: int) -> tuple[pa.Table, list[BadMessage]]:
    table = _decode_all(values, columns)
    if table is not None:
        return table, []
    if len(values) == 1:
        return _decode_one(values[0], columns, first)
    half = len(values) // 2
    before, bad_before = _decode(values[:half], columns, first)
    after, bad_after = _decode(values[half:], columns, first + half)
    return pa.concat_tables([before, after]), bad_before + bad_after


def _decode_one(value: bytes | None, columns: Sequence[Column], position: int) -> tuple[pa.Table, list[BadMessage]]:
    """Decode a value that Arrow refused: it may be a row in another notation."""
    try:
        table = _decode_all([orjson.dumps(row_of(value, columns))], columns)
        reason = "not readable as the declared columns"
    except ValueError as error:
        table, reason = None, str(error)
    return (no_rows(arrow_schema(columns)), [BadMessage(position, reason)]) if table is None else (table, [])


def _decode_all(values: Sequence[bytes | None], columns: Sequence[Column]) -> pa.Table | None:
    """All values at once; None where one of them must be decoded by itself."""
    schema = arrow_schema(columns)
    if not values:
        return no_rows(schema)
    try:
        joined = b"\n".join([*values, b""])  # type: ignore[list-item]  # one that is None is refused
    except TypeError:
        return None
    return decode_lines(joined, len(values), columns) if is_one_object_a_line(joined, len(values)) else None


def decode_lines(joined: bytes, lines: int, columns: Sequence[Column]) -> pa.Table | None:
    """The rows of a text of so many lines, each of which begins an object; None where one must be decoded by itself."""
    schema = arrow_schema(columns)
    if not is_utf8(joined):
        return None
    read_as = pa.schema([(column.name, json_type(column)) for column in columns])
    table = _read_json(joined, read_as)
    if table is None:
        table = _read_whole(joined, read_as)
    if table is None or len(table) != lines:
        return None
    table = table.select(schema.names).combine_chunks()
    missing = any(table[column.name].null_count for column in columns if not column.optional)
    infinite = any(has_infinite(table[column.name]) for column in columns if column.kind == "float")
    if missing or infinite:
        return None
    try:
        return table.cast(schema)
    except pa.ArrowInvalid:
        return None


def no_rows(schema: pa.Schema) -> pa.Table:
    """An empty table. pyarrow's own imports pandas, if that is installed, which takes half a second."""
    return pa.Table.from_batches([], schema)


def json_type(column: Column) -> pa.DataType:
    """The type as which Arrow's JSON reader reads a column. Its timestamps without a zone are in UTC: where the column
    has another one, the text is cast, which refuses those."""
    return pa.string() if column.cleaning.timezone else COLUMN_TYPES[column.kind].json_arrow


def _read_json(joined: bytes, schema: pa.Schema) -> pa.Table | None:
    """The objects as a table; None where one does not fit."""
    try:
        return pj.read_json(
            pa.BufferReader(joined),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(joined) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None


def _read_whole(joined: bytes, schema: pa.Schema) -> pa.Table | None:
    """As :func:`_read_json`, also with whole numbers written as 3.0 or 3e2, which Arrow's JSON reader takes as floats
    only.

    None where one is beyond ``MOST_EXACT``, and so may have been rounded.
    """
    names = [field.name for field in schema if pa.types.is_integer(field.type)]
    floats = pa.schema([field.with_type(pa.float64()) if field.name in names else field for field in schema])
    table = _read_json(joined, floats) if names else None
    if table is None:
        return None
    try:
        table = table.select(schema.names).cast(schema)
    except pa.ArrowInvalid:
        return None
    return table if all(within_exact(table[name]) for name in names) else None


def within_exact(values: pa.ChunkedArray) -> bool:
    ends = pc.min_max(values).as_py()
    return ends["min"] is None or (ends["min"] >= -MOST_EXACT and ends["max"] <= MOST_EXACT)


def is_one_object_a_line(text: bytes, lines: int) -> bool:
    """Whether it has so many lines, each of which begins an object. Then as many rows as lines means one per line."""
    characters = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(characters == LINE_END)
    return len(ends) == lines and characters[0] == OBJECT and bool((characters[ends[:-1] + 1] == OBJECT).all())


def is_utf8(value: bytes) -> bool:
    """Whether it is valid UTF-8. Arrow's JSON reader does not check."""
    if value.isascii():
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def has_infinite(values: pa.ChunkedArray) -> bool:
    """Whether a value is infinite or NaN. Arrow's JSON reader accepts both, though JSON has neither."""
    return pc.all(pc.is_finite(values)).as_py() is False


def row_of(value: bytes | None, columns: Sequence[Column]) -> dict[str, Any]:
    """The declared columns of a message's value.

    Raises:
        ValueError: it is not a row; the text gives the reason.
    """
    if not value:
        raise ValueError("an empty message")
    try:
        document = loads(value)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError(f"not a JSON object but {shorten(document, 40)}")
    return row_in(document, columns)


def row_in(document: Mapping[str, Any], columns: Sequence[Column]) -> dict[str, Any]:
    """The declared columns of a row, in the one notation of messages.

    Raises:
        ValueError: a value does not fit; the text names its column.
    """
    return {column.name: checked(document.get(column.name), column) for column in columns}


def loads(value: bytes) -> Any:
    """A JSON document, also one with NaN and infinities: JSON has none, but Python's json writes them.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in value and b"Infinity" not in value:
            raise
        try:
            document = LENIENT.decode(value.decode())
            orjson.dumps(document)  # Python's reader takes lone surrogates, which are no text
        except (ValueError, TypeError, RecursionError):
            raise error from None
        return document


def checked(value: Any, column: Column) -> Any:
    """``value`` as a value of ``column``.

    Raises:
        ValueError: it does not fit; the text names the column.
    """
    if value is None:
        if not column.optional:
            raise ValueError(f"{column.name} is missing")
        return None
    column_type = COLUMN_TYPES[column.kind]
    if not column_type.is_json(value):
        raise ValueError(f"{column.name} is {notation(value)}, not {column_type.description}{way_out(value, column)}")
    return message_moment(value, column) if column.cleaning.timezone else column_type.to_message(value)


def message_moment(text: str, column: Column) -> str:
    """A timestamp in the notation of messages; one without a zone is in the column's.

    Raises:
        ValueError: it is no single moment there; the text names the column.
    """
    try:
        return text if is_instant(text) else column.moment(text).isoformat()
    except ValueError as error:
        raise ValueError(f"{column.name} is {shorten(text, 40)}, which {error} in {column.zone}") from None


def notation(value: Any) -> str:
    """A JSON value for messages; NaN and infinities as Python's json writes them."""
    return json.dumps(value) if is_infinite(value) else shorten(value, 40)


def is_infinite(value: Any) -> bool:
    """Whether it is a float that JSON has no notation for."""
    return isinstance(value, float) and not math.isfinite(value)


def way_out(value: Any, column: Column) -> str:
    """How a value that does not fit ``column`` could be read, in brackets; empty where nothing general is known."""
    if is_infinite(value):
        name = json.dumps(value)
        return f' (JSON has no {name}; missing = ["{name}"] reads it as missing)'
    if isinstance(value, float) and column.kind == "int" and value.is_integer():
        return f" (written as a fraction, it is exact only up to {MOST_EXACT})"
    keys = list(value)[:1] if isinstance(value, dict) else [0] if isinstance(value, list) else []
    return "".join(f' (from = "{column.name_in_data}.{key}" reads a part of it)' for key in keys)
