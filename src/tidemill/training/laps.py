"""How long the parts of training a generation take, where its models are trained side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from tidemill.run.catalog import TrainingTimes, wall_clock

Lap = Literal["fit", "export", "parity", "measure"]
LAPS: tuple[Lap, ...] = get_args(Lap)
"""What each model goes through, in the order in which they count where models are trained side by side."""


@dataclass
class Interval:
    lap: Lap
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Laps:
    """The intervals in which models are fitted, exported, compared and measured, side by side."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._intervals: list[Interval] = []

    @contextmanager
    def lap(self, lap: Lap) -> Iterator[Interval]:
        """Measure the block as this lap. Safe in any thread. The interval that it gives ends with the block."""
        began = self.clock()
        interval = Interval(lap, began, began)
        try:
            yield interval
        finally:
            interval.ended = self.clock()
            self._intervals.append(interval)

    def seconds(self, lap: Lap) -> float:
        """The seconds in which this lap was run, and none that counts before it."""
        earlier = LAPS[: LAPS.index(lap)]
        before = covered(interval for interval in self._intervals if interval.lap in earlier)
        return covered(interval for interval in self._intervals if interval.lap in (*earlier, lap)) - before

    @property
    def began(self) -> float | None:
        """When the first lap began, on this clock; None where there was none."""
        return min((interval.began for interval in self._intervals), default=None)


def covered(intervals: Iterable[Interval]) -> float:
    """The length of the union of intervals. Pure."""
    total, reached = 0.0, float("-inf")
    for interval in sorted(intervals, key=lambda interval: interval.began):
        total += max(0.0, interval.ended - max(interval.began, reached))
        reached = max(reached, interval.ended)
    return total


class TrainingClock:
    """Times the training of one generation, from where the trainer begins with it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.laps = Laps(clock)
        self._wall, self._began = wall_clock(), self.laps.clock()
        self._trained = self._began

    def trained(self) -> None:
        """Note that all models are trained."""
        self._trained = self.laps.clock()

    def times(self) -> TrainingTimes:
        """The times of a generation that is published now."""
        published, in_laps = self.laps.clock(), {lap: self.laps.seconds(lap) for lap in LAPS}
        first = self._trained if self.laps.began is None else self.laps.began
        return TrainingTimes(
            began_at=self._wall,
            prepare=first - self._began,
            save=max(0.0, self._trained - first - sum(in_laps.values())),
            publish=published - self._trained,
            published_at=self._wall + published - self._began,
            **in_laps,
        )
