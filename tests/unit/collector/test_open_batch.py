"""A message's timestamp: which ones a row can have, and how they are written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.collector.open_batch import stamp_text
from tidemill.collector.reader import (
    FIRST_MILLISECOND,
    LAST_MILLISECOND,
    NO_STAMP,
    possible_stamps,
    stamp_fault,
)

KINDS = st.sampled_from([NO_STAMP, 1, 2])
STAMPS = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2) | st.integers(LAST_MILLISECOND - 2, LAST_MILLISECOND + 2)


@given(st.lists(st.tuples(KINDS, STAMPS), max_size=20))
def test_many_timestamps_are_judged_as_one_is(timestamps: list[tuple[int, int]]) -> None:
    """Judged many at a time or one by one, the same timestamps are possible."""
    many = possible_stamps(np.array(timestamps, dtype=np.int64).reshape(-1, 2))
    assert many.tolist() == [stamp_fault(kind, stamp) is None for kind, stamp in timestamps]


@given(STAMPS)
def test_any_timestamp_can_be_written(milliseconds: int) -> None:
    """No number of milliseconds is refused; one that the calendar doesn't have is the nearest that it has."""
    text = stamp_text(milliseconds)
    assert text
    assert "0001-01-01T00:00:00.000Z" <= text <= "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (FIRST_MILLISECOND, "0001-01-01T00:00:00.000Z"),
        (LAST_MILLISECOND, "9999-12-31T23:59:59.999Z"),
        (None, None),
    ],
)
def test_a_timestamp_is_exact(milliseconds: int | None, text: str | None) -> None:
    """The calendar's ends are written to the millisecond."""
    assert stamp_text(milliseconds) == text
