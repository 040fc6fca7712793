"""The uniform shape of a line of the benchmark: figures of ours, of peers and of limits, by trials that take turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bench.support.bench import Bench

Kind = Literal["ours", "peer", "limit", "part"]
"""``part``: a figure that explains another one, such as a share of its time."""
Unit = Literal["rows/s", "requests/s", "s", "ms", "MiB"]

Trial = Callable[[], Mapping[str, float]]
"""Does the work once; returns the values of some of its line's figures, by their keys."""


@dataclass(frozen=True)
class Figure:
    key: str
    title: str
    kind: Kind
    unit: Unit


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Args:
        how: how it is measured, for the document. ``{name}`` is a size of the run, as :meth:`Bench.size` recorded it.
        trials: prepares the work, yields the trials of a round in their order, and clears away.
        most_rounds: where a trial takes minutes.
        needs: the programs and packages that must be there beside Tidemill's own.
        quick: whether it is part of a quick run.
    """

    key: str
    title: str
    how: str
    figures: tuple[Figure, ...]
    trials: Callable[[Bench], AbstractContextManager[Sequence[Trial]]]
    most_rounds: int = 3
    needs: tuple[str, ...] = ()
    quick: bool = True


@dataclass
class Measured:
    """What was measured of a line: the values of each figure, a round each, and the sizes of the work."""

    line: str
    values: dict[str, list[float]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def median(self, figure: str) -> float | None:
        """None where the figure was not measured."""
        values = self.values.get(figure)
        return statistics.median(values) if values else None

    def ratio(self, figure: str, of: str) -> float | None:
        """The ratio of the medians."""
        ours, others = self.median(figure), self.median(of)
        return None if ours is None or not others else ours / others

    def pairs(self, figure: str, of: str) -> list[float]:
        """The ratio of each round."""
        return [one / other for one, other in zip(self.values.get(figure, ()), self.values.get(of, ()), strict=False)]
