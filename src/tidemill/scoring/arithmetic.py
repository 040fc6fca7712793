"""Sums in one order, for many rows by numpy and for a single row by plain floats, with the same bits.

A matrix product or a sum of numpy adds in an order that depends on the shapes and on the machine, and may round once
for a multiplication and an addition. These functions add term by term, as Spark does. So a row's answer does not depend
on the rows that are scored with it, and a :data:`RowFunction` may answer a single row without numpy, whose calls cost
more than the arithmetic of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import isfinite
from operator import add, mul

import numpy as np

from tidemill.scoring.storage import Array

MOST_ROW_TERMS = 1_000  # multiplications for which plain floats are faster than numpy
AT_ONCE = 2**17  # numbers: what is added stays in the processor's cache
LARGEST_EXPONENT = 700.0  # exp() of what is nearer to zero neither overflows nor vanishes

RowScore = tuple[float, list[float] | None]
"""A row's prediction in Spark's terms (for classes and clusters the index, a whole number), and its probabilities."""
RowFunction = Callable[[list[float], list[int]], RowScore | None]
"""The score of one row, from its scaled numbers and its codes: bit for bit that of ``RowScorer.scores``. None where it
is left to that one, as for numbers that overflow."""


def sum_in_order(terms: Array, axis: int = 0) -> Array:
    """The sum over an axis, term by term."""
    total: Array = terms.cumsum(axis=axis).take(-1, axis=axis)
    return total


def products(numbers: Array, weights: Array) -> Array:
    """(n, m): ``numbers`` (n, p) times ``weights`` (p, m)."""
    return over_positions(numbers, weights, np.multiply)


def squared_distances(numbers: Array, points: Array) -> Array:
    """(n, m): the squared Euclidean distances of rows (n, p) to points (p, m)."""
    return over_positions(numbers, points, squared_gaps)


def row_sums(terms: Array) -> Array:
    """(n,): the sum of each row (n, p)."""
    return sum_in_order(terms, axis=1) if terms.shape[1] else np.zeros(len(terms))


def squared_gaps(numbers: Array, points: Array) -> Array:
    gaps = numbers - points
    gaps *= gaps
    return gaps


def over_positions(numbers: Array, matrix: Array, terms: Callable[[Array, Array], Array]) -> Array:
    """(n, m): the sum of the ``terms`` of ``numbers`` (n, p) and ``matrix`` (p, m) over the positions p."""
    (count, positions), width = numbers.shape, matrix.shape[1]
    if not positions:
        return np.zeros((count, width))
    if count * positions * width <= MOST_ROW_TERMS:
        return sum_in_order(terms(numbers[:, :, None], matrix), axis=1)
    totals = np.empty((width, count))  # a position's numbers lie side by side
    step = max(1, AT_ONCE // max(1, width))
    for start in range(0, count, step):
        columns = np.ascontiguousarray(numbers[start : start + step].T)
        total = terms(columns[0], matrix[0][:, None])
        for column, weights in zip(columns[1:], matrix[1:], strict=True):
            total += terms(column, weights[:, None])
        totals[:, start : start + step] = total
    return totals.T


# --- one row ------------------------------------------------------------------------------------------------------


def row_product(numbers: Sequence[float], weights: Sequence[float]) -> float:
    """The sum of the products of one or more numbers. Python's own sum() compensates for rounding since 3.12."""
    total: float = reduce(add, map(mul, numbers, weights))
    return total


def row_squares(numbers: Sequence[float], point: Sequence[float]) -> float:
    """The squared distance of two points."""
    total = 0.0
    for number, place in zip(numbers, point, strict=True):
        gap = number - place
        total += gap * gap
    return total


def all_finite(values: Sequence[float]) -> bool:
    return all(map(isfinite, values))


def index_of_highest(values: Sequence[float]) -> int:
    """The index of the first of the highest values; there is no NaN among them."""
    return values.index(max(values))


def row_choice(raw: Sequence[float], probability: Sequence[float], thresholds: Sequence[float] | None) -> int:
    """The class that :func:`tidemill.scoring.base.choose` chooses for finite numbers."""
    if thresholds is None:
        return index_of_highest(raw)
    infinity = float("inf")
    return index_of_highest(
        [
            share / bound if bound else infinity if share > 0 else -infinity
            for share, bound in zip(probability, thresholds, strict=True)
        ]
    )


def row_softmax(raw: Sequence[float]) -> list[float]:
    """The softmax of finite margins, as :func:`tidemill.scoring.linear.softmax`."""
    highest = max(raw)
    powers: list[float] = np.exp(np.array([margin - highest for margin in raw])).tolist()
    total = reduce(add, powers)
    return [power / total for power in powers]
