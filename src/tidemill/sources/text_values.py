"""Converts text to the declared types, column by column, without changing what a value means.

Blanks around a value matter only in strings. Empty text is a missing value; in a required string, the empty string.
``conversions.py`` says which texts each type accepts; ``cleaning.py`` applies a column's cleaning first.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from tidemill.pipeline import EPOCHS, FALSE, TRUE, Cleaning, Column, arrow_schema
from tidemill.sources.chunk import BadRecord
from tidemill.sources.cleaning import default_value, is_missing, is_number, missing_reason, stripped
from tidemill.sources.conversions import CONVERSIONS
from tidemill.sources.moments import in_calendar, local_time_faults
from tidemill.texts import listed, shorten
from tidemill.types import COLUMN_TYPES, LEAST_INT, MOST_INT

UNITS = {"epoch": "seconds", "epoch_ms": "milliseconds", "epoch_us": "microseconds"}


def typed(texts: pl.DataFrame, columns: Sequence[Column]) -> tuple[pa.Table, list[BadRecord]]:
    """The rows of ``texts`` that fit, typed, and the others. ``texts`` has a string column for each declared one."""
    read = [typed_column(texts[column.name], column) for column in columns]
    return fitting_rows([values for values, _ in read], [unfit for _, unfit in read], columns)


def fitting_rows(
    values: Sequence[pa.Array], unfit: Sequence[Mapping[int, str]], columns: Sequence[Column]
) -> tuple[pa.Table, list[BadRecord]]:
    """The rows in which each column's value fits, and the others. ``unfit``: the misfits of each column."""
    bad = merged(unfit)
    rows = pa.Table.from_arrays(list(values), schema=arrow_schema(columns))
    if bad:
        fits = np.ones(len(rows), np.bool_)
        fits[[record.position for record in bad]] = False
        rows = rows.filter(pa.array(fits))
    return rows, bad


def typed_column(texts: pl.Series, column: Column) -> tuple[pa.Array, dict[int, str]]:
    """One column's texts, typed, null where they don't fit; and the reason at each position where they don't."""
    texts = texts.alias(column.name)
    values = values_of(texts, column)
    return values.to_arrow().cast(COLUMN_TYPES[column.kind].arrow), reasons(texts, values, column)


def values_of(texts: pl.Series, column: Column) -> pl.Series:
    """The typed values by :func:`value_of`, which reads only those that :func:`read_quickly` leaves open."""
    quick = read_quickly(texts, column)
    if quick is None:
        return texts.to_frame().select(value_of(column)).to_series()
    if not quick.null_count():
        return quick
    places = quick.is_null().arg_true()
    others = texts.gather(places).to_frame().select(value_of(column)).to_series()
    return quick if others.null_count() == len(others) else quick.scatter(places, others)


def read_quickly(texts: pl.Series, column: Column) -> pl.Series | None:
    """Values as :func:`value_of` gives them, read by cheaper means; null where these can't tell, or there is no value.
    None where there are no such means."""
    cleaning = column.cleaning
    if column.kind == "timestamp" and not (cleaning.format or cleaning.timezone or cleaning.all_missing):
        return moments_quickly(texts.to_frame().select(stripped(pl.col(texts.name), column)).to_series())
    if column.kind not in ("int", "float") or not is_plain(cleaning):
        return None
    value = stripped(pl.col(texts.name), column).cast(pl.Int64 if column.kind == "int" else pl.Float64, strict=False)
    sure = value.is_finite() if column.kind == "float" else pl.lit(True)
    numbers = [number for number in cleaning.all_missing if is_number(number)]
    same: Sequence[float]
    if column.kind == "int":
        same = [int(number) for number in numbers if LEAST_INT <= number <= MOST_INT and int(number) == number]
    else:
        same = [float(number) for number in numbers if abs(number) <= sys.float_info.max]
    if same:
        sure &= ~value.is_in(same)
    return texts.to_frame().select(pl.when(sure).then(value)).to_series()


def is_plain(cleaning: Cleaning) -> bool:
    """Whether a text that Polars casts to a number stands for it, unless that number counts as missing."""
    words = [word for word in cleaning.all_missing if isinstance(word, str)]
    return cleaning.decimal in (None, ".") and cleaning.thousands != "." and not any(map(may_be_number, words))


def may_be_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def moments_quickly(texts: pl.Series) -> pl.Series | None:
    """The moments of texts in ISO 8601 as Arrow reads them; None where it refuses one.

    Arrow also takes an hour without minutes, and a zone after a date, which :data:`~tidemill.sources.moments.ISO_8601`
    does not.
    """
    text = pl.col(texts.name)
    plain = (text.str.len_bytes() == 10) | (text.str.slice(13, 1) == ":")
    candidates = texts.to_frame().select(pl.when(plain).then(text)).to_series().to_arrow()
    target = COLUMN_TYPES["timestamp"].arrow
    for kind in (pa.timestamp("us"), target):
        try:
            moments = pl.Series(texts.name, candidates.cast(kind).cast(target))
        except pa.ArrowInvalid:
            continue
        return moments.to_frame().select(in_calendar(pl.col(texts.name))).to_series()
    return None


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
