"""How fast rows go into the stream: a random pause between them, a rate, or full speed."""

from __future__ import annotations

import random
from collections.abc import Callable

from tidemill.pipeline import Stream


class Pacer:
    """Says how long to wait before the next row, so that the pauses add up whatever the sending itself takes."""

    def __init__(self, spec: Stream, clock: Callable[[], float]) -> None:
        self._random = random.Random(spec.seed)
        self._clock = clock
        self._due = clock()
        self._least, self._most = (1 / spec.rate, 1 / spec.rate) if spec.rate else spec.pause

    @property
    def full_speed(self) -> bool:
        return self._most == 0

    def wait(self) -> float:
        """Seconds until the next row is due; 0 or less where it is late. Each call is for one row."""
        self._due += self._random.uniform(self._least, self._most)
        return self._due - self._clock()
