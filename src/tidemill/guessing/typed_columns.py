"""The types of columns whose values have one already: those of JSON, Parquet, Avro and Protobuf."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from tidemill.guessing.columns import MOST_WORDS, ColumnGuess, Texts, guess_column, guessed, range_of
from tidemill.guessing.dates import epoch_of
from tidemill.guessing.numbers import FileNumbers
from tidemill.guessing.words import ID_WORDS, is_named
from tidemill.texts import listed, shorten, times
from tidemill.types import ColumnKind

DIGIT = "[0-9]"
MOMENT = pl.Datetime("us", "UTC")
READ_AS_TEXT = {"missing": [""]}  # a cleaning, with which a string is read as text


def guess_plain(name: str, values: Sequence[Any]) -> ColumnGuess | None:
    """The type of a column of plain values, as JSON or the decoder of a binary notation gives them; None where they are
    of several types that no column can hold."""
    if any(value != value for value in values):  # NaN alone differs from itself
        return with_nan(name, values)
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return ColumnGuess(name, "string", True, "no value is there", pl.Series(name, values, pl.String))
    if kinds == {bool}:
        return typed(name, "bool", pl.Series(name, values, pl.Boolean))
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return guess_whole(name, pl.Series(name, values, pl.Int64))
    if kinds <= {int, float}:
        return typed(
            name, "float", pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
        )
    if kinds == {str}:
        return guess_strings(name, pl.Series(name, values, pl.String))
    if kinds <= {int, float, str}:
        return guess_mixed(name, values)
    guess = next((guess for types, guess in DECODED.items() if kinds <= types), None)
    return guess(name, values) if guess else None


def guess_moments(name: str, values: Sequence[datetime | None]) -> ColumnGuess:
    """Moments; without a zone they are in UTC, as the stream reads them."""
    moments = [value and (value if value.tzinfo else value.replace(tzinfo=UTC)) for value in values]
    return typed(name, "timestamp", pl.Series(name, moments, MOMENT))


def guess_days(name: str, values: Sequence[date | None]) -> ColumnGuess:
    """Dates, which are timestamps at midnight."""
    days = [value and datetime(value.year, value.month, value.day, tzinfo=UTC) for value in values]
    guess = typed(name, "timestamp", pl.Series(name, days, MOMENT))
    return replace(guess, reason=f"{guess.reason}; dates are timestamps at midnight")


def guess_decimals(name: str, values: Sequence[Decimal | None]) -> ColumnGuess:
    """Exact decimals: numbers, unless a float would round one of them."""
    rounded = next((value for value in values if value is not None and Decimal(repr(float(value))) != value), None)
    if rounded is None:
        floats = [None if value is None else float(value) for value in values]
        guess = typed(name, "float", pl.Series(name, floats, pl.Float64))
        return replace(guess, reason=f"exact decimals: {guess.reason}")
    guess = as_texts(name, [None if value is None else format(value, "f") for value in values])
    return replace(guess, reason=f"exact decimals, as a float would round {rounded:f}; {guess.reason}")


def guess_bytes(name: str, values: Sequence[bytes | None]) -> ColumnGuess | None:
    """Bytes that are text in UTF-8; others are in no column."""
    try:
        return as_texts(name, [None if value is None else value.decode() for value in values])
    except UnicodeDecodeError:
        return None


def guess_texts_of(name: str, values: Sequence[Any]) -> ColumnGuess:
    """What a column holds as text: times of day, UUIDs, and moments of which some are finer than a microsecond."""
    return as_texts(
        name, [value.isoformat() if isinstance(value, time | datetime) else value and str(value) for value in values]
    )


def as_texts(name: str, texts: Sequence[str | None]) -> ColumnGuess:
    """Texts that stay texts, whatever they look like."""
    series = pl.Series(name, texts, pl.String)
    example = shorten(series.drop_nulls()[0], 40)
    count = series.null_count()
    lacking = f"; {count:,} of {len(series):,} are missing" if count else ""
    return ColumnGuess(name, "string", bool(count), f"texts such as {example}{lacking}", series)


DECODED: Mapping[frozenset[type], Callable[[str, Any], ColumnGuess | None]] = {
    frozenset({datetime}): guess_moments,
    frozenset({date}): guess_days,
    frozenset({Decimal}): guess_decimals,
    frozenset({bytes}): guess_bytes,
    frozenset({time}): guess_texts_of,
    frozenset({UUID}): guess_texts_of,
    frozenset({datetime, str}): guess_texts_of,
}
"""The guess for values of these types, which JSON does not have."""


def with_nan(name: str, values: Sequence[Any]) -> ColumnGuess | None:
    """The same for values with NaN, which stands for a missing one."""
    guess = guess_plain(name, [None if value != value else value for value in values])
    settings = {"missing": ["NaN"]}
    return guess and replace(guess, optional=True, settings=settings, reason=f"{guess.reason}; NaN is a missing value")


def guess_mixed(name: str, values: Sequence[Any]) -> ColumnGuess | None:
    """Numbers, some of them as texts, and a few words among them, which then stand for a missing value; None where
    there are too many, or where the texts have a decimal comma, which the numbers of JSON have not."""
    texts = pl.Series(name, [None if value is None else str(value) for value in values], pl.String)
    counts = Counter(value for value in values if isinstance(value, str) and not re.search(DIGIT, value))
    words = [word for word, _ in counts.most_common()]
    if len(words) > MOST_WORDS or 2 * counts.total() >= len(texts.drop_nulls()):
        return None
    guess = guess_column(Texts(name, texts.replace(words, None)), FileNumbers(), ())
    if guess.kind not in ("int", "float") or "decimal" in guess.settings:
        return None
    if not words:
        return replace(guess, settings=guess.settings or READ_AS_TEXT, reason=f"{guess.reason}; some are texts")
    reason = f"{guess.reason}; {listed(words)}, {times(counts.total())}, is a text among them, read as a missing value"
    missing = [*guess.settings.get("missing", ()), *words]
    return replace(guess, optional=True, settings={**guess.settings, "missing": missing}, reason=reason)


def guess_whole(name: str, values: pl.Series) -> ColumnGuess:
    """Whole numbers: as they are, or seconds since 1970."""
    epoch = epoch_of(name, values.drop_nulls().unique().cast(pl.String))
    if epoch is None:
        return typed(name, "int", values)
    texts = Texts(name, values.cast(pl.String))
    guess = guess_column(texts, FileNumbers(), ())
    return ColumnGuess(name, "timestamp", bool(values.null_count()), epoch.reason, guess.values, epoch.settings)


def guess_strings(name: str, values: pl.Series) -> ColumnGuess:
    """Strings, which may hold numbers or dates as text; an identifier that the file has as a string stays one."""
    texts = Texts(name, values)
    guess = guess_column(texts, FileNumbers(), ())
    if guess.kind == "int" and is_named(name, ID_WORDS):
        return guessed(texts, "string", "an identifier, which the file has as a text")
    if guess.kind == "string" or (guess.kind == "timestamp" and not guess.settings):
        return guess
    settings = guess.settings or READ_AS_TEXT
    reason = f"{guess.reason}; the file has them as texts"
    return ColumnGuess(name, guess.kind, guess.optional, reason, guess.values, settings, guess.unclear)


def typed(name: str, kind: ColumnKind, values: pl.Series) -> ColumnGuess:
    """A column of the type that its values have."""
    count = values.null_count()
    reason = described(kind, values.drop_nulls()) + (f"; {count:,} of {len(values):,} are missing" if count else "")
    return ColumnGuess(name, kind, bool(count), reason, values)


def described(kind: ColumnKind, values: pl.Series) -> str:
    if not len(values):
        return "no value is there"
    if kind == "bool":
        return f"true {int(values.sum()):,} times of {len(values):,}"
    if kind in ("int", "float"):
        return f"{'whole numbers' if kind == 'int' else 'numbers'} {range_of(values)}"
    return f"such as {shorten(str(values[0]), 40)}"
