"""The pauses between rows."""

from __future__ import annotations

import pytest

from tests.support.memory_log import HandClock
from tidemill.pipeline.model import Stream
from tidemill.producer.producer import Pacer


def test_the_first_row_is_waited_for_like_any_other() -> None:
    """A source that takes long to open makes no row late, so that the rows after it don't come in a burst."""
    clock = HandClock()
    pacer = Pacer(Stream(topic="t", rate=4), clock)
    clock.advance(60)  # the source's first rows are read
    assert pacer.wait() == 0.25


def test_rows_keep_their_rate_however_long_the_sending_takes() -> None:
    """The due times are even: a row that was sent late takes its time from the next pauses."""
    clock = HandClock()
    pacer = Pacer(Stream(topic="t", rate=4), clock)
    assert pacer.wait() == 0.25
    clock.advance(0.35)
    assert pacer.wait() == pytest.approx(0.15)
    clock.advance(1)
    assert pacer.wait() == pytest.approx(-0.6)
    assert pacer.wait() == pytest.approx(-0.35)


def test_pauses_are_random_within_their_bounds() -> None:
    """The same seed gives the same pauses."""
    stream = Stream.model_validate({"topic": "t", "pause": ["100ms", "200ms"], "seed": 7})
    first, second = Pacer(stream, HandClock()), Pacer(stream, HandClock())
    waits = [first.wait() for _ in range(50)]
    pauses = [after - before for before, after in zip([0.0, *waits], waits, strict=False)]
    assert all(0.1 <= pause <= 0.2 + 1e-9 for pause in pauses)
    assert len({round(pause, 9) for pause in pauses}) == 50
    assert [second.wait() for _ in range(50)] == waits
