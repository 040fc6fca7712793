"""Converts text to the declared types, column by column, without changing what a value means.

Blanks around a value matter only in strings. Empty text is a missing value; in a required string, the empty string.
``conversions.py`` says which texts each type accepts; ``cleaning.py`` applies a column's cleaning first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from tidemill.pipeline import Column, arrow_schema
from tidemill.sources.chunk import BadRecord
from tidemill.sources.cleaning import default_value, is_missing, missing_reason, stripped
from tidemill.sources.conversions import CONVERSIONS
from tidemill.texts import shorten
from tidemill.types import COLUMN_TYPES


def typed(texts: pl.DataFrame, columns: Sequence[Column]) -> tuple[pa.Table, list[BadRecord]]:
    """The rows of ``texts`` that fit, typed, and the others. ``texts`` has a string column for each declared one."""
    values = texts.select([value_of(column) for column in columns])
    unfit = [reasons(texts[column.name], values[column.name], column) for column in columns]
    bad = merged(unfit)
    if bad:
        fits = pl.Series([True]).new_from_index(0, len(values)).scatter([record.position for record in bad], False)
        values = values.filter(fits)
    return values.to_arrow().cast(arrow_schema(columns)), bad


def typed_column(texts: pl.Series, column: Column) -> tuple[pa.Array, dict[int, str]]:
    """One column's texts, typed, null where they don't fit; and the reason at each position where they don't."""
    texts = texts.alias(column.name)
    values = texts.to_frame().select(value_of(column)).to_series()
    return values.to_arrow().cast(COLUMN_TYPES[column.kind].arrow), reasons(texts, values, column)


def merged(unfit: Sequence[Mapping[int, str]]) -> list[BadRecord]:
    """The records that don't fit, from the misfits of each column."""
    indices = sorted(set().union(*unfit))
    return [BadRecord(index, [reasons_at[index] for reasons_at in unfit if index in reasons_at]) for index in indices]


def value_of(column: Column) -> pl.Expr:
    """The typed column; null where the text does not fit, or is missing and has no default."""
    text, read_text = stripped(pl.col(column.name), column), CONVERSIONS[column.kind].read_text
    value = text if column.kind == "string" else read_text(text.str.strip_chars(), column.cleaning.format)
    missing, default = is_missing(text, column), default_value(column)
    if default is not None:
        value = pl.when(missing).then(pl.lit(default)).otherwise(value)
    elif column.cleaning.missing or (column.kind == "string" and column.optional):
        value = pl.when(~missing).then(value)
    return value.alias(column.name)


def reasons(texts: pl.Series, values: pl.Series, column: Column) -> dict[int, str]:
    """The reason at each position where a value does not fit, or is missing though required."""
    if not values.null_count():
        return {}
    text = stripped(pl.col(texts.name), column)
    missing = texts.to_frame().select(is_missing(text, column)).to_series()
    unfit = values.is_null() & ~missing if column.may_lack else values.is_null()
    indices = unfit.arg_true()
    misfits = zip(indices.to_list(), texts.gather(indices).to_list(), missing.gather(indices).to_list(), strict=True)
    return {
        index: missing_reason(column, text) if is_none else misfit(column, text) for index, text, is_none in misfits
    }


def wanted(column: Column) -> str:
    """A description of the column's values."""
    form = column.cleaning.format
    return COLUMN_TYPES[column.kind].description if form is None else f'a timestamp of the form "{form}"'


def misfit(column: Column, value: object) -> str:
    return f"{column.name} is {shorten(value, 40)}, not {wanted(column)}"
