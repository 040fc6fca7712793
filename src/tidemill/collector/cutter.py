"""Decides where the stream is cut. Pure: it maps rows and times to cuts.

Cuts by count use counts of rows, never offsets. A window starts at the timestamp of its first row and ends before the
first row that is ``every`` or more later, so that a steady trickle closes it too. Cuts by ``parts`` are at fixed counts
of the whole stream. Only ``idle`` depends on a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from tidemill.pipeline import Batches

Cut = Literal["rows", "every", "parts", "idle", "end"]


class Taken(NamedTuple):
    """How many of the given rows go into the open batch, and the reason if it is cut after them."""

    rows: int
    cut: Cut | None


@dataclass(frozen=True)
class Rules:
    """The rules for cuts. ``boundaries`` are ascending counts of rows of the whole stream."""

    rows: int | None = None
    every_ms: int | None = None
    idle_seconds: float | None = None
    boundaries: tuple[int, ...] = ()

    @staticmethod
    def of(spec: Batches, source_rows: int | None) -> Rules:
        """The rules of a pipeline file. ``source_rows`` must be known if it has ``parts``."""
        boundaries: tuple[int, ...] = ()
        if spec.parts is not None:
            assert source_rows is not None
            boundaries = part_boundaries(source_rows, spec.parts)
        every = None if spec.every is None else round(spec.every * 1000)
        return Rules(spec.rows, every, spec.idle, boundaries)


def part_boundaries(rows: int, parts: int) -> tuple[int, ...]:
    """The count of rows at which each of ``parts`` equal parts ends; the last one takes the remainder."""
    size = rows // parts
    return (*(size * part for part in range(1, parts)), rows)


class Cutter:
    """The state of the open batch: how many rows it has, and the timestamp of its first row."""

    def __init__(self, rules: Rules, rows_before: int = 0) -> None:
        """``rows_before``: the rows of all sealed batches."""
        self.rules = rules
        self.rows = 0
        self._total = rows_before
        self._first_timestamp: int | None = None

    @property
    def target(self) -> int | None:
        """The greatest number of rows that the open batch can have; None where only time cuts it."""
        left = self._rows_left()
        return None if left is None else self.rows + left

    @property
    def until(self) -> int | None:
        """The timestamp, in milliseconds, at which the open batch's window ends; None while it has no row, and where
        no window cuts it."""
        every, first = self.rules.every_ms, self._first_timestamp
        return None if every is None or first is None else first + every

    def take(self, timestamps: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]]) -> Taken:
        """How many of the next rows go into the open batch before it is cut.

        A cut starts a new batch: pass the rows that were not taken again. With ``every``, a cut may take no row.

        Args:
            timestamps: those of the next rows, in milliseconds.
        """
        stamps = np.asarray(timestamps, dtype=np.int64)
        if not len(stamps):
            return Taken(0, None)
        count, cut = len(stamps), None
        left = self._rows_left()
        if left is not None and left <= count:
            count, cut = left, self._count_cut(left)
        within = self._within_window(stamps)
        if within < count:
            count, cut = within, "every"
        if count and self._first_timestamp is None:
            self._first_timestamp = int(stamps[0])
        return self._took(count, cut)

    def idle(self, silent_seconds: float) -> Cut | None:
        """The cut of a stream that has been silent for ``silent_seconds``; None if that cuts no batch."""
        limit = self.rules.idle_seconds
        return self._close("idle") if limit is not None and self.rows and silent_seconds >= limit else None

    def end(self) -> Cut | None:
        """The cut at the end of the stream; None where the open batch has no row."""
        return self._close("end") if self.rows else None

    def _rows_left(self) -> int | None:
        lefts = [self.rules.rows - self.rows] if self.rules.rows is not None else []
        ahead = [boundary - self._total for boundary in self.rules.boundaries if boundary > self._total]
        return min([*lefts, *ahead[:1]], default=None)

    def _count_cut(self, left: int) -> Cut:
        return "parts" if self._total + left in self.rules.boundaries else "rows"

    def _within_window(self, stamps: np.ndarray[tuple[int], np.dtype[np.int64]]) -> int:
        """How many rows come before the first one after the window's end."""
        if self.rules.every_ms is None:
            return len(stamps)
        first = int(stamps[0]) if self._first_timestamp is None else self._first_timestamp
        past = stamps >= first + self.rules.every_ms
        return int(past.argmax()) if past.any() else len(stamps)

    def _took(self, count: int, cut: Cut | None) -> Taken:
        self.rows += count
        self._total += count
        return Taken(count, self._close(cut) if cut else None)

    def _close(self, cut: Cut) -> Cut:
        self.rows = 0
        self._first_timestamp = None
        return cut
