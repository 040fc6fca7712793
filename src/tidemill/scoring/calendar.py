"""The parts of a timestamp that are features: in Python for a request, in Arrow for a table; Spark has its own.

Calendar and clock are those of a time zone. All three count by the Gregorian calendar, also before 1582.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

PARTS: Mapping[str, Callable[[datetime], int]] = {
    "hour": lambda moment: moment.hour,
    "weekday": datetime.isoweekday,
    "month": lambda moment: moment.month,
    "year": lambda moment: moment.year,
    "day": lambda moment: moment.day,
    "dayofyear": lambda moment: moment.timetuple().tm_yday,
}
"""Each part of a local time; the weekday from 1, Monday, to 7, as in ISO 8601."""

ARROW_PARTS: Mapping[str, Callable[[pa.ChunkedArray], pa.ChunkedArray]] = {
    "hour": pc.hour,
    "weekday": lambda times: pc.day_of_week(times, count_from_zero=False, week_start=1),
    "month": pc.month,
    "year": pc.year,
    "day": pc.day,
    "dayofyear": pc.day_of_year,
}


def zone_of(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def part(function: str, zone: tzinfo) -> Callable[[object], int]:
    """The function from a moment to this part of its local time; it raises TypeError for what is no moment."""
    take = PARTS[function]

    def taken(moment: object) -> int:
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise TypeError("a moment is expected")
        return take(moment if moment.tzinfo is zone else moment.astimezone(zone))

    return taken


def parts(function: str, zone: str, moments: pa.ChunkedArray) -> pa.ChunkedArray:
    """This part of each moment's local time, as int64; null for a missing one."""
    times = moments.cast(pa.timestamp("us"))  # the clock of UTC, which needs no rules of zones
    if zone != "UTC":
        times = pc.local_timestamp(moments.cast(pa.timestamp("us", zone)))
    return ARROW_PARTS[function](times).cast(pa.int64())
