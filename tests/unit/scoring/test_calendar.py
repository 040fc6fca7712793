"""The parts of timestamps: the same in Python, for a request, and in Arrow, for a table."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.scoring.calendar import PARTS, part, parts, zone_of

MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))
RECENT = st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))


def both(moments: list[datetime], zone: str) -> None:
    table = pa.chunked_array([pa.array(moments, pa.timestamp("us", "UTC"))])
    for name in PARTS:
        take = part(name, zone_of(zone))
        assert parts(name, zone, table).to_pylist() == [take(moment) for moment in moments], name


@given(st.lists(MOMENTS, min_size=1))
def test_arrow_and_python_agree_in_utc(moments: list[datetime]) -> None:
    """Whatever the moment, also before 1970 and before 1582."""
    both(moments, "UTC")


@given(st.lists(RECENT, min_size=1))
def test_arrow_and_python_agree_in_a_zone(moments: list[datetime]) -> None:
    """Also at the changes of summer time."""
    both([*moments, datetime(2023, 3, 26, 1, tzinfo=UTC), datetime(2023, 10, 29, 1, tzinfo=UTC)], "Europe/Amsterdam")


def test_parts_are_those_of_iso_8601() -> None:
    """A Sunday is weekday 7; the last day of a leap year its 366th."""
    sunday = datetime(2000, 12, 31, 23, 59, 59, tzinfo=UTC)
    made = {name: part(name, UTC)(sunday) for name in PARTS}
    assert made == {"hour": 23, "weekday": 7, "month": 12, "year": 2000, "day": 31, "dayofyear": 366}
    for value in ("2000-12-31", None, datetime(2000, 1, 1)):
        with pytest.raises(TypeError):
            part("hour", UTC)(value)
