"""Converts whole columns of a source to the five column types, from text and from Arrow's own types.

| type | texts that it accepts |
|---|---|
| int | decimal digits with an optional sign, within 64 bits; zeros after a point ("5.0"), but no exponent ("1e3") |
| float | decimal or exponent notation, to the nearest float64; no infinity, no NaN |
| bool | true/false, t/f, yes/no, y/n, 1/0, in upper or lower case |
| timestamp | its column's format, else ISO 8601: a date or date-time (``T`` or a space), to microseconds at the most |
| string | anything, unchanged |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.sources.moments import timestamp
from tidemill.types import COLUMN_TYPES

TRUE = ["true", "t", "yes", "y", "1"]
FALSE = ["false", "f", "no", "n", "0"]
WHOLE = r"^(?P<number>[+-]?[0-9]+)\.0+$"
FIRST_MOMENT, LAST_MOMENT = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))
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


def is_whole(kind: pa.DataType) -> bool:
    """Whether all values of the type are whole numbers."""
    return bool(pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0))


def is_float(kind: pa.DataType) -> bool:
    """Whether float64 is nearest to the type: it gives a decimal's digits back where there are few enough."""
    few = pa.types.is_decimal(kind) and kind.scale > 0 and kind.precision <= EXACT_DIGITS
    return bool(few or pa.types.is_floating(kind))


def is_bytes(kind: pa.DataType) -> bool:
    plain = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in plain)


def has_text(kind: pa.DataType) -> bool:
    """Whether values of the type have one notation that loses nothing: whole numbers, decimals, dates and times too."""
    same = (is_string, is_bytes, pa.types.is_integer, pa.types.is_decimal, pa.types.is_date, pa.types.is_time)
    return any(test(kind) for test in same)


def is_textual(kind: pa.DataType) -> bool:
    """Whether a string is the nearest type."""
    many = pa.types.is_decimal(kind) and not is_whole(kind) and not is_float(kind)
    return bool(many or is_string(kind) or is_bytes(kind) or pa.types.is_time(kind))


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
        floats = values.cast(pa.string()).cast(pa.float64())  # Arrow's own cast from decimals may round twice
        return floats if values.type.precision <= EXACT_DIGITS else with_all_digits(floats, values)
    floats = values.cast(pa.float64())
    return pc.if_else(pc.is_finite(floats), floats, None)


def with_all_digits(floats: pa.Array, decimals: pa.Array) -> pa.Array:
    """The floats whose shortest notation is that of the decimal; null for the others."""
    pairs = zip(floats.to_pylist(), decimals.to_pylist(), strict=True)
    return pa.array(
        [near if near is not None and Decimal(repr(near)) == exact else None for near, exact in pairs], pa.float64()
    )


def cast_to_string(values: pa.Array) -> pa.Array:
    if pa.types.is_fixed_size_binary(values.type):
        values = values.cast(pa.binary())
    strings = values.cast(pa.string())
    if pa.types.is_time(values.type):
        strings = pc.replace_substring_regex(strings, r"\.0+$", "")
    strings.validate(full=True)  # the cast doesn't check that the bytes are UTF-8
    return strings


def cast_to_timestamp(values: pa.Array) -> pa.Array:
    """Of a type of its own, a timestamp without a zone is in UTC; null beyond the years 1 to 9999."""
    target = COLUMN_TYPES["timestamp"].arrow
    if not is_string(values.type):
        moments = values.cast(target)
        ends = [pa.scalar(moment, target) for moment in (FIRST_MOMENT, LAST_MOMENT)]
        return pc.if_else(pc.and_(pc.greater_equal(moments, ends[0]), pc.less_equal(moments, ends[1])), moments, None)
    texts = pl.DataFrame({"text": pl.from_arrow(values)})
    return texts.select(timestamp(pl.col("text").str.strip_chars())).to_series().to_arrow().cast(target)


CONVERSIONS: Mapping[str, Conversion] = {
    "int": Conversion(read_int, lambda kind: is_number(kind) or is_whole(kind), is_whole, cast_plainly("int")),
    "float": Conversion(read_float, lambda kind: is_number(kind) or pa.types.is_decimal(kind), is_float, cast_to_float),
    "string": Conversion(lambda text, form: text, has_text, is_textual, cast_to_string),
    "bool": Conversion(read_bool, pa.types.is_boolean, pa.types.is_boolean, cast_plainly("bool")),
    "timestamp": Conversion(timestamp, lambda kind: is_moment(kind) or is_string(kind), is_moment, cast_to_timestamp),
}
