"""Records of Python's own values, as decoders of binary notations give them, as rows of the declared columns.

The rules are those of JSON. What JSON has no type for is read so: an exact decimal is a number, or a string of its
digits; a date, a time and a UUID are their texts; bytes are a string where they are UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.kafka.codec import checked
from tidemill.pipeline import Column, arrow_schema
from tidemill.sources.chunk import join_reasons
from tidemill.sources.cleaning import has_cleaning, missing_reason
from tidemill.sources.paths import value_at
from tidemill.sources.readers.jsonl import read_values, text_as
from tidemill.sources.text_values import misfit
from tidemill.texts import shorten
from tidemill.types import COLUMN_TYPES

OWN: Mapping[str, frozenset[type]] = {
    "int": frozenset({int}),
    "float": frozenset({float, int}),
    "string": frozenset({str}),
    "bool": frozenset({bool}),
    "timestamp": frozenset({datetime}),
}
"""The Python types whose values are of a declared type as they stand."""
NONE = type(None)


def typed_rows(records: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> tuple[pa.Table, dict[int, str]]:
    """The rows among the records, in order, and for each other record its position and every reason."""
    arrays: list[pa.Array] = []
    reasons: dict[int, list[str]] = {}
    for column in columns:
        values, misfits = values_at(records, column)
        array, unfit = typed_array(values, column)
        arrays.append(array)
        for index, reason in sorted((unfit | misfits).items()):
            reasons.setdefault(index, []).append(reason)
    table = pa.table(arrays, names=[column.name for column in columns])
    if reasons:
        table = table.filter(pa.array([index not in reasons for index in range(len(records))], pa.bool_()))
    return table.cast(arrow_schema(columns)), {index: join_reasons(reasons[index]) for index in sorted(reasons)}


def values_at(records: Sequence[Mapping[str, Any]], column: Column) -> tuple[list[Any], dict[int, str]]:
    """The column's value in each record, and the reasons for those whose path meets a value without parts."""
    path = column.name_in_data
    if "." not in path:
        return [record.get(path) for record in records], {}
    values: list[Any] = []
    misfits: dict[int, str] = {}
    for index, record in enumerate(records):
        try:
            values.append(value_at(record, path))
        except ValueError as error:
            values.append(None)
            misfits[index] = str(error)
    return values, misfits


def typed_array(values: Sequence[Any], column: Column) -> tuple[pa.Array, dict[int, str]]:
    """One column's values, typed, null where they don't fit; and the reason at each position where they don't."""
    if not has_cleaning(column) and set(map(type, values)) <= OWN[column.kind] | {NONE}:
        array = own_array(values, column)
        if array is not None:
            return array, {}
    plain: list[Any] = []
    misfits: dict[int, str] = {}
    for index, value in enumerate(values):
        try:
            plain.append(json_value(value, column))
        except ValueError as error:
            plain.append(None)
            misfits[index] = str(error)
    array, unfit = (read_values if has_cleaning(column) else strict_array)(plain, column)
    return array, unfit | misfits


def own_array(values: Sequence[Any], column: Column) -> pa.Array | None:
    """Values of the type's own Python types; None where one must be looked at by itself."""
    try:
        array = pa.array(values, COLUMN_TYPES[column.kind].arrow)
    except (pa.ArrowInvalid, OverflowError):
        return None
    if array.null_count and not column.optional:
        return None
    return None if column.kind == "float" and pc.all(pc.is_finite(array)).as_py() is False else array


def strict_array(values: Sequence[Any], column: Column) -> tuple[pa.Array, dict[int, str]]:
    """JSON values by the rules of JSON."""
    if COLUMN_TYPES[column.kind].json_text:
        return text_array(values, column)
    made: list[Any] = []
    misfits: dict[int, str] = {}
    for index, value in enumerate(values):
        try:
            made.append(checked(value, column))
        except ValueError as error:
            made.append(None)
            misfits[index] = str(error)
    return pa.array(made, COLUMN_TYPES[column.kind].arrow), misfits


def text_array(values: Sequence[Any], column: Column) -> tuple[pa.Array, dict[int, str]]:
    """The same for a type that JSON writes as texts."""
    texts = pl.DataFrame({"text": [value if isinstance(value, str) else None for value in values]}, {"text": pl.String})
    typed = texts.select(text_as(column.kind, pl.col("text"))).to_series()
    misfits: dict[int, str] = {}
    for index in typed.is_null().arg_true().to_list():
        if values[index] is not None:
            misfits[index] = misfit(column, values[index])
        elif not column.optional:
            misfits[index] = missing_reason(column, None)
    return typed.to_arrow().cast(COLUMN_TYPES[column.kind].arrow), misfits


def json_value(value: Any, column: Column) -> Any:
    """The JSON value that stands for a value in a column.

    Raises:
        ValueError: there is none that loses nothing.
    """
    if isinstance(value, Decimal):
        return decimal_value(value, column)
    if isinstance(value, (bytes, bytearray)):
        return bytes_value(bytes(value), column)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if has_cleaning(column) and isinstance(value, dict | list):  # its parts may be no JSON, and it fits no column
        return dict.fromkeys(list(value)[:1]) if isinstance(value, dict) else [None] * len(value[:1])
    return value


def decimal_value(value: Decimal, column: Column) -> str | int | float:
    if column.kind == "string":
        return format(value, "f")
    if column.kind == "int" and value == value.to_integral_value():
        return int(value)
    near = float(value)
    if Decimal(repr(near)) != value:
        raise ValueError(f'{column.name} is {value}, which a float would round (a "string" holds it)')
    return near


def bytes_value(value: bytes, column: Column) -> str:
    if column.kind != "string":
        raise ValueError(f"{column.name} is {shorten(value, 40)}, not {COLUMN_TYPES[column.kind].description}")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{column.name} is {shorten(value, 40)}, which is not UTF-8") from None
