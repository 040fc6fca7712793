"""Timestamps from text, by ISO 8601, a format, or a number since 1970: microseconds in UTC, in the years 1 to 9999."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from tidemill.pipeline import EPOCHS, MONTHS, Ambiguous, directives, timestamp_pattern
from tidemill.types import local_time_fault

# Only zeros may follow the microseconds: other digits would be lost.
ISO_8601 = (
    r"^(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?P<minutes>[0-9]{2}:[0-9]{2})(?:(?P<seconds>:[0-5][0-9])(?:(?P<fraction>\.[0-9]{1,6})0*)?)?"
    r" ?(?P<zone>Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
MONTH_NUMBERS = {name[:3]: f"{number:02}" for number, name in enumerate(MONTHS, start=1)}
FIRST_YEAR_OF_TWO_DIGITS = 69  # POSIX: 69 is 1969, 68 is 2068


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_OF_CALENDAR = tuple(
    (end - EPOCH) // timedelta(seconds=1)
    for end in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
)


def timestamp(
    text: pl.Expr, form: str | None = None, zone: str | None = None, ambiguous: Ambiguous | None = None
) -> pl.Expr:
    """The timestamp of a text in the format ``form``, or in ISO 8601; null where it is not of that form.

    A text without a zone is in ``zone``, else in UTC. A local time that does not exist there, or that occurs twice, is
    null; with ``ambiguous`` one that occurs twice is the earliest or latest moment. Parts that a format lacks default
    to January, the first day, and midnight.
    """
    if form is not None and form in EPOCHS:
        return since_1970(text, EPOCHS[form])
    local, offset = iso_8601(text) if form is None else formatted(text, form)
    if zone is None:
        return in_calendar(moment(local, pl.when(offset.is_null()).then(pl.lit("+00:00")).otherwise(offset)))
    naive = pl.when(offset.is_null()).then(local).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    there = naive.dt.replace_time_zone(zone, ambiguous=ambiguous or "null", non_existent="null")
    return in_calendar(pl.coalesce(moment(local, offset), there.dt.convert_time_zone("UTC")))


def since_1970(text: pl.Expr, microseconds: int) -> pl.Expr:
    """The timestamp of a decimal number of units of ``microseconds`` each, at most to a microsecond."""
    places = len(str(microseconds)) - 1
    part = text.str.extract_groups(
        rf"^(?P<sign>[+-]?)(?P<whole>[0-9]{{1,18}})(?:\.(?P<fraction>[0-9]{{0,{places}}})0*)?$"
    ).struct.field
    whole = part("whole").cast(pl.Int64)
    most = max(map(abs, SECONDS_OF_CALENDAR)) * (1_000_000 // microseconds)
    digits = part("fraction").fill_null("").str.pad_end(places, "0")
    fraction = digits.cast(pl.Int64) if places else pl.lit(0)
    total = pl.when(whole <= most).then(whole) * microseconds + fraction
    signed = pl.when(part("sign") == "-").then(-total).otherwise(total)
    return in_calendar(signed.cast(pl.Datetime("us", "UTC")))


def local_time_faults(texts: pl.Series, form: str | None, zone: str) -> dict[int, str]:
    """The reason at each position where a text without a zone is a timestamp, but no moment in ``zone``, or two."""
    moments = texts.alias("text").to_frame().select(timestamp(pl.col("text"), form)).to_series()
    faults = {
        index: local_time_fault(local, ZoneInfo(zone)) for index, local in enumerate(moments) if local is not None
    }
    return {index: f"which {fault} in {zone}" for index, fault in faults.items() if fault}


def iso_8601(text: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The date and time in one notation, and the offset of the zone, null where there is none."""
    part = text.str.extract_groups(ISO_8601).struct.field
    time = [part("minutes").fill_null("00:00"), part("seconds").fill_null(":00"), part("fraction").fill_null("")]
    return pl.concat_str([part("date"), pl.lit("T"), *time]), offset_of(part("zone"))


def formatted(text: pl.Expr, form: str) -> tuple[pl.Expr, pl.Expr]:
    """As :func:`iso_8601`, of a text in a format."""
    used = directives(form)
    part = text.str.extract_groups(rf"(?i)^(?:{timestamp_pattern(form)})$").struct.field

    def two_digits(name: str, default: str) -> pl.Expr:
        return part(name).str.strip_chars().str.zfill(2) if name in used else pl.lit(default)

    month = two_digits("m", "01")
    for name in {"b", "B"}.intersection(used):
        month = part(name).str.to_lowercase().str.slice(0, 3).replace_strict(MONTH_NUMBERS, default=None)
    local = pl.concat_str(
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
        ]
    )
    return local, offset_of(part("z").str.to_uppercase()) if "z" in used else pl.lit(None, pl.String)


def century(two_digits: pl.Expr) -> pl.Expr:
    before = two_digits.cast(pl.Int64) >= FIRST_YEAR_OF_TWO_DIGITS
    return pl.when(before).then(pl.lit("19")).otherwise(pl.lit("20"))


def hour_of_day(hour: pl.Expr, half: pl.Expr) -> pl.Expr:
    """The hour, 00 to 23, of a 12-hour clock; 12 AM is midnight."""
    afternoon = half.str.to_lowercase() == "pm"
    number = hour.cast(pl.Int64) % 12 + pl.when(afternoon).then(12).otherwise(0)
    return number.cast(pl.String).str.zfill(2)


def offset_of(text: pl.Expr) -> pl.Expr:
    return pl.when(text == "Z").then(pl.lit("+00:00")).otherwise(text)


def moment(local: pl.Expr, offset: pl.Expr) -> pl.Expr:
    """The moment of a date and time with an offset; null where either is null, or they are none."""
    whole = pl.concat_str([local, offset])
    return whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", time_zone="UTC", strict=False)


def in_calendar(moments: pl.Expr) -> pl.Expr:
    """The moments in the years 1 to 9999; null in place of others."""
    return pl.when(moments.dt.year().is_between(1, 9999)).then(moments)
