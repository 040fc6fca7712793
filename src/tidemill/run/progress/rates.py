"""The growth rates of counts. Pure: it maps counts with their times to rates."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 5.0
KNOWN_AFTER_SECONDS = 1.0
STILL_SECONDS = 1.0  # stages report twice a second: a count that has not changed for longer has stopped


class Rates:
    """The rates of several counts over about the last ``WINDOW_SECONDS``.

    Counters update in steps, so a rate is measured between two changes, which avoids jitter.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._now = 0.0
        self._steps: dict[str, deque[tuple[float, int]]] = {}  # per count: when it changed, and its new value

    def add(self, now: float, **counts: int) -> None:
        """Add the counts at the time ``now``, in seconds from any origin. A count that has shrunk starts over."""
        self._began = now if self._began is None else self._began
        self._now = now
        for name, count in counts.items():
            steps = self._steps.setdefault(name, deque([(now, count)]))
            if count < steps[-1][1]:
                steps.clear()
            if not steps or count != steps[-1][1]:
                steps.append((now, count))
            while len(steps) > 1 and steps[1][0] <= now - WINDOW_SECONDS:
                steps.popleft()

    def per_second(self) -> dict[str, float | None]:
        """Each count's rate: None until it has been watched for a moment, 0.0 once it has stopped."""
        known = self._began is not None and self._now - self._began >= KNOWN_AFTER_SECONDS
        return {name: self._rate(steps) if known else None for name, steps in self._steps.items()}

    def _rate(self, steps: deque[tuple[float, int]]) -> float:
        (first, low), (last, high) = steps[0], steps[-1]
        if high == low:
            return 0.0
        end = last if self._now - last <= STILL_SECONDS else self._now
        return (high - low) / (end - first)
