"""How fast counts grow, with time moved by hand."""

from __future__ import annotations

import pytest

from tidemill.run.progress.rates import Rates


def test_a_rate_is_unknown_at_first() -> None:
    """Nothing is said of a rate before it has been watched for a second."""
    rates = Rates()
    assert rates.per_second() == {}
    for now, count in ((10.0, 0), (10.4, 40), (10.8, 80)):
        rates.add(now, produced=count)
        assert rates.per_second() == {"produced": None}
    rates.add(11.0, produced=100)
    assert rates.per_second() == {"produced": pytest.approx(100.0)}


def test_a_steady_count_has_a_steady_rate() -> None:
    """A count that is told every half second and looked at every fifth of one does not flicker."""
    rates, seen = Rates(), []
    for look in range(100):
        now = look / 5
        rates.add(now, produced=1000 * int(now / 0.5), collected=7)
        seen.append(rates.per_second())
    steady = [one["produced"] for one in seen[10:] if one["produced"] is not None]
    assert len(steady) == 90
    assert all(1800 <= rate <= 2200 for rate in steady)
    assert {one["collected"] for one in seen[10:]} == {0.0}


def test_what_stands_still_has_no_rate() -> None:
    """A count that no longer grows comes down to 0.0 within the window, and stays there."""
    rates = Rates()
    for look in range(11):
        rates.add(look / 5, sealed=100 * look)
    moving = rates.per_second()["sealed"]
    assert moving == pytest.approx(500.0)
    rates.add(5.0, sealed=1000)
    slower = rates.per_second()["sealed"]
    assert slower is not None
    assert 0.0 < slower < 500.0
    for now in (7.1, 20.0):
        rates.add(now, sealed=1000)
        assert rates.per_second() == {"sealed": 0.0}


def test_only_the_last_seconds_count() -> None:
    """What happened before the window is forgotten."""
    rates = Rates()
    for now, count in ((0.0, 0), (1.0, 100_000), (7.0, 100_000), (8.0, 100_010), (9.0, 100_020)):
        rates.add(now, produced=count)
    rate = rates.per_second()["produced"]
    assert rate is not None
    assert rate < 20


def test_a_count_that_shrinks_begins_anew() -> None:
    """A stage that was started again counts from its beginning, which is no negative rate."""
    rates = Rates()
    for now, count in ((0.0, 500), (1.0, 600), (2.0, 0)):
        rates.add(now, produced=count)
    assert rates.per_second() == {"produced": 0.0}
    rates.add(3.0, produced=50)
    assert rates.per_second() == {"produced": 50.0}
