"""When the last row of a batch was read, cut and sealed: the collector's part of freshness."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tidemill.run.catalog import BatchTimes, wall_clock

Clock = Callable[[], float]

MOST_READS = 4096  # of each partition that are remembered; of an older one the oldest of these counts


class LastRow(NamedTuple):
    """The place of a batch's last row, and when Kafka had acknowledged it, in milliseconds since 1970; None where that
    is not known."""

    partition: int
    offset: int
    acknowledged: int | None


class Readings:
    """When each partition was read up to which offset."""

    def __init__(self) -> None:
        self._reads: dict[int, deque[tuple[int, float]]] = {}

    def note(self, positions: Mapping[int, int], now: float) -> None:
        """Everything before these offsets is read by now."""
        for partition, position in positions.items():
            reads = self._reads.setdefault(partition, deque(maxlen=MOST_READS))
            if not reads or reads[-1][0] < position:
                reads.append((position, now))

    def read_at(self, row: LastRow) -> float | None:
        """When this row was read; None where that is not known. What was read before is forgotten."""
        reads = self._reads.get(row.partition, deque())
        while reads and reads[0][0] <= row.offset:
            reads.popleft()
        return reads[0][1] if reads else None


class SealTimer:
    """Times a batch from the reading of its last row to the transaction that seals it."""

    def __init__(self, row: LastRow | None, read_at: float | None, clock: Clock) -> None:
        """Begin when the batch is cut.

        Args:
            row: the batch's last; None in a batch without rows.
            read_at: when that was read, on ``clock``; None: only now.
        """
        self._clock = clock
        self._cut_at, self._wall = clock(), wall_clock()
        self._read_at = self._cut_at if read_at is None else read_at
        self._row = row

    def times(self) -> BatchTimes:
        """The times of a batch that is sealed now."""
        cut, seal = self._cut_at - self._read_at, self._clock() - self._cut_at
        read_at = self._wall - cut
        stamp = self._row.acknowledged if self._row else None
        acknowledged_at = read_at if stamp is None else stamp / 1000
        wait = max(0.0, read_at - acknowledged_at)
        return BatchTimes(acknowledged_at, wait, cut, seal, sealed_at=self._wall + seal)
