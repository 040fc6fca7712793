"""Finds a declared column in nested data, by its name or by a path such as ``user.address.city`` or ``tags.0``.

A name with dots is first a key as it stands. Where there is no such key, its part before the first dot is the key of an
object, or the position in a list, from 0; its rest is sought there in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.pipeline import Column
from tidemill.texts import shorten

MOST_NESTED = 1_000  # names within a record that a hint may choose from


def value_at(record: Mapping[str, Any], path: str) -> Any:
    """The value of a JSON record at a path; None where a key or position is lacking, or null is met on the way.

    Raises:
        ValueError: a value on the way has no parts; the text names it.
    """
    value: Any = record
    seen, rest = "", path
    while rest:
        if isinstance(value, dict) and rest in value:
            return value[rest]
        head, _, rest = rest.partition(".")
        value = part_of(value, head, seen)
        if value is None:
            return None
        seen = f"{seen}.{head}" if seen else head
    return value


def part_of(value: Any, head: str, seen: str) -> Any:
    """The part ``head`` of a value, which stands at the path ``seen``; None where it is lacking."""
    if isinstance(value, dict):
        return value.get(head)
    if not isinstance(value, list):
        raise ValueError(f"{seen} is {shorten(value, 40)}, which has no {head}")
    position = position_of(head)
    if position is None:
        raise ValueError(f"{seen} is a list, which has no {head} but positions such as {seen}.0")
    return value[position] if position < len(value) else None


def position_of(head: str) -> int | None:
    return int(head) if head.isascii() and head.isdecimal() else None


def names_in(records: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[str]:
    """The names that some record has: its keys, the paths of nested ones, and those of ``columns`` that it has."""
    names = dict.fromkeys(name for record in records for name in record)
    nested = (name for record in records for name in nested_names(record))
    for name in nested:
        names[name] = None
        if len(names) > MOST_NESTED:
            break
    declared = {column.name_in_data for column in columns if "." in column.name_in_data}.difference(names)
    return [*names, *(path for path in declared if any(is_met(record, path) for record in records))]


def nested_names(record: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """The paths of the keys within a record's objects."""
    for name, value in record.items():
        if isinstance(value, dict):
            for key in value:
                yield f"{before}{name}.{key}"
            yield from nested_names(value, f"{before}{name}.")


def is_met(record: Mapping[str, Any], path: str) -> bool:
    """Whether the path leads to a value other than null, or to one without parts on the way."""
    try:
        return value_at(record, path) is not None
    except ValueError:
        return True


def array_at(columns: Mapping[str, pa.ChunkedArray], path: str) -> pa.Array | None:
    """The values of a table's columns at a path; None where there is no such path."""
    if path in columns:
        return columns[path].combine_chunks()
    head, dot, rest = path.partition(".")
    return within(columns[head].combine_chunks(), rest) if dot and head in columns else None


def within(values: pa.Array, path: str) -> pa.Array | None:
    """The values at a path within structs or lists; None where their type has no such path."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return within(values.cast(kind.value_type), path)
    if pa.types.is_struct(kind) and kind.get_field_index(path) >= 0:
        return pc.struct_field(values, kind.get_field_index(path))
    head, dot, rest = path.partition(".")
    if pa.types.is_struct(kind) and kind.get_field_index(head) >= 0:
        part = pc.struct_field(values, kind.get_field_index(head))
    elif is_list(kind) and (position := position_of(head)) is not None:
        part = element(values, position)
    else:
        return None
    return within(part, rest) if dot else part


def is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def element(lists: pa.Array, position: int) -> pa.Array:
    """The element of each list at a position, from 0; null where a list is null or shorter."""
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    places = lists.offsets.to_numpy()[:-1].astype(np.int64) + position
    return lists.values.take(pa.array(places, mask=lengths <= position))


def schema_names(fields: Sequence[pa.Field], before: str = "") -> Iterator[str]:
    """The names of a schema, and the paths of those within its structs."""
    for field in fields:
        yield f"{before}{field.name}"
        if pa.types.is_struct(field.type):
            yield from schema_names(list(field.type), f"{before}{field.name}.")


def declared_table(table: pa.Table, columns: Sequence[Column]) -> pa.Table:
    """The declared columns that a table has, under their own names."""
    there = dict(zip(table.column_names, table.columns, strict=True))
    arrays = {column.name: array_at(there, column.name_in_data) for column in columns}
    return pa.table({name: values for name, values in arrays.items() if values is not None})
