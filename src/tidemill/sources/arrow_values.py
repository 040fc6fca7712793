"""Converts typed columns, from Parquet or a sample, to the declared types. A value that would change is rejected.

Strings of a column with a cleaning are read as text. Other values have a type already: only the cleaning's ``missing``
and ``default`` apply to them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.errors import Fault, SourceError
from tidemill.pipeline import EPOCHS, Cleaning, Column, arrow_schema
from tidemill.sources.chunk import (
    RECORD_CHARACTERS,
    TOO_LONG,
    BadRecord,
    Chunk,
    Reject,
    absent_notes,
    cut,
    join_reasons,
    refuse_missing,
)
from tidemill.sources.cleaning import default_value, has_cleaning, is_missing, missing_reason
from tidemill.sources.conversions import CONVERSIONS, is_moment, is_string
from tidemill.sources.paths import declared_table, is_list, schema_names
from tidemill.sources.text_values import typed_column, wanted
from tidemill.texts import MOST_EXAMPLES
from tidemill.types import COLUMN_TYPES


def check_schema(label: str, schema: pa.Schema, columns: Sequence[Column], key: str) -> list[Fault]:
    """Refuse data that lack a declared column, or have it in a type that can't be converted to the declared one.
    Returns notes about those that may be missing, and that the data lack.

    Args:
        key: the path of these data in the pipeline file.

    Raises:
        SourceError: the error names each such column.
    """
    declared = declared_table(schema.empty_table(), columns).schema
    found = set(declared.names)
    paths = [column.name_in_data for column in columns if column.name in found]
    names = list(dict.fromkeys([*schema_names(schema), *paths]))
    refuse_missing(label, names, columns)
    refuse_types(label, declared, columns, key)
    return absent_notes(label, names, columns, key)


def refuse_types(label: str, schema: pa.Schema, columns: Sequence[Column], key: str) -> None:
    """Refuse columns whose types can't be converted to the declared ones. Missing columns are ignored.

    Args:
        key: the path of these data in the pipeline file.

    Raises:
        SourceError: the error names each such column.
    """
    types = dict(zip(schema.names, schema.types, strict=True))
    kinds = {column: plain_type(types[column.name]) for column in columns if column.name in types}
    wrong = {column: kind for column, kind in kinds.items() if not can_become(kind, column)}
    if wrong:
        differing = [f"{column.name} is {kind}, declared {column.kind}" for column, kind in wrong.items()]
        hints = [type_hint(kind, column, key) for column, kind in wrong.items()]
        raise SourceError(f"{label}: {join_reasons(differing)}", "; ".join(hints[:MOST_EXAMPLES]))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values; any other type itself."""
    return plain_type(kind.value_type) if pa.types.is_dictionary(kind) else kind


def can_become(kind: pa.DataType, column: Column) -> bool:
    """Whether values of an Arrow type can be converted to the declared one, though perhaps not all of them."""
    as_text = is_read_as_text(kind, column)
    accepted = CONVERSIONS[column.kind].accepts(kind)
    return accepted or as_text or (column.may_lack and bool(pa.types.is_null(kind)))


def type_hint(kind: pa.DataType, column: Column, key: str) -> str:
    best = natural_kind(kind)
    if parts := part_names(kind):
        path = f"{column.name_in_data}.{parts}"
        return f'read a part of it, as {column.name} = {{ type = "{column.kind}", from = "{path}" }}'
    if is_string(kind):
        as_text = f'{{ type = "{column.kind}", missing = [""] }}'
        return f'declare it as {column.name} = "string", or as {column.name} = {as_text} to have its text read'
    return f'declare it as {column.name} = "{best}"' if best else f"leave {column.name} out of [{key}.columns]"


def is_read_as_text(kind: pa.DataType, column: Column) -> bool:
    """Whether the column's cleaning says how values of an Arrow type are read: strings, whole numbers since 1970, and
    timestamps and dates that are local in a zone."""
    cleaning = column.cleaning
    if column.kind == "timestamp" and not is_string(kind):
        local = is_moment(kind) and getattr(kind, "tz", None) is None
        return bool(pa.types.is_integer(kind)) if cleaning.format in EPOCHS else bool(cleaning.timezone) and local
    return has_cleaning(column) and is_string(kind)


def part_names(kind: pa.DataType) -> str:
    """The first part that a path may lead to within values of a type; empty where they have none."""
    return "0" if is_list(kind) else kind[0].name if pa.types.is_struct(kind) and kind.num_fields else ""


def natural_kind(kind: pa.DataType) -> str:
    """The declared type that is most like an Arrow type; empty where none is."""
    return next((name for name, conversion in CONVERSIONS.items() if conversion.resembles(kind)), "")


def convert(table: pa.Table, columns: Sequence[Column], label: str, first: int) -> Chunk:
    """The rows of ``table`` in the declared types; those that don't fit become rejects, numbered from ``first``."""
    table = declared_table(table, columns)
    taken = [Converted(values_of(table, column), column) for column in columns]
    too_long = long_rows(taken)
    unfit = {index for converted in taken for index in converted.misfits}.union(too_long)
    rows = pa.table([converted.values for converted in taken], names=[column.name for column in columns])
    if unfit:
        rows = rows.filter(pa.array([index not in unfit for index in range(len(table))], pa.bool_()))
    bad = [
        BadRecord(
            index,
            [TOO_LONG] * (index in too_long)
            + [converted.misfits[index] for converted in taken if index in converted.misfits],
        )
        for index in sorted(unfit)
    ]
    rejects = (
        Reject(label, first + record.position, join_reasons(record.reasons), row_text(table, record.position, columns))
        for record in bad
    )
    return Chunk(rows.cast(arrow_schema(columns)), tuple(rejects))


def values_of(table: pa.Table, column: Column) -> pa.Array:
    """The column's values in the table's type; nulls where the table lacks the column."""
    index = table.schema.get_field_index(column.name)
    if index < 0:
        return pa.nulls(len(table), COLUMN_TYPES[column.kind].arrow)
    values = table.column(index)
    return values.cast(plain_type(values.type)).combine_chunks()


def long_rows(taken: Sequence[Converted]) -> list[int]:
    """The positions of the rows whose strings are too long in total."""
    lengths = [
        pc.fill_null(pc.binary_length(converted.values), 0).cast(pa.int64())
        for converted in taken
        if converted.column.kind == "string"
    ]
    if not lengths:
        return []
    indices: list[int] = pc.indices_nonzero(pc.greater(reduce(pc.add, lengths), RECORD_CHARACTERS)).to_pylist()
    return indices


NAN = "NaN"  # among the values of ``missing`` it names infinities too, as in JSON


class Converted:
    """A column in its declared type. ``misfits`` has the reason for each position whose value does not fit."""

    def __init__(self, values: pa.Array, column: Column) -> None:
        self.column = column
        self.misfits: dict[int, str] = {}
        if is_read_as_text(values.type, column):
            self._read(values if is_string(values.type) else values.cast(pa.string()))
        else:
            self._cast(values)

    def _read(self, texts: pa.Array) -> None:
        """Read the values as text."""
        whole, broken = only_text(texts)
        self.values, self.misfits = typed_column(pl.Series(whole), self.column)
        self.misfits |= {index: self._misfit(texts[index]) for index in broken}

    def _cast(self, values: pa.Array) -> None:
        """Cast the values from their own type."""
        self.values = self._cast_fitting(values)
        missing = self._missing(values)
        self.values = pc.if_else(missing, None, self.values)
        unfit = self.values.is_null()
        default = default_value(self.column)
        if default is not None:
            self.values = pc.if_else(missing, pa.scalar(default, self.values.type), self.values)
        if self.column.may_lack:
            unfit = pc.and_(unfit, pc.invert(missing))
        for index in pc.indices_nonzero(unfit).to_pylist():
            value = values[index]
            is_none = missing[index].as_py()
            self.misfits[index] = missing_reason(self.column, shown(value)) if is_none else self._misfit(value)

    def _missing(self, values: pa.Array) -> pa.Array:
        """Which values are null or count as missing."""
        if not self.column.cleaning.all_missing:
            return values.is_null()
        if COLUMN_TYPES[self.column.kind].json_text:
            words = [text for text in self.column.cleaning.all_missing if isinstance(text, str)]
            plain = self.column._replace(cleaning=Cleaning(format=self.column.cleaning.format))
            moments, _ = typed_column(pl.Series(words, dtype=pl.String), plain)
            return pc.or_(values.is_null(), pc.is_in(self.values, moments.drop_null()))
        notation = pl.Series("value", values.cast(pa.string()))
        plain = self.column._replace(cleaning=self.column.cleaning.typed())
        missing = notation.to_frame().select(is_missing(pl.col("value"), plain)).to_series().to_arrow()
        if pa.types.is_floating(values.type) and NAN in self.column.cleaning.all_missing:
            return pc.or_(missing, pc.invert(pc.fill_null(pc.is_finite(values.cast(pa.float64())), True)))
        return missing

    def _cast_fitting(self, values: pa.Array) -> pa.Array:
        """The values cast, null in place of those that don't fit, which are found by bisection."""
        try:
            return CONVERSIONS[self.column.kind].cast(values)
        except pa.ArrowInvalid:
            if len(values) == 1:
                return pa.nulls(1, COLUMN_TYPES[self.column.kind].arrow)
        half = len(values) // 2
        return pa.concat_arrays([self._cast_fitting(values[:half]), self._cast_fitting(values[half:])])

    def _misfit(self, value: pa.Scalar) -> str:
        if self.column.kind == "float" and pa.types.is_decimal(value.type):
            return f'{self.column.name} is {shown(value)}, which a float would round (a "string" holds it)'
        return f"{self.column.name} is {shown(value)}, which is not {wanted(self.column)}"


def only_text(texts: pa.Array) -> tuple[pa.Array, list[int]]:
    """The strings, null where their bytes are not valid UTF-8, and the positions of these."""
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        broken = [index for index, text in enumerate(texts) if not is_text(text)]
        return pc.if_else(pa.array([index in broken for index in range(len(texts))]), None, texts), broken
    return texts, []


def is_text(value: pa.Scalar) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def row_text(table: pa.Table, index: int, columns: Sequence[Column]) -> str:
    there = set(table.column_names)
    values = {column.name: shown(table[column.name][index]) for column in columns if column.name in there}
    return cut(json.dumps(values, ensure_ascii=False))


def shown(value: pa.Scalar) -> str | None:
    """A value as text for messages, even if Python can't represent it."""
    try:
        plain = value.as_py()
    except (ValueError, OverflowError):
        return f"an unreadable {value.type}"
    return None if plain is None else cut(str(plain))
