"""Converts text to the declared types, column by column, without changing what a value means.

Blanks around a value matter only in strings. Empty text is a missing value; in a required string, the empty string.
``conversions.py`` says which texts each type accepts; ``cleaning.py`` applies a column's cleaning first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import pyarrow as pa

from tidemill.pipeline import EPOCHS, FALSE, TRUE, Column, arrow_schema
from tidemill.sources.chunk import BadRecord
from tidemill.sources.cleaning import default_value, is_missing, missing_reason, stripped
from tidemill.sources.conversions import CONVERSIONS
from tidemill.sources.moments import local_time_faults
from tidemill.texts import listed, shorten
from tidemill.types import COLUMN_TYPES

UNITS = {"epoch": "seconds", "epoch_ms": "milliseconds", "epoch_us": "microseconds"}


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
    value = text if column.kind == "string" else read_text(text.str.strip_chars(), column.cleaning)
    missing, default = is_missing(text, column), default_value(column)
    if default is not None:
        value = pl.when(missing).then(pl.lit(default)).otherwise(value)
    elif column.cleaning.all_missing or (column.kind == "string" and column.optional):
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
    unfit_texts = texts.gather(indices)
    cases = zip(indices, unfit_texts, missing.gather(indices), misfits(unfit_texts, column), strict=True)
    return {index: missing_reason(column, text) if is_none else why for index, text, is_none, why in cases}


def wanted(column: Column) -> str:
    """A description of the column's values."""
    cleaning, plain = column.cleaning, COLUMN_TYPES[column.kind].description
    if cleaning.format is not None and cleaning.format in EPOCHS:
        return f"{UNITS[cleaning.format]} since 1970"
    if cleaning.format is not None:
        return f'a timestamp of the form "{cleaning.format}"'
    if cleaning.true or cleaning.false:
        return f"{listed(cleaning.true or TRUE)} or {listed(cleaning.false or FALSE)}"
    notation = [f'decimal = "{cleaning.decimal}"'] if cleaning.decimal else []
    notation += [f'thousands = "{cleaning.thousands}"'] if cleaning.thousands else []
    return f"{plain} with {' and '.join(notation)}" if notation else plain


def misfit(column: Column, value: object) -> str:
    return f"{column.name} is {shorten(value, 40)}, not {wanted(column)}"


def misfits(texts: pl.Series, column: Column) -> Iterator[str]:
    """The reason for each text that does not fit."""
    zone, faults = column.cleaning.timezone, dict[int, str]()
    if zone:
        faults = local_time_faults(texts.str.strip_chars(), column.cleaning.format, zone)
    for index, text in enumerate(texts):
        why = faults.get(index)
        yield f"{column.name} is {shorten(text, 40)}, {why}" if why else misfit(column, text)
