"""Dates and times in the texts of a column: ISO 8601, a format, or seconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from tidemill.guessing.words import TIME_WORDS, is_named
from tidemill.pipeline import timestamp_pattern
from tidemill.sources.moments import timestamp
from tidemill.texts import shorten

DATES = ("%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y",
         "%d-%m-%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%y", "%d %b %y",
         "%Y.%m.%d", "%Y-%m-%d", "%b %d %Y", "%B %d %Y")  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %H.%M", " %H.%M.%S")
OTHERS = ("%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p",
          "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S", "%Y-%m-%d %H:%M:%S %z", "%Y%m%dT%H%M%S",
          "%b-%Y", "%b %Y", "%B-%Y", "%B %Y")  # fmt: skip
FORMATS = (*(date + time for date in DATES for time in TIMES), *OTHERS)
COMPACT = ("%Y%m%d", "%m%d%Y", "%d%m%Y")  # without separators; more than one may fit
MAY_BE_DATE = re.compile(r"(?=.*\d)[\w/.,:+\- ]{6,40}")
DATE_PART = re.compile(r"\d[/.\- :]\w|\w{3,}[ \-]\d")
UNITS = (("epoch", 1, "seconds"), ("epoch_ms", 10**3, "milliseconds"), ("epoch_us", 10**6, "microseconds"))
FIRST_SECOND, LAST_SECOND = 631_152_000, 2_145_916_800  # of the years 1990 and 2038
TRIED = 50  # how many different texts a format is tried on first


class DateGuess(NamedTuple):
    """How a column's dates are written. ``unclear``: two formats fit, and how to decide."""

    reason: str
    settings: Mapping[str, Any]
    unclear: str = ""


def epoch_of(name: str, distinct: pl.Series) -> DateGuess | None:
    """Whole numbers that are seconds, or parts of them, since 1970: in the years 1990 to 2038, in a column named so."""
    if not is_named(name, TIME_WORDS):
        return None
    numbers = distinct.cast(pl.Int64, strict=False).drop_nulls()
    for form, per_second, unit in UNITS:
        if len(numbers) and numbers.is_between(FIRST_SECOND * per_second, LAST_SECOND * per_second).all():
            return DateGuess(f"its name says a time, and {numbers[0]} is one in {unit} since 1970", {"format": form})
    forms = [form for form in COMPACT if len(numbers) and is_compact(numbers, form)]
    if len(forms) == 1:
        return DateGuess(f"its name says a date, and {numbers[0]} is one without separators", {"format": forms[0]})
    return None


def is_compact(numbers: pl.Series, form: str) -> bool:
    """Whether all numbers are dates of the form in the years 1900 to 2100."""
    texts = numbers.cast(pl.String)
    years = texts.str.slice(0 if form.startswith("%Y") else 4, 4).cast(pl.Int64, strict=False)
    return bool(texts.str.len_chars().eq(8).all() and years.is_between(1900, 2100).all() and reads_all(texts, form))


def format_of(distinct: pl.Series, in_order: pl.Series) -> DateGuess | None:
    """The format of dates; None where they are none. ``in_order``: all texts of the column in the file's order."""
    if not len(distinct) or not all(map(may_be_date, distinct.head(3).to_list())):
        return None
    if reads_all(distinct, None):
        return DateGuess(f"dates in ISO 8601, such as {distinct[0]}", {})
    examples = distinct.head(TRIED).to_list()
    fitting = [form for form in FORMATS if all(re.fullmatch(timestamp_pattern(form), text, re.I) for text in examples)]
    fitting = [form for form in fitting if reads_all(distinct, form)]
    if not fitting:
        return None
    read = [distinct.to_frame().select(timestamp(pl.col(distinct.name), form)).to_series() for form in fitting]
    if all(values.equals(read[0]) for values in read[1:]):
        return DateGuess(f"dates such as {distinct[0]}", {"format": fitting[0]})
    ascending = [form for form in fitting if ascends(in_order, form)]
    if len(ascending) == 1:
        reason = f'dates such as {distinct[0]}: read as "{ascending[0]}" they ascend in the file, otherwise not'
        return DateGuess(reason, {"format": ascending[0]})
    unclear = (
        f'day and month of {shorten(str(distinct[0]), 30)} may be either: declare it "timestamp" with '
        + " or ".join(f'format = "{form}"' for form in fitting)
    )
    return DateGuess("a text until you decide", {}, unclear)


def may_be_date(text: str) -> bool:
    return bool(MAY_BE_DATE.fullmatch(text) and DATE_PART.search(text))


def reads_all(distinct: pl.Series, form: str | None) -> bool:
    """Whether each text is a timestamp of the form; of ISO 8601 without one."""
    return not distinct.to_frame().select(timestamp(pl.col(distinct.name), form)).to_series().null_count()


def ascends(texts: pl.Series, form: str) -> bool:
    values = texts.to_frame().select(timestamp(pl.col(texts.name), form)).to_series().drop_nulls()
    return bool(values.is_sorted())
