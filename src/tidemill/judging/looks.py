"""Many looks: the levels at which several models are tested, generation after generation, to keep false alarms rare.

Twenty generations of three models, each tested at 5 %, give a false alarm with 95 % probability. With the levels of
this module all tests of a run together give one with at most ``alpha``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def alpha_at(look: int, alpha: float = 0.05) -> float:
    """The level of look 1, 2, 3, ...: ``alpha * 6 / (pi^2 * look^2)``.

    The levels of all looks, however many there will be, sum to ``alpha``, because the sum of 1 / look^2 is pi^2 / 6
    (Euler 1735). By Bonferroni's inequality that bounds the probability of any false alarm, for dependent looks too.

    Raises:
        ValueError: there is no such look.
    """
    if look < 1:
        raise ValueError(f"look {look} doesn't exist: looks are counted from 1")
    return alpha * 6 / (math.pi**2 * look**2)


def holm_levels(p_values: Sequence[float], alpha: float) -> list[float]:
    """The level at which each hypothesis is tested, in the order given; any false rejection has at most ``alpha``.

    The smallest p-value of m is tested at alpha / m, the next at alpha / (m - 1), and so on. The first hypothesis that
    is not rejected ends this, and all after it share its level. A hypothesis is rejected exactly where its p-value is
    at most its level. It holds for dependent p-values (Holm 1979, A Simple Sequentially Rejective Multiple Test
    Procedure).
    """
    levels = [0.0] * len(p_values)
    divisor = len(p_values)
    for place in np.argsort(p_values, kind="stable").tolist():
        levels[place] = alpha / divisor
        if p_values[place] <= levels[place]:
            divisor -= 1
    return levels
