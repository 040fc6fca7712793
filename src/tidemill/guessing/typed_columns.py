"""The types of columns whose values have one already: those of JSON and Parquet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from tidemill.guessing.columns import MOST_WORDS, ColumnGuess, Texts, guess_column, guessed, range_of
from tidemill.guessing.dates import epoch_of
from tidemill.guessing.numbers import FileNumbers
from tidemill.guessing.words import ID_WORDS, is_named
from tidemill.texts import listed, shorten
from tidemill.types import ColumnKind

DIGIT = "[0-9]"
READ_AS_TEXT = {"missing": [""]}  # a cleaning, with which a string is read as text


def guess_plain(name: str, values: Sequence[Any]) -> ColumnGuess | None:
    """The type of a column of plain JSON values; None where they are of several types that no column can hold."""
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
    return guess_mixed(name, values) if kinds <= {int, float, str} else None


def with_nan(name: str, values: Sequence[Any]) -> ColumnGuess | None:
    """The same for values with NaN, which stands for a missing one."""
    guess = guess_plain(name, [None if value != value else value for value in values])
    settings = {"missing": ["NaN"]}
    return guess and replace(guess, optional=True, settings=settings, reason=f"{guess.reason}; NaN is a missing value")


def guess_mixed(name: str, values: Sequence[Any]) -> ColumnGuess | None:
    """Numbers, some of them as texts, and a few words among them, which then stand for a missing value; None where
    there are too many."""
    texts = pl.Series(name, [None if value is None else str(value) for value in values], pl.String)
    counts = Counter(value for value in values if isinstance(value, str) and not re.search(DIGIT, value))
    words = [word for word, _ in counts.most_common()]
    if len(words) > MOST_WORDS or 2 * counts.total() >= len(texts.drop_nulls()):
        return None
    guess = guess_column(Texts(name, texts.replace(words, None)), FileNumbers(), ())
    if guess.kind not in ("int", "float"):
        return None
    if not words:
        return replace(guess, settings=guess.settings or READ_AS_TEXT, reason=f"{guess.reason}; some are texts")
    reason = f"{guess.reason}; {listed(words)}, {counts.total():,} times, is a text among them, read as a missing value"
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
