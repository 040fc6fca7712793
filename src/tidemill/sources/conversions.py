"""Converts whole columns of a source to the five column types, from text and from Arrow's own types.

| type | texts that it accepts |
|---|---|
| int | decimal digits with an optional sign, within 64 bits; zeros after a point ("5.0"), but no exponent ("1e3") |
| float | decimal or exponent notation, to the nearest float64; no infinity, no NaN |
| bool | true/false, t/f, yes/no, y/n, 1/0, or the column's own words, in upper or lower case |
| timestamp | its column's format, else ISO 8601: a date or date-time (``T`` or a space), to microseconds at the most |
| string | anything, unchanged |

Numbers are in the column's decimal sign and groups of digits; ``plain_number`` writes them as above.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.pipeline import FALSE, TRUE, Cleaning
from tidemill.sources.moments import timestamp
from tidemill.types import COLUMN_TYPES

BLANK = " \u00a0\u2007\u2009\u202f"  # what may stand between groups of digits where that is a blank
WHOLE = r"^(?P<number>[+-]?[0-9]+)\.0+$"
FIRST_MOMENT, LAST_MOMENT = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))
EXACT_DIGITS = 15  # every decimal of so many digits has a float64 of its own (DBL_DIG in C)


class Conversion(NamedTuple):
    """The conversion of columns to one type.

    Attributes:
        read_text: the values of texts without blanks around them, by the column's cleaning; null where a text does
            not fit.
        accepts: whether values of an Arrow type can be converted, though perhaps not all of them.
        resembles: whether an Arrow type is the natural counterpart of this one.
        cast: the values of an Arrow array that is accepted; null where a text is not a timestamp or a float is not
            finite. Raises pyarrow.ArrowInvalid where a value would change.
    """

    read_text: Callable[[pl.Expr, Cleaning], pl.Expr]
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


def plain_number(text: pl.Expr, cleaning: Cleaning) -> pl.Expr:
    """A number in the column's notation, with a decimal point and without groups; null where it is not in it.

    Groups are of three digits, but the first, which has one to three; there may be none.
    """
    if cleaning.decimal in (None, ".") and cleaning.thousands is None:
        return text
    decimal, between = cleaning.decimal or ".", separators(cleaning.thousands)
    whole = rf"(?:[0-9]{{1,3}}(?:{between}[0-9]{{3}})+|[0-9]+)" if between else "[0-9]+"
    point = re.escape(decimal)
    fits = text.str.contains(rf"^[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?$")
    bare = text.str.replace_all(between, "") if between else text
    return pl.when(fits).then(bare.str.replace(decimal, ".", literal=True))


def separators(thousands: str | None) -> str:
    """A regular expression for the sign between groups of digits; empty where there is none."""
    if thousands is None:
        return ""
    return f"[{BLANK}]" if thousands == " " else re.escape(thousands)


def read_int(text: pl.Expr, cleaning: Cleaning) -> pl.Expr:
    """Never by way of a float, so that all digits count."""
    return plain_number(text, cleaning).str.replace(WHOLE, "${number}").cast(pl.Int64, strict=False)


def read_float(text: pl.Expr, cleaning: Cleaning) -> pl.Expr:
    number = plain_number(text, cleaning).cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def read_bool(text: pl.Expr, cleaning: Cleaning) -> pl.Expr:
    lower = text.str.to_lowercase()
    true, false = lower_words(cleaning.true or TRUE), lower_words(cleaning.false or FALSE)
    return pl.when(lower.is_in(true)).then(True).when(lower.is_in(false)).then(False)


def lower_words(words: Sequence[str]) -> list[str]:
    return pl.Series(words).str.to_lowercase().to_list()  # in lower case as the values are


def read_timestamp(text: pl.Expr, cleaning: Cleaning) -> pl.Expr:
    return timestamp(text, cleaning.format, cleaning.timezone, cleaning.ambiguous)


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
    "string": Conversion(lambda text, cleaning: text, has_text, is_textual, cast_to_string),
    "bool": Conversion(read_bool, pa.types.is_boolean, pa.types.is_boolean, cast_plainly("bool")),
    "timestamp": Conversion(
        read_timestamp, lambda kind: is_moment(kind) or is_string(kind), is_moment, cast_to_timestamp
    ),
}
