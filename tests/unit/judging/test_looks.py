"""The levels of many looks: they sum to alpha over time, and within a generation they are Holm's."""

from __future__ import annotations

import itertools

import pytest

from tidemill.judging.looks import alpha_at, holm_levels


def test_the_levels_of_all_looks_together_are_alpha() -> None:
    """The levels of a million looks sum to 0.05, less only what later looks would still get."""
    spent = sum(alpha_at(look) for look in range(1, 1_000_001))
    assert 0.05 - 1e-7 < spent < 0.05
    assert alpha_at(2, alpha=0.1) == pytest.approx(alpha_at(1, alpha=0.1) / 4)


@pytest.mark.parametrize("look", [0, -1])
def test_there_is_no_look_before_the_first(look: int) -> None:
    """A look that doesn't exist is an error that says from where looks are counted."""
    with pytest.raises(ValueError, match="counted from 1"):
        alpha_at(look)


@pytest.mark.parametrize(
    ("p_values", "levels"),
    [
        ([], []),
        ([0.2], [0.06]),
        ([0.01, 0.02, 0.03], [0.02, 0.03, 0.06]),
        ([0.03, 0.01, 0.02], [0.06, 0.02, 0.03]),
        ([0.021, 0.022, 0.023], [0.02, 0.02, 0.02]),
        ([0.05, 0.001, 0.04], [0.03, 0.02, 0.03]),
        ([0.01, 0.01, 0.01], [0.02, 0.03, 0.06]),
    ],
)
def test_each_hypothesis_has_its_level_of_holm(p_values: list[float], levels: list[float]) -> None:
    """The levels are alpha over 3, 2 and 1 in the order of the p-values; they stop growing where one isn't rejected."""
    assert holm_levels(p_values, 0.06) == pytest.approx(levels)


def adjusted(p_values: list[float]) -> list[float]:
    """Holm's adjusted p-values, by the other formula: running maxima of (m - i) * p over the sorted p-values."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    scaled = [p_values[place] * (len(order) - rank) for rank, place in enumerate(order)]
    maxima = dict(zip(order, itertools.accumulate(scaled, max), strict=True))
    return [maxima[place] for place in range(len(order))]


def test_a_hypothesis_is_rejected_exactly_where_its_adjusted_p_value_says_so() -> None:
    """For each order of four p-values and several alphas, levels and adjusted p-values reject the same hypotheses."""
    for p_values in itertools.product([0.004, 0.011, 0.02, 0.3], repeat=4):
        for alpha in (0.01, 0.05, 0.2):
            levels = holm_levels(p_values, alpha)
            rejected = [p <= level for p, level in zip(p_values, levels, strict=True)]
            assert rejected == [p <= alpha for p in adjusted(list(p_values))], (p_values, alpha)
