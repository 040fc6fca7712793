"""A column's ``strip``, ``missing`` and ``default``, applied to its text before it is typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import polars as pl

from tidemill.errors import Fault
from tidemill.pipeline import Cleaning, Column
from tidemill.sources.conversions import plain_number
from tidemill.texts import MOST_EXAMPLES, listed, shorten
from tidemill.types import COLUMN_TYPES

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def has_cleaning(column: Column) -> bool:
    return column.cleaning != Cleaning()


def stripped(text: pl.Expr, column: Column) -> pl.Expr:
    for unwanted in column.cleaning.strip:
        text = text.str.replace_all(unwanted, "", literal=True)
    return text


def strip_notes(texts: Mapping[Column, Sequence[str]], key: str) -> Iterator[Fault]:
    """A note for each column of numbers whose ``strip`` takes out what is likely its decimal sign: one that stands
    before one or two last digits.

    Args:
        texts: some texts of each column.
        key: the path of the data in the pipeline file.
    """
    for column, values in texts.items():
        signs = [sign for sign in (",", ".") if sign in column.cleaning.strip]
        if column.kind not in ("int", "float") or not signs:
            continue
        sign = f"[{''.join(signs)}]"
        pattern = re.compile(rf"(?<![0-9,.])[0-9]+({sign})[0-9]{{1,2}}(?![0-9,.])")
        match = next((match for match in map(pattern.search, values) if match), None)
        if match:
            number = match[0].replace(match[1], "")
            found = f'takes the "{match[1]}" out of {shorten(match[0])}, which becomes {number}'
            hint = f'decimal = "{match[1]}" in place of it, if that is the decimal sign' if match[1] == "," else ""
            yield Fault(f"{key}.columns.{column.name}.strip", found, "", hint)


def trim_notes(texts: Mapping[Column, Sequence[str]], key: str) -> Iterator[Fault]:
    """A note where all texts of some string columns begin with a blank, which is then part of each value.

    ``texts`` and ``key``: as for :func:`strip_notes`.
    """
    columns = [
        column
        for column, values in texts.items()
        if column.kind == "string" and len(values) > 1 and all(value.startswith(" ") for value in values)
    ]
    if columns:
        names = listed([column.name for column in columns], MOST_EXAMPLES)
        found = f"every value of {names} begins with a blank, such as {shorten(texts[columns[0]][0], 40)}"
        yield Fault(f"{key}.trim", found, "", "trim = true removes it, and reads a quote after it as a quote")


def is_missing(text: pl.Expr, column: Column) -> pl.Expr:
    """Whether a stripped text counts as missing; never null.

    Blank text does. In a string column it does only where the column has ``missing`` or ``default``; with
    ``"string?"`` alone, only empty text does.
    """
    bare = text.str.strip_chars()
    cleaning = column.cleaning
    missing = pl.lit(False)
    if column.kind != "string" or cleaning.missing or cleaning.default is not None:
        missing = bare == ""
    elif column.optional:
        missing = text == ""
    every = cleaning.all_missing
    words = [value if isinstance(value, str) else str(value).lower() for value in every if not is_number(value)]
    numbers = [value for value in every if is_number(value)]
    if words:
        missing |= bare.is_in(words)
    if numbers:
        missing |= equals(plain_number(bare, cleaning), numbers)
    return text.is_null() | missing


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equals(text: pl.Expr, numbers: Sequence[int | float]) -> pl.Expr:
    """Whether a text is a notation of one of the numbers. Whole numbers are compared exactly."""
    near = [float(number) for number in numbers if isinstance(number, float) or abs(number) <= sys.float_info.max]
    whole = [int(number) for number in numbers if isinstance(number, int) or number.is_integer()]
    in_whole = text.cast(pl.Int64, strict=False).is_in(
        [number for number in whole if -(2**63) <= number < 2**63] or [None]
    )
    return pl.coalesce(in_whole, text.cast(pl.Float64, strict=False).is_in(near or [None]), pl.lit(False))


def default_value(column: Column) -> Any:
    """The column's default, in its type; a timestamp without a zone is in UTC."""
    value = column.cleaning.default
    return None if value is None else COLUMN_TYPES[column.kind].from_toml(value)


def missing_reason(column: Column, text: str | None) -> str:
    """The reason for a missing value; ``text`` is the file's text there."""
    bare = (text or "").strip()
    if not bare:
        return f"{column.name} is missing"
    shown = bare if NUMBER.fullmatch(bare) else shorten(text, 40)
    return f"{column.name} is missing ({shown} counts as missing)"
