"""Converts whole columns of a source to the five column types, from text and from Arrow's own types.

| type | texts that it accepts |
|---|---|
| int | decimal digits with an optional sign, within 64 bits; zeros may follow a point ("5.0"), but no exponent ("1e3") |
| float | decimal or exponent notation, to the nearest float64; no infinity, no NaN |
| bool | true/false, t/f, yes/no, y/n, 1/0, in upper or lower case |
| timestamp | its column's format, else ISO 8601: a date or date-time (``T`` or a space), to microseconds at the most |
| string | anything, unchanged |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.sources.moments import timestamp
from tidemill.types import COLUMN_TYPES

TRUE = ["true", "t", "yes", "y", "1"]
FALSE = ["false", "f", "no", "n", "0"]
WHOLE = r"^(?P<number>[+-]?[0-9]+)\.0+$"
EXACT_DIGITS = 15  # every decimal of so many digits has a float64 of its own (DBL_DIG in C)


class Conversion(NamedTuple):
    """The conversion of columns to one type.

    Attributes:
        read_text: the values of texts without blanks around them, by the column's ``format``; null where a text does
            not fit.
        accepts: whether values of an Arrow type can be converted, though perhaps not all of them.
        resembles: whether an Arrow type is the natural counterpart of this one.
        cast: the values of an Arrow array that is accepted; null where a text is not a timestamp or a float is not
            finite. Raises pyarrow.ArrowInvalid where a value would change.
    """

    read_text: Callable[[pl.Expr, str | None], pl.Expr]
    accepts: Callable[[pa.DataType], bool]
    resembles: Callable[[pa.DataType], bool]
    cast: Callable[[pa.Array], pa.Array]


def is_string(kind: pa.DataType) -> bool:
    return any((pa.types.is_string(kind), pa.types.is_large_string(kind), pa.types.is_string_view(kind)))


def is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def is_exact_decimal(kind: pa.DataType) -> bool:
    """Whether float64 holds every value of the type exactly enough to give its digits back."""
    return bool(pa.types.is_decimal(kind) and kind.precision <= EXACT_DIGITS)


def read_int(text: pl.Expr, form: str | None) -> pl.Expr:
    """Never by way of a float, so that all digits count."""
    return text.str.replace(WHOLE, "${number}").cast(pl.Int64, strict=False)


def read_float(text: pl.Expr, form: str | None) -> pl.Expr:
    number = text.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def read_bool(text: pl.Expr, form: str | None) -> pl.Expr:
    lower = text.str.to_lowercase()
    return pl.when(lower.is_in(TRUE)).then(True).when(lower.is_in(FALSE)).then(False)


def cast_plainly(kind: str) -> Callable[[pa.Array], pa.Array]:
    """Arrow's own safe cast to the type."""
    return lambda values: values.cast(COLUMN_TYPES[kind].arrow)


def cast_to_float(values: pa.Array) -> pa.Array:
    if pa.types.is_decimal(values.type):
        return values.cast(pa.string()).cast(pa.float64())  # Arrow's own cast from decimals may round twice
    floats = values.cast(pa.float64())
    return pc.if_else(pc.is_finite(floats), floats, None)


def cast_to_string(values: pa.Array) -> pa.Array:
    strings = values.cast(pa.string())
    strings.validate(full=True)  # the cast doesn't check that the bytes are UTF-8
    return strings


def cast_to_timestamp(values: pa.Array) -> pa.Array:
    target = COLUMN_TYPES["timestamp"].arrow
    if not is_string(values.type):
        return values.cast(target)
    texts = pl.DataFrame({"text": pl.from_arrow(values)})
    return texts.select(timestamp(pl.col("text").str.strip_chars())).to_series().to_arrow().cast(target)


CONVERSIONS: Mapping[str, Conversion] = {
    "int": Conversion(read_int, is_number, pa.types.is_integer, cast_plainly("int")),
    "float": Conversion(
        read_float, lambda kind: is_number(kind) or is_exact_decimal(kind), pa.types.is_floating, cast_to_float
    ),
    "string": Conversion(
        lambda text, form: text,
        lambda kind: is_string(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind),
        is_string,
        cast_to_string,
    ),
    "bool": Conversion(read_bool, pa.types.is_boolean, pa.types.is_boolean, cast_plainly("bool")),
    "timestamp": Conversion(timestamp, lambda kind: is_moment(kind) or is_string(kind), is_moment, cast_to_timestamp),
}
