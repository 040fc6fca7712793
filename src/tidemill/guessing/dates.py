"""Dates and times in the texts of a column: ISO 8601, a format, or seconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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


def format_of(distinct: pl.Series, in_order: pl.Series, nearly: Callable[[pl.Series], bool]) -> DateGuess | None:
    """The format of dates; None where they are none.

    Args:
        in_order: all texts of the column in the file's order.
        nearly: whether a column in which only these texts are dates counts as one of dates.
    """
    fitting = fitting_forms(distinct, nearly)
    if not fitting:
        return None
    first, read = next(iter(fitting.values())), list(fitting.values())
    example = distinct.filter(first.is_not_null())[0]
    if None in fitting:
        return DateGuess(f"dates in ISO 8601, such as {example}", {})
    if all(values.equals(first) for values in read[1:]):
        return DateGuess(f"dates such as {example}", {"format": next(iter(fitting))})
    ascending = [form for form in fitting if moments(in_order, form).drop_nulls().is_sorted()]
    if len(ascending) == 1:
        reason = f'dates such as {example}: read as "{ascending[0]}" they ascend in the file, otherwise not'
        return DateGuess(reason, {"format": ascending[0]})
    unclear = f'day and month of {shorten(str(example), 30)} may be either: declare it "timestamp" with ' + " or ".join(
        f'format = "{form}"' for form in fitting
    )
    return DateGuess("a text until you decide", {}, unclear)


def fitting_forms(distinct: pl.Series, nearly: Callable[[pl.Series], bool]) -> dict[str | None, pl.Series]:
    """The forms that read all texts, ISO 8601 (None) first, with the moments; where none does, those that read nearly
    all, and of these the ones that read the most."""
    examples = distinct.head(TRIED).to_list()
    if not most_fit(may_be_date, examples):
        return {}
    usual = [form for form in FORMATS if most_fit(re.compile(timestamp_pattern(form), re.I).fullmatch, examples)]
    read = {form: moments(distinct, form) for form in (None, *usual)}
    least = min(values.null_count() for values in read.values())
    most = {form: values for form, values in read.items() if values.null_count() == least}
    return {form: values for form, values in most.items() if not least or nearly(distinct.filter(values.is_not_null()))}


def most_fit(fits: Callable[[str], object], texts: Sequence[str]) -> bool:
    return 2 * sum(bool(fits(text)) for text in texts) > len(texts)


def may_be_date(text: str) -> bool:
    return bool(MAY_BE_DATE.fullmatch(text) and DATE_PART.search(text))


def reads_all(distinct: pl.Series, form: str | None) -> bool:
    """Whether each text is a timestamp of the form."""
    return not moments(distinct, form).null_count()


def moments(texts: pl.Series, form: str | None) -> pl.Series:
    """What the texts are as timestamps of the form, of ISO 8601 without one; null for those that are none."""
    return texts.to_frame().select(timestamp(pl.col(texts.name), form)).to_series()
