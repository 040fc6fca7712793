"""Timestamps from text, by ISO 8601 or a format: microseconds in UTC, in the years 1 to 9999."""

from __future__ import annotations

import polars as pl

from tidemill.pipeline import MONTHS, directives, timestamp_pattern

# Only zeros may follow the microseconds: other digits would be lost.
ISO_8601 = (
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<minutes>[0-9]{2}:[0-9]{2})(?:(?P<seconds>:[0-5][0-9])(?:(?P<fraction>\.[0-9]{1,6})0*)?)?"
    r" ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
MONTH_NUMBERS = {name[:3]: f"{number:02}" for number, name in enumerate(MONTHS, start=1)}
FIRST_YEAR_OF_TWO_DIGITS = 69  # POSIX: 69 is 1969, 68 is 2068


def timestamp(text: pl.Expr, form: str | None = None) -> pl.Expr:
    """The timestamp of a text in the format ``form``, or in ISO 8601; null where it is not of that form.

    Without a zone it is in UTC. Parts that a format lacks default to January, the first day, and midnight.
    """
    return iso_8601(text) if form is None else formatted(text, form)


def iso_8601(text: pl.Expr) -> pl.Expr:
    part = text.str.extract_groups(ISO_8601).struct.field
    time = [part("minutes").fill_null("00:00"), part("seconds").fill_null(":00"), part("fraction").fill_null("")]
    return moment([part("date"), pl.lit("T"), *time, zone_of(part("zone"))])


def formatted(text: pl.Expr, form: str) -> pl.Expr:
    used = directives(form)
    part = text.str.extract_groups(rf"(?i)^(?:{timestamp_pattern(form)})$").struct.field

    def two_digits(name: str, default: str) -> pl.Expr:
        return part(name).str.strip_chars().str.zfill(2) if name in used else pl.lit(default)

    month = two_digits("m", "01")
    for name in {"b", "B"}.intersection(used):
        month = part(name).str.to_lowercase().str.slice(0, 3).replace_strict(MONTH_NUMBERS, default=None)
    return moment(
        [
            part("Y") if "Y" in used else century(part("y")) + part("y"),
            pl.lit("-"),
            month,
            pl.lit("-"),
            two_digits("d", "01"),
            pl.lit("T"),
            hour_of_day(part("I"), part("p")) if "I" in used else two_digits("H", "00"),
            pl.lit(":"),
            two_digits("M", "00"),
            pl.lit(":"),
            two_digits("S", "00"),
            pl.lit(".") + part("f") if "f" in used else pl.lit(""),
            zone_of(part("z").str.to_uppercase()) if "z" in used else pl.lit("+00:00"),
        ]
    )


def century(two_digits: pl.Expr) -> pl.Expr:
    before = two_digits.cast(pl.Int64) >= FIRST_YEAR_OF_TWO_DIGITS
    return pl.when(before).then(pl.lit("19")).otherwise(pl.lit("20"))


def hour_of_day(hour: pl.Expr, half: pl.Expr) -> pl.Expr:
    """The hour, 00 to 23, of a 12-hour clock; 12 AM is midnight."""
    afternoon = half.str.to_lowercase() == "pm"
    number = hour.cast(pl.Int64) % 12 + pl.when(afternoon).then(12).otherwise(0)
    return number.cast(pl.String).str.zfill(2)


def zone_of(text: pl.Expr) -> pl.Expr:
    return pl.when(text.is_null() | (text == "Z")).then(pl.lit("+00:00")).otherwise(text)


def moment(pieces: list[pl.Expr]) -> pl.Expr:
    """The timestamp of concatenated pieces of text; null where a piece is null, or the text is not a timestamp."""
    whole = pl.concat_str(pieces)
    stamp = whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)
    return pl.when(stamp.dt.year().is_between(1, 9999)).then(stamp)
