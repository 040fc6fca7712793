"""Text to declared types, a column at a time, without ever changing what a value means.

| kind | accepts |
|---|---|
| int | decimal digits with an optional sign, within 64 bits; never by way of a float, so "5.0" and "1e3" are refused |
| float | decimal or exponent notation, to the nearest float64; no infinity, no NaN |
| bool | true/false, t/f, yes/no, y/n, 1/0, in upper or lower case |
| timestamp | what its format says, else ISO 8601: a date or date-time (``T`` or a space), to microseconds at the most |
| string | anything, untouched |

Blanks around a value matter only in strings. Empty text is a missing value; in a required string, the empty string.
What a column's cleaning asks for is done first: see ``cleaning.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
import pyarrow as pa

from tidemill.errors import shorten
from tidemill.kafka.codec import ARROW, ARTICLE, arrow_schema
from tidemill.pipeline import Column
from tidemill.sources.chunk import Bad
from tidemill.sources.cleaning import default_value, is_missing, missing_reason, stripped
from tidemill.sources.moments import timestamp

TRUE = ["true", "t", "yes", "y", "1"]
FALSE = ["false", "f", "no", "n", "0"]


def typed(texts: pl.DataFrame, columns: Sequence[Column]) -> tuple[pa.Table, list[Bad]]:
    """The rows of ``texts`` (a string column for each declared one) that fit, typed, and those that don't."""
    values = texts.select([value_of(column) for column in columns])
    unfit = [reasons(texts[column.name], values[column.name], column) for column in columns]
    bad = merged(unfit)
    if bad:
        fits = pl.Series([True]).new_from_index(0, len(values)).scatter([one.place for one in bad], False)
        values = values.filter(fits)
    return values.to_arrow().cast(arrow_schema(columns)), bad


def typed_column(texts: pl.Series, column: Column) -> tuple[pa.Array, dict[int, str]]:
    """One column's texts, typed, null where they don't fit, and why at each place where they don't."""
    texts = texts.alias(column.name)
    values = texts.to_frame().select(value_of(column)).to_series()
    return values.to_arrow().cast(ARROW[column.kind]), reasons(texts, values, column)


def merged(unfit: Sequence[Mapping[int, str]]) -> list[Bad]:
    """The records that don't fit, from what is wrong in each column."""
    places = sorted(set().union(*unfit))
    return [Bad(place, [found[place] for found in unfit if place in found]) for place in places]


def value_of(column: Column) -> pl.Expr:
    """The typed column; null where the text is missing (unless there is a default) or does not fit."""
    text = stripped(pl.col(column.name), column)
    value = text if column.kind == "string" else parsed(text.str.strip_chars(), column)
    missing, default = is_missing(text, column), default_value(column)
    if default is not None:
        value = pl.when(missing).then(pl.lit(default)).otherwise(value)
    elif column.cleaning.missing or (column.kind == "string" and column.optional):
        value = pl.when(~missing).then(value)
    return value.alias(column.name)


def parsed(text: pl.Expr, column: Column) -> pl.Expr:
    if column.kind == "int":
        return text.cast(pl.Int64, strict=False)
    if column.kind == "float":
        number = text.cast(pl.Float64, strict=False)
        return pl.when(number.is_finite()).then(number)
    if column.kind == "bool":
        word = text.str.to_lowercase()
        return pl.when(word.is_in(TRUE)).then(True).when(word.is_in(FALSE)).then(False)
    return timestamp(text, column.cleaning.format)


def reasons(texts: pl.Series, values: pl.Series, column: Column) -> dict[int, str]:
    """Why there is no value, at each place where it does not fit or is missing though required."""
    if not values.null_count():
        return {}
    text = stripped(pl.col(texts.name), column)
    missing = texts.to_frame().select(is_missing(text, column)).to_series()
    unfit = values.is_null() & ~missing if column.may_lack else values.is_null()
    places = unfit.arg_true()
    found = zip(places.to_list(), texts.gather(places).to_list(), missing.gather(places).to_list(), strict=True)
    return {place: missing_reason(column, text) if is_none else misfit(column, text) for place, text, is_none in found}


def wanted(column: Column) -> str:
    """What a value of the column should have been."""
    if column.kind != "timestamp":
        return ARTICLE[column.kind]
    form = column.cleaning.format
    return "a timestamp (ISO 8601)" if form is None else f'a timestamp of the form "{form}"'


def misfit(column: Column, value: object) -> str:
    return f"{column.name} is {shorten(value, 40)}, not {wanted(column)}"
