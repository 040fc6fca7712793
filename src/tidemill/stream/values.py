"""Text to declared types, a column at a time, without ever changing what a value means.

| kind | accepts |
|---|---|
| int | decimal digits with an optional sign, within 64 bits; never by way of a float, so "5.0" and "1e3" are refused |
| float | decimal or exponent notation, to the nearest float64; no infinity, no NaN |
| bool | true/false, t/f, yes/no, y/n, 1/0, in upper or lower case |
| timestamp | ISO 8601 date or date-time (``T`` or a space) to minutes, seconds or microseconds; UTC if no zone |
| string | anything, untouched |

Blanks around a value matter only in strings. Empty text is a missing value; in a required string, the empty string.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from tidemill.errors import shorten
from tidemill.rows import ARTICLE, arrow_schema
from tidemill.spec import Column, ColumnKind
from tidemill.stream.chunk import Bad

TRUE = ["true", "t", "yes", "y", "1"]
FALSE = ["false", "f", "no", "n", "0"]
WANTED = ARTICLE | {"timestamp": "a timestamp (ISO 8601)"}

# Zeros beyond the microseconds lose nothing; other digits there would.
ISO_8601 = (
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<minutes>[0-9]{2}:[0-9]{2})(?:(?P<seconds>:[0-5][0-9])(?:(?P<fraction>\.[0-9]{1,6})0*)?)?"
    r" ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)


def typed(texts: pl.DataFrame, columns: Sequence[Column]) -> tuple[pa.Table, list[Bad]]:
    """The rows of ``texts`` (a string column for each declared one) that fit, typed, and those that don't."""
    values = texts.select([value_of(column) for column in columns])
    unfit = {column.name: mask for column in columns if (mask := misfits(texts, values, column)) is not None}
    if not unfit:
        return values.to_arrow().cast(arrow_schema(columns)), []
    masks = pl.DataFrame(unfit)
    any_unfit = masks.select(pl.any_horizontal(pl.all())).to_series()
    bad = [Bad(place, reasons(texts, masks, columns, place)) for place in any_unfit.arg_true()]
    return values.filter(~any_unfit).to_arrow().cast(arrow_schema(columns)), bad


def value_of(column: Column) -> pl.Expr:
    """The typed column; null where the text is missing or does not fit."""
    text = pl.col(column.name)
    if column.kind == "string":
        return pl.when(text != "").then(text).alias(column.name) if column.optional else text
    return parsed(text.str.strip_chars(), column.kind).alias(column.name)


def parsed(text: pl.Expr, kind: ColumnKind) -> pl.Expr:
    if kind == "int":
        return text.cast(pl.Int64, strict=False)
    if kind == "float":
        number = text.cast(pl.Float64, strict=False)
        return pl.when(number.is_finite()).then(number)
    if kind == "bool":
        word = text.str.to_lowercase()
        return pl.when(word.is_in(TRUE)).then(True).when(word.is_in(FALSE)).then(False)
    return timestamp(text)


def timestamp(text: pl.Expr) -> pl.Expr:
    """ISO 8601 text as microseconds in UTC, between the years 1 and 9999; null where it is none."""
    part = text.str.extract_groups(ISO_8601).struct.field
    zone = pl.when(part("zone").is_null() | (part("zone") == "Z")).then(pl.lit("+00:00")).otherwise(part("zone"))
    pieces = [part("date"), pl.lit("T"), part("minutes").fill_null("00:00"), part("seconds").fill_null(":00")]
    whole = pl.concat_str([*pieces, part("fraction").fill_null(""), zone])
    stamp = whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    return pl.when(stamp.dt.year().is_between(1, 9999)).then(stamp)


def misfits(texts: pl.DataFrame, values: pl.DataFrame, column: Column) -> pl.Series | None:
    """Where a value does not fit or is missing though required; None where all is well."""
    if column.kind == "string" or not values[column.name].null_count():
        return None
    unfit = values[column.name].is_null()
    return unfit & (texts[column.name].str.strip_chars() != "") if column.optional else unfit


def reasons(texts: pl.DataFrame, masks: pl.DataFrame, columns: Sequence[Column], place: int) -> list[str]:
    unfit = [column for column in columns if column.name in masks.columns and masks[column.name][place]]
    return [reason(column, texts[column.name][place]) for column in unfit]


def reason(column: Column, text: str) -> str:
    return misfit(column, text) if text.strip() else f"{column.name} is missing"


def misfit(column: Column, value: object) -> str:
    return f"{column.name} is {shorten(value, 40)}, not {WANTED[column.kind]}"
